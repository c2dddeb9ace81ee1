"""The metrics of TEST at other prevalences, and the Max-F1 threshold of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import Resampling, choose_cuts, draw_part
from medimg_baseline_cls.schema import Predictions, Split, Threshold
from medimg_baseline_cls.statistics.bootstrap import (
    NO_VARIATION,
    Values,
    Weights,
    describe_values,
    weighted_points,
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

Content = dict[str, Any]
_RATES = ("sensitivity", "specificity")
_UNDEFINED = "all images are of one class, or nothing is called so"


def describe_prevalence(
    config: Config, parts: Sequence[Predictions], *, split: Split, thresholds: Thresholds
) -> Content:
    """Return the content of prevalence.json: by class, by where a prevalence comes from.

    Args:
        config: declared prevalence, target sensitivity, resamples and seed.
        parts: the predictions of VAL and of TEST.
        split: every image of the run: the prevalence of TRAIN is the natural one.
        thresholds: the operating points by class.

    Returns:
        For each class and each of "train", "val", "test" and, if declared, "target":
        "prevalence", "average_precision" of TEST at it with its baseline, "operating_points" with
        PPV and NPV of TEST at it, and "max_f1_at_prevalence", chosen on VAL weighted to it.
    """
    resampling = Resampling(config.num_resamples, config.seed)
    weights = [draw_part(part, resampling) for part in parts]
    content: Content = {}
    for name, points in thresholds.items():
        shares = _list_prevalences(config, parts, split=split, name=name)
        content[name] = {
            source: _describe(
                parts, points, weights=weights, prevalence=share, target=config.target_sensitivity
            )
            for source, share in shares.items()
        }
    return content


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


def _describe(
    parts: Sequence[Predictions],
    points: Sequence[Threshold],
    *,
    weights: Sequence[Weights],
    prevalence: float,
    target: float,
) -> Content:
    """Return one class at one prevalence."""
    name = points[0].class_name
    truth, scores = select_known(parts[-1], name)
    precision = average_precision_at(truth, scores, prevalence=prevalence) if len(truth) else None
    content: Content = {
        "prevalence": prevalence,
        "average_precision": {**_figure(precision), "baseline": prevalence},
        "operating_points": {},
        "max_f1_at_prevalence": _choose_max_f1(parts, name, prevalence=prevalence),
    }
    if len(truth) == 0:
        return content
    rules = [point.rule for point in points]
    drawn = choose_cuts(parts[0], name, weights=weights[0], target=target, rules=rules)
    own = weights[-1][:, parts[-1].known(name)]
    groups = np.array(parts[-1].groups)[parts[-1].known(name)]
    num_patients = tuple(len(np.unique(groups[side])) for side in (truth, ~truth))
    for point in points:
        values = weighted_points(
            truth, scores, thresholds=drawn.get(point.rule, point.value), weights=own
        )
        estimates = _describe_point(truth, scores, threshold=point.value, prevalence=prevalence)
        _attach_rates(estimates, values, num_patients=num_patients)
        _attach_carried(estimates, values, num_patients=num_patients, prevalence=prevalence)
        content["operating_points"][point.rule] = {"threshold": point.value, **estimates}
    return content


def _attach_rates(
    estimates: Mapping[str, Content], values: Mapping[str, Values], *, num_patients: tuple[int, ...]
) -> None:
    """Give sensitivity and specificity the intervals that they have in test_summary.json."""
    for key, count in zip(_RATES, num_patients, strict=True):
        estimate = estimates[key]
        if estimate["value"] is None:
            continue
        estimate |= describe_values(values[key])
        if estimate["interval"] is None and estimate["value"] in (0.0, 1.0):
            exact = clopper_pearson_interval(round(estimate["value"]) * count, count)
            estimate |= {"interval": list(exact), "method": "clopper_pearson"}
            estimate.pop("interval_reason")


def _attach_carried(
    estimates: Mapping[str, Content],
    values: Mapping[str, Values],
    *,
    num_patients: tuple[int, ...],
    prevalence: float,
) -> None:
    """Give PPV and NPV their intervals: drawn, or exact ones where no resample varies."""
    columns = predictive_values(*(values[key] for key in _RATES), prevalence=prevalence)
    rates = [(estimates[key]["value"], n) for key, n in zip(_RATES, num_patients, strict=True)]
    for number, key in enumerate(("ppv", "npv")):
        estimate = estimates[key]
        if estimate["value"] is None:
            continue
        estimate |= describe_values(columns[number])
        if estimate.get("interval_reason") == NO_VARIATION:
            exact = exact_predictive_intervals(rates[0], rates[1], prevalence=prevalence)[number]
            estimate |= {"interval": list(exact), "method": "clopper_pearson of both rates"}
            estimate.pop("interval_reason")


def _choose_max_f1(parts: Sequence[Predictions], name: str, *, prevalence: float) -> Content:
    """Return the Max-F1 threshold of VAL weighted to a prevalence, and what it does on TEST."""
    threshold = max_f1_threshold_at(*select_known(parts[0], name), prevalence=prevalence)
    truth, scores = select_known(parts[-1], name)
    if threshold is None or len(truth) == 0:
        return {"threshold": None, "reason": _UNDEFINED}
    estimates = _describe_point(truth, scores, threshold=threshold, prevalence=prevalence)
    return {"threshold": threshold} | estimates


def _describe_point(
    truth: Truth, scores: Scores, *, threshold: float, prevalence: float
) -> dict[str, Content]:
    """Return the metrics of TEST at a threshold, those that depend on it at a prevalence."""
    found = operating_point_metrics(count_confusion(truth, scores, threshold=threshold))
    sensitivity, specificity = found["sensitivity"], found["specificity"]
    shown = {"sensitivity": sensitivity, "specificity": specificity}
    carried: Mapping[str, float | None] = dict.fromkeys(("ppv", "npv", "f1_score"))
    if sensitivity is not None and specificity is not None:
        ppv, npv = predictive_values(sensitivity, specificity, prevalence=prevalence)
        f1_score = f1_score_at(sensitivity, specificity, prevalence=prevalence)
        carried = {"ppv": _number(ppv), "npv": _number(npv), "f1_score": f1_score}
    return {name: _figure(value) for name, value in (shown | carried).items()}


def _figure(value: float | None) -> Content:
    return {"value": value} if value is not None else {"value": None, "reason": _UNDEFINED}


def _number(value: Values) -> float | None:
    number = float(value)
    return None if number != number else number
