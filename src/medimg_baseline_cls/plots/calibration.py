"""Draws reliability curves: the observed share of the positive against the probability.

One class: VAL and TEST with their intervals, and TEST before and after recalibration; under
both how the probabilities of TEST are spread. Several: a panel for each.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.plots.panels import count_images, drawing_panels, make_line, write_key
from medimg_baseline_cls.plots.style import (
    CLASS_COLORS,
    CLASS_LINES,
    FAINT,
    INK,
    MUTED,
    NEGATIVE,
    PAGE,
    POSITIVE,
    drawing,
    fit,
    look_of,
    span_unit_square,
)
from medimg_baseline_cls.records.probabilities import Bin, CalibrationSummary, ClassCalibration
from medimg_baseline_cls.schema import Predictions

_EDGES = np.linspace(0, 1, 41)
_LABEL = "Predicted probability"

Curves = Mapping[str, ClassCalibration]
Maps = Mapping[str, Sequence[Bin]]


def draw_calibration(
    path: Path, found: CalibrationSummary, *, scores: Predictions, after: Mapping[str, Maps]
) -> None:
    """Draw the reliability curves of a run.

    Args:
        path: the PNG.
        found: the calibration of each split, by class.
        scores: the predictions of TEST, whose spread is drawn.
        after: the bins of TEST after each recalibration, by method, by class.
    """
    splits = found.splits.items()
    curves = {
        name: {split: classes[name] for split, classes in splits if name in classes}
        for name in dict.fromkeys(name for _, classes in splits for name in classes)
    }
    if len(curves) == 1:
        [name] = curves
        maps = {method: classes.get(name, ()) for method, classes in after.items()}
        with drawing(path, width=PAGE, height=5.3) as figure:
            _draw_one(figure, name, curves=curves[name], maps=maps, scores=scores)
    elif curves:
        keys = [make_line("calibrated", color=FAINT, linewidth=1)]
        labels, num_keys = (_LABEL, "Observed share"), len(found.splits)
        with drawing_panels(
            path, tuple(curves), labels=labels, keys=keys, num_keys=num_keys
        ) as panels:
            for name, axes in panels.items():
                _draw_splits(axes, curves[name], title=name)


def _draw_one(
    figure: Figure, name: str, *, curves: Curves, maps: Maps, scores: Predictions
) -> None:
    has_maps = any(maps.values())
    panels = figure.subplot_mosaic("AB;CC" if has_maps else "A.;CC", height_ratios=[4, 1])
    _draw_splits(panels["A"], curves, title="As predicted")
    panels["A"].set_ylabel(fit(f"Observed share of {name}", 2.6, weight="normal"))
    panels["A"].set_xlabel(_LABEL)
    if has_maps:
        _draw_maps(panels["B"], curves, maps=maps)
    _draw_spread(panels["C"], scores, name=name)


def _draw_maps(axes: Axes, curves: Curves, *, maps: Maps) -> None:
    """Draw TEST before and after each recalibration."""
    _frame(axes)
    handles: list[Line2D] = []
    if "test" in curves:
        handles.append(_draw_line(axes, curves["test"].bins, color=MUTED, label="As predicted"))
    for place, (method, bins) in enumerate(maps.items()):
        if bins:
            color, line = CLASS_COLORS[place], CLASS_LINES[place % len(CLASS_LINES)]
            label = method.capitalize()
            handles.append(_draw_line(axes, bins, color=color, label=label, line=line))
    write_key(axes, "TEST, recalibrated on VAL", handles=handles)
    axes.set_xlabel(_LABEL)


def _draw_splits(axes: Axes, curves: Curves, *, title: str) -> None:
    """Draw the bins of each split in one panel."""
    _frame(axes)
    handles = [_draw_bins(axes, judged, split=split) for split, judged in curves.items()]
    write_key(axes, title, handles=handles)


def _frame(axes: Axes) -> None:
    span_unit_square(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)


def _draw_bins(axes: Axes, judged: ClassCalibration, *, split: str) -> Line2D:
    """Draw one curve with Wilson's interval at each point and return its entry in the key."""
    x = [entry.mean_probability for entry in judged.bins]
    y = np.array([entry.share for entry in judged.bins])
    ends = np.array([entry.interval for entry in judged.bins])
    look: dict[str, Any] = {
        **look_of(split),
        "marker": "o" if split == "test" else "s",
        "markersize": 3.5,
    }
    place = 4 if split == "test" else 3
    axes.errorbar(x, y, yerr=np.abs(ends.T - y), elinewidth=0.9, capsize=1.5, zorder=place, **look)
    return make_line(count_images(split, judged.num_images), **look)


def _draw_line(
    axes: Axes, bins: Sequence[Bin], *, color: str, label: str, line: Any = "-"
) -> Line2D:
    x = [entry.mean_probability for entry in bins]
    y = [entry.share for entry in bins]
    look: dict[str, Any] = {"color": color, "linestyle": line, "marker": "o", "markersize": 3.5}
    axes.plot(x, y, zorder=3, **look)
    return make_line(label, **look)


def _draw_spread(axes: Axes, scores: Predictions, *, name: str) -> None:
    """Draw how many images have each probability: positive ones upwards, others downwards."""
    truth, probabilities = select_known(scores, name)
    up, down = (np.histogram(probabilities[own], bins=_EDGES)[0] for own in (truth, ~truth))
    width = _EDGES[1] - _EDGES[0]
    axes.bar(_EDGES[:-1], up, width=width, align="edge", color=POSITIVE)
    axes.bar(_EDGES[:-1], -down, width=width, align="edge", color=NEGATIVE)
    axes.set_title(fit(f"TEST: {name} above, others below", PAGE - 1.0))
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(xlim=(-0.015, 1.015), yscale="symlog")
    peak = max(int(up.max(initial=1)), int(down.max(initial=1)), 1)
    ticks = [t for t in (10, 100, 1000, 10_000, 100_000) if t <= peak] or [1]
    axes.set_yticks([-t for t in reversed(ticks)] + [0, *ticks])
    axes.set_yticklabels([str(abs(t)) for t in [*reversed(ticks), 0, *ticks]])
    axes.set_ylim(-2 * peak, 2 * peak)
    axes.minorticks_off()
    axes.set_xlabel(_LABEL)
    axes.set_ylabel("Images")
