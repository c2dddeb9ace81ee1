"""Draws decision curves: the net benefit of the model against acting on all, or on none."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from medimg_baseline_cls.plots.panels import drawing_panels, make_line, write_key
from medimg_baseline_cls.plots.style import BLUE, DASHED, DOTTED, INK, MUTED
from medimg_baseline_cls.statistics.decision_curve import DecisionCurve


def draw_decision_curves(path: Path, curves: Mapping[str, DecisionCurve]) -> None:
    """Draw the decision curve of each class on TEST.

    Args:
        path: the PNG.
        curves: by class; nothing is drawn where there is none.
    """
    if not curves:
        return
    keys: list[Line2D | Patch] = [
        make_line("Model", color=BLUE),
        Patch(color=BLUE, alpha=0.18, linewidth=0, label="95 % interval"),
        make_line("Call all positive", color=MUTED, linestyle=DASHED),
        make_line("Call none positive", color=INK, linewidth=1, linestyle=DOTTED),
    ]
    labels = ("Threshold probability", "Net benefit per image")
    with drawing_panels(
        path, tuple(curves), labels=labels, keys=keys, num_keys=0, shares_y=False
    ) as panels:
        for name, axes in panels.items():
            _draw(axes, curves[name])
            title, left = (f"Positive: {name}", 0.0) if len(curves) == 1 else (name, -0.2)
            write_key(axes, title, handles=(), left=left)  # above the numbers of the y axis too


def _draw(axes: Axes, curve: DecisionCurve) -> None:
    x = curve.thresholds
    axes.fill_between(x, curve.lower, curve.upper, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, curve.net_benefit, color=BLUE, zorder=4)
    axes.plot(x, curve.treat_all, color=MUTED, linestyle=DASHED)
    axes.axhline(0, color=INK, linewidth=1, linestyle=DOTTED)
    top = max(float(np.nanmax(curve.upper)), float(curve.treat_all[0]), 0.05)
    bottom = min(-0.25 * top, max(-top, 1.1 * float(np.nanmin(curve.net_benefit))))
    axes.set(xlim=(0, 1), ylim=(bottom, 1.08 * top))
