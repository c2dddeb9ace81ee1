"""What a run with subgroups can say to a reporting checklist; nothing for a run without.

A column of the user's may be hospitals, or sex, or anything: whether a subgroup is a cluster,
or bears on fairness, the run cannot know, and these answers leave it to the authors.
"""

from collections.abc import Callable, Iterator, Set

from medimg_baseline_cls.records.estimates import UNKNOWN, Estimate
from medimg_baseline_cls.records.subgroups import ColumnMetrics
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.performance import shown_classes
from medimg_baseline_cls.reporting.text.publication_format import format_estimate

Words = Iterator[str]


def _say_results(content: RunContent, _: Set[str]) -> Words:
    counts = [
        f"{c.column} ({sum(not s.is_too_small for s in c.subgroups.values())} "
        f"of {len(c.subgroups)})"
        for c in _list_columns(content)
    ]
    if content.subgroups is not None and counts:
        yield (
            f"TEST by subgroup, columns (measured of all): {', '.join(counts)}; a subgroup of "
            f"fewer than {content.subgroups.min_images} images has no metrics. "
            "Metrics with 95% intervals: subgroups.csv."
        )


def _say_differences(content: RunContent, _: Set[str]) -> Words:
    columns = _list_columns(content)
    if columns:
        yield (
            f"TEST was also measured by {_name_columns(columns)}, at the thresholds of all images. "
            "Which of these are clusters, such as hospitals: not available. "
            "Differences between subgroups were not tested."
        )


def _say_ranges(content: RunContent, _: Set[str]) -> Words:
    ranges: list[str] = []
    for column in _list_columns(content):
        for name in shown_classes(content):
            values = list(_list_aurocs(column, name))
            if len(values) > 1:
                low, high = (
                    format_estimate(Estimate(value=end)) for end in (min(values), max(values))
                )
                ranges.append(f"{column.column}, {name} {low} to {high}")
    if ranges:
        yield (
            f"TEST AUROC, lowest to highest subgroup: {'; '.join(ranges)}. "
            "Which of these are clusters: not available."
        )


def _say_fairness(content: RunContent, _: Set[str]) -> Words:
    columns = _list_columns(content)
    if columns:
        yield (
            f"TEST was measured by {_name_columns(columns)}; all subgroups share the network "
            "and thresholds. Which of these bear on fairness, and what else was done: "
            "not available."
        )


def _list_columns(content: RunContent) -> list[ColumnMetrics]:
    """Return each column that has subgroups."""
    columns = () if content.subgroups is None else content.subgroups.columns
    return [column for column in columns if column.subgroups]


def _name_columns(columns: list[ColumnMetrics]) -> str:
    return ", ".join(column.column for column in columns)


def _list_aurocs(column: ColumnMetrics, name: str) -> Iterator[float]:
    for subgroup in column.subgroups.values():
        block = subgroup.classes.get(name)
        value = None if block is None else block.metrics.get("auroc", UNKNOWN).value
        if value is not None:
            yield value


SUBGROUP_ANSWERS: dict[str, Callable[[RunContent, Set[str]], Words]] = {
    "fairness": _say_fairness,
    "subgroup_differences": _say_differences,
    "subgroup_ranges": _say_ranges,
    "subgroup_results": _say_results,
}
