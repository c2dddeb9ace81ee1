"""Draws confusion matrices: two classes at each operating point, more classes as a whole.

Several findings have no matrix in common: each gets its own two by two, of the images where
it is known.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.split_summary import positive_of
from medimg_baseline_cls.plots.style import INK, SQUARE, WIDE, drawing, shorten
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.metrics import count_confusion, count_matrix
from medimg_baseline_cls.utils.quantities import format_threshold

_MAX_WRITTEN = 16
_MAX_COLUMNS = 4
_SHADES = LinearSegmentedColormap.from_list("shades", ["#f7f9fc", "#7fb2d8", "#08446f"])


def draw_confusion(
    splits: Sequence[Predictions],
    path: Path,
    *,
    thresholds: Thresholds,
    positive_class: str | None,
) -> None:
    """Draw counts and row shares of the reference standard against the decision.

    Args:
        splits: predictions of VAL, TEST or both; a row each, or a column for many classes. Of
            several findings the last split alone is drawn.
        path: the PNG.
        thresholds: operating points by class.
        positive_class: of two classes, at each of its operating points; None draws the most
            probable of all classes, or each finding at its first operating point.
    """
    if splits[0].has_findings:
        _draw_findings(splits[-1], path, thresholds=thresholds)
        return
    positive_class = positive_of(splits[0].class_names, positive_class)
    if positive_class is None:
        _draw_classes(splits, path)
    else:
        _draw_points(splits, path, thresholds=thresholds, positive_class=positive_class)


def _draw_points(
    splits: Sequence[Predictions], path: Path, *, thresholds: Thresholds, positive_class: str
) -> None:
    points = thresholds.get(positive_class, ())
    names = splits[0].class_names
    negative_class = next(name for name in names if name != positive_class)
    ordered = [shorten(negative_class, 14), shorten(positive_class, 14)]
    width = max(WIDE * len(points) / 3, SQUARE)
    with drawing(path, width=width, height=0.5 + 2.55 * len(splits)) as figure:
        grid = figure.subplots(len(splits), max(len(points), 1), squeeze=False)
        for row, predictions in zip(grid, splits, strict=True):
            truth, scores = predictions.truth(positive_class), predictions.scores(positive_class)
            for axes, point in zip(row, points, strict=False):
                counts = count_confusion(truth, scores, threshold=point.value)
                matrix = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]])
                _draw_matrix(axes, matrix, names=ordered)
                value = f" (≥ {format_threshold(point.value)})" * (point.rule != "default")
                where = f"{name_rule(point.rule)}{value}"
                axes.set_title(f"{predictions.split.upper()}  {where}", fontsize=9)
        for axes in grid[:, 0]:
            axes.set_ylabel("Reference standard")
        for axes in grid[-1]:
            axes.set_xlabel("Decision")


def _draw_findings(predictions: Predictions, path: Path, *, thresholds: Thresholds) -> None:
    names = predictions.class_names
    num_columns = min(len(names), _MAX_COLUMNS)
    num_rows = -(-len(names) // num_columns)
    width = max(WIDE * num_columns / _MAX_COLUMNS, SQUARE)
    with drawing(path, width=width, height=0.2 + 2.45 * num_rows) as figure:
        panels = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes, name in zip(panels.ravel(), names, strict=False):
            _draw_finding(axes, predictions, name=name, points=thresholds.get(name, ()))
        for axes in panels.ravel()[len(names) :]:
            axes.set_axis_off()
        for axes in panels[:, 0]:
            axes.set_ylabel("Reference standard")


def _draw_finding(
    axes: Axes, predictions: Predictions, *, name: str, points: Sequence[Threshold]
) -> None:
    truth, scores = select_known(predictions, name)
    matrix, where = np.zeros((2, 2), dtype=np.int64), "Decision"
    if points and len(truth):
        counts = count_confusion(truth, scores, threshold=points[0].value)
        matrix = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]])
        value = f" (≥ {format_threshold(points[0].value)})" * (points[0].rule != "default")
        where = f"{name_rule(points[0].rule)}{value}"
    _draw_matrix(axes, matrix, names=["absent", "present"])
    axes.set_title(f"{predictions.split.upper()}  {shorten(name, 16)}", fontsize=9)
    axes.set_xlabel(where)


def _draw_classes(splits: Sequence[Predictions], path: Path) -> None:
    num_classes = len(splits[0].class_names)
    is_large = num_classes > 6  # then one above the other
    side = min(1.6 + 0.45 * num_classes, WIDE) if is_large else SQUARE
    shape = (len(splits), 1) if is_large else (1, len(splits))
    width, height = WIDE if is_large else WIDE / 2 * len(splits), side * shape[0]
    with drawing(path, width=width, height=height) as figure:
        panels = figure.subplots(*shape, squeeze=False).ravel()
        for axes, predictions in zip(panels, splits, strict=True):
            matrix = count_matrix(predictions.labels, predictions.probabilities)
            _draw_matrix(axes, matrix, names=[shorten(n, 14) for n in predictions.class_names])
            axes.set_title(f"{predictions.split.upper()} ({len(predictions.labels)} images)")
            axes.set(xlabel="Most probable class", ylabel="Reference standard")


def _draw_matrix(axes: Axes, matrix: NDArray[np.int64], *, names: Sequence[str]) -> None:
    """Draw one matrix, shaded by the share of the row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (C, C)
    axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    ticks = range(len(names))
    is_crowded = len(names) > 4
    axes.set_xticks(
        ticks, names, rotation=45 if is_crowded else 0, ha="right" if is_crowded else "center"
    )
    axes.set_yticks(ticks, names, rotation=0 if is_crowded else 90, va="center")
    axes.tick_params(length=0)
    if len(names) > _MAX_WRITTEN:
        return
    size = 10 if len(names) <= 3 else 8
    is_dense = len(names) > 8
    for (i, j), count in np.ndenumerate(matrix):
        if is_dense and count == 0:
            continue
        color = "white" if shares[i, j] > 0.55 else INK
        text = f"{count:,}" if is_dense else f"{count:,}\n{100 * shares[i, j]:.1f} %"
        cell = axes.text(j, i, text, ha="center", va="center", fontsize=size, color=color)
        cell.set_in_layout(False)  # it never leaves its cell, and measuring it takes time
