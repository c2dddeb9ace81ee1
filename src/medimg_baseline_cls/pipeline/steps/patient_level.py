"""The evaluation per patient: the images of each become one probability, and all is done again.

Turns predictions of images into the folder `patients` of a run: predictions, thresholds and
summaries in the same files and shapes as those of the images. Where no patient has several
images there is nothing to do.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg_baseline_cls.evaluation.eval_summary import find_warnings, tabulate_summaries
from medimg_baseline_cls.evaluation.operating_points import (
    Thresholds,
    choose_thresholds,
    write_thresholds,
)
from medimg_baseline_cls.evaluation.patient_level import (
    Aggregation,
    aggregate_predictions,
    has_groups,
)
from medimg_baseline_cls.evaluation.prediction_files import write_predictions
from medimg_baseline_cls.evaluation.split_summary import (
    describe_headline,
    evaluated_classes,
    summarize_predictions,
)
from medimg_baseline_cls.pipeline.steps.intervals import print_intervals, resample_summaries
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import sha256_file, write_json
from medimg_baseline_cls.utils.runs import digest_checkpoint

FOLDER = "patients"


@dataclass(frozen=True)
class PatientLevel:
    """The patients of VAL and the operating points chosen on them."""

    how: Aggregation
    folder: Path
    positive_class: str | None
    val: Predictions
    num_left_out: int
    thresholds: Thresholds


def choose_patients(
    session: Session, val: Predictions, *, positive_class: str | None
) -> PatientLevel | None:
    """Choose operating points on the patients of VAL.

    Returns:
        None if the setting is none, or if every patient of VAL has one image.
    """
    how = session.config.aggregate
    if how == "none" or not has_groups(val):
        return None
    patients, num_left_out = aggregate_predictions(val, how, positive_class=positive_class)
    if not patients.groups:
        return None
    thresholds = choose_thresholds(
        patients,
        classes=evaluated_classes(patients.class_names, positive_class),
        target_sensitivity=session.config.target_sensitivity,
        operating_point=session.config.operating_point,
    )
    folder = session.run_dir / FOLDER
    return PatientLevel(how, folder, positive_class, patients, num_left_out, thresholds)


def write_patients(session: Session, level: PatientLevel | None) -> None:
    """Write what is chosen on the patients of VAL, before TEST is scored."""
    # Files of an earlier evaluation must not be mixed with the metrics of this one.
    shutil.rmtree(session.run_dir / FOLDER, ignore_errors=True)
    if level is None:
        return
    level.folder.mkdir()
    write_predictions(level.folder / "predictions_val.csv", level.val)
    write_thresholds(
        level.folder / "thresholds.json",
        level.thresholds,
        positive_class=level.positive_class,
        predictions_sha256=sha256_file(level.folder / "predictions_val.csv"),
        checkpoint_sha256=digest_checkpoint(session.run_dir),
    )


def score_patients(
    session: Session, level: PatientLevel, *, test: Predictions
) -> tuple[dict[str, SplitSummary], dict[str, Any]]:
    """Score the patients of TEST at the operating points that are settled.

    Returns:
        The summaries "val" and "test", as they are written, and the patients' part of
        eval_summary.json.
    """
    patients, num_left_out = aggregate_predictions(
        test, level.how, positive_class=level.positive_class
    )
    write_predictions(level.folder / "predictions_test.csv", patients)
    parts = [part for part in (level.val, patients) if part.groups]
    summaries = {
        part.split: summarize_predictions(
            part, level.thresholds, positive_class=level.positive_class
        )
        for part in parts
    }
    summaries = resample_summaries(session.config, summaries, parts=parts)
    for name, summary in summaries.items():
        write_json(level.folder / f"{name}_summary.json", summary.to_json())
    overview = {
        "aggregation": level.how,
        "num_patients": {name: summary.num_groups for name, summary in summaries.items()},
        "num_left_out": {"val": level.num_left_out, "test": num_left_out},
        "headline": {name: describe_headline(summary) for name, summary in summaries.items()},
        "warnings": find_warnings(summaries["val"], summaries.get("test")),
    }
    return summaries, overview


def print_patients(
    session: Session, summaries: Mapping[str, SplitSummary], *, overview: Mapping[str, Any]
) -> None:
    """Print the table of the patients, and who was left out of it."""
    header, rows = tabulate_summaries(summaries.values())
    how = {"mean": "mean", "max": "highest"}[overview["aggregation"]]
    session.log.table(
        f"Results per patient ({how} probability of the images)", header=header, rows=rows
    )
    if "test" in summaries:
        print_intervals(session, summaries["test"])
    for split, count in overview["num_left_out"].items():
        if count:
            session.log.warn(
                f"{count} patients of {split.upper()} have images of different classes, and so no "
                "reference standard of their own: they are excluded from the metrics per patient."
            )
