"""The subgroups of TEST in the report: one table per class, from subgroups.json."""

from collections.abc import Iterator

from medimg_baseline_cls.catalogue import DECISIONS, HEADLINE_SCORES, RATES, SCORES
from medimg_baseline_cls.records.subgroups import Subgroup, SubgroupSummary
from medimg_baseline_cls.records.summaries import ClassMetrics, MetricKey
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.performance import about_class, rule_name, show_estimate
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import format_count, format_score

MAX_CLASSES = 8
_LAST = {"brier_score": "Brier", "calibration_in_the_large": "Mean error"}


def tabulate_subgroups(content: RunContent) -> list[Table]:
    """Return one table per class, at most `MAX_CLASSES`; none for a run without subgroups."""
    summary = content.subgroups
    if summary is None:
        return []
    names = list(summary.whole.classes)[:MAX_CLASSES]
    return [_tabulate_class(content, summary, name=name) for name in names]


def _tabulate_class(content: RunContent, summary: SubgroupSummary, *, name: str) -> Table:
    rule = str(content.config.get("operating_point", "max_f1"))
    rows = [Row(_cells(summary.whole, "All images", name=name, rule=rule), "total")]
    for column in summary.columns:
        for number, (value, found) in enumerate(column.subgroups.items()):
            cells = _cells(found, f"{column.column}: {value}", name=name, rule=rule)
            rows.append(Row(cells, "" if number else "start"))
    return Table(
        title=f"{name} on TEST by subgroup, at {rule_name(content, rule)}",
        about=about_class(content, name),
        header=(
            *("Subgroup", "Images", "Patients", "Prevalence"),
            *(SCORES[key].short for key in HEADLINE_SCORES),
            *(DECISIONS[key].name for key in RATES),
            *_LAST.values(),
        ),
        rows=tuple(rows),
        notes=tuple(_notes(summary)),
    )


def _cells(found: Subgroup, title: str, *, name: str, rule: str) -> tuple[str, ...]:
    block = found.classes.get(name, ClassMetrics(metrics={}, operating_points={}))
    few = "\ntoo few images" if found.is_too_small else ""
    return (
        f"{title}{few}",
        format_count(found.num_images),
        format_count(found.num_groups),
        format_score(block.prevalence),
        *(show_estimate(block.metrics.get(key)) for key in HEADLINE_SCORES),
        *(show_estimate(block.look_up(MetricKey(name, rule, key))) for key in RATES),
        *(show_estimate(block.metrics.get(key)) for key in _LAST),
    )


def _notes(summary: SubgroupSummary) -> Iterator[str]:
    yield (
        "Second lines: 95 % intervals. Only subgroups of at least "
        f"{summary.min_images} images have metrics; one with a single class has only sensitivity "
        "or specificity. Mean error: mean probability minus prevalence."
    )
    yield (
        "These are many comparisons in one TEST set: intervals that do not overlap raise a "
        "question that only other data can answer."
    )
    missing = [f"{c.column} {c.num_not_given}" for c in summary.columns if c.num_not_given]
    if missing:
        yield f"Images without a value: {', '.join(missing)}."
