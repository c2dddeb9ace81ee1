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
from medimg_baseline_cls.statistics.multilabel import pool_pairs
from medimg_baseline_cls.statistics.threshold_rules import CRITERIA, Criterion, choose_threshold
from medimg_baseline_cls.utils.seed import generator

LEVEL = 0.95
"""The confidence level of every interval."""

NUM_RESAMPLES = 2000
LEAST_DEFINED = 0.5
NO_VARIATION = "the resamples do not vary"
_CHUNK_CELLS = 1_000_000
_PAIR_CELLS = 50_000_000
_MANY_IMAGES = 10_000

Weights = NDArray[np.uint16]
Values = NDArray[np.float64]


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
    first_of_tie = np.append(0, ranking.last_of_tie[:-1] + 1)
    for rows in _chunks(len(weights), width=len(ranking.order)):
        ordered = np.take(weights[rows], ranking.order, axis=1)  # (b, N)
        drawn = [ordered * ranking.truth, ordered]
        if len(first_of_tie) < len(ranking.order):
            drawn = [np.add.reduceat(d, first_of_tie, axis=1, dtype=np.int64) for d in drawn]
        tp, both = (np.cumsum(d, axis=1, dtype=np.int64) for d in drawn)
        yield rows, WeightedCounts(ranking.thresholds, tp, both - tp)


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
    ranking = rank_scores(truth, scores)
    values = {name: np.empty(len(weights)) for name in ("average_precision", "auroc")}
    for rows, counts in count_resamples(ranking, weights):
        values["average_precision"][rows] = average_precisions(counts)
        values["auroc"][rows] = aurocs(counts)
    losses = negative_logs(np.where(truth, scores, 1.0 - scores))
    values["brier_score"] = weighted_mean((scores - truth) ** 2, weights)
    values["log_loss"] = weighted_mean(losses, weights)
    return values


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
    return point_metrics(weighted_calls(truth, scores, thresholds=thresholds, weights=weights))


def weighted_calls(
    truth: Truth, scores: Scores, *, thresholds: Values | float, weights: Weights
) -> CallCounts:
    """Return the four counts of each resample; NaN without a threshold."""
    cuts = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (len(weights),))
    cells = np.empty((4, len(weights)))
    levels = np.unique(cuts[~np.isnan(cuts)])
    for rows, counts in count_resamples(rank_levels(truth, scores, levels=levels), weights):
        tp, fp = counts.at(cuts[rows])
        cells[:, rows] = tp, fp, counts.num_positive - tp, counts.num_negative - fp
    cells[:, np.isnan(cuts)] = np.nan
    return CallCounts(*cells)


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
    steps = np.diff(counts.tp, prepend=0, axis=1)
    rises = steps.any(axis=0)  # elsewhere recall stays, in all of these resamples
    tp, fp = counts.tp[:, rises], counts.fp[:, rises]
    precision = tp / np.maximum(tp + fp, 1)
    areas = np.asfortranarray(steps[:, rises] * precision)  # summed in the order of the scores
    return _ratio(areas.sum(axis=1), counts.num_positive)


def aurocs(counts: WeightedCounts) -> Values:
    """Return the area under the ROC curve of each resample, shape (b,), ties as one half."""
    both = 2 * counts.tp - np.diff(counts.tp, prepend=0, axis=1)  # at a score and before it
    doubled = (np.diff(counts.fp, prepend=0, axis=1) * both).sum(axis=1)
    return _ratio(doubled, 2 * counts.num_positive * counts.num_negative)


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
    means = np.empty(len(weights))
    order = "F" if weights.shape[1] < _MANY_IMAGES else "C"  # the sums' last digits depend on it
    for rows in _chunks(len(weights), width=weights.shape[1]):
        part = weights[rows].astype(np.float64, order=order)
        means[rows] = _ratio(part @ values, part.sum(axis=1))
    return means


def weighted_pairs(
    labels: NDArray[np.int64], probabilities: Scores, *, weights: Weights
) -> dict[str, Values]:
    """Return the threshold-free metrics of all known pairs of image and finding.

    Args:
        labels: 1, 0 or -1 (unknown), shape (N, C).
        probabilities: shape (N, C).
        weights: shape (B, N); an image weighs alike in all its pairs.

    Returns:
        As `weighted_scores`; nothing where no pair is known.
    """
    truth, scores = pool_pairs(labels, probabilities)
    if len(truth) == 0:
        return {}
    images = np.nonzero(labels >= 0)[0]  # (pairs,), in the order of `pool_pairs`
    step = max(1, _PAIR_CELLS // len(truth))
    blocks = [
        weighted_scores(truth, scores, weights=weights[start : start + step][:, images])
        for start in range(0, len(weights), step)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def weighted_kappas(
    labels: NDArray[np.int64], decided: NDArray[np.int64], *, weights: Weights, grades: Values
) -> Values:
    """Return the quadratic weighted kappa of each resample; NaN where all is one grade.

    Args:
        labels: the grade of each image as an index, shape (N,).
        decided: the grade that was decided, shape (N,).
        weights: shape (B, N).
        grades: the value of each grade, shape (C,).
    """
    num_grades = len(grades)
    cells = np.zeros((len(labels), num_grades**2))
    cells[np.arange(len(labels)), labels * num_grades + decided] = 1.0
    matrices = (weights.astype(np.float64, order="F") @ cells).reshape(-1, num_grades, num_grades)
    distances = (grades[:, None] - grades) ** 2
    by_chance = np.einsum("bi,bj->bij", matrices.sum(axis=2), matrices.sum(axis=1))
    expected = (distances * by_chance).sum(axis=(1, 2))
    found = matrices.sum(axis=(1, 2)) * (distances * matrices).sum(axis=(1, 2))
    return np.where(expected > 0, 1 - found / np.where(expected > 0, expected, 1.0), np.nan)


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
