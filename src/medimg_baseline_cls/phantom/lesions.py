"""Add pneumonia to a chest: opacities of four shapes, with their ground-truth mask.

Each lesion replaces air in the lung, so it is visible only in the lung, and denser where the
lung is thick. The mask ends where a reader would draw the border.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.phantom.chest import Chest
from medimg_baseline_cls.phantom.textures import Field, load_textures

SHAPES = ("round", "lobar", "bronchogram", "interstitial")

_RANGES: dict[str, tuple[float, float]] = {
    "shape": (0.0, len(SHAPES)),
    "side": (-1.0, 1.0),
    "x": (0.15, 0.25),
    "y": (0.30, 0.60),
    "width": (0.085, 0.140),
    "height": (0.090, 0.160),
    "tilt": (-0.35, 0.35),
    "upward": (-1.0, 1.0),
    "density": (0.20, 0.31),
    "spread": (-1.0, 1.0),
    "mottle_x": (0.0, 1.0),
    "mottle_y": (0.0, 1.0),
}
NUM_DRAWS = len(_RANGES)


@dataclass(frozen=True, slots=True)
class Opacity:
    """What a disease adds to the attenuation, and where; both (S, S)."""

    attenuation: Field
    mask: NDArray[np.bool_]
    shape: str


def draw_opacity(chest: Chest, uniform: NDArray[np.float64]) -> Opacity:
    """Turn NUM_DRAWS uniform numbers in [0, 1) into one patient's opacities."""
    draw = {
        name: low + (high - low) * float(u)
        for (name, (low, high)), u in zip(_RANGES.items(), uniform, strict=True)
    }
    name = SHAPES[int(draw["shape"])]
    extent, texture = _SHAPE_DRAWERS[name](chest, draw)
    air = np.minimum(chest.lung * np.float32(1.6), 1)
    mask = (extent * np.minimum(chest.lung * np.float32(4), 1)) > 0.42
    return Opacity(np.float32(draw["density"]) * extent * texture * air, mask, name)


Drawn = tuple[Field, Field]


def _draw_round(chest: Chest, draw: dict[str, float]) -> Drawn:
    x, y = chest.x - _signed(draw), chest.y - np.float32(draw["y"])
    x, y = x + np.float32(draw["tilt"]) * y, y - np.float32(draw["tilt"]) * x
    mottle = _crop_mottle(chest, draw)
    radius = np.sqrt((x / draw["width"]) ** 2 + (y / draw["height"]) ** 2)
    extent = np.clip((1.15 - radius - 0.16 * mottle) * np.float32(1 / 0.55), 0, 1)
    return _as_drawn(extent, 0.92 + 0.10 * mottle)


def _draw_lobar(chest: Chest, draw: dict[str, float]) -> Drawn:
    """Fill a lobe up to its fissure: one sharp straight border, fading away from it."""
    side = np.float32(1 if draw["side"] > 0 else -1)
    direction = np.float32(1 if draw["upward"] > 0 else -1)
    lateral = side * chest.x
    fissure = draw["y"] + 0.35 * draw["tilt"] * (lateral - draw["x"])
    distance = direction * (fissure - chest.y).astype(np.float32)
    mottle = _crop_mottle(chest, draw)
    depth = np.float32(1.5 * draw["height"])
    extent = np.clip(distance * np.float32(1 / 0.012) + 0.5, 0, 1)
    extent *= np.clip((depth - distance + 0.025 * mottle) * np.float32(1 / 0.08), 0, 1)
    extent *= np.clip(lateral * np.float32(1 / 0.02), 0, 1)
    return _as_drawn(extent, 0.88 + 0.12 * mottle)


def _draw_bronchogram(chest: Chest, draw: dict[str, float]) -> Drawn:
    """Draw a consolidation in which the bronchi, still full of air, stay dark."""
    drawer = _draw_round if draw["spread"] > 0 else _draw_lobar
    extent, texture = drawer(chest, draw)
    return _as_drawn(extent, texture * (1.15 - 1.5 * np.minimum(2.0 * chest.vessels, 0.6)))


def _draw_interstitial(chest: Chest, draw: dict[str, float]) -> Drawn:
    """Draw bilateral reticular patches, around the hila or at the bases."""
    lateral = np.abs(chest.x) - np.float32(0.16)
    height = chest.y - np.float32(0.45 + 0.13 * draw["spread"])
    zone = np.exp(-(lateral**2) / (0.10**2) - (height**2) / (0.17**2))
    zone *= 1 + np.float32(0.5 * draw["side"]) * np.sign(chest.x)
    mottle = _crop_mottle(chest, draw)
    extent = np.clip((1.25 * zone + 0.28 * mottle - 0.35) * np.float32(1 / 0.55), 0, 1)
    mesh = _crop(load_textures(len(extent)).mesh, draw)
    return _as_drawn(extent, 0.60 + 0.42 * mesh + 0.20 * chest.vessels)


_SHAPE_DRAWERS: dict[str, Callable[[Chest, dict[str, float]], Drawn]] = {
    "round": _draw_round,
    "lobar": _draw_lobar,
    "bronchogram": _draw_bronchogram,
    "interstitial": _draw_interstitial,
}


def _as_drawn(extent: NDArray[np.floating], texture: NDArray[np.floating]) -> Drawn:
    return extent.astype(np.float32), texture.astype(np.float32)


def _signed(draw: dict[str, float]) -> np.float32:
    return np.float32(draw["x"] if draw["side"] > 0 else -draw["x"])


def _crop_mottle(chest: Chest, draw: dict[str, float]) -> Field:
    return _crop(load_textures(len(chest.lung)).mottle, draw)


def _crop(texture: Field, draw: dict[str, float]) -> Field:
    size = len(texture) // 2
    top, left = int(draw["mottle_y"] * size), int(draw["mottle_x"] * size)
    return texture[top : top + size, left : left + size]
