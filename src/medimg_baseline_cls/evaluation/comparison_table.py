"""Turns comparison.json into its printed table, comparison.csv and the rows of its figure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, HEADLINE_SCORES, name_rule, word_of
from medimg_baseline_cls.evaluation.aligned_models import MACRO, FigureKey
from medimg_baseline_cls.utils.quantities import UNDEFINED, say_score

_SHOWN_CALLS = (*HEADLINE_DECISIONS, "accuracy")
_TEST_NAMES = {"delong": "DeLong", "mcnemar": "McNemar"}


class ComparedFigure(NamedTuple):
    """One figure of all models, the reference first; gaps are of the others."""

    key: FigureKey
    label: str
    entries: tuple[Mapping[str, Any], ...]
    gaps: tuple[Mapping[str, Any], ...]


def list_figures(content: Mapping[str, Any]) -> list[ComparedFigure]:
    """Return every figure of comparison.json, class by class."""
    first = content["models"][0]
    found: list[ComparedFigure] = []
    for name, block in first["classes"].items():
        keys = [FigureKey(name, None, figure) for figure in block["metrics"]]
        for rule, point in block["operating_points"].items():
            keys += [FigureKey(name, rule, figure) for figure in point]
        for key in keys:
            entries = tuple(_look_up(model, key) for model in content["models"])
            gaps = tuple(_look_up(gap, key) for gap in content["differences"])
            found.append(ComparedFigure(key, name_figure(key), entries, gaps))
    return found


def choose_figures(content: Mapping[str, Any], *, rule: str) -> list[ComparedFigure]:
    """Return the figures that are shown to people; the rest stands in the files.

    Of two classes AUROC, AP and the calls at one operating point; of more the averages, then
    the AUROC of each class.
    """
    figures = list_figures(content)
    if content["positive_class"] is not None:
        scores = [f for f in figures if f.key.rule is None and f.key.figure in HEADLINE_SCORES]
        calls = [f for f in figures if f.key.rule == rule and f.key.figure in _SHOWN_CALLS]
        order = (*HEADLINE_SCORES, *_SHOWN_CALLS)
        return sorted([*scores, *calls], key=lambda figure: order.index(figure.key.figure))
    macro = [f for f in figures if f.key.class_name == MACRO and f.key.figure in HEADLINE_SCORES]
    single = [f for f in figures if f.key.class_name != MACRO and f.key.figure == "auroc"]
    return [*reversed(macro), *single]


def tabulate_comparison(
    content: Mapping[str, Any], *, rule: str
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the end table: a figure of a model per row."""
    is_binary = content["positive_class"] is not None
    header = ["figure", "model", "value", "95 % interval", "difference", "95 % interval"]
    header += ["test", "p", "p (Holm)"]
    rows: list[list[str]] = []
    for figure in choose_figures(content, rule=rule):
        label = figure.label if is_binary else f"{figure.key.class_name}: {figure.label}"
        for number, model in enumerate(content["models"]):
            entry = figure.entries[number]
            cells = [label if number == 0 else "", model["name"], *_value_cells(entry)]
            gap = figure.gaps[number - 1] if number else {}
            rows.append([*cells, *_gap_cells(gap, is_reference=number == 0)])
    return header, rows


def list_rows(content: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of comparison.csv: every figure of every model."""
    header = ["class", "operating_point", "figure", "model", "value", "low", "high"]
    header += ["reference", "difference", "difference_low", "difference_high", "method"]
    header += ["test", "p_value", "p_holm"]
    rows: list[list[Any]] = []
    for figure in list_figures(content):
        for number, model in enumerate(content["models"]):
            entry, gap = figure.entries[number], figure.gaps[number - 1] if number else {}
            row = [figure.key.class_name, figure.key.rule, figure.key.figure, model["name"]]
            row += [entry.get("value"), *_bounds(entry)]
            row += [content["reference"] if number else None, gap.get("value"), *_bounds(gap)]
            row += [gap.get("method"), gap.get("test"), gap.get("p_value"), gap.get("p_holm")]
            rows.append(row)
    return header, rows


def name_figure(key: FigureKey) -> str:
    """Return the name of a figure in words.

    >>> name_figure(FigureKey("PNEUMONIA", "max_f1", "ppv"))
    'PPV at Max-F1'
    """
    name = word_of(key.figure)
    return name if key.rule is None else f"{name} at {name_rule(key.rule)}"


def format_p(value: float | None) -> str:
    """Return a p-value as journals print it.

    >>> format_p(0.04213), format_p(0.00002), format_p(1.0), format_p(None)
    ('0.042', '<0.001', '1.000', '–')
    """
    if value is None:
        return UNDEFINED
    return "<0.001" if value < 0.001 else say_score(value)


def _look_up(part: Mapping[str, Any], key: FigureKey) -> Mapping[str, Any]:
    block = part["classes"].get(key.class_name, {"metrics": {}, "operating_points": {}})
    figures = block["metrics"] if key.rule is None else block["operating_points"].get(key.rule, {})
    return figures.get(key.figure, {"value": None})


def _value_cells(entry: Mapping[str, Any]) -> Iterator[str]:
    value, bounds = entry["value"], entry.get("interval")
    yield say_score(value)
    yield f"{say_score(bounds[0])} to {say_score(bounds[1])}" if bounds else UNDEFINED


def _gap_cells(gap: Mapping[str, Any], *, is_reference: bool) -> list[str]:
    if is_reference:
        return ["reference", "", "", "", ""]
    value, bounds = gap["value"], gap.get("interval")
    return [
        UNDEFINED if value is None else _signed(value),
        f"{_signed(bounds[0])} to {_signed(bounds[1])}" if bounds else UNDEFINED,
        _TEST_NAMES.get(gap.get("test", ""), ""),
        *(format_p(gap[key]) if key in gap else "" for key in ("p_value", "p_holm")),
    ]


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return text.lstrip("+-") if float(text) == 0 else text


def _bounds(entry: Mapping[str, Any]) -> Sequence[float | None]:
    return entry.get("interval") or (None, None)
