"""A metric of decisions, and one of probabilities; both appear in every evaluation.

Each is a function of one sample. The bootstrap intervals by patient come from calling it for every
resample, so it should be fast.
"""

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.evaluation.added import DecisionMetric, ScoreMetric


def youden_j(*, tp: int, fp: int, fn: int, tn: int) -> float:
    """Return sensitivity + specificity - 1; a division by zero means that it is undefined."""
    return tp / (tp + fn) + tn / (tn + fp) - 1


def discrimination_slope(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Return the mean score of the positive images minus that of the others (Yates 1982)."""
    if truth.all() or not truth.any():
        return None
    return float(scores[truth].mean() - scores[~truth].mean())


YOUDEN_J = DecisionMetric(compute=youden_j, reason="all images are of one class")
DISCRIMINATION_SLOPE = ScoreMetric(
    compute=discrimination_slope, reason="all images are of one class"
)
