"""Turns predictions into the values that each metric takes when patients are resampled.

A resample is a row of weights: how often it contains each image. Whole patients are drawn
with replacement, within each class, so that images of one patient stay together and every
resample has every class (Efron and Tibshirani 1993; Davison and Hinkley 1997, 3.8 for
clusters). All resamples are computed at once: sorted scores, cumulated weights. An
undefined metric is NaN here, and `describe_values` counts it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.records.estimates import Interval
from medimg_baseline_cls.statistics.metrics import (
    Scores,
    Truth,
    correlation_parts,
    count_by_threshold,
    decision_ratios,
    negative_logs,
)
from medimg_baseline_cls.statistics.threshold_rules import CRITERIA, Criterion, choose_threshold
from medimg_baseline_cls.utils.seed import generator

LEVEL = 0.95
"""The confidence level of every interval."""

NUM_RESAMPLES = 2000
LEAST_DEFINED = 0.5
NO_VARIATION = "the resamples do not vary"
_CHUNK_CELLS = 1_000_000
_MANY_IMAGES = 10_000
_BLOCK = 1000  # images whose weights, as floats, fit into the processor's cache
_MANY_TIES = 8

Weights = NDArray[np.uint16]
Values = NDArray[np.float64]
Cuts = Mapping[str, Values | float]
"""By rule, one threshold for all resamples or one for each, shape (B,)."""


def draw_weights(
    groups: Sequence[str],
    strata: NDArray[np.int64],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int,
    purpose: str,
) -> Weights:
    """Return how often each resample contains each image, shape (B, N).

    A group belongs to the stratum of all its images; groups with images of several strata
    form strata of their own. As many groups are drawn as a stratum has, so that a group
    alone in its stratum is in every resample once.

    Args:
        groups: the patient of each image, length N.
        strata: the class of each image, shape (N,).
        num_resamples: B, 1 or more.
        seed: of all draws.
        purpose: what is drawn, such as "val": other words give other draws.

    Raises:
        DataError: The lengths differ, or there is no image.
    """
    if len(groups) == 0 or strata.shape != (len(groups),) or num_resamples < 1:
        raise DataError(
            f"A bootstrap needs a group and a stratum for each image and at least one resample, "
            f"but got {len(groups)} groups, strata of shape {strata.shape} and {num_resamples}."
        )
    index: dict[str, int] = {}
    group_of = np.array([index.setdefault(group, len(index)) for group in groups])  # (N,)
    counts = np.zeros((num_resamples, len(index)), dtype=np.uint16)  # (B, G)
    random = generator(seed, "bootstrap", purpose)
    for members in _stratify(group_of, strata, num_groups=len(index)):
        for rows in _chunks(num_resamples, width=len(members)):
            size = rows.stop - rows.start
            drawn = random.integers(len(members), size=(size, len(members)))
            drawn += np.arange(size)[:, None] * len(members)
            hits = np.bincount(drawn.ravel(), minlength=size * len(members))
            counts[rows, members] = hits.reshape(size, len(members))
    return np.take(counts, group_of, axis=1)  # a resample is contiguous


@dataclass(frozen=True, slots=True)
class Ranking:
    """Images in the order of their scores, the highest first, ties together.

    Attributes:
        order: the images, shape (N,).
        last_of_tie: where each distinct score ends in `order`, shape (T,).
        thresholds: the distinct scores, descending, shape (T,).
        truth: of the ordered images, shape (N,).
    """

    order: NDArray[np.int64]
    last_of_tie: NDArray[np.int64]
    thresholds: Values
    truth: Truth


@dataclass(frozen=True, slots=True)
class WeightedCounts:
    """Weighted true and false positives at each distinct score; shape (b, T) each."""

    thresholds: Values
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]

    @property
    def num_positive(self) -> NDArray[np.int64]:
        """Return the weight of the positive images of each resample, shape (b,)."""
        return self.tp[:, -1]

    @property
    def num_negative(self) -> NDArray[np.int64]:
        """Return the weight of the negative images of each resample, shape (b,)."""
        return self.fp[:, -1]

    def at(self, thresholds: Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (tp, fp) of `score >= threshold`, one threshold per resample; shape (b,) each."""
        called = np.searchsorted(-self.thresholds, -thresholds, side="right")  # (b,)
        rows = np.arange(len(self.tp))
        is_any, last = called > 0, np.maximum(called - 1, 0)
        return np.where(is_any, self.tp[rows, last], 0), np.where(is_any, self.fp[rows, last], 0)

    def decide(self, thresholds: Values) -> Values:
        """Return TP, FP, FN and TN at a threshold per resample, shape (4, b); NaN without one."""
        tp, fp = self.at(thresholds)
        cells = np.stack([tp, fp, self.num_positive - tp, self.num_negative - fp])
        return np.where(np.isnan(thresholds), np.nan, cells)


class CallCounts(NamedTuple):
    """The four counts of a decision in each resample, shape (B,) each."""

    tp: Values
    fp: Values
    fn: Values
    tn: Values


def rank_scores(truth: Truth, scores: Scores) -> Ranking:
    """Sort images by score, once for all resamples.

    Args:
        truth: shape (N,), bool.
        scores: shape (N,), in [0, 1].
    """
    thresholds = count_by_threshold(truth, scores).thresholds
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return Ranking(order, last_of_tie, thresholds, truth[order])


def rank_levels(truth: Truth, scores: Scores, *, levels: Values) -> Ranking:
    """Return the ranking with those distinct scores alone that decide `score >= level`."""
    ranking = rank_scores(truth, scores)
    lowest = np.searchsorted(-ranking.thresholds, -levels, side="right") - 1
    kept = np.unique(np.append(lowest[lowest >= 0], len(ranking.thresholds) - 1))
    ends, thresholds = ranking.last_of_tie[kept], ranking.thresholds[kept]
    return replace(ranking, last_of_tie=ends, thresholds=thresholds)


def count_resamples(ranking: Ranking, weights: Weights) -> Iterator[tuple[slice, WeightedCounts]]:
    """Yield a few resamples at a time, as a slice, with their counts: memory stays small."""
    # Positive images count in the upper 32 bits, negative ones in the lower: one sum for both.
    units = np.where(ranking.truth, np.int64(1) << 32, np.int64(1))
    are_few = len(ranking.last_of_tie) * _MANY_TIES < len(ranking.order)
    for rows in _chunks(len(weights), width=len(ranking.order)):
        sums = np.take(weights[rows], ranking.order, axis=1) * units  # (b, N)
        if are_few:
            sums = np.add.reduceat(sums, np.append(0, ranking.last_of_tie[:-1] + 1), axis=1)
        np.cumsum(sums, axis=1, out=sums)
        if not are_few:
            sums = np.take(sums, ranking.last_of_tie, axis=1)
        yield rows, WeightedCounts(ranking.thresholds, tp=sums >> 32, fp=sums & 0xFFFFFFFF)


def weighted_scores(truth: Truth, scores: Scores, *, weights: Weights) -> dict[str, Values]:
    """Return the threshold-free metrics of each resample; NaN where undefined.

    The same metrics as `statistics.metrics`: of a resample that contains images as often as they
    weigh.

    Args:
        truth: shape (N,), bool.
        scores: shape (N,), in [0, 1].
        weights: shape (B, N), from `draw_weights`.

    Returns:
        "average_precision", "auroc", "brier_score" and "log_loss", shape (B,) each.
    """
    return weighted_class(truth, scores, thresholds={}, weights=weights)[0]


def weighted_class(
    truth: Truth, scores: Scores, *, thresholds: Cuts, weights: Weights
) -> tuple[dict[str, Values], dict[str, CallCounts]]:
    """Return what `weighted_scores` and `weighted_calls` do, from one pass over the resamples."""
    cuts, calls = _prepare_calls(thresholds, len(weights))
    values = {name: np.empty(len(weights)) for name in ("average_precision", "auroc")}
    for rows, counts in count_resamples(rank_scores(truth, scores), weights):
        values["average_precision"][rows] = average_precisions(counts)
        values["auroc"][rows] = aurocs(counts)
        for rule, cut in cuts.items():
            calls[rule][:, rows] = counts.decide(cut[rows])
    losses = negative_logs(np.where(truth, scores, 1.0 - scores))
    values["brier_score"] = weighted_mean((scores - truth) ** 2, weights)
    values["log_loss"] = weighted_mean(losses, weights)
    return values, {rule: CallCounts(*cells) for rule, cells in calls.items()}


def weighted_points(
    truth: Truth, scores: Scores, *, thresholds: Values | float, weights: Weights
) -> dict[str, Values]:
    """Return the metrics of an operating point in each resample; NaN where undefined.

    Args:
        truth: shape (N,), bool.
        scores: shape (N,), in [0, 1].
        thresholds: one for all, or one per resample, shape (B,); NaN where it is undefined.
        weights: shape (B, N), from `draw_weights`.

    Returns:
        Shape (B,) for each metric of `operating_point_metrics`.
    """
    return point_metrics(
        weighted_calls(truth, scores, thresholds={"": thresholds}, weights=weights)[""]
    )


def weighted_calls(
    truth: Truth, scores: Scores, *, thresholds: Cuts, weights: Weights
) -> dict[str, CallCounts]:
    """Return the four counts of each rule in each resample; NaN without a threshold."""
    cuts, calls = _prepare_calls(thresholds, len(weights))
    levels = np.unique([level for cut in cuts.values() for level in cut[~np.isnan(cut)]])
    for rows, counts in count_resamples(rank_levels(truth, scores, levels=levels), weights):
        for rule, cut in cuts.items():
            calls[rule][:, rows] = counts.decide(cut[rows])
    return {rule: CallCounts(*cells) for rule, cells in calls.items()}


def point_metrics(counts: CallCounts) -> dict[str, Values]:
    """Return the metrics of a decision from its counts, any shape; NaN where undefined.

    >>> counts = CallCounts(*(np.array([float(n)]) for n in (8, 3, 2, 7)))
    >>> float(point_metrics(counts)["sensitivity"][0])
    0.8
    """
    tp, fp, fn, tn = counts
    ratios = decision_ratios(tp, fp=fp, fn=fn, tn=tn)
    metrics = {name: _ratio(part, whole) for name, (part, whole) in ratios.items()}
    return metrics | {
        "balanced_accuracy": (metrics["sensitivity"] + metrics["specificity"]) / 2,
        "mcc": _ratio(*correlation_parts(tp, fp=fp, fn=fn, tn=tn)),
    }


def average_precisions(counts: WeightedCounts) -> Values:
    """Return the average precision of each resample, shape (b,)."""
    before = np.pad(counts.tp[:, :-1], ((0, 0), (1, 0)))
    rises = (counts.tp != before).any(axis=0)  # elsewhere recall stays, in all of these resamples
    tp, fp = (np.compress(rises, c, axis=1) for c in (counts.tp, counts.fp))
    areas = np.diff(tp, prepend=0, axis=1) * (tp / np.maximum(tp + fp, 1))
    # Of few images summed in the order of the scores, as the last digits depend on it.
    order = "F" if len(rises) < _MANY_IMAGES else "C"
    return _ratio(np.asarray(areas, order=order).sum(axis=1), counts.num_positive)


def aurocs(counts: WeightedCounts) -> Values:
    """Return the area under the ROC curve of each resample, shape (b,), ties as one half."""
    tp, fp, whole = counts.tp, counts.fp, counts.num_positive * counts.num_negative
    # Trapezoids between neighboring scores, the steps of tp and fp multiplied out.
    right = np.einsum("bt,bt->b", fp[:, 1:], tp[:, :-1])
    wrong = np.einsum("bt,bt->b", fp[:, :-1], tp[:, 1:])
    return _ratio(whole + right - wrong, 2 * whole)


def choose_in_resamples(
    truth: Truth,
    scores: Scores,
    *,
    weights: Weights,
    target: float,
    criteria: Mapping[str, Criterion] = CRITERIA,
) -> dict[str, Values]:
    """Choose the operating points again in each resample of VAL, as `choose_thresholds` does.

    Args:
        truth: shape (N,), bool.
        scores: shape (N,), in [0, 1].
        weights: shape (B, N), from `draw_weights`.
        target: of the rules that have one, such as a sensitivity.
        criteria: by rule.

    Returns:
        For each rule, shape (B,); NaN without a positive image.
    """
    cuts = {rule: np.empty(len(weights)) for rule in criteria}
    for rows, counts in count_resamples(rank_scores(truth, scores), weights):
        is_defined = counts.num_positive > 0
        for rule, criterion in criteria.items():
            # The first maximum is always a score that was drawn.
            chosen = choose_threshold(
                criterion, counts.thresholds, tp=counts.tp, fp=counts.fp, target=target
            )
            cuts[rule][rows] = np.where(is_defined, chosen, np.nan)
    return cuts


def weighted_mean(values: NDArray[Any], weights: Weights) -> Values:
    """Return the mean of a value of each image in each resample, shape (B,)."""
    if len(values) >= _MANY_IMAGES:
        sums = weighted_sums(np.stack([values, np.ones(len(values))], axis=1), weights)
        return _ratio(sums[:, 0], sums[:, 1])
    means = np.empty(len(weights))
    for rows in _chunks(len(weights), width=weights.shape[1]):
        part = weights[rows].astype(np.float64, order="F")  # the last digits depend on it
        means[rows] = _ratio(part @ values, part.sum(axis=1))
    return means


def weighted_sums(table: Values, weights: NDArray[Any]) -> Values:
    """Return the weighted sums of the columns of a table of (N, M), shape (B, M)."""
    sums = np.zeros((len(weights), table.shape[1]))
    for start in range(0, len(table), _BLOCK):
        block = slice(start, start + _BLOCK)
        sums += weights[:, block].astype(np.float64) @ table[block]
    return sums


def describe_values(values: Values, *, level: float = LEVEL) -> Interval:
    """Return the percentile interval of a metric over resamples.

    It has no bounds where fewer than half of the resamples define the metric, or where it would
    have no width: that resampling shows no variation does not mean that there is none.

    Args:
        values: shape (B,), NaN where undefined.
        level: the confidence level, in (0, 1).

    >>> describe_values(np.arange(9.0), level=0.5).bounds
    (2.0, 6.0)
    """
    defined = values[~np.isnan(values)]
    bounds, reason = None, "too few resamples define it"
    if len(defined) >= max(LEAST_DEFINED * len(values), 2):
        tail = (1 - level) / 2
        low, high = (float(bound) for bound in np.quantile(defined, (tail, 1 - tail)))
        bounds, reason = ((low, high), "") if low < high else (None, NO_VARIATION)
    num_undefined = len(values) - len(defined)
    return Interval(bounds=bounds, method="bootstrap", num_undefined=num_undefined, reason=reason)


def _prepare_calls(
    thresholds: Cuts, num_resamples: int
) -> tuple[dict[str, Values], dict[str, Values]]:
    """Return a threshold per resample by rule, and room for the counts, shape (4, B) each."""
    shape = (num_resamples,)
    cuts = {
        rule: np.broadcast_to(np.asarray(cut, dtype=np.float64), shape)
        for rule, cut in thresholds.items()
    }
    return cuts, {rule: np.empty((4, *shape)) for rule in cuts}


def _stratify(
    group_of: NDArray[np.int64], strata: NDArray[np.int64], *, num_groups: int
) -> Iterator[NDArray[np.int64]]:
    """Yield the groups of each stratum, in an order that depends on the data alone."""
    classes: list[set[int]] = [set() for _ in range(num_groups)]
    for group, stratum in zip(group_of.tolist(), strata.tolist(), strict=True):
        classes[group].add(stratum)
    members: dict[tuple[int, ...], list[int]] = {}
    for group, found in enumerate(classes):
        members.setdefault(tuple(sorted(found)), []).append(group)
    for key in sorted(members):
        yield np.array(members[key], dtype=np.int64)


def _chunks(length: int, *, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK_CELLS // max(width, 1))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Values:
    """Return part / whole, NaN where the whole is 0 (or NaN)."""
    result = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=result, where=np.asarray(whole) > 0)
