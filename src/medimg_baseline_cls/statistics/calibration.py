"""Judges how well probabilities match what happens: curve, errors, slope, and Brier's parts.

Of one class against the rest, from its truth and scores alone. A calibration error is never 0
on a finite sample: each comes with what a perfectly calibrated model would show.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.probabilities import (
    LINE,
    Bin,
    CalibrationBrief,
    CalibrationError,
    ClassCalibration,
)
from medimg_baseline_cls.statistics.bootstrap import (
    Values,
    Weights,
    describe_values,
    weighted_sums,
)
from medimg_baseline_cls.statistics.intervals import wilson_interval
from medimg_baseline_cls.statistics.logistic import fit_line, fit_offset, to_logits
from medimg_baseline_cls.statistics.metrics import Scores, Truth, brier_score, log_loss_error
from medimg_baseline_cls.utils.seed import generator

NUM_BINS = 10  # of equal mass
NUM_WIDTHS = 15  # of equal width (Guo et al., ICML 2017)
_LEAST_IN_BIN = 5
_NUM_SIMULATED = 1000
_CHUNK_CELLS = 1_000_000
_MANY_IMAGES = 10_000
_SEPARATED = "the scores separate the classes completely, or nearly"
_ONE_CLASS = "all images are of one class"


def reliability_bins(truth: Truth, scores: Scores) -> list[Bin]:
    """Return the reliability curve: bins of equal mass, ties together, by probability.

    Ten bins, fewer where one would have fewer than five images.

    Args:
        truth: shape (N,), bool, N at least 1.
        scores: shape (N,), in [0, 1].

    >>> bins = reliability_bins(np.arange(10) > 4, np.linspace(0.05, 0.95, 10))
    >>> [(b.num_images, round(b.mean_probability, 3), b.share) for b in bins]
    [(5, 0.25, 0.0), (5, 0.75, 1.0)]
    """
    index = assign_by_mass(scores)
    bins: list[Bin] = []
    for number in np.unique(index):
        own = index == number
        count, hits = int(own.sum()), int(truth[own].sum())
        bins.append(
            Bin(
                num_images=count,
                num_positive=hits,
                lowest=float(scores[own].min()),
                highest=float(scores[own].max()),
                mean_probability=float(scores[own].mean()),
                share=hits / count,
                interval=wilson_interval(hits, count),
            )
        )
    return bins


def assign_by_mass(scores: Scores) -> NDArray[np.int64]:
    """Return the bin of each image, shape (N,): about as many images in each, ties together."""
    count = max(1, min(NUM_BINS, len(scores) // _LEAST_IN_BIN))
    _, position, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2  # of each distinct score among the sorted ones
    return np.minimum((middle[position] * count / len(scores)).astype(np.int64), count - 1)


def assign_by_width(scores: Scores) -> NDArray[np.int64]:
    """Return the bin of each image, shape (N,): 15 of equal width, the upper edge excluded."""
    return np.minimum((scores * NUM_WIDTHS).astype(np.int64), NUM_WIDTHS - 1)


def calibration_errors(
    truth: Truth, scores: Scores, *, index: NDArray[np.int64], weights: NDArray[Any]
) -> Values:
    """Return the expected calibration error of each resample, shape (B,).

    The mean over images of the distance between mean probability and observed share of their
    bin (Naeini et al., AAAI 2015).

    Args:
        truth: shape (N,), bool.
        scores: shape (N,).
        index: the bin of each image, shape (N,).
        weights: shape (B, N).

    >>> truth, scores = np.array([True, False]), np.array([0.8, 0.8])
    >>> ones = np.ones((1, 2))
    >>> calibration_errors(truth, scores, index=np.zeros(2, dtype=int), weights=ones).round(3)
    array([0.3])
    """
    gaps = _members(index) * (truth - scores)[:, None]  # (N, K): outcome less probability
    if len(truth) >= _MANY_IMAGES:
        sums = weighted_sums(np.column_stack([gaps, np.ones(len(truth))]), weights)
        return np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1]
    errors = np.empty(len(weights))
    step = max(1, _CHUNK_CELLS // len(truth))
    for start in range(0, len(weights), step):
        part = weights[start : start + step].astype(np.float64)
        errors[start : start + step] = np.abs(part @ gaps).sum(axis=1) / part.sum(axis=1)
    return errors


def brier_parts(truth: Truth, scores: Scores) -> dict[str, float]:
    """Return the Brier score and its parts over the bins of equal mass.

    value = reliability - resolution + uncertainty + within_bin, exactly (Murphy, Journal of
    Applied Meteorology 1973; the part within bins from Stephenson et al., Weather and
    Forecasting 2008).

    >>> parts = brier_parts(np.array([True, False]), np.array([0.8, 0.4]))
    >>> round(parts["value"], 3), parts["uncertainty"]
    (0.1, 0.25)
    """
    index = assign_by_mass(scores)
    _, position = np.unique(index, return_inverse=True)
    counts = np.bincount(position)
    share = (np.bincount(position, truth) / counts)[position]
    mean = (np.bincount(position, scores) / counts)[position]
    base = float(truth.mean())
    spread = (scores - mean) ** 2 - 2 * (truth - share) * (scores - mean)
    return {
        "value": brier_score(truth, scores),
        "reliability": float(np.mean((mean - share) ** 2)),
        "resolution": float(np.mean((share - base) ** 2)),
        "uncertainty": base * (1 - base),
        "within_bin": float(np.mean(spread)),
    }


def describe_calibration(
    truth: Truth, scores: Scores, *, weights: Weights, seed: int
) -> ClassCalibration:
    """Return the calibration of one class on one split, with intervals.

    Args:
        truth: shape (N,), bool, N at least 1.
        scores: shape (N,), in [0, 1].
        weights: of resamples of the patients, shape (B, N).
        seed: of the simulated outcomes.
    """
    return ClassCalibration(
        num_images=len(truth),
        prevalence=float(truth.mean()),
        mean_probability=float(scores.mean()),
        brief=describe_brief(truth, scores, weights=weights, seed=seed),
        ece_equal_width=_describe_error(
            truth, scores, index=assign_by_width(scores), weights=weights, seed=seed
        ),
        brier=brier_parts(truth, scores),
        bins=tuple(reliability_bins(truth, scores)),
    )


def describe_brief(
    truth: Truth, scores: Scores, *, weights: Weights, seed: int
) -> CalibrationBrief:
    """Return the calibration in six numbers; args as in `describe_calibration`."""
    index = assign_by_mass(scores)
    return CalibrationBrief(
        **_describe_line(truth, scores, weights=weights),
        ece_equal_mass=_describe_error(truth, scores, index=index, weights=weights, seed=seed),
        log_loss=log_loss_error(truth, scores),
        brier=brier_score(truth, scores),
    )


def _describe_line(truth: Truth, scores: Scores, *, weights: Weights) -> dict[str, Estimate]:
    if truth.all() or not truth.any():
        return dict.fromkeys(LINE, Estimate(value=None, reason=_ONE_CLASS))
    outcomes, logits = truth.astype(np.float64), to_logits(scores)
    own = np.ones((1, len(truth)))
    line = fit_line(logits, outcomes, weights=own)
    # A line that is undefined has no interval either.
    lines = line if np.isnan(line).any() else fit_line(logits, outcomes, weights=weights)
    offset, offsets = (fit_offset(logits, outcomes, weights=w) for w in (own, weights))
    found = {
        "slope": (line[0, 1], lines[:, 1]),
        "intercept": (line[0, 0], lines[:, 0]),
        "intercept_at_slope_1": (offset[0], offsets),
    }
    return {name: _estimate(value, drawn) for name, (value, drawn) in found.items()}


def _describe_error(
    truth: Truth, scores: Scores, *, index: NDArray[np.int64], weights: Weights, seed: int
) -> CalibrationError:
    """Return a calibration error, its interval, and what perfect calibration would show."""
    perfect = _simulate_errors(scores, index=index, seed=seed)
    ones = np.ones((1, len(truth)))
    value = calibration_errors(truth, scores, index=index, weights=ones)[0]
    drawn = calibration_errors(truth, scores, index=index, weights=weights)
    return CalibrationError(
        estimate=_estimate(value, drawn),
        expected=float(perfect.mean()),
        percentile_95=float(np.quantile(perfect, 0.95)),
    )


def _simulate_errors(scores: Scores, *, index: NDArray[np.int64], seed: int) -> Values:
    """Return calibration errors of outcomes that the scores truly foretell, shape (S,).

    The outcomes depend on the seed alone, so that they are the same for each way to form bins.
    """
    random, members = generator(seed, "calibration"), _members(index)
    errors = np.empty(_NUM_SIMULATED)
    step = max(1, _CHUNK_CELLS // len(scores))
    room = np.empty((min(step, _NUM_SIMULATED), len(scores)))
    for start in range(0, _NUM_SIMULATED, step):
        gaps = random.random(out=room[: _NUM_SIMULATED - start])  # (s, N)
        np.less(gaps, scores, out=gaps)
        gaps -= scores
        errors[start : start + step] = np.abs(gaps @ members).sum(axis=1) / len(scores)
    return errors


def _members(index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1 where an image is in a bin, shape (N, K) for the bins that are not empty."""
    return (index[:, None] == np.unique(index)).astype(np.float64)


def _estimate(value: float, drawn: Values) -> Estimate:
    if np.isnan(value):
        return Estimate(value=None, reason=_SEPARATED)
    return Estimate(value=float(value), interval=describe_values(drawn))
