"""The evaluation command: thresholds from VAL, then TEST scored with them, then mistakes.

The order is the point: thresholds.json is on disk before the first test image is scored.
All metrics are computed from the predictions as read back from their CSV files.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from medimg_baseline_cls.evaluation.error_review import read_readings
from medimg_baseline_cls.evaluation.eval_summary import summarize_evaluation, tabulate_summaries
from medimg_baseline_cls.evaluation.evaluation_log import count_evaluations, require_settled
from medimg_baseline_cls.evaluation.prediction_files import (
    collect_predictions,
    read_predictions,
    write_predictions,
)
from medimg_baseline_cls.evaluation.shortcut_baselines import describe_controls
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.calibration import write_calibration
from medimg_baseline_cls.pipeline.steps.early_checks import require_evaluable
from medimg_baseline_cls.pipeline.steps.error_review import compile_dossier
from medimg_baseline_cls.pipeline.steps.inferences import list_warnings
from medimg_baseline_cls.pipeline.steps.intervals import print_intervals, resample_summaries
from medimg_baseline_cls.pipeline.steps.patient_level import print_patients, score_patients
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData, reopen_data
from medimg_baseline_cls.pipeline.steps.run_model import load_model, score_images
from medimg_baseline_cls.pipeline.steps.session import (
    RunResult,
    Session,
    read_provenance,
    reopen_session,
    warn_of_threads,
)
from medimg_baseline_cls.pipeline.steps.shortcut_baselines import evaluate_controls
from medimg_baseline_cls.pipeline.steps.test_lock import (
    EvaluationReason,
    LockedDecision,
    choose_points,
    require_split,
    require_trained,
    settle_points,
    write_points,
    write_test,
)
from medimg_baseline_cls.pipeline.steps.test_results import describe_test, summarize_parts
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.evaluations import EvaluationSummary, Headlines
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.reporting.outdated import list_outdated, mark_outdated
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.quantities import say_score
from medimg_baseline_cls.utils.runs import hold_run, is_trained, mark_latest, write_status


@ending_plainly(is_resumable=False)
def evaluate(
    run: Path | str = "latest",
    *,
    output_dir: Path = Path("outputs"),
    reason: str | None = None,
    accept: str | None = None,
    model: nn.Module | None = None,
) -> RunResult:
    """Choose operating points on VAL, score TEST with them, and mine the worst mistakes.

    Args:
        run: a run folder, or "latest".
        output_dir: where `latest` is looked up.
        reason: why TEST is scored, for test_log.csv.
        accept: why it is meant that something has changed since TEST was last scored, or that
            training was stopped before its end.
        model: a network of the class that the run was trained with, if that was passed.

    Returns:
        The run folder and the content of eval_summary.json.

    Raises:
        ConfigError: a setting that a later step uses does not fit the data; TEST is not scored.
        RunError: the run has no checkpoint, or its data have changed; or the checkpoint, the
            operating points, the split or the class order since TEST was last scored; or
            training was stopped before its end; or another process writes to the run.
    """
    session = replace(reopen_session(run, output_dir=output_dir), module=model)
    with hold_run(session.run_dir, command="evaluate", log=session.log):
        return _evaluate(session, EvaluationReason(reason, accept))


def _evaluate(session: Session, reason: EvaluationReason) -> RunResult:
    run_dir, log = session.run_dir, session.log
    require_trained(run_dir, reason)
    require_split(run_dir, reason)
    warn_of_threads(session)
    # Both are read before TEST is scored, so that damage costs no look at TEST (decision 0020).
    model, checkpoint = load_model(session, "best.pt")
    head_only = _load_head_only(session)
    data = reopen_data(session, read_provenance(run_dir))
    columns = require_evaluable(session.config, data.split)
    readings = read_readings(run_dir)
    decision, val, test = _score_splits(session, data, model=model, reason=reason)
    thresholds, patients = decision.thresholds, decision.patients
    summaries = resample_summaries(
        session.config,
        summarize_parts((val, test), thresholds, positive_class=data.positive_class),
        parts=(val, test),
    )
    for name, summary in summaries.items():
        write_json(run_dir / f"{name}_summary.json", summary.to_json())
    write_calibration(
        session,
        (val, test),
        split=data.split,
        thresholds=thresholds,
        positive_class=data.positive_class,
    )
    mistakes = describe_test(
        session,
        data,
        columns=columns,
        parts=(val, test),
        summaries=summaries,
        thresholds=thresholds,
    )
    compile_dossier(
        session, data, model=model, mistakes=mistakes, thresholds=thresholds, readings=readings
    )
    overview = summarize_evaluation(
        summaries["val"],
        summaries["test"],
        checkpoint={
            "stage": checkpoint["stage"],
            "epoch": checkpoint["epoch"],
            "sha256": decision.entry.checkpoint_sha256,
        },
        thresholds=thresholds,
        mistakes=mistakes,
        head_only=_evaluate_head_only(session, data, model=head_only),
        controls=evaluate_controls(session, data),
    )
    inferred = list_warnings(data.provenance.get("inferences", ()))
    overview = count_evaluations(
        run_dir, replace(overview, warnings=(*inferred, *overview.warnings))
    )
    of_patients: Mapping[str, SplitSummary] = {}
    if patients is not None:
        of_patients, found = score_patients(session, patients, test=test)
        overview = replace(overview, patients=found)
    if is_trained(run_dir):  # else training can still be resumed
        write_status(run_dir, "finished")
    # Last of all: with it the evaluation counts as complete.
    write_json(run_dir / "eval_summary.json", overview.to_json())
    mark_latest(run_dir)
    _print_results(session, summaries, overview=overview)
    if overview.patients is not None:
        print_patients(session, of_patients, overview=overview.patients)
    if decision.entry.accepted and (run_dir / "predictions_new.csv").is_file():
        log.warn("predictions_new.csv was made before the change that was accepted: predict again")
    if (count := overview.test_evaluations or 0) > 1:
        log.info(f"TEST has now been scored {count} times (test_log.csv)")
    log.info(f"results: {run_dir}")
    return RunResult(
        run_dir, overview.to_json(), list_outdated(run_dir) if is_trained(run_dir) else ()
    )


def _score_splits(
    session: Session, data: PreparedData, *, model: Classifier, reason: EvaluationReason
) -> tuple[LockedDecision, Predictions, Predictions]:
    """Return what was settled on VAL and compared with the TEST log, and both as they are written.

    Nothing is overwritten, and TEST is not touched, before that comparison has passed.
    """
    val = _predict_split(session, data, model=model, split="val")
    decision = settle_points(session, val, positive_class=data.positive_class, reason=reason)
    if (session.run_dir / "test_summary.json").is_file():
        session.log.info("evaluated again: the files of the earlier evaluation are replaced")
    # Before anything is replaced: a killed evaluation leaves no report that looks current.
    mark_outdated(session.run_dir)
    if is_trained(session.run_dir):
        write_status(session.run_dir, "trained")  # not finished, wherever this is stopped
    val = _write_and_read(session.run_dir, val)
    write_points(session, decision)
    test = _predict_split(session, data, model=model, split="test")
    return decision, val, write_test(session, decision, test=test)


def _predict_split(
    session: Session, data: PreparedData, *, model: Classifier, split: str
) -> Predictions:
    if split == "test":
        require_settled(session.run_dir)
    images, task = data.image_set(split), data.split.task
    rows, probabilities = score_images(session, model, images=images, task=task)
    return collect_predictions(data.split, split, rows=rows, probabilities=probabilities)


def _write_and_read(run_dir: Path, predictions: Predictions) -> Predictions:
    """Write the CSV of a split, and return what it reads back to."""
    path = run_dir / f"predictions_{predictions.split}.csv"
    write_predictions(path, predictions)
    return read_predictions(path, split=predictions.split, task=predictions.task)


def _load_head_only(session: Session) -> Classifier | None:
    """Return the best model of the head-only stage, where there was one."""
    is_there = (session.run_dir / "best_head.pt").exists()
    return load_model(session, "best_head.pt")[0] if is_there else None


def _evaluate_head_only(
    session: Session, data: PreparedData, *, model: Classifier | None
) -> dict[str, SplitSummary] | None:
    """Summarize the best model of the head-only stage, if there was one."""
    if model is None:
        return None
    val = _predict_split(session, data, model=model, split="val")
    # Its own thresholds: those of the final model are for other probabilities.
    thresholds = choose_points(session, val, positive_class=data.positive_class)
    test = _predict_split(session, data, model=model, split="test")
    return summarize_parts((val, test), thresholds, positive_class=data.positive_class)


def _print_results(
    session: Session, summaries: Mapping[str, SplitSummary], *, overview: EvaluationSummary
) -> None:
    """Print one compact table, what to mind, and what to type next."""
    log = session.log
    header, rows = tabulate_summaries(summaries.values())
    log.table("Results (thresholds from VAL)", header=header, rows=rows)
    print_intervals(session, summaries["test"])
    if overview.head_only is not None:
        log.info(_compare_with_head_only(overview, overview.head_only))
    log.info(describe_controls(overview.controls))
    for warning in overview.warnings:
        log.warn(warning)


def _compare_with_head_only(overview: EvaluationSummary, before: Headlines) -> str:
    """Log the gain of fine-tuning over the head-only model."""
    if overview.checkpoint["stage"] == "head":
        return "fine-tuning was not kept: the head-only model has the highest VAL AP"

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
