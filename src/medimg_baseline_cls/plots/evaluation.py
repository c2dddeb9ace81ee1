"""Draws the four figures of an evaluation under the names that the report knows."""

from collections.abc import Sequence
from pathlib import Path

from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.plots.confusion import draw_confusion
from medimg_baseline_cls.plots.histograms import draw_score_histograms
from medimg_baseline_cls.plots.roc_pr import draw_precision_recall, draw_roc
from medimg_baseline_cls.schema import Predictions

MAX_FINDINGS = 8  # whose matrices fit into one figure

FIGURES = {
    "roc.png": draw_roc,
    "precision_recall.png": draw_precision_recall,
    "confusion.png": draw_confusion,
    "score_histogram.png": draw_score_histograms,
}


def draw_evaluation(
    splits: Sequence[Predictions],
    folder: Path,
    *,
    thresholds: Thresholds,
    positive_class: str | None,
) -> tuple[Path, ...]:
    """Draw ROC, precision-recall, score histograms and, unless of many findings, matrices.

    Args:
        splits: predictions of VAL and TEST, in the order in which they are shown.
        folder: the figures/ of a run.
        thresholds: operating points by class.
        positive_class: of two classes; None draws each class against the rest.

    Returns:
        The files that were written.
    """
    # Findings do not exclude each other, so that no one matrix holds them: each has its own.
    has_many = splits[0].has_findings and len(splits[0].class_names) > MAX_FINDINGS
    drawn = {
        name: draw for name, draw in FIGURES.items() if not (has_many and draw is draw_confusion)
    }
    for name, draw in drawn.items():
        draw(splits, folder / name, thresholds=thresholds, positive_class=positive_class)
    return tuple(folder / name for name in drawn)
