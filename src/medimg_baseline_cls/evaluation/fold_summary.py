"""Turn the TEST summaries of several runs into cv_summary.json: spread, and pooled counts.

Each figure gets its mean, SD, minimum and maximum over the runs in which it is defined.
Decisions, made at each run's own thresholds, are pooled by adding up the four counts.
Ranks are not pooled: scores of different networks are not on one scale (Forman and Scholz,
SIGKDD Explorations 2010), so that AUROC and AP have a mean and no pooled figure.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from medimg_baseline_cls.catalogue import (
    COUNTS,
    HEADLINE_DECISIONS,
    HEADLINE_SCORES,
    name_rule,
    word_of,
)
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.estimates import make_figure
from medimg_baseline_cls.evaluation.split_summary import Summary
from medimg_baseline_cls.statistics.metrics import ConfusionCounts, operating_point_metrics
from medimg_baseline_cls.utils.quantities import UNDEFINED, say_score

_GRADE_METRICS = ("quadratic_weighted_kappa", "mean_grade_error")


def summarize_spread(summaries: Sequence[Mapping[str, Any]]) -> Summary:
    """Return the spread of every figure over runs, and the pooled decisions.

    Args:
        summaries: contents of test_summary.json, one per run, of the same classes.

    Raises:
        RunError: The runs are not of the same classes.
    """
    first = summaries[0]
    if any(summary["class_names"] != first["class_names"] for summary in summaries):
        raise RunError(
            "the runs have different classes, so that their figures cannot be summarised; "
            "set class_names, or start the cross-validation again."
        )
    content: Summary = {
        "num_runs": len(summaries),
        **({"task": first["task"]} if "task" in first else {}),
        "class_names": first["class_names"],
        "positive_class": first["positive_class"],
        "classes": {
            name: _spread_block([summary["classes"][name] for summary in summaries])
            for name in first["classes"]
        },
        **{
            mean: _spread_block([summary[mean] for summary in summaries])
            for mean in ("macro", "micro")
            if mean in first
        },
    }
    if first.get("task") == "ordinal":
        content["overall"] = _spread_figures([summary["overall"] for summary in summaries])
    return content


def describe_values(values: Sequence[float | None]) -> Summary:
    """Return mean, SD (of a sample, n - 1), minimum and maximum of the defined values.

    >>> describe_values([0.5, None, 1.0])["mean"]
    0.75
    >>> describe_values([None])["mean"] is None
    True
    """
    defined = [value for value in values if value is not None]
    if not defined:
        figures: Summary = dict.fromkeys(("mean", "sd", "min", "max"))
        return {**figures, "num_defined": 0, "reason": "undefined in every run"}
    return {
        "mean": math.fsum(defined) / len(defined),
        "sd": statistics.stdev(defined) if len(defined) > 1 else None,
        "min": min(defined),
        "max": max(defined),
        "num_defined": len(defined),
    }


def tabulate_spread(spread: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the end table: a figure of a class per row."""
    header = ["class", "figure", "mean", "SD", "min", "max", "pooled"]
    rows: list[list[str]] = []
    listed = [*spread["classes"].items()]
    listed += [("micro (all pairs)", spread["micro"])] if "micro" in spread else []
    for name, block in listed:
        for key in HEADLINE_SCORES:
            rows.append([name, word_of(key), *_cells(block["metrics"][key]), UNDEFINED])
        for rule, point in block["operating_points"].items():
            for key in HEADLINE_DECISIONS:
                pooled = _cell(point["pooled"][key]["value"])
                rows.append([name, f"{key} at {name_rule(rule)}", *_cells(point[key]), pooled])
    for key in _GRADE_METRICS if "overall" in spread else ():
        rows.append(["all grades", word_of(key), *_cells(spread["overall"][key]), UNDEFINED])
    return header, rows


def _spread_block(blocks: Sequence[Mapping[str, Any]]) -> Summary:
    """Return the spread of one class; a run without a positive VAL image lacks some points."""
    points: Summary = {}
    for rule in dict.fromkeys(rule for block in blocks for rule in block["operating_points"]):
        held = [b["operating_points"][rule] for b in blocks if rule in b["operating_points"]]
        points[rule] = _spread_figures(held)
        if all(name in point for point in held for name in COUNTS):
            points[rule]["pooled"] = _pool(held)
    return {
        "metrics": _spread_figures([block["metrics"] for block in blocks]),
        "operating_points": points,
    }


def _spread_figures(entries: Sequence[Mapping[str, Any]]) -> Summary:
    names = [name for name, figure in entries[0].items() if isinstance(figure, dict)]
    return {name: describe_values([entry[name]["value"] for entry in entries]) for name in names}


def _pool(points: Sequence[Mapping[str, Any]]) -> Summary:
    counts = {name: sum(point[name] for point in points) for name in COUNTS}
    figures = operating_point_metrics(ConfusionCounts(**counts))
    return counts | {name: make_figure(name, value) for name, value in figures.items()}


def _cells(figure: Mapping[str, Any]) -> list[str]:
    return [_cell(figure[name]) for name in ("mean", "sd", "min", "max")]


def _cell(value: float | None) -> str:
    return say_score(value)
