"""The subgroups of TEST in the report: one table per class, of what subgroups.json holds."""

from collections.abc import Iterator

from medimg_baseline_cls.catalogue import DECISIONS, HEADLINE_SCORES, RATES, SCORES
from medimg_baseline_cls.records.summaries import ClassMetrics
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping
from medimg_baseline_cls.reporting.page.performance import about_class, rule_name, show_estimate
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import UNDEFINED, format_count, format_score

MAX_CLASSES = 8
_LAST = {"brier_score": "Brier", "calibration_in_the_large": "Mean error"}


def tabulate_subgroups(content: RunContent) -> list[Table]:
    """Return one table per class, at most `MAX_CLASSES`; none for a run without subgroups."""
    names = list(as_mapping(as_mapping(content.subgroups.get("all")).get("classes")))
    return [_tabulate_class(content, name) for name in names[:MAX_CLASSES]]


def _tabulate_class(content: RunContent, name: str) -> Table:
    rule = str(content.config.get("operating_point", "max_f1"))
    rows = [Row(_cells(content.subgroups["all"], "All images", name=name, rule=rule), "total")]
    for column in content.subgroups.get("columns", []):
        for number, (value, block) in enumerate(as_mapping(column["subgroups"]).items()):
            cells = _cells(block, f"{column['column']}: {value}", name=name, rule=rule)
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
        notes=tuple(_notes(content)),
    )


def _cells(block: Json, title: str, *, name: str, rule: str) -> tuple[str, ...]:
    found = as_mapping(as_mapping(block.get("classes")).get(name))
    measured = ClassMetrics.from_json(found)
    point = measured.operating_points.get(rule)
    rates = {} if point is None else point.metrics
    few = "\ntoo few images" if block.get("is_too_small") else ""
    return (
        f"{title}{few}",
        format_count(block.get("num_images", 0)),
        format_count(block.get("num_groups", 0)),
        format_score(measured.prevalence) if found else UNDEFINED,
        *(show_estimate(measured.metrics.get(key)) for key in HEADLINE_SCORES),
        *(show_estimate(rates.get(key)) for key in RATES),
        *(show_estimate(measured.metrics.get(key)) for key in _LAST),
    )


def _notes(content: RunContent) -> Iterator[str]:
    least = content.subgroups.get("min_images")
    yield (
        f"Second lines: 95 % intervals. From {least} images on; a subgroup of one class has "
        "sensitivity or specificity alone. Mean error: mean probability minus prevalence."
    )
    yield (
        "These are many comparisons in one TEST set: intervals that do not overlap are a question "
        "for other data, not a finding."
    )
    missing = [
        f"{column['column']} {column['num_not_given']}"
        for column in content.subgroups.get("columns", [])
        if column.get("num_not_given")
    ]
    if missing:
        yield f"Images without a value: {', '.join(missing)}."
