"""Turns predictions, thresholds and the history of a run into the pictures of figures/.

One style for all (`style.py`), colors that the color-blind can distinguish, no global
state of matplotlib: each function draws on its own canvas and writes one PNG, whole or
not at all.
"""

from medimg_baseline_cls.plots.batch import draw_batch_grid
from medimg_baseline_cls.plots.confusion import draw_confusion
from medimg_baseline_cls.plots.evaluation import draw_evaluation
from medimg_baseline_cls.plots.histograms import draw_score_histograms
from medimg_baseline_cls.plots.panels import Scored
from medimg_baseline_cls.plots.roc_pr import draw_precision_recall, draw_roc
from medimg_baseline_cls.plots.training import draw_training_curves

__all__ = [
    "Scored",
    "draw_batch_grid",
    "draw_confusion",
    "draw_evaluation",
    "draw_precision_recall",
    "draw_roc",
    "draw_score_histograms",
    "draw_training_curves",
]
