"""Carries metrics to another prevalence: that of TRAIN, or of the population that is declared.

Sensitivity and specificity are taken as they are; PPV, NPV, AP and F1 follow by Bayes' rule,
which is valid where the same disease has another share (label shift), and only there.
"""

import math

import numpy as np

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.bootstrap import Values
from medimg_baseline_cls.statistics.intervals import LEVEL, Interval, clopper_pearson_interval
from medimg_baseline_cls.statistics.metrics import Scores, Truth, count_by_threshold


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


def exact_predictive_intervals(
    sensitivity: tuple[float, int],
    specificity: tuple[float, int],
    *,
    prevalence: float,
    level: float = LEVEL,
) -> tuple[Interval, Interval]:
    """Return intervals of PPV and NPV at a prevalence that have a width at 0 and 1 too.

    Both metrics rise with sensitivity and with specificity. Where Clopper and Pearson's intervals
    of these two, each at the level (1 + level) / 2 (97.5 % for 95 %), contain both truths, PPV and
    NPV are between their values at both lower and at both upper limits. By Bonferroni's inequality
    that is so in `level` of all studies or more, whether or not the two are independent: a wide
    interval, for where the delta method on logits (Mercaldo, Lau and Zhou, Statistics in Medicine
    2007) and the bootstrap have none. The threshold is taken as given.

    Args:
        sensitivity: the share, and the positive patients as trials, 1 or more. A share that is
            not a whole number of patients is rounded down for the lower limit, up for the upper.
        specificity: likewise of the negative patients.
        prevalence: in (0, 1).
        level: the confidence level, in (0, 1).

    >>> ppv, npv = exact_predictive_intervals((1.0, 20), (1.0, 50), prevalence=0.1)
    >>> [round(bound, 3) for bound in (*ppv, *npv)]
    [0.515, 1.0, 0.977, 1.0]
    """
    inner = (1 + level) / 2
    limits = [_exact_interval(*rate, level=inner) for rate in (sensitivity, specificity)]
    ends = [
        predictive_values(limits[0][end], limits[1][end], prevalence=prevalence) for end in (0, 1)
    ]
    (low_ppv, low_npv), (high_ppv, high_npv) = ends
    return (float(low_ppv), float(high_ppv)), (float(low_npv), float(high_npv))


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


def _exact_interval(share: float, num_trials: int, *, level: float) -> Interval:
    hits = share * num_trials
    # 0.3 * 10 is not quite 3.
    fewest, most = math.floor(hits + 1e-9), math.ceil(hits - 1e-9)
    low, _ = clopper_pearson_interval(fewest, num_trials, level=level)
    _, high = clopper_pearson_interval(most, num_trials, level=level)
    return low, high


def _require_share(prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise DataError(f"A prevalence is a share between 0 and 1, such as 0.1, not {prevalence}.")


def _share(part: Values, whole: Values) -> Values:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
