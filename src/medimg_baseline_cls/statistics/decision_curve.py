"""Decision curve: the net benefit of acting on the model, against acting on all or on none.

Vickers and Elkin, Medical Decision Making 2006. A threshold probability t says that a false
positive costs t / (1 - t) of what a true positive brings.
"""

from dataclasses import dataclass

import numpy as np

from medimg_baseline_cls.statistics.bootstrap import Values, Weights, count_resamples, rank_levels
from medimg_baseline_cls.statistics.metrics import Scores, Truth

THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit at each threshold probability, per image; shape (T,) each.

    `lower` and `upper` bound the net benefit of the model, NaN where resamples do not define it.
    """

    thresholds: Values
    net_benefit: Values
    lower: Values
    upper: Values
    treat_all: Values


def net_benefits(truth: Truth, scores: Scores, *, thresholds: Values) -> Values:
    """Return the net benefit of calling `score >= t` at each threshold, shape (T,).

    >>> truth, scores = np.array([True, False]), np.array([0.9, 0.3])
    >>> net_benefits(truth, scores, thresholds=np.array([0.2, 0.5])).round(3).tolist()
    [0.375, 0.5]
    """
    ones = np.ones((1, len(truth)), dtype=np.uint16)
    return _benefits(truth, scores, thresholds=thresholds, weights=ones)[0]


def draw_decision_curve(
    truth: Truth, scores: Scores, *, weights: Weights, level: float = 0.95
) -> DecisionCurve:
    """Return the curve of one class on one split, with pointwise intervals.

    Args:
        truth: shape (N,), bool, N at least 1.
        scores: shape (N,), in [0, 1].
        weights: of resamples of the patients, shape (B, N).
        level: the confidence level, in (0, 1).
    """
    drawn = _benefits(truth, scores, thresholds=THRESHOLDS, weights=weights)
    tail = (1 - level) / 2
    lower, upper = np.quantile(drawn, (tail, 1 - tail), axis=0)
    prevalence = float(truth.mean())
    return DecisionCurve(
        thresholds=THRESHOLDS,
        net_benefit=net_benefits(truth, scores, thresholds=THRESHOLDS),
        lower=lower,
        upper=upper,
        treat_all=prevalence - (1 - prevalence) * THRESHOLDS / (1 - THRESHOLDS),
    )


def _benefits(truth: Truth, scores: Scores, *, thresholds: Values, weights: Weights) -> Values:
    """Return the net benefit of each resample at each threshold, shape (B, T)."""
    found = np.empty((len(weights), len(thresholds)))
    for rows, counts in count_resamples(rank_levels(truth, scores, levels=thresholds), weights):
        whole = counts.num_positive + counts.num_negative
        for place, threshold in enumerate(thresholds.tolist()):
            tp, fp = counts.at(np.full(len(whole), threshold))
            found[rows, place] = (tp - fp * threshold / (1 - threshold)) / whole
    return found
