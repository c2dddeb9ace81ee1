"""Describe the chest of one phantom: its measures (`Anatomy`) and its outlines.

Lengths are in image widths, x from the midline (positive: the patient's left, the right
side of the image), y from the top. The outlines are curves along x or y; phantom.chest
turns them into attenuation.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.phantom.textures import NUM_TREES

Line = NDArray[np.floating]  # float32 in practice: fast
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One patient on one image. Field order is draw order; bounds are in `RANGES`."""

    rotation: float  # radians
    scale: float
    shift_x: float
    shift_y: float
    cage_top: float
    cage_base: float
    cage_width: float  # half
    cage_roundness: float
    dome_y: float
    dome_depth: float
    dome_tilt: float
    midline: float  # shift of the mediastinum: a patient turned to one side
    upper_width: float  # of the mediastinum, half
    heart_left: float
    heart_right: float
    heart_y: float
    heart_length: float
    knob: float
    rib_spacing: float
    rib_slope: float
    rib_phase: float
    rib_duty: float
    rib_contrast: float
    spine_contrast: float
    torso_margin: float
    shoulder_y: float
    shoulder_slope: float
    arm_y: float
    air: float
    vessel_contrast: float
    heart_contrast: float
    liver_contrast: float
    gas: float  # in the stomach; below 0: none seen
    gas_x: float
    gas_width: float
    right_tree: float
    left_tree: float
    chin_y: float
    chin_x: float
    clavicle_y: float
    clavicle_rise: float
    arm_angle: float


RANGES: dict[str, tuple[float, float]] = {
    "rotation": (-0.075, 0.075),
    "scale": (0.92, 1.12),
    "shift_x": (-0.035, 0.035),
    "shift_y": (-0.045, 0.035),
    "cage_top": (0.070, 0.100),
    "cage_base": (0.76, 0.88),
    "cage_width": (0.345, 0.400),
    "cage_roundness": (0.40, 0.50),
    "dome_y": (0.69, 0.76),
    "dome_depth": (0.10, 0.16),
    "dome_tilt": (0.004, 0.018),
    "midline": (-0.015, 0.015),
    "upper_width": (0.050, 0.068),
    "heart_left": (0.165, 0.230),
    "heart_right": (0.070, 0.108),
    "heart_y": (0.620, 0.665),
    "heart_length": (0.19, 0.25),
    "knob": (0.004, 0.018),
    "rib_spacing": (0.066, 0.080),
    "rib_slope": (0.055, 0.100),
    "rib_phase": (0.0, 1.0),
    "rib_duty": (0.38, 0.52),
    "rib_contrast": (0.070, 0.125),
    "spine_contrast": (0.045, 0.085),
    "torso_margin": (0.040, 0.090),
    "shoulder_y": (0.00, 0.05),
    "shoulder_slope": (0.45, 0.80),
    "arm_y": (0.16, 0.40),
    "air": (0.33, 0.45),
    "vessel_contrast": (0.10, 0.19),
    "heart_contrast": (0.11, 0.19),
    "liver_contrast": (0.13, 0.22),
    "gas": (-0.20, 0.20),
    "gas_x": (0.14, 0.24),
    "gas_width": (0.05, 0.10),
    "right_tree": (0.0, NUM_TREES),
    "left_tree": (0.0, NUM_TREES),
    "chin_y": (-0.22, -0.02),
    "chin_x": (-0.06, 0.06),
    "clavicle_y": (0.165, 0.200),
    "clavicle_rise": (0.025, 0.085),
    "arm_angle": (-0.6, 0.9),
}
NUM_DRAWS = len(RANGES)


def place_anatomy(uniform: NDArray[np.float64]) -> Anatomy:
    """Turn NUM_DRAWS uniform numbers in [0, 1) into a patient."""
    bounds = [RANGES[field.name] for field in fields(Anatomy)]
    draws = uniform.tolist()
    values = [low + (high - low) * u for (low, high), u in zip(bounds, draws, strict=True)]
    return Anatomy(**dict(zip(RANGES, values, strict=True)))


def to_image(anatomy: Anatomy, points: Points) -> Points:
    """Turn anatomical places into image coordinates, both in [0, 1] within the image."""
    cos = anatomy.scale * math.cos(anatomy.rotation)
    sin = anatomy.scale * math.sin(anatomy.rotation)
    left, top = anatomy.shift_x + 0.5, anatomy.shift_y + 0.5
    return [(x * cos - (y - 0.5) * sin + left, x * sin + (y - 0.5) * cos + top) for x, y in points]


def cage_half_width(a: Anatomy, y: Line) -> Line:
    """Return the half width of the rib cage at each height."""
    t = np.clip((y - a.cage_top) / (a.cage_base - a.cage_top), 0, 1)
    return np.maximum(a.cage_width * (1 - (1 - t) ** 2.3) ** a.cage_roundness, 1e-3)


def left_border(a: Anatomy, y: Line) -> Line:
    """Return the left edge of the mediastinum: aortic knob, waist, left ventricle."""
    upper = a.upper_width + a.knob * _bump(y, center=0.305, width=0.035) + _inlet(y)
    ventricle = a.heart_left * _arc(y, center=a.heart_y, radius=a.heart_length)
    waist = a.upper_width * 0.9 + 0.24 * np.clip(y - 0.34, 0, 0.3)
    return _smooth_max(_smooth_max(upper, ventricle), waist) - 0.013 + a.midline


def right_border(a: Anatomy, y: Line) -> Line:
    """Return the right edge of the mediastinum: upper vena cava, right atrium."""
    upper = a.upper_width - 0.006 + _inlet(y)
    atrium = a.heart_right * _arc(y, center=a.heart_y, radius=a.heart_length * 0.85)
    return _smooth_max(upper, atrium) - 0.008 - a.midline


def diaphragm(a: Anatomy, x: Line) -> Line:
    """Return the height of both domes; the right one is higher, above the liver."""
    lateral = np.abs(x) / a.cage_width
    outer = a.dome_depth * np.maximum((lateral - 0.48) / 0.52, 0) ** 2.2
    inner = 0.030 * np.maximum((0.48 - lateral) / 0.48, 0) ** 2
    return a.dome_y + outer + inner + a.dome_tilt * np.clip(x / 0.1, -1, 1)


def body_half_width(a: Anatomy, y: Line) -> Line:
    """Return the half width of the skin: neck, shoulders, armpits, torso."""
    neck = 0.105 + 0.30 * np.maximum(y - a.shoulder_y, 0)
    shoulder = neck + 0.80 * np.clip((y - a.shoulder_y) / 0.14, 0, 1) ** a.shoulder_slope
    leave = np.clip((y - a.arm_y) / 0.34, 0, 1)
    torso = a.cage_width + a.torso_margin + 0.03 * np.clip(y - 0.6, 0, 0.5)
    return shoulder + (torso - shoulder) * (1 - (1 - leave) ** 2.2)


def heart_fade(a: Anatomy, y: Line) -> Line:
    """Return how much of the heart's density is visible: little above it, none below."""
    upper = 0.55 + 0.45 * np.clip((y - 0.2) / 0.25, 0, 1)
    return upper * np.clip((a.dome_y + 0.12 - y) / 0.16, 0, 1)


def spine_across(a: Anatomy, x: Line) -> Line:
    """Return the density across the spine: bodies and the rims of the pedicles."""
    distance = np.abs(x - 0.4 * a.midline)
    body = np.clip((0.042 - distance) / 0.012, 0, 1)
    return a.spine_contrast * (body + 0.35 * _bump(distance, center=0.033, width=0.007))


def spine_along(a: Anatomy, y: Line) -> Line:
    """Return the density along the spine: vertebrae and the lighter discs."""
    phase = np.mod((y + a.rib_phase * 0.05) / (0.85 * a.rib_spacing), 1)
    fade = 0.55 + 0.45 * np.clip((a.dome_y - y) / 0.1, 0, 1)
    return (1 - 0.45 * _bump(phase, center=0.5, width=0.12)) * fade


def trachea_across(a: Anatomy, x: Line) -> Line:
    """Return the air across the trachea."""
    return 0.085 * np.clip((0.024 - np.abs(x - a.midline + 0.004)) / 0.010, 0, 1)


def trachea_along(a: Anatomy, y: Line) -> Line:
    """Return the air along the trachea, down to where it divides."""
    del a
    return np.clip((0.38 - y) / 0.12, 0, 1)


def rib_number(a: Anatomy, y: Line) -> Line:
    """Return the height counted in ribs, all positive: they are wider apart at the apex."""
    return 16 + (y + 0.05 * np.exp(-(y - 0.1) / 0.12)) / a.rib_spacing + a.rib_phase


def rib_fade(a: Anatomy, y: Line) -> Line:
    """Return how visible the ribs are: faint over the abdomen, none above the first."""
    below = 0.30 + 0.70 * np.clip((a.dome_y + 0.12 - y) / 0.16, 0, 1)
    return below * np.clip((y - a.cage_top) / 0.05, 0, 1)


def _inlet(y: Line) -> Line:
    return 0.55 * np.maximum(0.19 - y, 0) ** 1.4


def _smooth_max(first: Line, second: Line) -> Line:
    """Return the larger of two curves, with a round corner where they cross."""
    difference = first - second
    return 0.5 * (first + second + np.sqrt(difference * difference + 0.0006))


def _bump(values: Line, *, center: float, width: float) -> Line:
    return np.exp(-(((values - center) / width) ** 2))


def _arc(values: Line, *, center: float, radius: float) -> Line:
    return np.sqrt(np.maximum(1 - ((values - center) / radius) ** 2, 0))
