"""Draws confusion matrices: two classes at each operating point, more classes as a whole.

Several findings have no matrix in common: each gets its own two by two, of the images where
it is known.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.plots.panels import Scored
from medimg_baseline_cls.plots.style import COLUMN, INK, PAGE, SMALL, drawing, fit, measure
from medimg_baseline_cls.records.summaries import OperatingPoint
from medimg_baseline_cls.utils.quantities import format_threshold

_MAX_WRITTEN = 16
_MAX_COLUMNS = 4
_LINE = 0.12  # inches from one line of a label to the next
_SHADES = LinearSegmentedColormap.from_list("shades", ["#f7f9fc", "#7fb2d8", "#08446f"])


def draw_confusion(splits: Sequence[Scored], path: Path) -> None:
    """Draw counts and row shares of the reference standard against the decision.

    Two classes at each operating point, a row for each split. More: the most probable class. Of
    several findings the last split alone is drawn, each at its first operating point.
    """
    summary = splits[0].summary
    if splits[0].predictions.has_findings:
        _draw_findings(splits[-1], path)
    elif summary.positive_class is None:
        _draw_classes(splits, path)
    else:
        _draw_points(splits, path, positive_class=summary.positive_class)


def _draw_points(splits: Sequence[Scored], path: Path, *, positive_class: str) -> None:
    names = splits[0].summary.class_names
    ordered = [next(name for name in names if name != positive_class), positive_class]
    num_points = max(len(splits[0].summary.classes[positive_class].operating_points), 1)
    width = max(PAGE * num_points / 3, COLUMN)
    with drawing(path, width=width, height=PAGE) as figure:
        num_lines = max(_fit_label(name, 0.8).count("\n") + 1 for name in ordered)
        figure.set_figheight(0.4 + (2.1 + _LINE * num_lines) * len(splits))
        grid = figure.subplots(len(splits), num_points, squeeze=False)
        for row, split in zip(grid, splits, strict=True):
            points = split.summary.classes[positive_class].operating_points
            for axes, (rule, point) in zip(row, points.items(), strict=False):
                _draw_matrix(axes, _matrix_of(point), names=ordered, cell=0.8)
                title = f"{split.summary.split.upper()}  {_name_point(rule, point)}"
                axes.set_title(fit(title, width / num_points - 0.6))
        for axes in grid[:, 0]:
            axes.set_ylabel("Reference standard")
        for axes in grid[-1]:
            axes.set_xlabel("Decision")


def _draw_findings(split: Scored, path: Path) -> None:
    names = split.summary.class_names
    num_columns = min(len(names), _MAX_COLUMNS)
    num_rows = -(-len(names) // num_columns)
    width = max(PAGE * num_columns / _MAX_COLUMNS, COLUMN)
    with drawing(path, width=width, height=0.2 + 2.15 * num_rows) as figure:
        panels = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes, name in zip(panels.ravel(), names, strict=False):
            _draw_finding(axes, split, name=name, room=PAGE / _MAX_COLUMNS - 0.45)
        for axes in panels.ravel()[len(names) :]:
            axes.set_axis_off()
        for axes in panels[:, 0]:
            axes.set_ylabel("Reference standard")


def _draw_finding(axes: Axes, split: Scored, *, name: str, room: float) -> None:
    matrix, where = np.zeros((2, 2), dtype=np.int64), "Decision"
    points = split.summary.classes[name].operating_points
    if points and split.predictions.known(name).any():
        rule, point = next(iter(points.items()))
        matrix, where = _matrix_of(point), _name_point(rule, point)
    _draw_matrix(axes, matrix, names=["absent", "present"], cell=0.6)
    axes.set_title(fit(f"{split.summary.split.upper()}  {name}", room))
    axes.set_xlabel(fit(where, room, weight="normal"))


def _fit_label(name: str, width: float) -> str:
    num_lines = 2 if width > 1 else 4
    return fit(name, width, size=SMALL, weight="normal", num_lines=num_lines)


def _matrix_of(point: OperatingPoint) -> NDArray[np.int64]:
    return np.array([[point.tn or 0, point.fp or 0], [point.fn or 0, point.tp or 0]])


def _name_point(rule: str, point: OperatingPoint) -> str:
    value = f" (≥\u00a0{format_threshold(point.threshold)})" * (rule != "default")
    return f"{name_rule(rule)}{value}"


def _draw_classes(splits: Sequence[Scored], path: Path) -> None:
    names = splits[0].summary.class_names
    is_large = len(names) > 6  # then one above the other
    side = min(1.4 + 0.4 * len(names), 4.9) if is_large else 0.6 + PAGE / 2
    shape = (len(splits), 1) if is_large else (1, len(splits))
    width = PAGE if is_large else PAGE / 2 * len(splits)
    with drawing(path, width=width, height=side * shape[0]) as figure:
        panels = figure.subplots(*shape, squeeze=False).ravel()
        for axes, split in zip(panels, splits, strict=True):
            matrix = np.array(split.summary.confusion_matrix)
            _draw_matrix(axes, matrix, names=names, cell=3.0 / len(names))
            axes.set_title(split.title)
            axes.set(xlabel="Most probable class", ylabel="Reference standard")


def _draw_matrix(
    axes: Axes, matrix: NDArray[np.int64], *, names: Sequence[str], cell: float
) -> None:
    """Draw one matrix, shaded by the share of the row; a cell is about that many inches wide."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (C, C)
    axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    ticks = range(len(names))
    for place in ticks[1:]:
        axes.axhline(place - 0.5, color="white", linewidth=0.8)
        axes.axvline(place - 0.5, color="white", linewidth=0.8)
    font = FontProperties(size=SMALL)
    longest = max(measure(word, font) for name in names for word in name.split() or [name])
    is_crowded = len(names) > 4 or (len(names) > 2 and longest > cell)
    labels = [_fit_label(name, 1.5 if is_crowded else cell) for name in names]
    axes.set_xticks(ticks, labels)
    if is_crowded:
        axes.tick_params(axis="x", rotation=45)
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, labels, rotation=0 if is_crowded else 90, va="center")
    axes.tick_params(length=0)
    if len(names) > _MAX_WRITTEN:
        return
    size = 8 if len(names) <= 3 else SMALL
    is_dense = len(names) > 8
    for (i, j), count in np.ndenumerate(matrix):
        if is_dense and count == 0:
            continue
        color = "white" if shares[i, j] > 0.55 else INK
        text = f"{count:,}" if is_dense else f"{count:,}\n{100 * shares[i, j]:.1f} %"
        drawn = axes.text(j, i, text, ha="center", va="center", fontsize=size, color=color)
        drawn.set_in_layout(False)  # it never leaves its cell, and measuring it takes time
