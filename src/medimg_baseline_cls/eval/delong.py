"""The AUROC of one model, or of two on the same images, with DeLong's standard errors.

An image is the unit: where patients have several images, resample patients instead
(eval/bootstrap). DeLong, DeLong and Clarke-Pearson, Biometrics 1988, computed from midranks
as by Sun and Xu, IEEE Signal Processing Letters 2014. A figure that the images do not
define is None.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from medimg_baseline_cls.errors import DataError

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


def delong_error(truth: Truth, scores: Scores) -> float | None:
    """Return the standard error of an AUROC.

    Undefined (None) with fewer than two images of a class.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        scores: of the positive class, shape (N,), finite.

    >>> truth = np.array([True, True, False, False])
    >>> delong_error(truth, np.array([0.9, 0.4, 0.6, 0.1]))
    0.3535533905932738
    """
    _check_arrays(truth, scores)
    placements = _place(truth, scores)
    return None if placements is None else math.sqrt(placements.variance())


def delong_interval(
    truth: Truth,
    scores: Scores,
    *,
    level: float = 0.95,
    scale: Literal["logit", "plain"] = "logit",
) -> tuple[float, float] | None:
    """Return the interval of an AUROC.

    On the logit scale it stays between 0 and 1 (Pepe, The Statistical Evaluation of Medical
    Tests, 2003, section 5.2.4); the plain one is value plus or minus z standard errors, cut at
    0 and 1. Undefined (None) with fewer than two images of a class, and where the images are
    perfectly separated: the standard error is then 0 and says nothing.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        scores: of the positive class, shape (N,), finite.
        level: of confidence, between 0 and 1.
        scale: on which the interval is symmetric.

    >>> truth = np.array([True, True, True, False, False, False])
    >>> interval = delong_interval(truth, np.array([0.9, 0.8, 0.4, 0.6, 0.3, 0.1]))
    >>> [round(end, 4) for end in interval]
    [0.2614, 0.9945]
    """
    _check_arrays(truth, scores)
    placements = _place(truth, scores)
    if placements is None or placements.variance() <= 0:
        return None
    value, error = placements.auroc, math.sqrt(placements.variance())
    reach = float(norm.isf((1 - level) / 2)) * error
    if scale == "plain":
        return max(0.0, value - reach), min(1.0, value + reach)
    odds, reach = math.log(value / (1 - value)), reach / (value * (1 - value))
    return _inverse_logit(odds - reach), _inverse_logit(odds + reach)


def delong_test(
    truth: Truth, *, first: Scores, second: Scores, level: float = 0.95
) -> DelongTest | None:
    """Test the difference of two AUROCs of the same images, second minus first.

    Undefined (None) with fewer than two images of a class. Where the two scores order positive
    against negative images alike, difference and standard error are 0, there is no z, and p
    is 1. A difference without a standard error (all images ordered rightly by one model, all
    wrongly by the other) has neither interval nor p.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        first: scores of the positive class by one model, shape (N,), finite.
        second: scores of the same images by the other model, shape (N,), finite.
        level: of confidence, between 0 and 1.

    >>> truth = np.array([True, True, False, False])
    >>> scores = np.array([0.9, 0.4, 0.6, 0.1])
    >>> delong_test(truth, first=scores, second=scores**2).p_value
    1.0
    """
    _check_arrays(truth, first)
    _check_arrays(truth, second)
    one, other = _place(truth, first), _place(truth, second)
    if one is None or other is None:
        return None
    gap = _Placements(other.positive - one.positive, other.negative - one.negative)
    difference = other.auroc - one.auroc
    # Placements are ratios of whole numbers: what is not 0 is far above rounding.
    error = math.sqrt(gap.variance()) if gap.variance() > 1e-24 else 0.0
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
    """Of each image, the share of the other class that it is ordered rightly against."""

    positive: NDArray[np.float64]  # (P,)
    negative: NDArray[np.float64]  # (N,)

    @property
    def auroc(self) -> float:
        return float(np.mean(self.positive))

    def variance(self) -> float:
        """Return the variance of the mean placement."""
        parts = (self.positive, self.negative)
        return math.fsum(float(np.var(part, ddof=1)) / len(part) for part in parts)


def _place(truth: Truth, scores: Scores) -> _Placements | None:
    """Return the placement values; None with fewer than two images of a class.

    An image's midrank among all, less its midrank in its own class, counts the images of the
    other class below it, ties counting one half.
    """
    num_positive = int(truth.sum())
    num_negative = len(truth) - num_positive
    if min(num_positive, num_negative) < 2:
        return None
    among_all = rankdata(scores)
    below_positive = among_all[truth] - rankdata(scores[truth])
    below_negative = among_all[~truth] - rankdata(scores[~truth])
    return _Placements(below_positive / num_negative, 1 - below_negative / num_positive)


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
