"""The AUROC of one model, or of two on the same images, with DeLong's standard errors.

DeLong, DeLong and Clarke-Pearson, Biometrics 1988, computed from midranks as by Sun and Xu,
IEEE Signal Processing Letters 2014. An image is the unit, unless groups are given: then
images of one patient are taken as clusters (Obuchowski, Biometrics 1997). A metric that the
images do not define is None.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.intervals import LEVEL

# Placements are ratios of whole numbers: a variance that is not 0 is far above rounding.
_ROUNDING = 1e-24

Truth = NDArray[np.bool_]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DelongTest:
    """The paired difference of two AUROCs, second minus first."""

    first: float
    second: float
    difference: float
    standard_error: float
    interval: tuple[float, float] | None
    z: float | None
    p_value: float | None


def delong_error(
    truth: Truth, scores: Scores, *, groups: Sequence[str] | None = None
) -> float | None:
    """Return the standard error of an AUROC.

    Undefined (None) with fewer than two images (or groups) of a class.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        scores: of the positive class, shape (N,), finite.
        groups: the patient of each image, length N; None takes images as independent.

    >>> truth = np.array([True, True, False, False])
    >>> delong_error(truth, np.array([0.9, 0.4, 0.6, 0.1]))
    0.3535533905932738
    """
    placements = _place(truth, scores, groups=groups)
    return None if placements is None else math.sqrt(placements.variance())


def delong_interval(
    truth: Truth,
    scores: Scores,
    *,
    level: float = LEVEL,
    groups: Sequence[str] | None = None,
    scale: Literal["logit", "plain"] = "logit",
) -> tuple[float, float] | None:
    """Return the interval of an AUROC.

    On the logit scale it stays between 0 and 1 (Pepe, The Statistical Evaluation of Medical
    Tests, 2003, section 5.2.4); the plain one is value plus or minus z standard errors, cut at
    0 and 1. Undefined (None) with fewer than two images (or groups) of a class, and where the
    images are perfectly separated: the standard error is then 0 and says nothing.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        scores: of the positive class, shape (N,), finite.
        level: of confidence, between 0 and 1.
        groups: the patient of each image, length N; None takes images as independent.
        scale: on which the interval is symmetric.

    >>> truth = np.array([True, True, True, False, False, False])
    >>> interval = delong_interval(truth, np.array([0.9, 0.8, 0.4, 0.6, 0.3, 0.1]))
    >>> [round(end, 4) for end in interval]
    [0.2614, 0.9945]
    """
    placements = _place(truth, scores, groups=groups)
    if placements is None or placements.variance() <= _ROUNDING:
        return None
    value, error = placements.auroc, math.sqrt(placements.variance())
    reach = float(norm.isf((1 - level) / 2)) * error
    if scale == "plain":
        return max(0.0, value - reach), min(1.0, value + reach)
    odds, reach = math.log(value / (1 - value)), reach / (value * (1 - value))
    return _inverse_logit(odds - reach), _inverse_logit(odds + reach)


def delong_test(
    truth: Truth,
    *,
    first: Scores,
    second: Scores,
    level: float = LEVEL,
    groups: Sequence[str] | None = None,
) -> DelongTest | None:
    """Test the difference of two AUROCs of the same images, second minus first.

    Undefined (None) with fewer than two images (or groups) of a class. Where the two scores
    order positive against negative images alike, difference and standard error are 0, there is
    no z, and p is 1. A difference without a standard error (all images ordered rightly by one
    model, all wrongly by the other) has neither interval nor p.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        first: scores of the positive class by one model, shape (N,), finite.
        second: scores of the same images by the other model, shape (N,), finite.
        level: of confidence, between 0 and 1.
        groups: the patient of each image, length N; None takes images as independent.

    >>> truth = np.array([True, True, False, False])
    >>> scores = np.array([0.9, 0.4, 0.6, 0.1])
    >>> delong_test(truth, first=scores, second=scores**2).p_value
    1.0
    """
    one, other = _place(truth, first, groups=groups), _place(truth, second, groups=groups)
    if one is None or other is None:
        return None
    gap = replace(
        one, positive=other.positive - one.positive, negative=other.negative - one.negative
    )
    difference = other.auroc - one.auroc
    variance = gap.variance()
    error = math.sqrt(variance) if variance > _ROUNDING else 0.0
    z = difference / error if error > 0 else None
    p_value = None if z is None else min(1.0, 2 * float(norm.sf(abs(z))))
    interval = None
    if z is not None or abs(difference) < 1e-12:
        reach = float(norm.isf((1 - level) / 2)) * error
        interval = difference - reach, difference + reach
    return DelongTest(
        first=one.auroc,
        second=other.auroc,
        difference=difference,
        standard_error=error,
        interval=interval,
        z=z,
        p_value=1.0 if z is None and interval is not None else p_value,
    )


@dataclass(frozen=True, slots=True)
class _Placements:
    """Of each image, the share of the other class that it is ordered rightly against.

    `positive_of` and `negative_of` number the clusters, alike for both classes; images that
    are independent are clusters of their own.
    """

    positive: NDArray[np.float64]  # (P,)
    negative: NDArray[np.float64]  # (N,)
    positive_of: NDArray[np.int64]  # (P,)
    negative_of: NDArray[np.int64]  # (N,)

    @property
    def auroc(self) -> float:
        return float(np.mean(self.positive))

    def variance(self) -> float:
        """Return the variance of the mean placement: Obuchowski's sums over clusters."""
        num_clusters = 1 + int(max(self.positive_of.max(), self.negative_of.max()))
        total = 0.0
        shared = np.ones(num_clusters)
        parts = ((self.positive, self.positive_of), (self.negative, self.negative_of))
        for values, clusters in parts:
            centered = (values - np.mean(values)) / len(values)
            sums = np.bincount(clusters, weights=centered, minlength=num_clusters)  # (clusters,)
            num_held = len(np.unique(clusters))
            total += num_held / (num_held - 1) * float(sums @ sums)
            shared *= sums
        total += 2 * num_clusters / (num_clusters - 1) * float(shared.sum())
        return max(total, 0.0)


def _place(truth: Truth, scores: Scores, *, groups: Sequence[str] | None) -> _Placements | None:
    """Return the placement values; None with fewer than two clusters of a class.

    An image's midrank among all, less its midrank in its own class, counts the images of the
    other class below it, ties counting one half.
    """
    _check_arrays(truth, scores)
    names = np.arange(len(truth)) if groups is None else np.array(groups, dtype=object)
    if len(names) != len(truth):
        raise DataError(f"There are {len(names)} groups for {len(truth)} images; give one each.")
    clusters = np.unique(names, return_inverse=True)[1].astype(np.int64)
    if min(len(np.unique(clusters[truth])), len(np.unique(clusters[~truth]))) < 2:
        return None
    among_all = rankdata(scores)
    below_positive = among_all[truth] - rankdata(scores[truth])
    below_negative = among_all[~truth] - rankdata(scores[~truth])
    return _Placements(
        below_positive / int((~truth).sum()),
        1 - below_negative / int(truth.sum()),
        clusters[truth],
        clusters[~truth],
    )


def _check_arrays(truth: Truth, scores: Scores) -> None:
    if truth.dtype != np.bool_ or truth.ndim != 1 or truth.shape != scores.shape:
        raise DataError(
            f"DeLong's method needs one truth (bool) and one score per image, shape (N,), but got "
            f"{truth.dtype} {truth.shape} and {scores.dtype} {scores.shape}."
        )
    if not np.isfinite(scores).all():
        raise DataError(
            f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite; "
            "leave out images without a score."
        )


def _inverse_logit(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
