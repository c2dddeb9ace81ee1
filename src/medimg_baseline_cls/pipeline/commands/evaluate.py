"""The evaluation command: thresholds from VAL, then TEST scored with them, then mistakes.

The order is the point: thresholds.json is on disk before the first test image is scored.
All metrics are computed from the predictions as read back from their CSV files.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from medimg_baseline_cls.evaluation.error_review import read_readings
from medimg_baseline_cls.evaluation.eval_summary import summarize_evaluation
from medimg_baseline_cls.evaluation.evaluation_log import LogEntry, require_settled
from medimg_baseline_cls.evaluation.prediction_files import collect_predictions
from medimg_baseline_cls.evaluation.subgroup_columns import SubgroupColumn
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.early_checks import require_evaluable
from medimg_baseline_cls.pipeline.steps.error_review import compile_dossier
from medimg_baseline_cls.pipeline.steps.evaluation import (
    SEALED,
    Scored,
    complete_evaluation,
    write_and_read,
    write_images,
    write_metrics,
)
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData, reopen_data
from medimg_baseline_cls.pipeline.steps.run_model import load_model, score_images
from medimg_baseline_cls.pipeline.steps.session import (
    RunResult,
    Session,
    read_provenance,
    reopen_session,
    warn_of_machine,
)
from medimg_baseline_cls.pipeline.steps.shortcut_baselines import evaluate_controls
from medimg_baseline_cls.pipeline.steps.test_lock import (
    EvaluationReason,
    choose_points,
    require_split,
    require_trained,
    settle_points,
    write_points,
    write_test,
)
from medimg_baseline_cls.pipeline.steps.test_results import summarize_parts
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.reporting.outdated import list_outdated, mark_outdated
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.runs import hold_run, is_trained, write_status
from medimg_baseline_cls.utils.seals import break_seals


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
    warn_of_machine(session)
    # Both are read before TEST is scored, so that damage costs no look at TEST (decision 0020).
    model, checkpoint = load_model(session, "best.pt")
    head_only = _load_head_only(session)
    data = reopen_data(session, read_provenance(run_dir))
    columns = require_evaluable(session.config, data.split)
    readings = read_readings(run_dir)
    scored, entry = _score_splits(session, data, model=model, columns=columns, reason=reason)
    summaries = write_metrics(session, scored)
    mistakes = write_images(session, scored, summaries=summaries)
    thresholds = scored.decision.thresholds
    compile_dossier(
        session, data, model=model, mistakes=mistakes, thresholds=thresholds, readings=readings
    )
    overview = summarize_evaluation(
        summaries["val"],
        summaries["test"],
        checkpoint={
            "stage": checkpoint["stage"],
            "epoch": checkpoint["epoch"],
            "sha256": entry.checkpoint_sha256,
        },
        thresholds=thresholds,
        mistakes=mistakes,
        head_only=_evaluate_head_only(session, data, model=head_only),
        controls=evaluate_controls(session, data),
    )
    overview = complete_evaluation(session, scored, summaries=summaries, overview=overview)
    if entry.accepted and (run_dir / "predictions_new.csv").is_file():
        log.warn("predictions_new.csv was made before the change that was accepted: predict again")
    if (count := overview.test_evaluations or 0) > 1:
        log.info(f"TEST has now been scored {count} times (test_log.csv)")
    log.info(f"results: {run_dir}")
    return RunResult(
        run_dir, overview.to_json(), list_outdated(run_dir) if is_trained(run_dir) else ()
    )


def _score_splits(
    session: Session,
    data: PreparedData,
    *,
    model: Classifier,
    columns: Sequence[SubgroupColumn],
    reason: EvaluationReason,
) -> tuple[Scored, LogEntry]:
    """Return both splits as they are written, with what was settled on VAL, and the line of TEST.

    Nothing is overwritten, and TEST is not touched, before that comparison has passed.
    """
    val = _predict_split(session, data, model=model, split="val")
    decision = settle_points(session, val, positive_class=data.positive_class, reason=reason)
    if (session.run_dir / "test_summary.json").is_file():
        session.log.info("evaluated again: the files of the earlier evaluation are replaced")
    # Before anything is replaced: a killed evaluation leaves no report that looks current.
    mark_outdated(session.run_dir)
    break_seals(session.run_dir, SEALED)
    if is_trained(session.run_dir):
        write_status(session.run_dir, "trained")  # not finished, wherever this is stopped
    val = write_and_read(session.run_dir, val)
    write_points(session, decision)
    test = _predict_split(session, data, model=model, split="test")
    test = write_test(session, decision, test=test)
    return Scored(data.split, decision, (val, test), columns), decision.entry


def _predict_split(
    session: Session, data: PreparedData, *, model: Classifier, split: str
) -> Predictions:
    if split == "test":
        require_settled(session.run_dir)
    images, task = data.image_set(split), data.split.task
    rows, probabilities = score_images(session, model, images=images, task=task)
    return collect_predictions(data.split, split, rows=rows, probabilities=probabilities)


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
