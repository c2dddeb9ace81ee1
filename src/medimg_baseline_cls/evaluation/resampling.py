"""Add to every metric of a split its 95 % interval, by resampling patients.

The patients of VAL and of TEST are resampled; in each resample the operating points are chosen
again on VAL, so that the interval of a TEST metric includes the uncertainty of its threshold.
Proportions also get Wilson's and Clopper and Pearson's intervals, for readers who take the
threshold as fixed and the images as independent; AUROC gets DeLong's. On VAL a metric at a
threshold that was chosen there has no interval: the choice is optimistic on the same images, and
the bootstrap interval would start at the estimate (decision 0011).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import PROPORTIONS, is_chosen
from medimg_baseline_cls.evaluation.added import (
    list_criteria,
    resample_added_decisions,
    resample_added_scores,
)
from medimg_baseline_cls.evaluation.image_metrics import resample_image_metrics
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.summaries import (
    Average,
    ClassMetrics,
    MetricKey,
    OperatingPoint,
    SplitSummary,
)
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import (
    NUM_RESAMPLES,
    CallCounts,
    Cuts,
    Values,
    Weights,
    choose_in_resamples,
    describe_values,
    draw_weights,
    point_metrics,
    weighted_class,
)
from medimg_baseline_cls.statistics.delong import delong_interval
from medimg_baseline_cls.statistics.intervals import (
    LEVEL,
    clopper_pearson_interval,
    wilson_interval,
)
from medimg_baseline_cls.statistics.multilabel import weighted_pairs

CHOSEN_HERE = "the threshold was chosen on these images; see TEST"


@dataclass(frozen=True, slots=True)
class Resampling:
    """How patients are resampled: B times, from a seed."""

    num_resamples: int = NUM_RESAMPLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ClassDraws:
    """One class in each resample: its threshold-free metrics, and the counts of its decisions."""

    scores: Mapping[str, Values]
    calls: Mapping[str, CallCounts]

    def items(self) -> Iterator[tuple[str | None, str, Values]]:
        """Yield every metric with its rule (None without a threshold), shape (B,) each."""
        for metric, values in self.scores.items():
            yield None, metric, values
        for rule, counts in self.calls.items():
            metrics = point_metrics(counts) | resample_added_decisions(counts)
            for metric, values in metrics.items():
                yield rule, metric, values


def add_intervals(
    summaries: Mapping[str, SplitSummary],
    parts: Sequence[Predictions],
    *,
    target_sensitivity: float,
    resampling: Resampling,
    weights: Mapping[str, Weights] | None = None,
) -> dict[str, SplitSummary]:
    """Return the summaries with the interval of each metric.

    Args:
        summaries: by split, from `summarize_predictions`.
        parts: the predictions of VAL, of TEST, or of both in this order.
        target_sensitivity: for the rule of this name in each resample.
        resampling: how often, and from which seed.
        weights: from `draw_parts`, if they are drawn already.

    Returns:
        Copies; on VAL, metrics at thresholds that were chosen there have a reason instead.
    """
    weights = draw_parts(parts, resampling) if weights is None else weights
    cuts = {
        name: choose_cuts(
            parts[0],
            name,
            weights=weights["val"],
            target=target_sensitivity,
            rules=block.operating_points,
        )
        for name, block in (summaries["val"].classes.items() if "val" in summaries else ())
    }
    described = {
        part.split: describe_part(
            part, summaries[part.split], weights=weights[part.split], cuts=cuts
        )
        for part in parts
    }
    return {
        part.split: replace(
            described[part.split], intervals=_describe_method(part, resampling=resampling)
        )
        for part in parts
    }


def draw_parts(parts: Sequence[Predictions], resampling: Resampling) -> dict[str, Weights]:
    """Return the weights of each split by its name, shape (B, N)."""
    return {part.split: draw_part(part, resampling) for part in parts}


def draw_part(
    part: Predictions,
    resampling: Resampling,
    *,
    purpose: str | None = None,
    by_class: bool = True,
) -> Weights:
    """Return the weights of one split, stratified by class; findings have no strata.

    Args:
        part: predictions of one split.
        resampling: how often, and from which seed.
        purpose: part of the random seed; None takes the name of the split.
        by_class: False lets the prevalence vary too.
    """
    is_alike = part.has_findings or not by_class
    strata = np.zeros(len(part.groups), dtype=np.int64) if is_alike else part.labels
    return draw_weights(
        part.groups,
        strata,
        num_resamples=resampling.num_resamples,
        seed=resampling.seed,
        purpose=part.split if purpose is None else purpose,
    )


def weigh_known(part: Predictions, name: str, *, weights: Weights) -> Weights:
    """Return the weights of the images where a class is known, shape (B, n)."""
    known = part.known(name)
    return weights if known.all() else np.compress(known, weights, axis=1)


def _describe_method(part: Predictions, *, resampling: Resampling) -> dict[str, Any]:
    return {
        "level": LEVEL,
        "method": "percentile bootstrap of whole groups (patients)",
        "stratified_by": None if part.has_findings else "class",
        "num_resamples": resampling.num_resamples,
        "seed": resampling.seed,
    }


def choose_cuts(
    val: Predictions, name: str, *, weights: Weights, target: float, rules: Iterable[str]
) -> dict[str, NDArray[np.float64]]:
    """Choose the operating points of one class again in each resample of VAL; shape (B,) each."""
    truth, scores = select_known(val, name)
    if not truth.any():
        return {}
    criteria = dict(pair for rule in rules for pair in list_criteria(rule).items())
    own = weigh_known(val, name, weights=weights)
    return choose_in_resamples(truth, scores, weights=own, target=target, criteria=criteria)


def describe_part(
    part: Predictions,
    summary: SplitSummary,
    *,
    weights: Weights,
    cuts: Mapping[str, Mapping[str, Values]],
) -> SplitSummary:
    """Return one summary with its intervals.

    Args:
        part: predictions of the split.
        summary: its metrics.
        weights: shape (B, N), from `draw_part`.
        cuts: by class, thresholds that were chosen again in each resample.
    """
    chosen = {
        name: {
            rule: cuts.get(name, {}).get(rule, point.threshold)
            for rule, point in block.operating_points.items()
            if point.threshold is not None
        }
        for name, block in summary.classes.items()
    }
    drawn = resample_classes(part, part.class_names, cuts=chosen, weights=weights)
    values = list_values(drawn, over_defined=part.has_findings)
    values |= resample_images(part, drawn, weights=weights, positive_class=summary.positive_class)
    summary = attach(summary, values)
    classes = {
        name: _add_closed_forms(_add_thresholds(block, cuts.get(name, {})), part, name=name)
        for name, block in summary.classes.items()
    }
    summary = replace(summary, classes=classes)
    return summary.change(_withhold_chosen) if part.split == "val" else summary


def attach(summary: SplitSummary, values: Mapping[MetricKey, Values]) -> SplitSummary:
    """Return a summary with the percentile interval of each metric that was resampled."""
    return summary.change(
        lambda key, estimate: (
            estimate.with_interval(describe_values(values[key])) if key in values else estimate
        )
    )


def resample_classes(
    part: Predictions,
    classes: Sequence[str],
    *,
    cuts: Mapping[str, Cuts],
    weights: Weights,
) -> dict[str, ClassDraws]:
    """Return the metrics of classes in each resample, each on the images where it is known.

    Args:
        part: predictions of one split.
        classes: which classes; one without a known image has no metrics.
        cuts: the thresholds of each class, by rule.
        weights: shape (B, N), from `draw_part`.
    """
    drawn: dict[str, ClassDraws] = {}
    for name in classes:
        truth, scores = select_known(part, name)
        if len(truth) == 0:
            drawn[name] = ClassDraws({}, {})
            continue
        own = weigh_known(part, name, weights=weights)
        found, calls = weighted_class(truth, scores, thresholds=cuts.get(name, {}), weights=own)
        drawn[name] = ClassDraws(found | resample_added_scores(truth, scores, weights=own), calls)
    return drawn


def list_values(drawn: Mapping[str, ClassDraws], *, over_defined: bool) -> dict[MetricKey, Values]:
    """Return the metrics of classes, and their means, in each resample; shape (B,) each.

    Args:
        drawn: from `resample_classes`.
        over_defined: means over the classes that are defined in a resample, as for findings;
            else a mean is NaN where one of them is.
    """
    values = {
        MetricKey(name, rule, metric): found
        for name, of_class in drawn.items()
        for rule, metric, found in of_class.items()
    }
    columns: dict[MetricKey, list[Values]] = {}
    for key, found in values.items():
        columns.setdefault(key._replace(block=Average.MACRO), []).append(found)
    return values | {
        key: _average(found, over_defined=over_defined) for key, found in columns.items()
    }


def resample_images(
    part: Predictions,
    drawn: Mapping[str, ClassDraws],
    *,
    weights: Weights,
    positive_class: str | None,
) -> dict[MetricKey, Values]:
    """Return the metrics over all classes, and of pooled findings, in each resample.

    Args:
        part: predictions of one split.
        drawn: from `resample_classes`, of all classes.
        weights: shape (B, N), from `draw_part`.
        positive_class: of two classes, as in the summary.
    """
    overall = resample_image_metrics(part, weights=weights, positive_class=positive_class)
    values: dict[MetricKey, Values] = {}
    if part.has_findings:
        pooled = weighted_pairs(part.labels, part.probabilities, weights=weights)
        overall |= {"log_loss": pooled["log_loss"]} if pooled else {}
        rules = dict.fromkeys(rule for of_class in drawn.values() for rule in of_class.calls)
        micro = ClassDraws(pooled, {rule: _add_up(drawn, rule) for rule in rules})
        values = {MetricKey(Average.MICRO, r, metric): found for r, metric, found in micro.items()}
    return values | {MetricKey(Average.OVERALL, None, m): found for m, found in overall.items()}


def _average(columns: Sequence[Values], *, over_defined: bool) -> Values:
    """Return the mean over classes in each resample, shape (B,)."""
    stacked = np.stack(columns)  # (C, B)
    is_defined = ~np.isnan(stacked)
    if not over_defined:
        is_defined &= is_defined.all(axis=0)
    count = is_defined.sum(axis=0)
    total = np.where(is_defined, stacked, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _add_up(drawn: Mapping[str, ClassDraws], rule: str) -> CallCounts:
    """Sum the counts of all findings by one rule; findings without a threshold are skipped."""
    found = [of_class.calls[rule] for of_class in drawn.values() if rule in of_class.calls]
    return CallCounts(*(np.nansum(np.stack(column), axis=0) for column in zip(*found, strict=True)))


def _withhold_chosen(key: MetricKey, estimate: Estimate) -> Estimate:
    """Take the intervals from a metric at a threshold that was chosen on the same images."""
    if key.rule is None or not is_chosen(key.rule) or estimate.value is None:
        return estimate
    withheld = Interval(bounds=None, reason=CHOSEN_HERE)
    return replace(estimate, interval=withheld, wilson=None, clopper_pearson=None)


def _add_thresholds(block: ClassMetrics, cuts: Mapping[str, Values]) -> ClassMetrics:
    """Add its interval to each threshold that was chosen again in the resamples."""
    points = {
        rule: point
        if rule not in cuts
        else replace(
            point, threshold_interval=describe_values(cuts[rule]).bounds, is_resampled=True
        )
        for rule, point in block.operating_points.items()
    }
    return replace(block, operating_points=points)


def _add_closed_forms(block: ClassMetrics, part: Predictions, *, name: str) -> ClassMetrics:
    """Add the intervals that need no resampling: DeLong's, Wilson's, Clopper and Pearson's."""
    truth, scores = select_known(part, name)
    groups = np.array(part.groups)[part.known(name)]
    metrics = dict(block.metrics)
    if len(truth):
        interval = delong_interval(truth, scores, groups=groups.tolist())
        metrics["auroc"] = replace(metrics["auroc"], delong=interval)
    points: dict[str, OperatingPoint] = {}
    for rule, point in block.operating_points.items():
        if point.threshold is None:
            continue
        call = scores >= point.threshold
        cells = {"tp": truth & call, "fp": ~truth & call, "fn": truth & ~call, "tn": ~truth & ~call}
        proportions: dict[str, Estimate] = {}
        for metric, (_, whole) in PROPORTIONS.items():
            among = np.any([cells[name] for name in whole], axis=0)
            if point.metrics[metric].value is not None:
                proportions[metric] = _add_exact(point, metric, groups=groups[among])
        points[rule] = replace(point, metrics={**point.metrics, **proportions})
    return replace(block, metrics=metrics, operating_points=points)


def _add_exact(point: OperatingPoint, metric: str, *, groups: NDArray[Any]) -> Estimate:
    """Add the closed-form intervals of a proportion.

    If no resample varies (a proportion of 0 or 1), Clopper and Pearson's becomes the interval, with
    patients as trials: the images of one patient are not independent.
    """
    part, whole = PROPORTIONS[metric]
    hits, total = point.counts(part), point.counts(whole)
    estimate = replace(
        point.metrics[metric],
        wilson=wilson_interval(hits, total),
        clopper_pearson=clopper_pearson_interval(hits, total),
    )
    if estimate.bounds is not None or estimate.value not in (0.0, 1.0):
        return estimate
    count = len(np.unique(groups))
    exact = clopper_pearson_interval(count if hits else 0, count)
    interval = estimate.interval or Interval(bounds=None)
    return replace(estimate, interval=replace(interval, bounds=exact, method="clopper_pearson"))
