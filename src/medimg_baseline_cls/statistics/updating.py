"""Updates a model on images of another place, by cross-fitting over patients.

Each image gets a probability, or a decision, that was fitted without its patient: on the other
folds. Logistic recalibration of one class against the rest (Cox 1958; Steyerberg et al.,
Statistics in Medicine 2004;23:2567), or a threshold that is chosen again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.statistics.bootstrap import Values
from medimg_baseline_cls.statistics.logistic import (
    fit_line,
    fit_offset,
    to_logits,
    to_probabilities,
)
from medimg_baseline_cls.statistics.metrics import Scores, Truth, count_by_threshold
from medimg_baseline_cls.statistics.threshold_rules import Criterion, choose_threshold
from medimg_baseline_cls.utils.seed import permutation

Update = Literal["intercept", "intercept_and_slope"]
UPDATES: tuple[Update, ...] = ("intercept", "intercept_and_slope")
NUM_FOLDS = 5


@dataclass(frozen=True, slots=True)
class CrossFit:
    """What was fitted without each fold, and what it makes of the images of that fold.

    Attributes:
        scores: the updated probability of each image, shape (N,).
        lines: intercept and slope on the logit that each fold was updated by, shape (K, 2).
    """

    scores: Scores
    lines: Values

    @property
    def is_increasing(self) -> bool:
        """Return whether every fit is finite and keeps the order of the scores."""
        return bool((self.lines[:, 1] > 0).all())


def assign_folds(
    groups: Sequence[str], truth: Truth, *, num_folds: int = NUM_FOLDS, seed: int
) -> NDArray[np.int64]:
    """Assign each image to a fold, shape (N,): whole groups, those with a positive image spread.

    The draw depends on the order in which the groups appear, not on their names.

    Args:
        groups: the patient of each image, length N.
        truth: shape (N,), bool.
        num_folds: K.
        seed: of the draw.

    >>> folds = assign_folds(list("aabbccdd"), np.arange(8) < 4, num_folds=2, seed=0)
    >>> [sorted(folds[start : start + 4].tolist()) for start in (0, 4)]
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    index: dict[str, int] = {}
    group_of = np.array([index.setdefault(group, len(index)) for group in groups], dtype=np.int64)
    is_positive = np.bincount(group_of, truth, minlength=len(index)) > 0  # (G,)
    dealt: list[NDArray[np.int64]] = []
    for stratum in (1, 0):
        members = np.flatnonzero(is_positive == stratum)
        dealt.append(members[permutation(seed, "updating", stratum, size=len(members))])
    fold_of = np.empty(len(index), dtype=np.int64)
    fold_of[np.concatenate(dealt)] = np.arange(len(index)) % num_folds
    return fold_of[group_of]


def fit_update(
    update: Update, *, truth: Truth, scores: Scores, weights: NDArray[Any] | None = None
) -> Values:
    """Return intercept and slope by which logits are updated, of each resample; shape (B, 2).

    Args:
        update: "intercept" leaves the slope at 1.
        truth: shape (N,), bool.
        scores: the probabilities before, shape (N,).
        weights: of each image in each resample, shape (B, N); None fits once, on the images.

    Returns:
        NaN where there is no finite answer, as with images of one class.

    >>> truth, scores = np.arange(10) < 5, np.full(10, 0.2)
    >>> fit_update("intercept", truth=truth, scores=scores).round(3).tolist()
    [[1.386, 1.0]]
    """
    own = np.ones((1, len(truth))) if weights is None else weights
    if len(truth) == 0 or truth.all() or not truth.any():
        return np.full((len(own), 2), np.nan)
    logits, outcomes = to_logits(scores), truth.astype(np.float64)
    if update == "intercept_and_slope":
        return fit_line(logits, outcomes, weights=own)
    offsets = fit_offset(logits, outcomes, weights=own)
    return np.stack([offsets, np.where(np.isnan(offsets), np.nan, 1.0)], axis=1)


def cross_update(
    update: Update, *, truth: Truth, scores: Scores, folds: NDArray[np.int64]
) -> CrossFit:
    """Update the probabilities of each fold by a fit on the other folds.

    Args:
        update: what is fitted.
        truth: shape (N,), bool.
        scores: the probabilities before, shape (N,).
        folds: of each image, 0 to K - 1, shape (N,).
    """
    lines = np.concatenate(
        [
            fit_update(update, truth=truth[folds != fold], scores=scores[folds != fold])
            for fold in range(int(folds.max()) + 1)
        ]
    )
    intercepts, slopes = lines[folds].T
    return CrossFit(to_probabilities(intercepts + slopes * to_logits(scores)), lines)


def cross_choose(
    criterion: Criterion,
    *,
    truth: Truth,
    scores: Scores,
    folds: NDArray[np.int64],
    target: float,
) -> Values:
    """Return the threshold of each fold, chosen on the other folds; shape (K,).

    Args:
        criterion: a rule of `threshold_rules`.
        truth: shape (N,), bool.
        scores: shape (N,).
        folds: of each image, 0 to K - 1, shape (N,).
        target: of a rule that has one, such as a sensitivity.

    Returns:
        NaN where the other folds have no positive image.
    """
    chosen: list[float] = []
    for fold in range(int(folds.max()) + 1):
        others = folds != fold
        counts = count_by_threshold(truth[others], scores[others])
        value = choose_threshold(
            criterion, counts.thresholds, tp=counts.tp, fp=counts.fp, target=target
        )
        chosen.append(float(value) if counts.tp[-1] else np.nan)
    return np.array(chosen)
