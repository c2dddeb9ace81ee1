"""An external evaluation: predictions after their log, and what is measured on them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from medimg_baseline_cls.data.splitting.split import read_split, write_split
from medimg_baseline_cls.evaluation.external_log import (
    ExternalEntry,
    append_external,
    count_entries,
)
from medimg_baseline_cls.evaluation.patient_level import has_groups
from medimg_baseline_cls.evaluation.prediction_files import collect_predictions, write_logged
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.early_checks import find_columns
from medimg_baseline_cls.pipeline.steps.evaluation import Scored
from medimg_baseline_cls.pipeline.steps.external_copies import Copy, write_copies
from medimg_baseline_cls.pipeline.steps.external_data import OtherData
from medimg_baseline_cls.pipeline.steps.locked_run import LockedRun, copy_locked, open_patients
from medimg_baseline_cls.pipeline.steps.run_images import MeasuredImages
from medimg_baseline_cls.pipeline.steps.run_model import score_images
from medimg_baseline_cls.pipeline.steps.session import Session, write_settings
from medimg_baseline_cls.pipeline.steps.test_lock import Decision
from medimg_baseline_cls.schema import Predictions, Split
from medimg_baseline_cls.utils.env import describe_code
from medimg_baseline_cls.utils.files import sha256_file, write_csv


@dataclass(frozen=True)
class ExternalJob:
    """A locked run and what it is scored on.

    Attributes:
        run: the finished run.
        target: the same session, writing into the folder of the results.
        other: the other data set.
        maps: which of its labels means which class.
        copies: images that were left out because the run has them.
        own: the images of the run, measured.
        seen: the images that are scored, measured.
    """

    run: LockedRun
    target: Session
    other: OtherData
    maps: Mapping[str, str]
    copies: tuple[Copy, ...]
    own: MeasuredImages
    seen: MeasuredImages


def score_other(job: ExternalJob, model: Classifier) -> Predictions:
    """Score the images, log it, and only then let the predictions be seen."""
    split, place = job.other.data.split, job.target.run_dir
    copy_locked(job.run, place)
    write_copies(place, job.copies)  # before config.json: the folder never looks like a run
    write_settings(job.target, job.run.provenance)
    write_split(place / "split.csv", split)
    write_csv(place / "rejected.csv", ("path", "reason"), rows=job.other.rejected)
    images = job.other.data.image_set("test")
    rows, probabilities = score_images(job.target, model, images=images, task=split.task)
    test = collect_predictions(split, "test", rows=rows, probabilities=probabilities)
    code, version = describe_code()
    entry = ExternalEntry(
        number=count_entries(place.parent) + 1,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        code=code,
        version=version,
        checkpoint_sha256=job.run.checkpoint_sha256,
        thresholds_sha256=job.run.thresholds_sha256,
        split_sha256=sha256_file(place / "split.csv"),
        class_order=" | ".join(split.class_names),
        run=job.run.run_dir.resolve().name,
        name=place.name,
        predictions_sha256="",
        num_images=len(split.records),
        num_left_out=len(job.copies),
        maps=" | ".join(f"{label}={name}" for label, name in job.maps.items()),
    )

    def log(digest: str) -> None:
        append_external(place.parent, replace(entry, predictions_sha256=digest))

    return write_logged(place / "predictions_test.csv", test, log=log)


def collect_scored(job: ExternalJob, test: Predictions) -> Scored:
    """Return VAL of the run and the other data set as TEST, with what decides on both."""
    run, place = job.run, job.target.run_dir
    patients = open_patients(run, place) if has_groups(test) else None
    decision = Decision(run.thresholds, patients, run.positive_class)
    joined = join_train(run, job.other.data.split)
    columns = find_columns(job.target.config, joined)
    return Scored(joined, decision, (run.parts[0], test), columns)


def join_train(run: LockedRun, other: Split) -> Split:
    """Return the images of TRAIN and VAL with those of the other data set as TEST."""
    own = read_split(run.run_dir / "split.csv", other.class_names, task=other.task)
    records = [record for record in own.records if record.split != "test"]
    if own.subgroup_names != other.subgroup_names:
        blank = tuple("" for _ in other.subgroup_names)
        records = [replace(record, subgroups=blank) for record in records]
    return replace(other, records=(*records, *other.records))
