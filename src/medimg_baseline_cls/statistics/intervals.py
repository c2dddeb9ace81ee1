"""Closed-form intervals of a proportion: Wilson's, and Clopper and Pearson's.

Both take the images (or patients) as independent; both stay inside [0, 1] and have a width
where every call was right, which a bootstrap has not.
"""

import math

from scipy.special import betaincinv
from scipy.stats import norm

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.bootstrap import LEVEL

Interval = tuple[float, float]


def wilson_interval(successes: int, total: int, *, level: float = LEVEL) -> Interval:
    """Return the score interval of a proportion (Wilson, JASA 1927).

    Args:
        successes: how many of the total, 0 to `total`.
        total: 1 or more.
        level: the confidence level, in (0, 1).

    Raises:
        DataError: The counts or the level are impossible.

    >>> [round(bound, 4) for bound in wilson_interval(81, 263)]
    [0.2553, 0.3662]
    """
    _check(successes, total, level=level)
    z = float(norm.ppf(0.5 + level / 2))
    share, shrunk = successes / total, 1 + z**2 / total
    center = (share + z**2 / (2 * total)) / shrunk
    half = z / shrunk * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    low = 0.0 if successes == 0 else max(center - half, 0.0)
    high = 1.0 if successes == total else min(center + half, 1.0)
    return low, high


def clopper_pearson_interval(successes: int, total: int, *, level: float = LEVEL) -> Interval:
    """Return the exact interval of a proportion (Clopper and Pearson, Biometrika 1934).

    Args:
        successes: how many of the total, 0 to `total`.
        total: 1 or more.
        level: the confidence level, in (0, 1): it is reached or exceeded.

    Raises:
        DataError: The counts or the level are impossible.

    >>> [round(bound, 4) for bound in clopper_pearson_interval(10, 10)]
    [0.6915, 1.0]
    """
    _check(successes, total, level=level)
    tail, misses = (1 - level) / 2, total - successes
    low = 0.0 if successes == 0 else float(betaincinv(successes, misses + 1, tail))
    high = 1.0 if misses == 0 else float(betaincinv(successes + 1, misses, 1 - tail))
    return low, high


def _check(successes: int, total: int, *, level: float) -> None:
    if total < 1 or not 0 <= successes <= total or not 0 < level < 1:
        raise DataError(
            f"An interval needs 0 to n of n >= 1 and a level in (0, 1), but got {successes} of "
            f"{total} at {level}."
        )
