"""Turns a comparison into its printed table, comparison.csv and the rows of its picture."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, HEADLINE_SCORES, name_rule, word_of
from medimg_baseline_cls.records.comparisons import Comparison
from medimg_baseline_cls.records.estimates import UNKNOWN, Bounds, Estimate, PairedDifference
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.utils.quantities import UNDEFINED, format_p, say_score

_SHOWN_CALLS = (*HEADLINE_DECISIONS, "accuracy")
_TEST_NAMES = {"delong": "DeLong", "mcnemar": "McNemar"}
_NO_GAP = PairedDifference(value=None)


class ComparedMetric(NamedTuple):
    """One metric of all models, the reference first; gaps are of the others."""

    key: MetricKey
    label: str
    entries: tuple[Estimate, ...]
    gaps: tuple[PairedDifference, ...]

    @property
    def class_name(self) -> str:
        """Return the class or average it belongs to."""
        block = self.key.block
        return block.value if isinstance(block, Average) else block


def list_metrics(comparison: Comparison) -> list[ComparedMetric]:
    """Return every metric of a comparison, class by class."""
    return [
        ComparedMetric(
            key,
            name_metric(key),
            tuple(model.estimates.get(key, UNKNOWN) for model in comparison.models),
            tuple(
                d.differences.get(key, PairedDifference(value=None)) for d in comparison.differences
            ),
        )
        for key in comparison.models[0].estimates
    ]


def choose_metrics(comparison: Comparison, *, rule: str) -> list[ComparedMetric]:
    """Return the metrics that are shown to people; all of them are in the files.

    Of two classes AUROC, AP and the decisions at one operating point; of more the averages, then
    the AUROC of each class.
    """
    metrics = list_metrics(comparison)
    if comparison.positive_class is not None:
        scores = [m for m in metrics if m.key.rule is None and m.key.metric in HEADLINE_SCORES]
        calls = [m for m in metrics if m.key.rule == rule and m.key.metric in _SHOWN_CALLS]
        order = (*HEADLINE_SCORES, *_SHOWN_CALLS)
        return sorted([*scores, *calls], key=lambda compared: order.index(compared.key.metric))
    averages = [m for m in metrics if isinstance(m.key.block, Average)]
    macro = [m for m in averages if m.key.metric in HEADLINE_SCORES]
    single = [m for m in metrics if m not in averages and m.key.metric == "auroc"]
    return [*reversed(macro), *single]


def tabulate_comparison(comparison: Comparison, *, rule: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the end table: a metric of a model per row."""
    header = ["metric", "model", "value", "95 % interval", "difference", "95 % interval"]
    header += ["test", "p", "p (Holm)"]
    rows: list[list[str]] = []
    for compared in choose_metrics(comparison, rule=rule):
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
    for compared in list_metrics(comparison):
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


def name_metric(key: MetricKey) -> str:
    """Return the name of a metric in words.

    >>> name_metric(MetricKey("PNEUMONIA", "max_f1", "ppv"))
    'PPV at Max-F1'
    """
    name = word_of(key.metric)
    return name if key.rule is None else f"{name} at {name_rule(key.rule)}"


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
