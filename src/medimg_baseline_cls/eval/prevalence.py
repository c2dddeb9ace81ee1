"""Carries figures to another prevalence: that of TRAIN, or of the population that is declared.

Sensitivity and specificity are taken as they are; PPV, NPV, AP and F1 follow by Bayes' rule,
which holds where the same disease at another share is met (label shift), and only there.
"""

import numpy as np

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.eval.bootstrap import Values
from medimg_baseline_cls.eval.metrics import Scores, Truth, count_by_threshold


def predictive_values(
    sensitivity: Values | float, specificity: Values | float, *, prevalence: float
) -> tuple[Values, Values]:
    """Return PPV and NPV at a prevalence, by Bayes' rule; NaN where nothing is called so.

    Args:
        sensitivity: in [0, 1], any shape.
        specificity: in [0, 1], the same shape.
        prevalence: in (0, 1).

    >>> ppv, npv = predictive_values(0.9, 0.8, prevalence=0.1)
    >>> round(float(ppv), 4), round(float(npv), 4)
    (0.3333, 0.9863)
    """
    _require_share(prevalence)
    hits, misses = np.multiply(sensitivity, prevalence), np.multiply(1 - sensitivity, prevalence)
    alarms = np.multiply(1 - specificity, 1 - prevalence)
    rejections = np.multiply(specificity, 1 - prevalence)
    return _share(hits, hits + alarms), _share(rejections, rejections + misses)


def average_precision_at(truth: Truth, scores: Scores, *, prevalence: float) -> float | None:
    """Return the average precision with images weighted to a prevalence.

    Undefined (None) unless both classes are present. Its floor is that prevalence.

    >>> truth, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    >>> average_precision_at(truth, scores, prevalence=2 / 3)
    0.8333333333333333
    """
    _require_share(prevalence)
    if truth.all() or not truth.any():
        return None
    _, tp, fp = count_by_threshold(truth, scores)
    hits, alarms = tp / tp[-1] * prevalence, fp / fp[-1] * (1 - prevalence)
    steps = np.diff(tp, prepend=0) / tp[-1]
    return float(np.sum(steps * hits / (hits + alarms)))


def max_f1_threshold_at(truth: Truth, scores: Scores, *, prevalence: float) -> float | None:
    """Return the threshold of the highest F1 with images weighted to a prevalence.

    Of equals the highest, as `choose_thresholds` does. Undefined (None) unless both classes are
    present.

    >>> truth, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])
    >>> [max_f1_threshold_at(truth, scores, prevalence=p) for p in (0.5, 0.05)]
    [0.7, 0.9]
    """
    _require_share(prevalence)
    if truth.all() or not truth.any():
        return None
    thresholds, tp, fp = count_by_threshold(truth, scores)
    hits, alarms = tp / tp[-1] * prevalence, fp / fp[-1] * (1 - prevalence)
    f1_scores = 2 * hits / (hits + alarms + prevalence)
    # Rounded, so that equal ratios of other weights are equal.
    return float(thresholds[np.argmax(np.round(f1_scores, 12))])


def f1_score_at(sensitivity: float, specificity: float, *, prevalence: float) -> float:
    """Return the F1 score at a prevalence.

    >>> round(f1_score_at(0.9, 0.8, prevalence=0.1), 4)
    0.4865
    """
    _require_share(prevalence)
    hits, alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return 2 * hits / (hits + alarms + prevalence)


def _require_share(prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise DataError(f"A prevalence is a share between 0 and 1, such as 0.1, not {prevalence}.")


def _share(part: Values, whole: Values) -> Values:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
