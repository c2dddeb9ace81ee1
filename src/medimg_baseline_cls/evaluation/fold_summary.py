"""Turn the TEST summaries of several runs into cv_summary.json: spread, and pooled counts.

Each metric gets its mean, SD, minimum and maximum over the runs in which it is defined.
Decisions, made at each run's own thresholds, are pooled by adding up the four counts.
Ranks are not pooled: scores of different networks are not on one scale (Forman and Scholz,
SIGKDD Explorations 2010), so that AUROC and AP have a mean and no pooled value.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

from medimg_baseline_cls.catalogue import (
    COUNTS,
    HEADLINE_DECISIONS,
    HEADLINE_SCORES,
    name_rule,
    word_of,
)
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.split_summary import measure_counts
from medimg_baseline_cls.records.estimates import Estimate, Spread
from medimg_baseline_cls.records.spreads import SpreadBlock, SpreadPoint, SpreadSummary
from medimg_baseline_cls.records.summaries import (
    Average,
    ClassMetrics,
    OperatingPoint,
    SplitSummary,
)
from medimg_baseline_cls.statistics.metrics import ConfusionCounts
from medimg_baseline_cls.utils.quantities import UNDEFINED, say_score

_GRADE_METRICS = ("quadratic_weighted_kappa", "mean_grade_error")


def summarize_spread(summaries: Sequence[SplitSummary]) -> SpreadSummary:
    """Return the spread of every metric over runs, and the pooled decisions.

    Args:
        summaries: of TEST, one per run, of the same classes.

    Raises:
        RunError: the runs have different classes.
    """
    first = summaries[0]
    if any(summary.class_names != first.class_names for summary in summaries):
        raise RunError(
            "the runs have different classes, so that their metrics cannot be summarized; "
            "set class_names, or start the cross-validation again."
        )
    blocks = {
        name: _spread_block([summary.blocks[name] for summary in summaries])
        for name in first.blocks
    }
    overall = None
    if first.has_grades:
        overall = SpreadBlock(metrics=_spread([summary.overall for summary in summaries]))
    return SpreadSummary(
        num_runs=len(summaries),
        task=first.task,
        class_names=first.class_names,
        positive_class=first.positive_class,
        classes={name: block for name, block in blocks.items() if isinstance(name, str)},
        averages={name: block for name, block in blocks.items() if isinstance(name, Average)},
        overall=overall,
    )


def describe_spread(values: Sequence[float | None]) -> Spread:
    """Return mean, SD (of a sample, n - 1), minimum and maximum of the defined values.

    >>> describe_spread([0.5, None, 1.0]).mean
    0.75
    >>> describe_spread([None]).mean is None
    True
    """
    defined = [value for value in values if value is not None]
    if not defined:
        return Spread(mean=None, sd=None, minimum=None, maximum=None, num_defined=0)
    # fsum is exact, so that the mean does not depend on the order of the runs.
    return Spread(
        mean=math.fsum(defined) / len(defined),
        sd=statistics.stdev(defined) if len(defined) > 1 else None,
        minimum=min(defined),
        maximum=max(defined),
        num_defined=len(defined),
    )


def tabulate_spread(summary: SpreadSummary) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the end table: a metric of a class per row."""
    header = ["class", "metric", "mean", "SD", "min", "max", "pooled"]
    rows: list[list[str]] = []
    for name, block in summary.rows():
        for key in HEADLINE_SCORES:
            rows.append([name, word_of(key), *spread_cells(block.metrics[key]), UNDEFINED])
        for rule, point in block.operating_points.items():
            for key in HEADLINE_DECISIONS:
                pooled = None if point.pooled is None else point.pooled.metrics[key].value
                cells = [*spread_cells(point.metrics[key]), say_score(pooled)]
                rows.append([name, f"{key} at {name_rule(rule)}", *cells])
    overall = {} if summary.overall is None else summary.overall.metrics
    for key in _GRADE_METRICS if overall else ():
        rows.append(["all grades", word_of(key), *spread_cells(overall[key]), UNDEFINED])
    return header, rows


def spread_cells(spread: Spread) -> list[str]:
    """Return mean, SD, minimum and maximum as cells of a table."""
    return [say_score(v) for v in (spread.mean, spread.sd, spread.minimum, spread.maximum)]


def _spread_block(blocks: Sequence[ClassMetrics]) -> SpreadBlock:
    """Return the spread of one class; runs without a positive VAL image lack some points."""
    points: dict[str, SpreadPoint] = {}
    for rule in dict.fromkeys(rule for block in blocks for rule in block.operating_points):
        found = [b.operating_points[rule] for b in blocks if rule in b.operating_points]
        has_counts = all(point.tp is not None for point in found)
        points[rule] = SpreadPoint(
            metrics=_spread([point.metrics for point in found]),
            pooled=_pool(found) if has_counts else None,
        )
    return SpreadBlock(
        metrics=_spread([block.metrics for block in blocks]), operating_points=points
    )


def _spread(measured: Sequence[Mapping[str, Estimate]]) -> dict[str, Spread]:
    return {
        metric: describe_spread([metrics[metric].value for metrics in measured])
        for metric in measured[0]
        if all(metric in metrics for metrics in measured)
    }


def _pool(points: Sequence[OperatingPoint]) -> OperatingPoint:
    totals = {name: sum(point.counts((name,)) for point in points) for name in COUNTS}
    return measure_counts(ConfusionCounts(**totals))
