"""The lower part of the panel of a volume: evidence over slices, and three planes through its peak.

All planes have one scale. Cross-hairs meet in the peak, and leave it open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from medimg_baseline_cls.plots.style import BLUE, DASHED, INK, MUTED, POSITIVE, in_house_style

_DPI = 110  # as of the panel
_HEIGHT = 314  # pixels
_LEFT, _SIDE, _GAP, _BOTTOM = 28, 257, 14, 20
_CURVE_LEFT, _CURVE_BOTTOM = 50, 42  # room for its numbers
_CROSS = "#56b4e9"
_OPEN = 0.04  # of the side around the peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One plane through a volume.

    Attributes:
        title: above it.
        picture: shape (h, w, 3), in [0, 1].
        size: width and height, in a unit that all planes share.
        cross: the peak from the left and from above, each in [0, 1].
        letters: which side of the patient is left, right, above and below; empty if not known.
    """

    title: str
    picture: NDArray[np.float32]
    size: tuple[float, float]
    cross: tuple[float, float]
    letters: str


def draw_planes(
    planes: Sequence[Plane], *, curve: NDArray[np.float32], best: int, measure: str, width: int
) -> NDArray[np.uint8]:
    """Draw the curve and three planes side by side.

    Args:
        planes: of the volume, with its map.
        curve: how much each slice says, shape (K,).
        best: the slice that is marked.
        measure: what it is.
        width: of the picture, in pixels.

    Returns:
        Shape (h, width, 3).
    """
    with in_house_style():
        figure = Figure(figsize=(width / _DPI, _HEIGHT / _DPI), dpi=_DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        _draw_curve(_add_axes(figure, 0), curve, best=best, measure=measure)
        side = max(length for plane in planes for length in plane.size)
        for place, plane in enumerate(planes, start=1):
            _draw_plane(_add_axes(figure, place), plane, side=side)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]


def _add_axes(figure: Figure, place: int) -> Axes:
    width, height = figure.get_size_inches() * _DPI
    left, bottom, right = _LEFT + place * (_SIDE + _GAP), _BOTTOM, _SIDE
    if place == 0:
        left, bottom, right = left + _CURVE_LEFT, _CURVE_BOTTOM, right - _CURVE_LEFT
    top = _BOTTOM + _SIDE - bottom
    return figure.add_axes((left / width, bottom / height, right / width, top / height))


def _draw_curve(axes: Axes, curve: NDArray[np.float32], *, best: int, measure: str) -> None:
    slices = np.arange(1, len(curve) + 1)
    axes.fill_between(slices, curve, step="mid", color=BLUE, alpha=0.2, linewidth=0)
    axes.step(slices, curve, where="mid", color=BLUE)
    axes.plot(slices[best], curve[best], "o", color=POSITIVE, markersize=5)
    axes.axhline(float(curve.mean()), color=MUTED, linewidth=0.8, linestyle=DASHED)
    axes.set(xlabel="slice, from below", xlim=(0.5, len(curve) + 0.5))
    axes.margins(y=0.1)
    axes.set_ylim(bottom=min(0.0, float(curve.min())), top=axes.get_ylim()[1] or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    words = f"{measure[0].upper()}{measure[1:]} by slice; dashed: mean"
    _write_title(axes, words, x=-_CURVE_LEFT / (_SIDE - _CURVE_LEFT))


def _draw_plane(axes: Axes, plane: Plane, *, side: float) -> None:
    width, height = plane.size
    axes.imshow(plane.picture, extent=(0, width, height, 0), interpolation="bilinear")
    left, top = (width - side) / 2, (height - side) / 2
    axes.set(xlim=(left, left + side), ylim=(top + side, top), xticks=[], yticks=[])
    axes.set_facecolor("black")
    axes.spines[:].set_visible(False)
    x, y = plane.cross[0] * width, plane.cross[1] * height
    room = _OPEN * side
    look: Any = {"color": _CROSS, "linewidth": 0.8}
    axes.hlines(y, left, x - room, **look)
    axes.hlines(y, x + room, left + side, **look)
    axes.vlines(x, top, y - room, **look)
    axes.vlines(x, y + room, top + side, **look)
    places = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.96), (0.5, 0.04))
    for letter, (across, up) in zip(plane.letters, places, strict=False):
        text = axes.text(across, up, letter, transform=axes.transAxes, color="white", fontsize=8)
        text.set(ha="center", va="center")
        text.set_bbox({"facecolor": INK, "alpha": 0.6, "linewidth": 0, "pad": 1.5})
    _write_title(axes, plane.title)


def _write_title(axes: Axes, title: str, *, x: float = 0.0) -> None:
    axes.set_title(title, x=x, color=MUTED, fontweight="normal", pad=5)
