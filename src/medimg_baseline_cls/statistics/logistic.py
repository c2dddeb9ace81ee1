"""Logistic regression of an outcome on one logit, of all resamples at once: calibration's tool.

Newton's method on the weighted log-likelihood, without a penalty. Where it does not converge,
as with classes that the scores separate completely, the answer is NaN.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

CLIP = 1e-8  # float32 probabilities are not finer than this at 0 and 1
# A step below 1e-6 leaves an error of about its square.
_MAX_STEPS, _TOLERANCE, _MAX_SLOPE, _SINGULAR = 40, 1e-6, 100.0, 1e-14
_CHUNK_CELLS = 100_000  # fits into the processor's cache

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
    found = np.empty((len(weights), len(columns)))
    step = max(1, _CHUNK_CELLS // len(outcomes))
    fixed = np.zeros_like(outcomes) if offset is None else offset
    # All images at once first: their answer is near that of every resample.
    start = _climb(columns, outcomes, weights=np.ones((1, len(outcomes))), offset=fixed)
    for first in range(0, len(weights), step):
        part = weights[first : first + step].astype(np.float64)
        found[first : first + step] = _climb(
            columns, outcomes, weights=part, offset=fixed, start=start
        )
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
