"""The metrics of TEST at other prevalences, and the Max-F1 threshold of each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import choose_cuts, weigh_known
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.probabilities import PrevalenceMetrics, PrevalenceSummary
from medimg_baseline_cls.records.summaries import OperatingPoint
from medimg_baseline_cls.schema import Predictions, Split, Threshold
from medimg_baseline_cls.statistics.bootstrap import (
    NO_VARIATION,
    Values,
    Weights,
    describe_values,
    point_metrics,
    weighted_calls,
)
from medimg_baseline_cls.statistics.intervals import clopper_pearson_interval
from medimg_baseline_cls.statistics.metrics import (
    Scores,
    Truth,
    count_confusion,
    operating_point_metrics,
)
from medimg_baseline_cls.statistics.prevalence import (
    average_precision_at,
    exact_predictive_intervals,
    f1_score_at,
    max_f1_threshold_at,
    predictive_values,
)

_RATES, _CARRIED = ("sensitivity", "specificity"), ("ppv", "npv")
_UNDEFINED = "all images are of one class, or nothing is called so"


def describe_prevalence(
    config: Config,
    parts: Sequence[Predictions],
    *,
    weights: Mapping[str, Weights],
    split: Split,
    thresholds: Thresholds,
) -> PrevalenceSummary:
    """Return the metrics of TEST by class, then by where a prevalence comes from.

    Args:
        config: declared prevalence and target sensitivity.
        parts: the predictions of VAL and of TEST.
        weights: those of the metrics' intervals, from `draw_parts`.
        split: every image of the run: the prevalence of TRAIN is the natural one.
        thresholds: the operating points by class.

    Returns:
        For each class those at each of "train", "val", "test" and, if declared, "target".
    """
    classes: dict[str, dict[str, PrevalenceMetrics]] = {}
    for name, points in thresholds.items():
        shares = _list_prevalences(config, parts, split=split, name=name)
        drawn = _draw_points(parts, points, weights=weights, target=config.target_sensitivity)
        classes[name] = {
            source: _describe(parts, points, drawn=drawn, prevalence=share)
            for source, share in shares.items()
        }
    return PrevalenceSummary(classes)


def _list_prevalences(
    config: Config, parts: Sequence[Predictions], *, split: Split, name: str
) -> dict[str, float]:
    labels = split.labels(split.rows("train"))
    index = split.class_names.index(name)
    if split.has_findings:
        known = labels[:, index][labels[:, index] >= 0]
        train = float((known == 1).mean()) if len(known) else 0.0
    else:
        train = float((labels == index).mean()) if len(labels) else 0.0
    shares = {"train": train}
    for part in parts:
        truth, _ = select_known(part, name)
        shares[part.split] = float(truth.mean()) if len(truth) else 0.0
    if config.target_prevalence is not None:
        shares["target"] = config.target_prevalence
    return {source: share for source, share in shares.items() if 0 < share < 1}


def _draw_points(
    parts: Sequence[Predictions],
    points: Sequence[Threshold],
    *,
    weights: Mapping[str, Weights],
    target: float,
) -> dict[str, dict[str, Values]]:
    """Return the metrics of TEST by rule in each resample, at thresholds chosen again on VAL."""
    name = points[0].class_name
    truth, scores = select_known(parts[-1], name)
    if len(truth) == 0:
        return {}
    rules = [point.rule for point in points]
    cuts = choose_cuts(parts[0], name, weights=weights[parts[0].split], target=target, rules=rules)
    own = weigh_known(parts[-1], name, weights=weights[parts[-1].split])
    chosen = {point.rule: cuts.get(point.rule, point.value) for point in points}
    calls = weighted_calls(truth, scores, thresholds=chosen, weights=own)
    return {rule: point_metrics(counts) for rule, counts in calls.items()}


def _describe(
    parts: Sequence[Predictions],
    points: Sequence[Threshold],
    *,
    drawn: Mapping[str, Mapping[str, Values]],
    prevalence: float,
) -> PrevalenceMetrics:
    """Return one class at one prevalence."""
    name = points[0].class_name
    truth, scores = select_known(parts[-1], name)
    precision = average_precision_at(truth, scores, prevalence=prevalence) if len(truth) else None
    max_f1 = _choose_max_f1(parts, name, prevalence=prevalence)
    found = PrevalenceMetrics(
        prevalence=prevalence,
        average_precision=replace(_estimate(precision), baseline=prevalence),
        operating_points={},
        max_f1=max_f1,
        reason="" if max_f1 else _UNDEFINED,
    )
    if len(truth) == 0:
        return found
    groups = np.array(parts[-1].groups)[parts[-1].known(name)]
    num_patients = [len(np.unique(groups[side])) for side in (truth, ~truth)]
    described: dict[str, OperatingPoint] = {}
    for point in points:
        plain = _describe_point(truth, scores, threshold=point.value, prevalence=prevalence)
        described[point.rule] = _add_intervals(
            plain, drawn[point.rule], num_patients=num_patients, prevalence=prevalence
        )
    return replace(found, operating_points=described)


def _add_intervals(
    point: OperatingPoint,
    values: Mapping[str, Values],
    *,
    num_patients: Sequence[int],
    prevalence: float,
) -> OperatingPoint:
    """Add the intervals of resamples, or exact ones where no resample varies.

    Those of sensitivity and specificity are as in test_summary.json.
    """
    metrics = dict(point.metrics)
    sensitivity, specificity = (metrics[key].value for key in _RATES)
    for key, count in zip(_RATES, num_patients, strict=True):
        interval, value = describe_values(values[key]), metrics[key].value
        if interval.bounds is None and value in (0.0, 1.0):
            exact = clopper_pearson_interval(round(value) * count, count)
            interval = replace(interval, bounds=exact, method="clopper_pearson", reason="")
        metrics[key] = metrics[key].with_interval(interval)
    columns = predictive_values(*(values[key] for key in _RATES), prevalence=prevalence)
    for number, key in enumerate(_CARRIED):
        interval = describe_values(columns[number])
        is_constant = interval.reason == NO_VARIATION
        if is_constant and sensitivity is not None and specificity is not None:
            exact = exact_predictive_intervals(
                (sensitivity, num_patients[0]),
                (specificity, num_patients[1]),
                prevalence=prevalence,
            )[number]
            method = "clopper_pearson of both rates"
            interval = replace(interval, bounds=exact, method=method, reason="")
        metrics[key] = metrics[key].with_interval(interval)
    return replace(point, metrics=metrics)


def _choose_max_f1(
    parts: Sequence[Predictions], name: str, *, prevalence: float
) -> OperatingPoint | None:
    """Return the Max-F1 threshold of VAL weighted to a prevalence, and what it does on TEST."""
    threshold = max_f1_threshold_at(*select_known(parts[0], name), prevalence=prevalence)
    truth, scores = select_known(parts[-1], name)
    if threshold is None or len(truth) == 0:
        return None
    return _describe_point(truth, scores, threshold=threshold, prevalence=prevalence)


def _describe_point(
    truth: Truth, scores: Scores, *, threshold: float, prevalence: float
) -> OperatingPoint:
    """Return the metrics of TEST at a threshold, those that depend on it at a prevalence."""
    found = operating_point_metrics(count_confusion(truth, scores, threshold=threshold))
    sensitivity, specificity = found["sensitivity"], found["specificity"]
    shown = {"sensitivity": sensitivity, "specificity": specificity}
    carried: Mapping[str, float | None] = dict.fromkeys((*_CARRIED, "f1_score"))
    if sensitivity is not None and specificity is not None:
        ppv, npv = predictive_values(sensitivity, specificity, prevalence=prevalence)
        f1_score = f1_score_at(sensitivity, specificity, prevalence=prevalence)
        carried = {"ppv": _number(ppv), "npv": _number(npv), "f1_score": f1_score}
    metrics = {name: _estimate(value) for name, value in (shown | carried).items()}
    return OperatingPoint(threshold=threshold, metrics=metrics)


def _estimate(value: float | None) -> Estimate:
    return Estimate(value=value, reason="" if value is not None else _UNDEFINED)


def _number(value: Values) -> float | None:
    number = float(value)
    return None if number != number else number
