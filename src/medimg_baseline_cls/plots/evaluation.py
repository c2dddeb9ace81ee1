"""Draws the four figures of an evaluation under the names that the report knows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from medimg_baseline_cls.plots.confusion import draw_confusion
from medimg_baseline_cls.plots.histograms import draw_score_histograms
from medimg_baseline_cls.plots.panels import Scored
from medimg_baseline_cls.plots.roc_pr import draw_precision_recall, draw_roc
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions

MAX_FINDINGS = 8  # whose matrices fit into one figure

FIGURES = {
    "roc.png": draw_roc,
    "precision_recall.png": draw_precision_recall,
    "confusion.png": draw_confusion,
    "score_histogram.png": draw_score_histograms,
}


def draw_evaluation(
    parts: Sequence[Predictions], folder: Path, *, summaries: Mapping[str, SplitSummary]
) -> tuple[Path, ...]:
    """Draw ROC, precision-recall, score histograms and, where there are decisions, matrices.

    Args:
        parts: predictions of VAL and TEST, in the order in which they are shown.
        folder: the figures/ of a run.
        summaries: what was measured of each split, at the operating points that are drawn.

    Returns:
        The files that were written.
    """
    splits = [Scored(part, summaries[part.split]) for part in parts]
    # Findings do not exclude each other, so that no single matrix shows them: each has its own.
    has_many = parts[0].has_findings and len(parts[0].class_names) > MAX_FINDINGS
    summary = summaries[parts[-1].split]
    has_none = summary.confusion_matrix is None and not any(
        block.operating_points for block in summary.classes.values()
    )  # without VAL there is no decision
    without = draw_confusion if has_many or has_none else None
    drawn = {name: draw for name, draw in FIGURES.items() if draw is not without}
    for name, draw in drawn.items():
        draw(splits, folder / name)
    return tuple(folder / name for name in drawn)
