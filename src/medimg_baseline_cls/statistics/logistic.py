"""Logistic regression of an outcome on one logit, of all resamples at once: calibration's tool.

Newton's method on the weighted log-likelihood, without a penalty. Where it does not converge,
as with classes that the scores separate completely, the answer is NaN. Resamples of many images
differ little from all of them: there the sigmoid is expanded around the answer of all images,
and only resamples that are farther away get Newton's steps (decision 0037).
"""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from medimg_baseline_cls.statistics.bootstrap import weighted_sums

CLIP = 1e-8  # float32 probabilities are not finer than this at 0 and 1
# A step below 1e-6 leaves an error of about its square.
_MAX_STEPS, _TOLERANCE, _MAX_SLOPE, _SINGULAR = 40, 1e-6, 100.0, 1e-14
_CHUNK_CELLS = 100_000  # fits into the processor's cache
_MANY_IMAGES = 10_000  # from here on by series
_FINE = 1e-9
_REACH = 0.25  # the largest change of a logit: the series' next term is then below 2.1e-6

Values = NDArray[np.float64]


def to_logits(probabilities: Values) -> Values:
    """Return the logit of each probability, kept `CLIP` away from 0 and 1.

    >>> to_logits(np.array([0.5, 1.0])).round(2).tolist()
    [0.0, 18.42]
    """
    kept = np.clip(probabilities, CLIP, 1 - CLIP)
    return np.log(kept / (1 - kept))


def to_probabilities(logits: Values) -> Values:
    """Return the inverse of the logit, without overflow.

    >>> to_probabilities(np.array([0.0, -800.0])).tolist()
    [0.5, 0.0]
    """
    return expit(logits)


def fit_line(logits: Values, outcomes: Values, *, weights: NDArray[Any]) -> Values:
    """Return intercept and slope of P(outcome) = sigmoid(intercept + slope * logit).

    Args:
        logits: shape (N,).
        outcomes: 0 to 1, shape (N,).
        weights: of each image in each resample, shape (B, N).

    Returns:
        Shape (B, 2); NaN where there is no finite answer.
    """
    center, spread = float(logits.mean()), float(logits.std())
    if not spread > 0:
        return np.full((len(weights), 2), np.nan)
    # On logits of one scale Newton's steps neither overshoot nor crawl.
    scaled = (logits - center) / spread
    found = _fit(np.stack([np.ones_like(scaled), scaled]), outcomes, weights=weights)
    slope = found[:, 1] / spread
    return np.stack([found[:, 0] - slope * center, slope], axis=1)


def fit_offset(logits: Values, outcomes: Values, *, weights: NDArray[Any]) -> Values:
    """Return the intercept of P(outcome) = sigmoid(intercept + logit), shape (B,).

    Args and NaN as in `fit_line`.
    """
    ones = np.ones_like(logits)[None, :]
    return _fit(ones, outcomes, weights=weights, offset=logits)[:, 0]


def _fit(
    columns: Values, outcomes: Values, *, weights: NDArray[Any], offset: Values | None = None
) -> Values:
    """Return the coefficients of each resample, shape (B, K), for columns of shape (K, N)."""
    fixed = np.zeros_like(outcomes) if offset is None else offset
    # All images at once first: their answer is near that of every resample.
    start = _climb(columns, outcomes, weights=np.ones((1, len(outcomes))), offset=fixed)
    if len(outcomes) < _MANY_IMAGES:
        return _climb_parts(columns, outcomes, weights=weights, offset=fixed, start=start)
    found = _expand(columns, outcomes, weights=weights, offset=fixed, start=start)
    is_far = np.isnan(found).any(axis=1)
    if is_far.any():
        found[is_far] = _climb_parts(
            columns, outcomes, weights=weights[is_far], offset=fixed, start=start
        )
    return found


def _expand(
    columns: Values, outcomes: Values, *, weights: NDArray[Any], offset: Values, start: Values
) -> Values:
    """Return what `_climb` does, shape (B, K); NaN where the series around `start` is too short.

    The sums over images that Newton's steps need are those of the series' terms with the powers
    of the logit: one product of matrices has them for all resamples.
    """
    extra = len(columns) - 1  # the column of ones alone, or the logit too
    terms = _expand_sigmoid((start @ columns + offset)[0])
    widths = [order * extra + extra + 1 for order in range(len(terms))]
    powers = [t * columns[-1] ** j for t, n in zip(terms, widths, strict=True) for j in range(n)]
    table = np.stack([*powers, *(outcomes * columns), np.ones_like(outcomes)], axis=1)  # (N, M)
    sums = weighted_sums(table, weights)
    sums /= np.maximum(sums[:, -1:], 1e-12)
    *moments, goal, _ = np.split(sums, np.cumsum([*widths, len(columns)]), axis=1)
    shift = np.zeros_like(goal)
    change = np.full_like(goal, np.inf)
    for _ in range(_MAX_STEPS):
        change = _solve(moments[1], goal - _sum_series(moments, shift))
        shift = np.clip(shift + change, -1.0, 1.0)  # farther ones are not used
        if np.nanmax(np.abs(change), initial=0.0) < _FINE:
            break
    found = start + shift
    is_near = np.abs(shift) @ np.abs(columns).max(axis=1) <= _REACH
    is_good = np.logical_and(np.abs(change) < _FINE, np.abs(found) < _MAX_SLOPE).all(axis=1)
    return np.where((is_near & is_good)[:, None], found, np.nan)


def _expand_sigmoid(logits: Values) -> list[Values]:
    """Return the sigmoid and its derivatives of order 1 to 4, each divided by its factorial."""
    middle = expit(logits)
    slope = middle * (1 - middle)
    bend = slope * (1 - 2 * middle)
    return [middle, slope, bend / 2, slope * (1 - 6 * slope) / 6, bend * (1 - 12 * slope) / 24]


def _sum_series(moments: Sequence[Values], shift: Values) -> Values:
    """Return the sums of fitted probability times column after a shift of (B, K); same shape."""
    size = shift.shape[1]
    total = np.zeros_like(shift)
    for order, sums in enumerate(moments):
        for power in range(sums.shape[1] - size + 1):
            factor = comb(order, power) * shift[:, 0] ** (order - power) * shift[:, -1] ** power
            total += factor[:, None] * sums[:, power : power + size]
    return total


def _climb_parts(
    columns: Values, outcomes: Values, *, weights: NDArray[Any], offset: Values, start: Values
) -> Values:
    """Return what `_climb` does, of a few resamples at a time."""
    found = np.empty((len(weights), len(columns)))
    step = max(1, _CHUNK_CELLS // len(outcomes))
    for first in range(0, len(weights), step):
        rows = slice(first, first + step)
        part = weights[rows].astype(np.float64)
        found[rows] = _climb(columns, outcomes, weights=part, offset=offset, start=start)
    return found


def _climb(
    columns: Values,
    outcomes: Values,
    *,
    weights: NDArray[np.float64],
    offset: Values,
    start: Values | None = None,
) -> Values:
    """Return the maximum of the likelihood, by Newton's steps; shape (b, K)."""
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)  # (b, N)
    origin = np.eye(len(columns))[-1] * (len(columns) - 1) if start is None else start
    current = np.tile(np.nan_to_num(origin), (len(weights), 1))
    products = np.stack([a * b for k, a in enumerate(columns) for b in columns[k:]])  # (3 or 1, N)
    goal = share @ (outcomes * columns).T  # (b, K)
    change = np.full_like(current, np.inf)
    for _ in range(_MAX_STEPS):
        fitted = expit(current @ columns + offset)  # (b, N)
        reached = share * fitted
        gradient = goal - reached @ columns.T  # (b, K)
        reached *= 1 - fitted
        change = _solve(reached @ products.T, gradient)
        length = np.abs(change).max(axis=1, keepdims=True)
        current = np.clip(
            current + change * np.minimum(1.0, 4.0 / np.maximum(length, 4.0)), -1e4, 1e4
        )
        if np.nanmax(np.abs(change), initial=0.0) < _TOLERANCE:
            break
    is_good = np.logical_and(np.abs(change) < _TOLERANCE, np.abs(current) < _MAX_SLOPE)
    return np.where(is_good.all(axis=1, keepdims=True), current, np.nan)


def _solve(curvature: Values, gradient: Values) -> Values:
    """Return curvature^-1 gradient of each resample; NaN where it is singular.

    Args:
        curvature: the upper triangle of each matrix, shape (b, 3) or (b, 1).
        gradient: shape (b, 2) or (b, 1).
    """
    if gradient.shape[1] == 1:
        top, whole = gradient, curvature
    else:
        a, b, d = curvature.T
        g, h = gradient.T
        top, whole = np.stack([d * g - b * h, a * h - b * g], axis=1), (a * d - b * b)[:, None]
    return np.divide(top, whole, out=np.full_like(top, np.nan), where=whole > _SINGULAR)
