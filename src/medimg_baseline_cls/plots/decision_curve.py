"""Draws decision curves: the net benefit of the model against acting on all, or on none."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from medimg_baseline_cls.plots.style import BLUE, INK, MUTED, SQUARE, WIDE, drawing, shorten
from medimg_baseline_cls.statistics.decision_curve import DecisionCurve

MAX_PANELS = 9


def draw_decision_curves(path: Path, curves: Mapping[str, DecisionCurve]) -> None:
    """Draw the decision curve of each class on TEST, nine at most.

    Args:
        path: the PNG.
        curves: by class; nothing is drawn where there is none.
    """
    names = list(curves)[:MAX_PANELS]
    if not names:
        return
    columns = min(len(names), 3)
    rows = (len(names) + columns - 1) // columns
    width, height = (SQUARE + 1.3, 3.7) if len(names) == 1 else (WIDE, 0.4 + 2.6 * rows)
    with drawing(path, width=width, height=height) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, name in zip(grid.ravel(), names, strict=False):
            _draw(axes, curves[name])
            axes.set_title(f"Positive: {shorten(name, 30)}", fontweight="normal")
        for axes in grid.ravel()[len(names) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("Net benefit per image")
        grid[0, 0].legend(loc="best")


def _draw(axes: Axes, curve: DecisionCurve) -> None:
    x = curve.thresholds
    axes.fill_between(x, curve.lower, curve.upper, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, curve.net_benefit, color=BLUE, label="Model, 95 % interval", zorder=4)
    axes.plot(x, curve.treat_all, color=MUTED, linestyle=(0, (4, 1.6)), label="Call all positive")
    axes.axhline(0, color=INK, linewidth=1, linestyle=(0, (1, 1.2)), label="Call none positive")
    top = max(float(np.nanmax(curve.upper)), float(curve.treat_all[0]), 0.05)
    axes.set(xlim=(0, 1), ylim=(-0.25 * top, 1.08 * top))
    axes.set_xlabel("Threshold probability")
