"""From the predictions of VAL and TEST to every file of an evaluation, whoever made them.

Metrics with intervals, calibration, pictures, subgroups and mistakes, and at the end
eval_summary.json. No network and no image is needed for any of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medimg_baseline_cls.evaluation.eval_summary import tabulate_summaries
from medimg_baseline_cls.evaluation.evaluation_log import count_evaluations
from medimg_baseline_cls.evaluation.prediction_files import read_predictions, write_predictions
from medimg_baseline_cls.evaluation.resampling import Resampling, draw_parts
from medimg_baseline_cls.evaluation.shortcut_baselines import describe_controls
from medimg_baseline_cls.evaluation.split_summary import without_decisions
from medimg_baseline_cls.evaluation.subgroup_columns import SubgroupColumn
from medimg_baseline_cls.pipeline.steps.calibration import write_calibration
from medimg_baseline_cls.pipeline.steps.inferences import list_warnings
from medimg_baseline_cls.pipeline.steps.intervals import print_intervals, resample_summaries
from medimg_baseline_cls.pipeline.steps.patient_level import print_patients, score_patients
from medimg_baseline_cls.pipeline.steps.run_gaps import RESULTS
from medimg_baseline_cls.pipeline.steps.session import Session, read_provenance
from medimg_baseline_cls.pipeline.steps.test_lock import Decision
from medimg_baseline_cls.pipeline.steps.test_results import describe_test, summarize_parts
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.evaluations import EvaluationSummary, Headlines
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Mistake, Predictions, Split
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.quantities import say_score
from medimg_baseline_cls.utils.runs import is_trained, mark_latest, write_status
from medimg_baseline_cls.utils.seals import seal_results

SEALED = (
    *("split.csv", *RESULTS, "calibration.json", "recalibration.json", "prevalence.json"),
    *("subgroups.json", "patients/val_summary.json", "patients/test_summary.json"),
)
"""What is noticed if it is edited after an evaluation."""


@dataclass(frozen=True)
class Scored:
    """What an evaluation measures: predictions as they are written, and what decides on them.

    Attributes:
        split: every image of the run.
        decision: the operating points, settled before TEST was scored.
        parts: the predictions of VAL and of TEST.
        columns: how the TEST images are parted into subgroups.
    """

    split: Split
    decision: Decision
    parts: tuple[Predictions, ...]
    columns: Sequence[SubgroupColumn]


def write_and_read(run_dir: Path, predictions: Predictions) -> Predictions:
    """Write the CSV of a split, and return what it reads back to."""
    path = run_dir / f"predictions_{predictions.split}.csv"
    write_predictions(path, predictions)
    return read_predictions(path, split=predictions.split, task=predictions.task)


def write_metrics(session: Session, scored: Scored) -> dict[str, SplitSummary]:
    """Write the summary of each split and what its probabilities are worth; return the former."""
    thresholds, positive = scored.decision.thresholds, scored.decision.positive_class
    config = session.config
    weights = draw_parts(scored.parts, Resampling(config.num_resamples, config.seed))
    summaries = resample_summaries(
        config,
        summarize_parts(scored.parts, thresholds, positive_class=positive),
        parts=scored.parts,
        weights=weights,
    )
    if "val" not in summaries:
        summaries["test"] = without_decisions(summaries["test"])
    for name, summary in summaries.items():
        write_json(session.run_dir / f"{name}_summary.json", summary.to_json())
    write_calibration(
        session,
        scored.parts,
        weights=weights,
        split=scored.split,
        thresholds=thresholds,
        positive_class=positive,
    )
    return summaries


def write_images(
    session: Session, scored: Scored, *, summaries: Mapping[str, SplitSummary]
) -> tuple[Mistake, ...]:
    """Write mistakes, pictures and subgroups; return the mistakes."""
    return describe_test(
        session,
        columns=scored.columns,
        parts=scored.parts,
        summaries=summaries,
        thresholds=scored.decision.thresholds,
        positive_class=scored.decision.positive_class,
    )


def complete_evaluation(
    session: Session,
    scored: Scored,
    *,
    summaries: Mapping[str, SplitSummary],
    overview: EvaluationSummary,
) -> EvaluationSummary:
    """Score the patients, write eval_summary.json and print what was found.

    Args:
        session: the open run.
        scored: what was measured.
        summaries: from `write_metrics`.
        overview: from `summarize_evaluation`.

    Returns:
        The overview as it was written.
    """
    run_dir, patients = session.run_dir, scored.decision.patients
    inferred = list_warnings(read_provenance(run_dir).get("inferences", ()))
    overview = count_evaluations(
        run_dir, replace(overview, warnings=(*inferred, *overview.warnings))
    )
    of_patients: Mapping[str, SplitSummary] = {}
    if patients is not None:
        of_patients, found = score_patients(session, patients, test=scored.parts[-1])
        overview = replace(overview, patients=found)
    if is_trained(run_dir):  # else training can still be resumed
        write_status(run_dir, "finished")
    # Last of all: with it the evaluation counts as complete.
    write_json(run_dir / "eval_summary.json", overview.to_json())
    seal_results(run_dir, SEALED)
    mark_latest(run_dir)
    title = "Results (thresholds from VAL)" if "val" in summaries else "Results"
    print_results(session, summaries, overview=overview, title=title)
    if overview.patients is not None:
        print_patients(session, of_patients, overview=overview.patients)
    return overview


def print_results(
    session: Session,
    summaries: Mapping[str, SplitSummary],
    *,
    overview: EvaluationSummary,
    title: str,
) -> None:
    """Print one compact table, and what to mind."""
    log = session.log
    header, rows = tabulate_summaries(summaries.values())
    log.table(title, header=header, rows=rows)
    print_intervals(session, summaries["test"])
    if overview.head_only is not None and session.config.finetune_epochs:
        log.info(_compare_with_head_only(overview, overview.head_only))
    if overview.controls:
        log.info(describe_controls(overview.controls))
    for warning in overview.warnings:
        log.warn(warning)


def _compare_with_head_only(overview: EvaluationSummary, before: Headlines) -> str:
    """Log the gain of fine-tuning over the head-only model."""
    if overview.checkpoint["stage"] == "head":
        return "fine-tuning was not kept: the head-only model is better on VAL"

    def describe(headline: Mapping[str, Estimate]) -> str:
        ap, auroc = headline["average_precision"].value, headline["auroc"].value
        if ap is None or auroc is None:
            return "AP undefined"
        return f"AP {say_score(ap)}, AUROC {say_score(auroc)}"

    after = overview.headline
    return "; ".join(
        f"{name.upper()}: head only {describe(before[name])}, final {describe(after[name])}"
        for name in ("val", "test")
    )
