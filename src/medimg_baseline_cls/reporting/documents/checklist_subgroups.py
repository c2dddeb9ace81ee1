"""What a run with subgroups can say to a reporting checklist; nothing for a run without.

A column of the user's may be hospitals, or sex, or anything: whether a subgroup is a cluster,
or bears on fairness, the run cannot know, and these answers leave it to the authors.
"""

from collections.abc import Callable, Iterator, Set

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping, value_of
from medimg_baseline_cls.reporting.page.performance import shown_classes
from medimg_baseline_cls.reporting.text.publication_format import format_estimate

Words = Iterator[str]


def _say_results(content: RunContent, _: Set[str]) -> Words:
    counts = [
        f"{column['column']} ({sum(map(_is_measured, blocks))} of {len(blocks)})"
        for column, blocks in _list_columns(content)
    ]
    if counts:
        yield (
            f"TEST by subgroup, of columns (measured of all): {', '.join(counts)}; a subgroup of "
            f"fewer than {content.subgroups.get('min_images')} images has no figures. "
            "Figures with 95% intervals: subgroups.csv."
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
    for column, blocks in _list_columns(content):
        for name in shown_classes(content):
            values = [v for block in blocks if (v := _find_auroc(block, name)) is not None]
            if len(values) > 1:
                low, high = (
                    format_estimate(Estimate(value=end)) for end in (min(values), max(values))
                )
                ranges.append(f"{column['column']}, {name} {low} to {high}")
    if ranges:
        yield (
            f"TEST AUROC, lowest to highest subgroup: {'; '.join(ranges)}. "
            "Which of these are clusters: not available."
        )


def _say_fairness(content: RunContent, _: Set[str]) -> Words:
    columns = _list_columns(content)
    if columns:
        yield (
            f"TEST was measured by {_name_columns(columns)}; every subgroup has the same network "
            "and thresholds. Which of these bear on fairness, and what else was done: "
            "not available."
        )


def _list_columns(content: RunContent) -> list[tuple[Json, list[Json]]]:
    """Return each column with the blocks of its subgroups; a column without any is left out."""
    columns = [as_mapping(column) for column in content.subgroups.get("columns", [])]
    blocks = [[as_mapping(b) for b in as_mapping(c.get("subgroups")).values()] for c in columns]
    return [(c, b) for c, b in zip(columns, blocks, strict=True) if b]


def _name_columns(columns: list[tuple[Json, list[Json]]]) -> str:
    return ", ".join(str(column["column"]) for column, _ in columns)


def _is_measured(block: Json) -> bool:
    return not block.get("is_too_small")


def _find_auroc(block: Json, name: str) -> float | None:
    found = as_mapping(as_mapping(block.get("classes")).get(name))
    return value_of(as_mapping(found.get("metrics")).get("auroc"))


SUBGROUP_ANSWERS: dict[str, Callable[[RunContent, Set[str]], Words]] = {
    "fairness": _say_fairness,
    "subgroup_differences": _say_differences,
    "subgroup_ranges": _say_ranges,
    "subgroup_results": _say_results,
}
