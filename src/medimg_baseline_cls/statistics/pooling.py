"""Pool an estimate over several sites: random effects, and what to expect of the next site."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, t

from medimg_baseline_cls.errors import DataError

Values = NDArray[np.float64]

LEVEL = 0.95
FEWEST_SITES = 3
"""Fewer have no prediction interval: it needs a degree of freedom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledEstimate:
    """What several sites have in common, and how they differ.

    Attributes:
        mean: of the sites that there might be.
        confidence: interval of the mean, the wider of Hartung-Knapp and normal.
        prediction: interval of the true value at another site.
        between_deviation: standard deviation of the true values, tau.
        share_between: share of the variance that is between sites, I squared, in [0, 1].
    """

    mean: float
    confidence: tuple[float, float]
    prediction: tuple[float, float]
    between_deviation: float
    share_between: float


def pool_sites(estimates: Sequence[float], *, errors: Sequence[float]) -> PooledEstimate:
    """Pool the estimates of sites by random effects.

    The variance between sites is that of restricted maximum likelihood; the interval of the mean
    is that of Hartung and Knapp (Statistics in Medicine 2001), never narrower than that of the
    normal distribution; the prediction interval has k - 2 degrees of freedom (Higgins et al.,
    Journal of the Royal Statistical Society A 2009). All as Debray et al., BMJ 2017, advise for
    prediction models.

    Args:
        estimates: one for each site, shape (k,), on a scale without limits (see `logit_errors`).
        errors: their standard errors, above 0, shape (k,).

    Raises:
        DataError: there are fewer than three sites, or an error is not above 0.

    >>> pooled = pool_sites([1.0, 2.0, 3.0, 4.0], errors=[0.5, 0.5, 0.5, 0.5])
    >>> round(pooled.mean, 3), round(pooled.between_deviation**2, 3)
    (2.5, 1.417)
    """
    values, variances = np.asarray(estimates, np.float64), np.asarray(errors, np.float64) ** 2
    num_sites = len(values)
    if num_sites < FEWEST_SITES or variances.shape != values.shape:
        raise DataError(
            f"Pooling needs an estimate and an error of each of {FEWEST_SITES} or more sites; "
            f"there are {num_sites} estimates and {len(variances)} errors."
        )
    if not (np.isfinite(values).all() and np.isfinite(variances).all() and variances.min() > 0):
        raise DataError("Pooling needs finite estimates, and errors above 0.")
    between = _find_between(values, variances)
    weights = 1 / (variances + between)
    mean = float(weights @ values / weights.sum())
    plain = float(1 / weights.sum())
    scale = float(weights @ (values - mean) ** 2) / (num_sites - 1)
    upper = 0.5 + LEVEL / 2
    half = float(t.ppf(upper, num_sites - 1)) * math.sqrt(scale * plain)
    half = max(half, float(norm.ppf(upper)) * math.sqrt(plain))
    reach = float(t.ppf(upper, num_sites - 2)) * math.sqrt(between + plain)
    return PooledEstimate(
        mean=mean,
        confidence=(mean - half, mean + half),
        prediction=(mean - reach, mean + reach),
        between_deviation=math.sqrt(between),
        share_between=between / (between + _typical_variance(variances)),
    )


def logit_errors(bounds: Sequence[tuple[float, float]]) -> list[float]:
    """Return the standard errors of logits from intervals of proportions (Debray et al. 2017).

    Args:
        bounds: 95 % intervals inside (0, 1); ends at 0 or 1 give infinity.

    >>> [round(error, 3) for error in logit_errors([(0.80, 0.90)])]
    [0.207]
    """
    low, high = np.asarray(bounds, np.float64).reshape(-1, 2).T
    with np.errstate(divide="ignore"):
        width = np.log(high / (1 - high)) - np.log(low / (1 - low))
    return (width / (2 * norm.ppf(0.5 + LEVEL / 2))).tolist()


def _find_between(values: Values, variances: Values) -> float:
    """Return the variance between sites: the root of REML's score, or 0 if it is below 0 there."""

    def score(between: float) -> float:
        weights = 1 / (variances + between)
        total = weights.sum()
        gaps = values - weights @ values / total
        spread = float(weights**2 @ gaps**2)
        return spread - float(total - (weights**2).sum() / total)

    if score(0.0) <= 0:
        return 0.0
    high = float(np.ptp(values) ** 2 + variances.max())
    while score(high) > 0:
        high *= 2
    root: Any = brentq(score, 0.0, high, xtol=1e-14 * high)
    return float(root)


def _typical_variance(variances: Values) -> float:
    """Return the typical variance within a site (Higgins & Thompson, Stat. in Medicine 2002)."""
    weights = 1 / variances
    return (len(weights) - 1) * weights.sum() / (weights.sum() ** 2 - (weights**2).sum())
