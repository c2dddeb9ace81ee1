"""Rules that choose a threshold: each says what is greatest at the threshold to take.

A criterion is computed from the counts at each distinct score, the highest score first, of one
sample or of many resamples at once; of equal values the first is taken, which is the highest
threshold and so the fewest positive calls.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Criterion = Callable[..., NDArray[Any]]
"""Takes `(tp, fp, *, target)`: counts at each score, shape (..., T); returns the same shape."""


def f1_criterion(tp: Counts, fp: Counts, *, target: float) -> NDArray[np.float64]:
    """Return the F1 score at each threshold; it has no target.

    Equal ratios of whole numbers are equal floats, so that a tie is seen as one.

    >>> f1_criterion(np.array([1, 1, 2]), np.array([0, 1, 1]), target=0.0).round(3)
    array([0.667, 0.5  , 0.8  ])
    """
    return 2 * tp / np.maximum(tp + fp + tp[..., -1:], 1)


def sensitivity_criterion(tp: Counts, fp: Counts, *, target: float) -> NDArray[np.bool_]:
    """Return whether the sensitivity at each threshold reaches the target.

    The share is compared, not the count: 55 of 100 reach 0.55, though 0.55 * 100 > 55.

    >>> sensitivity_criterion(np.array([1, 1, 2]), np.array([0, 1, 1]), target=0.5)
    array([ True,  True,  True])
    """
    return tp / np.maximum(tp[..., -1:], 1) >= target


CRITERIA: dict[str, Criterion] = {
    "max_f1": f1_criterion,
    "target_sensitivity": sensitivity_criterion,
}
"""The rules that are chosen on VAL, by their key in the catalogue."""


def choose_position(rule: str, tp: Counts, *, fp: Counts, target: float) -> NDArray[np.int64]:
    """Return the place of the chosen threshold among the scores, shape (...)."""
    return np.argmax(CRITERIA[rule](tp, fp, target=target), axis=-1)


def choose_threshold(
    criterion: Criterion, thresholds: NDArray[np.float64], *, tp: Counts, fp: Counts, target: float
) -> NDArray[np.float64]:
    """Return the threshold at which a criterion is greatest, shape (...); NaN where all are -inf.

    >>> tp, fp = np.array([1, 1, 2]), np.array([0, 1, 1])
    >>> float(choose_threshold(f1_criterion, np.array([0.9, 0.5, 0.2]), tp=tp, fp=fp, target=0.0))
    0.2
    """
    rated = criterion(tp, fp, target=target)
    chosen = thresholds[np.argmax(rated, axis=-1)]
    return np.where(rated.max(axis=-1) > -np.inf, chosen, np.nan)
