"""Turn a comparison into its printed table, comparison.csv and the rows of its picture."""

from collections.abc import Iterator
from typing import Any

from medimg_baseline_cls.catalogue import DECISIONS, SCORES
from medimg_baseline_cls.records.comparisons import Comparison
from medimg_baseline_cls.records.estimates import Bounds, Estimate, PairedDifference
from medimg_baseline_cls.utils.quantities import UNDEFINED, format_p, say_score

_TEST_NAMES = {"delong": "DeLong", "mcnemar": "McNemar"}


def tabulate_comparison(comparison: Comparison, *, rule: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the end table: a metric of a model per row."""
    header = ["metric", "model", "value", "95 % interval", "difference", "95 % interval"]
    header += ["test", "p", "p (Holm)"]
    rows: list[list[str]] = []
    added = [m for m in comparison.list_metrics() if m.key.metric not in {*SCORES, *DECISIONS}]
    added = [m for m in added if m.key.rule in (None, rule)]
    for compared in (*comparison.choose_metrics(rule=rule), *added):
        label = compared.label
        if comparison.positive_class is None:
            label = f"{compared.class_name}: {label}"
        for number, model in enumerate(comparison.models):
            entry = compared.entries[number]
            cells = [label if number == 0 else "", model.name, *_value_cells(entry)]
            rows.append([*cells, *_gap_cells(compared.gaps[number - 1] if number else None)])
    return header, rows


def list_rows(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of comparison.csv: every metric of every model."""
    header = ["class", "operating_point", "figure", "model", "value", "low", "high"]
    header += ["reference", "difference", "difference_low", "difference_high", "method"]
    header += ["test", "p_value", "p_holm"]
    rows: list[list[Any]] = []
    for compared in comparison.list_metrics():
        for number, model in enumerate(comparison.models):
            entry = compared.entries[number]
            row = [compared.class_name, compared.key.rule, compared.key.metric, model.name]
            row += [entry.value, *_ends(entry.bounds)]
            if number == 0:
                rows.append([*row, *[None] * 8])
                continue
            gap = compared.gaps[number - 1]
            method = None if gap.interval is None else gap.interval.method
            row += [comparison.models[0].name, gap.value, *_ends(gap.bounds)]
            rows.append([*row, method, gap.test or None, gap.p_value, gap.p_holm])
    return header, rows


def _value_cells(entry: Estimate) -> Iterator[str]:
    yield say_score(entry.value)
    bounds = entry.bounds
    yield f"{say_score(bounds[0])} to {say_score(bounds[1])}" if bounds else UNDEFINED


def _gap_cells(gap: PairedDifference | None) -> list[str]:
    if gap is None:
        return ["reference", "", "", "", ""]
    bounds = gap.bounds
    return [
        UNDEFINED if gap.value is None else _signed(gap.value),
        f"{_signed(bounds[0])} to {_signed(bounds[1])}" if bounds else UNDEFINED,
        _TEST_NAMES.get(gap.test, ""),
        *("" if p is None else format_p(p) for p in (gap.p_value, gap.p_holm)),
    ]


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return text.lstrip("+-") if float(text) == 0 else text


def _ends(bounds: Bounds | None) -> Bounds | tuple[None, None]:
    return bounds or (None, None)
