"""Draws reliability curves: the observed share of the positive against the probability.

One class: VAL and TEST with their intervals, and TEST before and after recalibration; under
both how the probabilities of TEST are spread. Several: a panel for each, nine at most.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.plots.style import (
    CLASS_COLORS,
    CLASS_LINES,
    FAINT,
    INK,
    MUTED,
    NEGATIVE,
    POSITIVE,
    SPLIT_COLORS,
    SPLIT_LINES,
    WIDE,
    drawing,
    shorten,
    span_unit_square,
)
from medimg_baseline_cls.schema import Predictions

MAX_PANELS = 9
_EDGES = np.linspace(0, 1, 41)
_METHOD_NAMES = {"temperature": "Temperature", "platt": "Platt", "isotonic": "Isotonic"}

Bins = Sequence[Mapping[str, Any]]


def draw_calibration(
    path: Path,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    scores: Predictions,
    after: Mapping[str, Mapping[str, Bins]],
) -> None:
    """Draw the reliability curves of a run.

    Args:
        path: the PNG.
        found: the content of calibration.json: by split, by class.
        scores: the predictions of TEST, whose spread is drawn.
        after: the bins of TEST after each recalibration, by method, by class.
    """
    names = list(dict.fromkeys(name for classes in found.values() for name in classes))
    if len(names) == 1:
        with drawing(path, width=WIDE, height=5.6) as figure:
            _draw_one(figure, names[0], found=found, scores=scores, after=after)
    elif names:
        shown = names[:MAX_PANELS]
        rows = (len(shown) + 2) // 3
        with drawing(path, width=WIDE, height=0.5 + 2.9 * rows) as figure:
            _draw_many(figure, shown, found=found, num_rows=rows)


def _draw_one(
    figure: Figure,
    name: str,
    *,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    scores: Predictions,
    after: Mapping[str, Mapping[str, Bins]],
) -> None:
    grid = figure.subplots(2, 2, height_ratios=[4.4, 1])
    for axes in grid[0]:
        _frame(axes)
    grid[0, 0].set_title("As predicted")
    for split, classes in found.items():
        if name in classes:
            label = f"{split.upper()} ({classes[name]['num_images']} images)"
            _draw_bins(grid[0, 0], classes[name]["bins"], split=split, label=label)
    grid[0, 0].set_ylabel(f"Observed share of {shorten(name, 24)}")
    grid[0, 1].set_title("TEST, recalibrated on VAL")
    if name in found.get("test", {}):
        _draw_line(grid[0, 1], found["test"][name]["bins"], color=MUTED, label="As predicted")
    for place, (method, classes) in enumerate(after.items()):
        if name in classes:
            _draw_line(
                grid[0, 1],
                classes[name],
                color=CLASS_COLORS[place],
                line=CLASS_LINES[place % len(CLASS_LINES)],
                label=_METHOD_NAMES.get(method, method),
            )
    for axes in grid[0]:
        axes.legend(loc="upper left")
    for axes in grid[1]:
        _draw_spread(axes, scores, name=name)
    grid[1, 0].set_ylabel("Images")


def _draw_many(
    figure: Figure,
    names: Sequence[str],
    *,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    num_rows: int,
) -> None:
    grid = figure.subplots(num_rows, 3, squeeze=False)
    for axes, name in zip(grid.ravel(), names, strict=False):
        _frame(axes)
        axes.set_title(shorten(name, 26))
        for split, classes in found.items():
            if name in classes:
                _draw_bins(axes, classes[name]["bins"], split=split, label=split.upper())
    for axes in grid.ravel()[len(names) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("Observed share")
    grid[0, 0].legend(loc="upper left")


def _frame(axes: Axes) -> None:
    span_unit_square(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
    axes.set_xlabel("Predicted probability")


def _draw_bins(axes: Axes, bins: Bins, *, split: str, label: str) -> None:
    """Draw one curve with Wilson's interval at each point."""
    x = np.array([entry["mean_probability"] for entry in bins])
    y = np.array([entry["share"]["value"] for entry in bins])
    ends = np.array([entry["share"]["interval"] for entry in bins])
    color = SPLIT_COLORS.get(split, MUTED)
    axes.errorbar(
        x,
        y,
        yerr=np.abs(ends.T - y),
        color=color,
        linestyle=SPLIT_LINES.get(split, "-"),
        marker="o" if split == "test" else "s",
        markersize=4.5,
        elinewidth=1.0,
        capsize=2.0,
        label=label,
        zorder=4 if split == "test" else 3,
    )


def _draw_line(axes: Axes, bins: Bins, *, color: str, label: str, line: Any = "-") -> None:
    x = [entry["mean_probability"] for entry in bins]
    y = [entry["share"]["value"] for entry in bins]
    axes.plot(x, y, color=color, linestyle=line, marker="o", markersize=4, label=label, zorder=3)


def _draw_spread(axes: Axes, scores: Predictions, *, name: str) -> None:
    """Draw how many images have each probability: positive ones upwards, others downwards."""
    truth, probabilities = select_known(scores, name)
    up, down = (np.histogram(probabilities[own], bins=_EDGES)[0] for own in (truth, ~truth))
    width = _EDGES[1] - _EDGES[0]
    axes.bar(_EDGES[:-1], up, width=width, align="edge", color=POSITIVE)
    axes.bar(_EDGES[:-1], -down, width=width, align="edge", color=NEGATIVE)
    axes.set_title(f"{shorten(name, 24)} above, others below", fontsize=8, fontweight="normal")
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(xlim=(-0.015, 1.015), yscale="symlog")
    peak = max(int(up.max(initial=1)), int(down.max(initial=1)), 1)
    ticks = [t for t in (10, 100, 1000, 10_000, 100_000) if t <= peak] or [1]
    axes.set_yticks([-t for t in reversed(ticks)] + [0, *ticks])
    axes.set_yticklabels([str(abs(t)) for t in [*reversed(ticks), 0, *ticks]])
    axes.set_ylim(-2 * peak, 2 * peak)
    axes.minorticks_off()
    axes.set_xlabel("Predicted probability, TEST")
