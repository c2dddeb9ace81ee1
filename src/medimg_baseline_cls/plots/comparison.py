"""Draws models side by side: each metric with its interval, and its difference from the first.

The two panels share their rows. Where the interval of a difference leaves out 0, its line is
drawn strong; p-values by Holm's correction are at the right.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from medimg_baseline_cls.plots.panels import make_line, write_shared_key
from medimg_baseline_cls.plots.style import (
    CLASS_COLORS,
    INK,
    MUTED,
    PAGE,
    PALE,
    SMALL,
    drawing,
    fit,
)
from medimg_baseline_cls.records.comparisons import ComparedMetric, Comparison
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.utils.quantities import format_p

_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MAX_ROWS = 24


def draw_comparison(comparison: Comparison, path: Path, *, rule: str) -> None:
    """Draw the metrics of all models and their differences from the reference.

    Args:
        comparison: from `compare_models`.
        path: the PNG.
        rule: the operating point whose calls are shown.
    """
    metrics = comparison.choose_metrics(rule=rule)[:_MAX_ROWS]
    names = [model.name for model in comparison.models]
    height = 1.6 + 0.16 * len(names) + len(metrics) * max(0.44, 0.22 * len(names))
    with drawing(path, width=PAGE, height=height) as figure:
        values, gaps = figure.subplots(1, 2, sharey=True, width_ratios=(1.0, 1.0))
        for row, compared in enumerate(metrics):
            _shade(values, gaps, row=row)
            _draw_row(values, compared.entries, row=row, first=0, count=len(names))
            _draw_row(gaps, compared.gaps, row=row, first=1, count=len(names))
        _write_p(gaps, metrics, count=len(names))
        is_binary = comparison.positive_class is not None
        labels = [_label(compared, is_binary=is_binary) for compared in metrics]
        values.set_yticks(range(len(metrics)), labels)
        values.set_ylim(len(metrics) - 0.5, -0.5)
        values.set_xlim(right=min(1.02, values.get_xlim()[1]))
        gaps.axvline(0, color=INK, linewidth=1.0, zorder=2)
        for axes in (values, gaps):
            axes.tick_params(axis="y", length=0)
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
        values.set_title(f"{comparison.split.upper()}, {comparison.num_images} images")
        values.set_xlabel("Value, 95 % interval")
        gaps.set_title(fit(f"Difference from {names[0]}", 2.6))
        gaps.set_xlabel("Difference, 95 % interval\n(left of 0: lower than the reference)")
        texts = [fit(name, 2.8, size=SMALL, weight="normal") for name in names]
        write_shared_key(figure, [make_line(text, **_look(n)) for n, text in enumerate(texts)])


def _label(compared: ComparedMetric, *, is_binary: bool) -> str:
    if is_binary:
        name, _, rule = compared.label.partition(" at ")
        name = name[0].upper() + name[1:]
        return f"{name}\nat {rule}" if rule else name
    return f"{fit(compared.class_name, 1.5, weight='normal', num_lines=2)}\n{compared.label}"


def _look(number: int) -> dict[str, Any]:
    place = number % len(CLASS_COLORS)
    return {"color": CLASS_COLORS[place], "marker": _MARKS[place]}


def _place(row: int, number: int, *, count: int) -> float:
    """Return where a model's mark is in its row: the first one on top."""
    return row + (number - (count - 1) / 2) * 0.7 / count


def _shade(*panels: Axes, row: int) -> None:
    for axes in panels if row % 2 == 0 else ():
        axes.axhspan(row - 0.5, row + 0.5, color=PALE, alpha=0.55, linewidth=0, zorder=0)


def _draw_row(axes: Axes, entries: Sequence[Estimate], *, row: int, first: int, count: int) -> None:
    """Draw the marks and intervals of one metric; what is undefined is left out."""
    for number, entry in enumerate(entries, start=first):
        if entry.value is None:
            continue
        place, look, bounds = _place(row, number, count=count), _look(number), entry.bounds
        if bounds:
            is_clear = first == 0 or bounds[0] > 0 or bounds[1] < 0
            axes.plot(bounds, [place, place], color=look["color"], linewidth=1.0 + is_clear)
        axes.plot([entry.value], [place], markersize=4.5, zorder=4, **look)


def _write_p(axes: Axes, metrics: Sequence[ComparedMetric], *, count: int) -> None:
    """Write the p-values, corrected, at the right border."""
    texts = [("p (Holm)", -0.62, INK)]
    for row, compared in enumerate(metrics):
        for number, gap in enumerate(compared.gaps, start=1):
            place = _place(row, number, count=count)
            texts += [] if gap.p_holm is None else [(format_p(gap.p_holm), place, MUTED)]
    for text, place, color in texts:
        axes.annotate(
            text,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=color,
        )
