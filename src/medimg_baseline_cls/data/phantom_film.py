"""Exposes a film: from what the rays met to the grey image that a reader opens.

Bones of the shoulder, leads and the side marker are drawn as outlines; then the
automatic exposure, the noise of the quanta, the collimator and the window. The mean
brightness of the film is drawn, not left to the anatomy: a disease that whitens the
lungs cannot be told from the mean alone.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medimg_baseline_cls.data.phantom_anatomy import Anatomy, to_film
from medimg_baseline_cls.data.phantom_textures import Field, load_textures

_SUPERSAMPLING = 2
# Strokes of the side marker on a grid of 4 x 6.
_LETTERS = {
    "R": [[(0, 6), (0, 0), (3, 0), (4, 1), (4, 2), (3, 3), (0, 3)], [(2, 3), (4, 6)]],
    "L": [[(0, 0), (0, 6), (4, 6)]],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """How one film was taken. Field order is draw order; `RANGES` holds the bounds."""

    brightness: float  # mean of the finished film
    contrast: float
    toe: float
    noise: float
    grain_x: float
    grain_y: float
    grain_turn: float
    left: float  # collimator, from the edge inwards; negative: not seen
    right: float
    top: float
    bottom: float
    marker_x: float
    marker_y: float
    marker_size: float
    marker_side: float
    leads: float
    tag: float  # chance that the planted marker lies
    mottle: float


RANGES: dict[str, tuple[float, float]] = {
    "brightness": (0.42, 0.58),
    "contrast": (0.86, 1.12),
    "toe": (0.0, 0.05),
    "noise": (0.008, 0.026),
    "grain_x": (0.0, 1.0),
    "grain_y": (0.0, 1.0),
    "grain_turn": (0.0, 8.0),
    "left": (-0.10, 0.035),
    "right": (-0.10, 0.035),
    "top": (-0.10, 0.025),
    "bottom": (-0.10, 0.030),
    "marker_x": (0.035, 0.11),
    "marker_y": (0.035, 0.16),
    "marker_size": (0.030, 0.055),
    "marker_side": (0.0, 1.0),
    "leads": (0.0, 1.0),
    "tag": (0.0, 1.0),
    "mottle": (0.004, 0.018),
}
NUM_DRAWS = len(RANGES)


def place_technique(uniform: NDArray[np.float64]) -> Technique:
    """Turn NUM_DRAWS uniform numbers in [0, 1) into the settings of one exposure."""
    names = [field.name for field in fields(Technique)]
    bounds = [RANGES[name] for name in names]
    values = [low + (high - low) * float(u) for (low, high), u in zip(bounds, uniform, strict=True)]
    return Technique(**dict(zip(names, values, strict=True)))


def expose_film(
    attenuation: Field, anatomy: Anatomy, technique: Technique, *, has_tag: bool
) -> NDArray[np.uint8]:
    """Turn attenuation into a finished film.

    Args:
        attenuation: shape (S, S); it is changed.
        anatomy, technique: the patient and the exposure.
        has_tag: whether the planted shortcut, a bright plate in a corner, is shown.

    Returns:
        Grey values, shape (S, S).
    """
    size = len(attenuation)
    attenuation += _draw_shoulders(anatomy, size)
    film = _expose(attenuation, technique)
    film += _crop(load_textures(size).mottle, technique) * (technique.mottle * film)
    film += _crop(load_textures(size).grain, technique) * (technique.noise * (0.35 + film))
    film *= _open_collimator(technique.top, technique.bottom, size)[:, None]
    film *= _open_collimator(technique.left, technique.right, size)[None, :]
    film += 0.6 * technique.toe
    film = np.maximum(film, _draw_marks(technique, size, has_tag=has_tag))
    return np.clip(film * 255 + 0.5, 0, 255).astype(np.uint8)


def _expose(attenuation: Field, technique: Technique) -> Field:
    """Stretch and bend the grey scale until the film has the drawn brightness."""
    film = np.clip(attenuation * np.float32(technique.contrast), 0, 1.4)
    film /= np.sqrt(1 + (film * np.float32(0.72)) ** 4)  # the shoulder of the film
    body = film[film > 0.04]
    mean = float(body.mean()) if body.size else 0.5
    power = math.log(technique.brightness + 0.08) / math.log(min(max(mean, 0.05), 0.95))
    return film ** np.float32(min(max(power, 0.5), 2.0))


def _crop(texture: Field, technique: Technique) -> Field:
    size = len(texture) // 2
    top, left = int(technique.grain_y * size), int(technique.grain_x * size)
    crop = texture[top : top + size, left : left + size]
    crop = crop[::-1] if int(technique.grain_turn) & 1 else crop
    return crop.T if int(technique.grain_turn) & 2 else crop


def _open_collimator(first: float, last: float, size: int) -> Field:
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    edge = np.minimum(place - np.float32(first), np.float32(1 - last) - place)
    return np.clip(edge * np.float32(1 / 0.008) + 0.5, 0, 1)


def _draw_shoulders(anatomy: Anatomy, size: int) -> Field:
    """Draw clavicles, shoulder blades and upper arms; shape (S, S)."""
    side = size * _SUPERSAMPLING
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)

    def trace(points: list[tuple[float, float]], sign: int) -> list[tuple[float, float]]:
        placed = [to_film(anatomy, sign * x, y) for x, y in points]
        return [(x * side, y * side) for x, y in placed]

    y0, rise = anatomy.clavicle_y, anatomy.clavicle_rise
    for sign in (-1, 1):
        blade = [(0.30, y0 + 0.02), (0.43, y0 - 0.01), (0.40, y0 + 0.10), (0.355, y0 + 0.24)]
        pen.polygon(trace([*blade, (0.32, y0 + 0.12)], sign), fill=26)
        pen.line(trace([blade[1], blade[2], blade[3]], sign), fill=60, width=side // 90)
        arm = [(0.415, y0 + 0.005), (0.47, y0 + 0.03), (0.60, y0 + 0.16)]
        pen.line(trace(arm, sign), fill=95, width=round(0.050 * side), joint="curve")
        pen.line(trace(arm, sign), fill=70, width=round(0.030 * side), joint="curve")
        clavicle = _curve_clavicle(y0, rise)
        pen.line(trace(clavicle, sign), fill=110, width=round(0.026 * side), joint="curve")
        pen.line(trace(clavicle, sign), fill=78, width=round(0.012 * side), joint="curve")
    small = np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32)
    return small * np.float32(0.17 / 110)


def _curve_clavicle(y: float, rise: float) -> list[tuple[float, float]]:
    """Return the S of a clavicle, from the breastbone to the shoulder."""
    points: list[tuple[float, float]] = []
    for step in range(13):
        t = step / 12
        points.append((0.030 + 0.345 * t, y - rise * t - 0.014 * math.sin(2 * math.pi * t)))
    return points


def _draw_marks(technique: Technique, size: int, *, has_tag: bool) -> Field:
    """Draw what lies on the film, not in the patient: the side marker and the planted plate."""
    side = size * _SUPERSAMPLING
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    letter = "R" if technique.marker_side < 0.8 else "L"
    x, y = technique.marker_x, technique.marker_y
    x = x if letter == "R" else 1 - x - technique.marker_size
    unit = technique.marker_size * side / 6
    for stroke in _LETTERS[letter]:
        points = [(x * side + px * unit, y * side + py * unit) for px, py in stroke]
        pen.line(points, fill=238, width=max(1, round(0.8 * unit)), joint="curve")
    if has_tag:
        corner, edge = 0.97 * side, 0.075 * side
        pen.rectangle((corner - edge, corner - edge, corner, corner), fill=235)
    return np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32) * np.float32(1 / 255)
