"""The files of an external evaluation: predictions after their log, then all that TEST has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from medimg_baseline_cls.data.splitting.split import read_split, write_split
from medimg_baseline_cls.evaluation.external_log import (
    ExternalEntry,
    append_external,
    count_entries,
)
from medimg_baseline_cls.evaluation.prediction_files import (
    collect_predictions,
    read_predictions,
    write_predictions,
)
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.calibration import write_calibration
from medimg_baseline_cls.pipeline.steps.early_checks import find_columns
from medimg_baseline_cls.pipeline.steps.external_copies import Copy, write_copies
from medimg_baseline_cls.pipeline.steps.external_data import OtherData
from medimg_baseline_cls.pipeline.steps.intervals import resample_summaries
from medimg_baseline_cls.pipeline.steps.locked_run import LockedRun, copy_locked
from medimg_baseline_cls.pipeline.steps.run_images import MeasuredImages
from medimg_baseline_cls.pipeline.steps.run_model import score_images
from medimg_baseline_cls.pipeline.steps.session import Session, write_settings
from medimg_baseline_cls.pipeline.steps.test_results import describe_test, summarize_parts
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Mistake, Predictions, Split
from medimg_baseline_cls.utils.env import describe_code
from medimg_baseline_cls.utils.files import sha256_file, write_csv, write_json


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
    write_settings(job.target, job.run.provenance)
    write_split(place / "split.csv", split)
    write_csv(place / "rejected.csv", ("path", "reason"), rows=job.other.rejected)
    write_copies(place, job.copies)
    images = job.other.data.image_set("test")
    rows, probabilities = score_images(job.target, model, images=images, task=split.task)
    test = collect_predictions(split, "test", rows=rows, probabilities=probabilities)
    path = place / "predictions_test.csv"
    waiting = path.with_name(f".{path.name}.waiting")
    write_predictions(waiting, test)
    code, version = describe_code()
    append_external(
        place.parent,
        ExternalEntry(
            number=count_entries(place.parent) + 1,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            code=code,
            version=version,
            run=job.run.run_dir.resolve().name,
            name=place.name,
            checkpoint_sha256=sha256_file(job.run.run_dir / "best.pt"),
            thresholds_sha256=job.run.thresholds_sha256,
            split_sha256=sha256_file(place / "split.csv"),
            class_order=" | ".join(split.class_names),
            predictions_sha256=sha256_file(waiting),
            num_images=len(split.records),
            num_left_out=len(job.copies),
            maps=" | ".join(f"{label}={name}" for label, name in job.maps.items()),
        ),
    )
    waiting.replace(path)
    return read_predictions(path, split="test", task=split.task)


def write_results(
    job: ExternalJob, test: Predictions
) -> tuple[dict[str, SplitSummary], tuple[Mistake, ...]]:
    """Write summary, calibration, plots, subgroups and mistakes; return VAL and TEST."""
    target, thresholds, positive = job.target, job.run.thresholds, job.run.positive_class
    parts = (job.run.parts[0], test)
    summaries = resample_summaries(
        target.config, summarize_parts(parts, thresholds, positive_class=positive), parts=parts
    )
    write_json(target.run_dir / "test_summary.json", summaries["test"].to_json())
    joined = join_train(job.run, job.other.data.split)
    write_calibration(target, parts, split=joined, thresholds=thresholds, positive_class=positive)
    columns = find_columns(target.config, joined)
    mistakes = describe_test(
        target,
        columns=columns,
        parts=parts,
        summaries=summaries,
        thresholds=thresholds,
        positive_class=positive,
    )
    return summaries, mistakes


def join_train(run: LockedRun, other: Split) -> Split:
    """Return the images of TRAIN and VAL with those of the other data set as TEST."""
    own = read_split(run.run_dir / "split.csv", other.class_names, task=other.task)
    records = [record for record in own.records if record.split != "test"]
    if own.subgroup_names != other.subgroup_names:
        blank = tuple("" for _ in other.subgroup_names)
        records = [replace(record, subgroups=blank) for record in records]
    return replace(other, records=(*records, *other.records))
