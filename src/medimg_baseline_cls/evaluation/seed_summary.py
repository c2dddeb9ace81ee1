"""Turns runs that differ in their seed alone into seeds_summary.json, and into their ensemble.

The seed is the unit: mean, SD and range of each figure. The interval of the mean holds both
sources of variation: seeds and patients are drawn again together. Of S seeds S - 1 are drawn,
because drawing all S would understate the variance of few (Rao and Wu, JASA 1988).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, HEADLINE_SCORES
from medimg_baseline_cls.evaluation.aligned_models import (
    MACRO,
    FigureKey,
    ScoredModel,
    align_models,
    resample_model,
)
from medimg_baseline_cls.evaluation.comparison_table import name_figure
from medimg_baseline_cls.evaluation.estimates import Summary
from medimg_baseline_cls.evaluation.fold_summary import summarize_spread
from medimg_baseline_cls.evaluation.overall_resampling import resample_overall, resample_pairs
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import Resampling, draw_part
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import (
    CallCounts,
    Values,
    Weights,
    describe_values,
    point_figures,
    weighted_calls,
)
from medimg_baseline_cls.statistics.intervals import LEVEL
from medimg_baseline_cls.utils.quantities import UNDEFINED, say_score
from medimg_baseline_cls.utils.seed import generator

METHOD = "bootstrap of seeds and patients"


def average_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Return the mean probabilities of several networks for the same images, in one order.

    Args:
        parts: of one split, aligned by `align_models`.

    >>> part = Predictions("val", ("a", "b"), ("1",), ("1",), ("1",), np.array([0]),
    ...                    np.array([[0.5, 0.5]]))
    >>> other = replace(part, probabilities=np.array([[1.0, 0.0]]))
    >>> average_predictions([part, other]).probabilities.tolist()
    [[0.75, 0.25]]
    """
    stacked = np.stack([part.probabilities for part in parts])  # (S, N, C)
    return replace(parts[0], probabilities=stacked.mean(axis=0))


def summarize_seeds(
    summaries: Sequence[Mapping[str, Any]],
    models: Sequence[ScoredModel],
    *,
    resampling: Resampling,
) -> Summary:
    """Return the spread of every TEST figure over seeds, each with an interval of its mean.

    Args:
        summaries: contents of test_summary.json, one per seed, two or more.
        models: the same runs, in the same order.
        resampling: how often patients and seeds are drawn again, and from which seed.

    Raises:
        RunError: The runs were not tested on the same images.
    """
    content = summarize_spread(summaries)
    aligned = align_models(models)
    weights = draw_part(aligned[0].test, resampling)
    by_seed = [resample_model(model, weights) for model in aligned]
    for key, values in _draw_means(by_seed, resampling).items():
        block = content[MACRO] if key.class_name == MACRO else content["classes"][key.class_name]
        _attach(block, key, values=values)
    if "micro" in content:
        by_seed = [_resample_micro(model, weights) for model in aligned]
        for key, values in _draw_means(by_seed, resampling).items():
            _attach(content["micro"], key, values=values)
    if "overall" in content:
        by_seed = [_resample_overall(model, weights) for model in aligned]
        for key, values in _draw_means(by_seed, resampling).items():
            _attach({"metrics": content["overall"]}, key, values=values)
    for block in (*content["classes"].values(), content[MACRO], content.get("micro", {})):
        for point in block.get("operating_points", {}).values():
            # The runs decide on the same images: adding up their counts would mean nothing.
            point.pop("pooled", None)
    content["intervals"] = {
        "level": LEVEL,
        "method": f"percentile {METHOD} (whole groups; S - 1 of S seeds)",
        "num_resamples": resampling.num_resamples,
        "seed": resampling.seed,
    }
    return content


def tabulate_seeds(
    content: Mapping[str, Any], ensemble: Mapping[str, Any]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the end table: a figure of a class per row.

    Args:
        content: from `summarize_seeds`.
        ensemble: the content of the ensemble's test_summary.json.
    """
    header = ["class", "figure", "mean", "SD", "min", "max", "95 % interval"]
    header += ["ensemble", "95 % interval"]
    rows: list[list[str]] = []
    for name, block in content["classes"].items():
        keys = [FigureKey(name, None, figure) for figure in HEADLINE_SCORES]
        for rule in block["operating_points"]:
            keys += [FigureKey(name, rule, figure) for figure in HEADLINE_DECISIONS]
        for key in keys:
            seeds = _look_up(block, key)
            joint = _look_up(ensemble["classes"][name], key)
            cells = [_cell(seeds[part]) for part in ("mean", "sd", "min", "max")]
            cells += [_bounds(seeds), _cell(joint["value"]), _bounds(joint)]
            rows.append([name, name_figure(key), *cells])
    return header, rows


def _draw_means(
    by_seed: Sequence[Mapping[FigureKey, Values]], resampling: Resampling
) -> dict[FigureKey, Values]:
    """Return the mean of each figure over drawn seeds, on drawn patients; shape (B,) each."""
    num_drawn = max(len(by_seed) - 1, 1)
    random = generator(resampling.seed, "bootstrap", "seeds")
    drawn = random.integers(len(by_seed), size=(num_drawn, resampling.num_resamples))
    columns = np.arange(resampling.num_resamples)
    means: dict[FigureKey, Values] = {}
    for key in by_seed[0]:
        if all(key in values for values in by_seed):
            stacked = np.stack([values[key] for values in by_seed])  # (S, B)
            means[key] = stacked[drawn, columns].mean(axis=0)
    return means


def _resample_micro(model: ScoredModel, weights: Weights) -> dict[FigureKey, Values]:
    """Return the figures of all known pairs of image and finding in each resample."""
    pooled = resample_pairs(model.test, weights=weights)
    found = {FigureKey("micro", None, name): values for name, values in pooled.items()}
    calls: dict[str, list[CallCounts]] = {}
    for name, points in model.thresholds.items():
        truth, scores = select_known(model.test, name)
        own = weights[:, model.test.known(name)]
        for point in points:
            counts = weighted_calls(truth, scores, thresholds=point.value, weights=own)
            calls.setdefault(point.rule, []).append(counts)
    for rule, listed in calls.items():
        total = CallCounts(*np.sum(listed, axis=0))
        found |= {FigureKey("micro", rule, k): v for k, v in point_figures(total).items()}
    return found


def _resample_overall(model: ScoredModel, weights: Weights) -> dict[FigureKey, Values]:
    """Return the figures of the most probable grade in each resample."""
    found = resample_overall(model.test, weights=weights, positive_class=model.positive_class)
    return {FigureKey("overall", None, name): values for name, values in found.items()}


def _attach(block: Mapping[str, Any], key: FigureKey, *, values: Values) -> None:
    """Put the interval of a mean over seeds beside it; an undefined mean has none."""
    point = block["metrics"] if key.rule is None else block["operating_points"][key.rule]
    if point[key.figure]["mean"] is not None:
        point[key.figure] |= describe_values(values) | {"method": METHOD}


def _look_up(block: Mapping[str, Any], key: FigureKey) -> Mapping[str, Any]:
    point = block["metrics"] if key.rule is None else block["operating_points"].get(key.rule, {})
    return point.get(key.figure, {"value": None})


def _cell(value: float | None) -> str:
    return say_score(value)


def _bounds(figure: Mapping[str, Any]) -> str:
    bounds = figure.get("interval")
    return f"{say_score(bounds[0])} to {say_score(bounds[1])}" if bounds else UNDEFINED
