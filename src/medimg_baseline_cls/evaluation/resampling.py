"""Gives every figure of val_summary.json and test_summary.json its 95 % interval.

The patients of VAL and of TEST are drawn again; in each resample the operating points are
chosen again on VAL, so that the interval of a TEST figure holds the uncertainty of its
threshold too. Proportions get Wilson's and Clopper and Pearson's intervals beside it, for
readers who take the threshold as given and the images as independent; AUROC gets DeLong's.
On VAL a figure at a threshold that was chosen there gets none: the choice has picked the images'
luck, and its bootstrap interval would begin at the estimate.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import CHOSEN_RULES, PROPORTIONS
from medimg_baseline_cls.evaluation.estimates import Summary
from medimg_baseline_cls.evaluation.overall_resampling import resample_overall, resample_pairs
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import (
    NUM_RESAMPLES,
    CallCounts,
    Values,
    Weights,
    choose_in_resamples,
    describe_values,
    draw_weights,
    mean_of,
    point_figures,
    weighted_calls,
    weighted_scores,
)
from medimg_baseline_cls.statistics.delong import delong_interval
from medimg_baseline_cls.statistics.intervals import (
    LEVEL,
    clopper_pearson_interval,
    wilson_interval,
)

CHOSEN_HERE = "the threshold was chosen on these images; see TEST"
Cuts = Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class Resampling:
    """How patients are drawn again: B times, from a seed."""

    num_resamples: int = NUM_RESAMPLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _ClassValues:
    """The figures of one class in each resample; shape (B,) each."""

    metrics: Mapping[str, Values]
    calls: Mapping[str, CallCounts]


def add_intervals(
    summaries: Mapping[str, Summary],
    parts: Sequence[Predictions],
    *,
    target_sensitivity: float,
    resampling: Resampling,
) -> dict[str, Summary]:
    """Return the summaries with an interval at each figure.

    Args:
        summaries: by split, from `summarize_predictions`.
        parts: the predictions of VAL, then, if there are any, of TEST.
        target_sensitivity: by which the rule of this name is chosen again.
        resampling: how often, and from which seed.

    Returns:
        Copies, in which a figure has "interval" and "method" (and "num_undefined" where
        resamples leave it undefined), a proportion "wilson" and "clopper_pearson", the AUROC
        "delong", an operating point "threshold_interval", and
        "intervals" says how they were made. On VAL, figures at thresholds chosen there have
        "interval" None and "interval_reason" instead.
    """
    weights = {part.split: draw_part(part, resampling) for part in parts}
    cuts = {
        name: choose_cuts(parts[0], name, weights=weights["val"], target=target_sensitivity)
        for name in summaries["val"]["classes"]
    }
    return {
        part.split: describe_part(
            part, summaries[part.split], weights=weights[part.split], cuts=cuts
        )
        | {"intervals": _describe_method(part, resampling)}
        for part in parts
    }


def draw_part(part: Predictions, resampling: Resampling) -> Weights:
    """Return the weights of one split, its classes kept; findings have no classes to keep."""
    is_finding = part.task == "multilabel"
    strata = np.zeros(len(part.groups), dtype=np.int64) if is_finding else part.labels
    return draw_weights(
        part.groups,
        strata,
        num_resamples=resampling.num_resamples,
        seed=resampling.seed,
        purpose=part.split,
    )


def _describe_method(part: Predictions, resampling: Resampling) -> Summary:
    return {
        "level": LEVEL,
        "method": "percentile bootstrap of whole groups (patients)",
        "stratified_by": None if part.task == "multilabel" else "class",
        "num_resamples": resampling.num_resamples,
        "seed": resampling.seed,
    }


def choose_cuts(
    val: Predictions, name: str, *, weights: Weights, target: float
) -> dict[str, NDArray[np.float64]]:
    """Choose the operating points of one class again in each resample of VAL; shape (B,) each."""
    known = val.known(name)
    truth, scores = select_known(val, name)
    if not truth.any():
        return {}
    return choose_in_resamples(truth, scores, weights=weights[:, known], target_sensitivity=target)


def describe_part(
    part: Predictions, summary: Summary, *, weights: Weights, cuts: Mapping[str, Cuts]
) -> Summary:
    """Return a copy of one summary with its intervals."""
    content = deepcopy(summary)
    values: dict[str, _ClassValues] = {}
    for name in part.class_names:
        block = content["classes"].get(name, {"operating_points": {}})
        values[name] = _resample_class(
            part, name, weights=weights, points=block["operating_points"], cuts=cuts.get(name, {})
        )
    for name, block in content["classes"].items():
        _attach_block(block, values[name])
        _attach_proportions(block, part, name=name)
        _attach_delong(block, part, name=name)
        for rule, point in block["operating_points"].items():
            if rule in cuts[name]:
                described = describe_values(cuts[name][rule])
                point["threshold_interval"] = described["interval"]
    mean = _mean_defined if part.task == "multilabel" else mean_of
    _attach_macro(content["macro"], list(values.values()), mean=mean)
    overall = resample_overall(part, weights=weights, positive_class=content["positive_class"])
    if "micro" in content:
        pooled = resample_pairs(part, weights=weights)
        overall["log_loss"] = pooled["log_loss"]
        calls = {rule: _add_up(values, rule) for rule in content["micro"]["operating_points"]}
        _attach_block(content["micro"], _ClassValues(pooled, calls))
    for name, found in overall.items():
        _attach(content["overall"][name], found)
    if part.split == "val":
        averages = [content[kind] for kind in ("macro", "micro") if kind in content]
        for block in (*content["classes"].values(), *averages):
            _withhold_chosen(block["operating_points"])
    return content


def _resample_class(
    part: Predictions,
    name: str,
    *,
    weights: Weights,
    points: Mapping[str, Any],
    cuts: Cuts,
) -> _ClassValues:
    truth, scores = select_known(part, name)
    if len(truth) == 0:
        return _ClassValues({}, {})
    own = weights[:, part.known(name)]
    calls = {
        rule: weighted_calls(
            truth, scores, thresholds=cuts.get(rule, point["threshold"]), weights=own
        )
        for rule, point in points.items()
    }
    return _ClassValues(weighted_scores(truth, scores, weights=own), calls)


def _attach_block(block: Summary, values: _ClassValues) -> None:
    for name, found in values.metrics.items():
        _attach(block["metrics"][name], found)
    for rule, counts in values.calls.items():
        for name, found in point_figures(counts).items():
            _attach(block["operating_points"][rule][name], found)


def _attach(figure: Summary, values: Values) -> None:
    """Put the interval of a figure beside its value; one that is undefined has none."""
    if figure["value"] is not None:
        figure |= describe_values(values)


def _withhold_chosen(points: Mapping[str, Summary]) -> None:
    """Take the intervals from figures at thresholds that were chosen on the same images."""
    entries = [entry for rule in CHOSEN_RULES for entry in points.get(rule, {}).values()]
    for figure in [entry for entry in entries if isinstance(entry, dict)]:
        if figure["value"] is None:
            continue
        for key in ("method", "num_undefined", "wilson", "clopper_pearson"):
            figure.pop(key, None)
        figure |= {"interval": None, "interval_reason": CHOSEN_HERE}


def _attach_macro(
    macro: Summary,
    values: Sequence[_ClassValues],
    *,
    mean: Callable[[Sequence[Values]], Values],
) -> None:
    """Give the means over classes the interval of their mean in each resample."""
    for name, figure in macro["metrics"].items():
        if figure["value"] is not None:
            _attach(figure, mean([v.metrics[name] for v in values if v.metrics]))
    for rule, point in macro["operating_points"].items():
        found = [point_figures(v.calls[rule]) for v in values if rule in v.calls]
        for name in [name for name in point if point[name]["value"] is not None]:
            _attach(point[name], mean([figures[name] for figures in found]))


def _mean_defined(columns: Sequence[Values]) -> Values:
    """Return the mean of the classes that are defined in each resample, shape (B,)."""
    stacked = np.stack(columns)  # (C, B)
    is_defined = ~np.isnan(stacked)
    count = is_defined.sum(axis=0)
    total = np.where(is_defined, stacked, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _add_up(values: Mapping[str, _ClassValues], rule: str) -> CallCounts:
    """Add up the calls of all findings by one rule; a finding without a threshold adds none."""
    found = [v.calls[rule] for v in values.values() if rule in v.calls]
    return CallCounts(*(np.nansum(np.stack(column), axis=0) for column in zip(*found, strict=True)))


def _attach_delong(block: Summary, part: Predictions, *, name: str) -> None:
    """Put DeLong's interval beside the AUROC, images of one patient taken as a cluster."""
    truth, scores = select_known(part, name)
    groups = np.array(part.groups)[part.known(name)].tolist()
    interval = delong_interval(truth, scores, groups=groups) if len(truth) else None
    if interval is not None:
        block["metrics"]["auroc"]["delong"] = list(interval)


def _attach_proportions(block: Summary, part: Predictions, *, name: str) -> None:
    """Put the closed-form intervals beside each proportion; one of them where no resample varies.

    That one takes patients for images, as those of one patient are no independent trials.
    """
    groups = np.array(part.groups)[part.known(name)]
    truth, scores = select_known(part, name)
    for point in block["operating_points"].values():
        call = scores >= point["threshold"]
        bases = {
            "sensitivity": truth,
            "specificity": ~truth,
            "ppv": call,
            "npv": ~call,
            "accuracy": np.ones_like(truth),
        }
        for metric, (hits, misses) in _proportions(point):
            figure = point[metric]
            if figure["value"] is None:
                continue
            figure["wilson"] = list(wilson_interval(hits, hits + misses))
            figure["clopper_pearson"] = list(clopper_pearson_interval(hits, hits + misses))
            if figure["interval"] is None and figure["value"] in (0.0, 1.0):
                count = len(np.unique(groups[bases[metric]]))
                exact = clopper_pearson_interval(count if hits else 0, count)
                figure |= {"interval": list(exact), "method": "clopper_pearson"}


def _proportions(point: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each proportion of an operating point with its hits and misses."""
    for metric, (part, whole) in PROPORTIONS.items():
        hits, total = (sum(point[key] for key in keys) for keys in (part, whole))
        yield metric, (hits, total - hits)
