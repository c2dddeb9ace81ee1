"""Expose an image: turn attenuation into a finished gray radiograph.

Bones of the shoulder, leads and the side marker are drawn as outlines; then come automatic
exposure, quantum noise, collimator and window. The mean brightness is drawn at random, not
left to the anatomy: otherwise the mean alone would reveal a disease that whitens the lungs.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from medimg_baseline_cls.phantom.anatomy import Anatomy, Points, to_image
from medimg_baseline_cls.phantom.textures import Field, load_textures

_SUPERSAMPLING = 2
_BRIGHTEST, _TONE_STEPS = 1.6, 2048  # range and entries of the tone curve
_FINE = 4  # supersampling of the side marker
_LEADS_SHARE = 0.22
_TOP_SHARE = 0.5  # head, shoulders, leads and marker are in this part of the image
# Strokes of the side marker on a grid of 4 x 6.
_LETTERS = {
    "R": [[(0, 6), (0, 0), (3, 0), (4, 1), (4, 2), (3, 3), (0, 3)], [(2, 3), (4, 6)]],
    "L": [[(0, 0), (0, 6), (4, 6)]],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """How one image was taken. Field order is draw order; bounds are in `RANGES`."""

    brightness: float  # mean of the finished image
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
    tag: float  # whether the planted marker is wrong: above a limit
    mottle: float


RANGES: dict[str, tuple[float, float]] = {
    "brightness": (0.42, 0.58),
    "contrast": (0.86, 1.12),
    "toe": (0.0, 0.05),
    "noise": (0.008, 0.022),
    "grain_x": (0.0, 1.0),
    "grain_y": (0.0, 1.0),
    "grain_turn": (0.0, 4.0),
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


def expose_image(
    attenuation: Field, *, anatomy: Anatomy, technique: Technique, has_tag: bool
) -> NDArray[np.uint8]:
    """Turn attenuation into a finished image.

    Args:
        attenuation: shape (S, S); changed in place.
        anatomy, technique: the patient and the exposure.
        has_tag: whether the planted shortcut, a bright plate in a corner, is shown.

    Returns:
        Gray values, shape (S, S).
    """
    size = len(attenuation)
    shoulders = _draw_shoulders(anatomy, size)
    attenuation[: len(shoulders)] += shoulders
    image = _expose(attenuation, technique)
    blotches = _crop(load_textures(size).mottle, technique) * np.float32(technique.mottle)
    grain = _crop(load_textures(size).grain, technique) * np.float32(technique.noise)
    image += blotches * image + grain * (image + np.float32(0.35))
    image *= _open_collimator(technique.top, technique.bottom, size=size)[:, None]
    image *= _open_collimator(technique.left, technique.right, size=size)[None, :]
    image += np.float32(0.6 * technique.toe)
    _draw_marks(image, technique)
    if has_tag:
        corner, edge = round(0.97 * size), max(2, round(0.075 * size))
        image[corner - edge : corner, corner - edge : corner] = 0.92
    image *= 255
    image += 0.5
    return np.clip(image, 0, 255).astype(np.uint8)


def _expose(attenuation: Field, technique: Technique) -> Field:
    """Stretch and bend the gray scale until the image has the drawn brightness."""
    gray = np.linspace(0, _BRIGHTEST, _TONE_STEPS)
    tone = technique.contrast * gray
    tone /= np.sqrt(1 + (0.72 * tone) ** 4)  # the shoulder of the characteristic curve
    tone = np.maximum.accumulate(tone)  # far beyond any chest the formula would decrease
    place = np.clip(attenuation, 0, _BRIGHTEST) * np.float32((_TONE_STEPS - 1) / _BRIGHTEST)
    place = place.astype(np.intp)
    # Automatic exposure measures the patient, not the air around.
    sample = tone[place[::4, ::4]]
    mean = float(sample[sample > 0.04].mean())
    power = math.log(technique.brightness + 0.02) / math.log(min(max(mean, 0.05), 0.95))
    return np.take((tone ** min(max(power, 0.5), 2.0)).astype(np.float32), place, mode="clip")


def _crop(texture: Field, technique: Technique) -> Field:
    size = len(texture) // 2
    top, left = int(technique.grain_y * size), int(technique.grain_x * size)
    crop = texture[top : top + size, left : left + size]
    crop = crop[::-1] if int(technique.grain_turn) & 1 else crop
    return crop[:, ::-1] if int(technique.grain_turn) & 2 else crop


def _open_collimator(first: float, last: float, *, size: int) -> Field:
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    edge = np.minimum(place - np.float32(first), np.float32(1 - last) - place)
    return np.clip(edge * np.float32(1 / 0.008) + 0.5, 0, 1)


def _draw_shoulders(anatomy: Anatomy, size: int) -> Field:
    """Draw head, shoulder blades, upper arms (soft) and clavicles (sharp); shape (S / 2, S)."""
    height = round(_TOP_SHARE * size)
    # Drawn small and enlarged: what is far from the detector is blurred on a radiograph too.
    soft = Image.new("L", (size // 2, height // 2))
    pen = ImageDraw.Draw(soft)
    _draw_head(pen, anatomy, side=size // 2)
    for sign in (-1, 1):
        _draw_arm(pen, anatomy, sign=sign, side=size // 2)
    sharp = Image.new("L", (size * _SUPERSAMPLING, height * _SUPERSAMPLING))
    pen = ImageDraw.Draw(sharp)
    for sign in (-1, 1):
        _draw_clavicle(pen, anatomy, sign=sign, side=size * _SUPERSAMPLING)
    blurred = soft.resize((size, height), Image.Resampling.BILINEAR)
    bones = ImageChops.add(blurred, sharp.reduce(_SUPERSAMPLING))
    return np.asarray(bones, dtype=np.float32) * np.float32(1 / 640)


def _trace(anatomy: Anatomy, points: Points, *, sign: int, side: int) -> Points:
    """Turn anatomical places of one side of the body into pixels of a canvas."""
    placed = to_image(anatomy, [(sign * x, y) for x, y in points])
    return [(x * side, y * side) for x, y in placed]


def _draw_head(pen: ImageDraw.ImageDraw, anatomy: Anatomy, *, side: int) -> None:
    x, y = anatomy.chin_x, anatomy.chin_y
    if y < -0.13:
        return
    angles = [2 * math.pi * step / 20 for step in range(20)]
    for radius, shade in ((1.0, 105), (0.86, 80)):
        oval = [
            (x + 0.155 * radius * math.cos(t), y - 0.05 + 0.125 * radius * math.sin(t))
            for t in angles
        ]
        pen.polygon(_trace(anatomy, oval, sign=1, side=side), fill=shade)


def _draw_arm(pen: ImageDraw.ImageDraw, anatomy: Anatomy, *, sign: int, side: int) -> None:
    y, turn = anatomy.clavicle_y - anatomy.clavicle_rise, anatomy.arm_angle
    blade = [(0.29, y + 0.07), (0.40, y + 0.03), (0.415, y + 0.09), (0.37, y + 0.30)]
    pen.polygon(_trace(anatomy, [*blade, (0.33, y + 0.24)], sign=sign, side=side), fill=22)
    edge = _trace(anatomy, [blade[2], blade[3]], sign=sign, side=side)
    pen.line(edge, fill=46, width=max(1, side // 55))
    x, y = 0.445, y + 0.045
    far = (x + 0.30 * math.cos(turn), y + 0.30 * math.sin(turn))
    shaft = _trace(anatomy, [(x, y), far], sign=sign, side=side)
    for width, shade in ((0.062, 72), (0.034, 50)):
        pen.line(shaft, fill=shade, width=max(1, round(width * side)))
    (head_x, head_y), radius = shaft[0], 0.043 * side
    pen.ellipse((head_x - radius, head_y - radius, head_x + radius, head_y + radius), fill=66)


def _draw_clavicle(pen: ImageDraw.ImageDraw, anatomy: Anatomy, *, sign: int, side: int) -> None:
    """Draw the S of a clavicle, from the sternum to the shoulder: rim, then core."""
    for half, shade in ((0.0145, 82), (0.0085, 56)):
        upper: Points = []
        lower: Points = []
        for step in range(11):
            t = step / 10
            x = 0.036 + 0.345 * t
            y = anatomy.clavicle_y - anatomy.clavicle_rise * t - 0.013 * math.sin(6.3 * t)
            # Thick at the sternum, thin in the middle, flat and fading at the shoulder.
            thick = half * (0.85 + 0.55 * (t - 0.45) ** 2 / 0.2) * min(1.0, (1 - t) * 8 + 0.5)
            upper.append((x, y - thick))
            lower.append((x, y + thick))
        outline = _trace(anatomy, upper + lower[::-1], sign=sign, side=side)
        pen.polygon(outline, fill=shade)


def _draw_marks(image: Field, technique: Technique) -> None:
    """Draw what is not part of the patient: the side marker, at times leads."""
    size = len(image)
    letter = "R" if technique.marker_side < 0.8 else "L"
    height = technique.marker_size
    x = technique.marker_x if letter == "R" else 1 - technique.marker_x - height
    top, left = round(technique.marker_y * size), round(x * size)
    side = round(height * size) + 2
    canvas = Image.new("L", (side * _FINE, side * _FINE))
    pen = ImageDraw.Draw(canvas)
    unit = height * size * _FINE / 6
    for stroke in _LETTERS[letter]:
        points = [((px + 0.5) * unit, (py + 0.5) * unit) for px, py in stroke]
        pen.line(points, fill=238, width=max(1, round(0.9 * unit)))
    _overlay(image[top : top + side, left : left + side], canvas.reduce(_FINE))
    if technique.leads < _LEADS_SHARE:
        canvas = Image.new("L", (size * _SUPERSAMPLING, size * _SUPERSAMPLING))
        _draw_leads(ImageDraw.Draw(canvas), technique, side=size * _SUPERSAMPLING)
        _overlay(image, canvas.reduce(_SUPERSAMPLING))


def _overlay(image: Field, drawing: Image.Image) -> None:
    """Brighten an image, in place, where the drawing is brighter."""
    height, width = image.shape
    light = np.asarray(drawing, dtype=np.float32)[:height, :width] * np.float32(1 / 255)
    np.maximum(image, light, out=image)


def _draw_leads(pen: ImageDraw.ImageDraw, technique: Technique, *, side: int) -> None:
    """Draw two ECG electrodes and their wires, in both classes alike."""
    lift = technique.leads / _LEADS_SHARE
    for sign in (-1, 1):
        x = (0.5 + sign * (0.27 + 0.08 * lift)) * side
        y = (0.20 + 0.10 * technique.grain_x * lift + 0.03 * sign) * side
        points = [
            (x + sign * 0.30 * side * t * t, y + (0.55 - 0.3 * lift) * side * t)
            for t in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        ]
        pen.line(points, fill=150, width=max(1, side // 220))
        for radius, shade in ((0.021, 165), (0.011, 225)):
            r = radius * side
            pen.ellipse((x - r, y - 1.2 * r, x + r, y + 1.2 * r), fill=shade)
