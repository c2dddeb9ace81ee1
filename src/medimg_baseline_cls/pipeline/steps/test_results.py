"""What an evaluation writes next to the summaries: mistakes, plots, subgroups."""

import shutil
from collections.abc import Mapping, Sequence

from medimg_baseline_cls.evaluation.mistakes import mine_mistakes, write_mistakes
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.evaluation.subgroup_columns import SubgroupColumn
from medimg_baseline_cls.pipeline.steps.panel_folders import list_panel_folders
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.pipeline.steps.subgroups import evaluate_subgroups
from medimg_baseline_cls.plots import draw_evaluation
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Mistake, Predictions


def summarize_parts(
    parts: Sequence[Predictions], thresholds: Thresholds, *, positive_class: str | None
) -> dict[str, SplitSummary]:
    """Return the summary of each split by its name, without intervals."""
    return {
        p.split: summarize_predictions(p, thresholds, positive_class=positive_class) for p in parts
    }


def describe_test(
    session: Session,
    *,
    columns: Sequence[SubgroupColumn],
    parts: Sequence[Predictions],
    summaries: Mapping[str, SplitSummary],
    thresholds: Thresholds,
    positive_class: str | None,
) -> tuple[Mistake, ...]:
    """Write mistakes, metrics and subgroups; return the mistakes."""
    run_dir, limit = session.run_dir, session.config.num_hard_examples
    mistakes = mine_mistakes(parts[-1], thresholds, num_hard_examples=limit)
    _replace_mistakes(session, mistakes)
    draw_evaluation(parts, run_dir / "figures", summaries=summaries)
    evaluate_subgroups(
        session, columns, parts=parts, thresholds=thresholds, positive_class=positive_class
    )
    return mistakes


def _replace_mistakes(session: Session, mistakes: tuple[Mistake, ...]) -> None:
    """Write mistakes.csv, and remove the panels of other mistakes than these."""
    path = session.run_dir / "mistakes.csv"
    before = path.read_bytes() if path.is_file() else None
    write_mistakes(path, mistakes)
    # Panels are of particular mistakes: they stay only where those are the same.
    if before == path.read_bytes():
        return
    for panels in list_panel_folders(session.run_dir):
        shutil.rmtree(panels)
        session.log.info(f"the mistakes are others than before: their panels in {panels} are gone")
