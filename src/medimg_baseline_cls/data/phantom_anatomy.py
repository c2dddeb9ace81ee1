"""Builds a chest out of numbers: who is drawn (`Anatomy`) and what the rays meet (`Chest`).

Lengths are in image widths, x from the midline (positive: the patient's left, the right
of the picture), y from the top. A ray's attenuation is a sum of layers: soft tissue,
less the air of the lungs, plus heart, spine, vessels, ribs and the bones of the shoulder.
The ribs are circles round an elliptic cage seen from the front: one formula gives the
flat posterior arcs, the steep anterior ones and the bright turn at the lateral wall.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.phantom_textures import (
    NUM_TREES,
    TREE_TOP,
    Field,
    load_textures,
)

Places = NDArray[np.intp]

_STEPS = 4096  # entries of a profile along x or y
_Y_RANGE = (-0.25, 1.25)
_X_RANGE = (-0.75, 0.75)
_RIB_STEPS = 1024  # entries of a profile across one rib and its gap; a power of two


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One patient on one film. Field order is draw order; `RANGES` holds the bounds."""

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
    arm_y: float
    air: float
    vessel_contrast: float
    heart_contrast: float
    liver_contrast: float
    stomach: float  # below 0.55: no gas seen
    right_tree: float
    left_tree: float
    chin: float
    clavicle_y: float
    clavicle_rise: float


RANGES: dict[str, tuple[float, float]] = {
    "rotation": (-0.075, 0.075),
    "scale": (0.90, 1.10),
    "shift_x": (-0.035, 0.035),
    "shift_y": (-0.04, 0.04),
    "cage_top": (0.085, 0.115),
    "cage_base": (0.74, 0.86),
    "cage_width": (0.335, 0.395),
    "cage_roundness": (0.50, 0.66),
    "dome_y": (0.69, 0.76),
    "dome_depth": (0.09, 0.14),
    "dome_tilt": (0.005, 0.035),
    "midline": (-0.015, 0.015),
    "upper_width": (0.050, 0.070),
    "heart_left": (0.135, 0.185),
    "heart_right": (0.080, 0.115),
    "heart_y": (0.590, 0.640),
    "heart_length": (0.17, 0.22),
    "knob": (0.005, 0.020),
    "rib_spacing": (0.064, 0.078),
    "rib_slope": (0.055, 0.095),
    "rib_phase": (0.0, 1.0),
    "rib_duty": (0.40, 0.52),
    "rib_contrast": (0.075, 0.135),
    "spine_contrast": (0.05, 0.10),
    "torso_margin": (0.035, 0.075),
    "shoulder_y": (0.01, 0.06),
    "arm_y": (0.24, 0.46),
    "air": (0.36, 0.46),
    "vessel_contrast": (0.13, 0.22),
    "heart_contrast": (0.12, 0.20),
    "liver_contrast": (0.15, 0.24),
    "stomach": (0.0, 1.0),
    "right_tree": (0.0, NUM_TREES),
    "left_tree": (0.0, NUM_TREES),
    "chin": (-0.09, 0.03),
    "clavicle_y": (0.155, 0.190),
    "clavicle_rise": (0.02, 0.07),
}
NUM_DRAWS = len(RANGES)


def place_anatomy(uniform: NDArray[np.float64]) -> Anatomy:
    """Turn NUM_DRAWS uniform numbers in [0, 1) into a patient."""
    names = [field.name for field in fields(Anatomy)]
    bounds = [RANGES[name] for name in names]
    values = [low + (high - low) * float(u) for (low, high), u in zip(bounds, uniform, strict=True)]
    return Anatomy(**dict(zip(names, values, strict=True)))


@dataclass(frozen=True, slots=True)
class Chest:
    """What the rays meet, pixel by pixel; every field is (S, S) float32.

    Attributes:
        x, y: the anatomical place of each pixel.
        lung: how much of the ray's thickness is air, in [0, 1]; 0 outside the lungs.
        vessels: the branching of vessels and bronchi, in [0, 1], not cut to the lungs.
        attenuation: the film's brightness before the tube and the detector have their say.
    """

    x: Field
    y: Field
    lung: Field
    vessels: Field
    attenuation: Field


def build_chest(anatomy: Anatomy, size: int) -> Chest:
    """Sum the layers of one chest on a film of size x size pixels."""
    x, y = _place_pixels(anatomy, size)
    ix, iy = _to_index(x, _X_RANGE), _to_index(y, _Y_RANGE)
    cage = _along_y(anatomy, _cage_half_width, iy)
    across = np.minimum(np.abs(x) / cage, 1.0)  # 0 at the midline, 1 at the lateral wall
    silhouette = np.maximum(
        x - _along_y(anatomy, _left_border, iy), -x - _along_y(anatomy, _right_border, iy)
    )  # negative inside heart and mediastinum
    below = y - _along_x(anatomy, _diaphragm, ix)  # positive below the diaphragm
    wall = (cage - np.abs(x)) * np.float32(1 / 0.022)
    lung = np.clip(wall - 0.25, 0, 1)
    lung *= np.clip(silhouette * np.float32(1 / 0.016) + 0.5, 0, 1)
    lung *= np.clip(below * np.float32(-1 / 0.014) + 0.5, 0, 1)
    depth = np.sqrt(np.maximum(1.02 - across * across, 0))
    lung *= 0.5 + 0.5 * depth
    vessels = _lay_vessels(anatomy, ix, iy, size)
    film = _soft_tissue(anatomy, x, iy, below)
    film += _mediastinum(anatomy, silhouette, ix, iy)
    film -= anatomy.air * lung
    film += anatomy.vessel_contrast * vessels * lung
    film += _ribs(anatomy, across, iy, wall)
    return Chest(x, y, lung, vessels, film)


def _place_pixels(anatomy: Anatomy, size: int) -> tuple[Field, Field]:
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    right = (centres - anatomy.shift_x) / anatomy.scale
    down = (centres - anatomy.shift_y) / anatomy.scale
    cos, sin = math.cos(anatomy.rotation), math.sin(anatomy.rotation)
    x = right[None, :] * cos + down[:, None] * sin
    y = down[:, None] * cos - right[None, :] * sin + 0.5
    return x.astype(np.float32), y.astype(np.float32)


def to_film(anatomy: Anatomy, x: float, y: float) -> tuple[float, float]:
    """Turn an anatomical place into film coordinates, both in [0, 1] on the film."""
    cos, sin = math.cos(anatomy.rotation), math.sin(anatomy.rotation)
    right, down = x * cos - (y - 0.5) * sin, x * sin + (y - 0.5) * cos
    return (
        right * anatomy.scale + anatomy.shift_x + 0.5,
        down * anatomy.scale + anatomy.shift_y + 0.5,
    )


def _soft_tissue(anatomy: Anatomy, x: Field, iy: Places, below: Field) -> Field:
    """Return muscle, fat and the organs below the diaphragm."""
    body = _along_y(anatomy, _body_half_width, iy)
    inside = np.abs(x) / body
    tissue = np.sqrt(np.maximum(1 - inside * inside, 0))
    tissue *= 0.70 - 0.10 * np.minimum(inside, 1)
    ramp = np.clip(below * np.float32(1 / 0.10) + 0.30, 0, 1)
    tissue += anatomy.liver_contrast * ramp * (inside < 1) * (1.0 - 0.5 * np.minimum(inside, 1))
    return tissue


def _mediastinum(anatomy: Anatomy, silhouette: Field, ix: Places, iy: Places) -> Field:
    """Return the heart and great vessels, the spine seen through them, and the trachea."""
    layer = np.sqrt(np.clip(silhouette * np.float32(-1 / 0.12), 0, 1))
    layer *= anatomy.heart_contrast * _along_y(anatomy, _heart_fade, iy)
    layer += _along_x(anatomy, _spine_across, ix) * _along_y(anatomy, _spine_along, iy)
    layer -= _along_x(anatomy, _trachea_across, ix) * _along_y(anatomy, _trachea_along, iy)
    return layer


def _ribs(anatomy: Anatomy, across: Field, iy: Places, wall: Field) -> Field:
    """Return both halves of every rib, summed where they cross."""
    last = _RIB_STEPS - 1
    place = (across * last).astype(np.intp)
    t = np.linspace(0, 1, _RIB_STEPS)
    angle = np.arcsin(t)  # round the cage, 0 at the spine
    slope = anatomy.rib_slope / anatomy.rib_spacing
    # A posterior rib leaves the spine slightly upward, then sinks towards the side.
    back = slope * (1.15 * (angle / math.pi) ** 1.6 - 0.22 * np.sin(2 * angle))
    front = slope * (1.15 * 0.5**1.6 + 2.9 * (0.5 - angle / math.pi))
    edge = np.minimum(1 / np.sqrt(1.08 - t * t), 2.6)
    bone = np.clip((t - 0.36) / 0.3, 0, 1)  # the cartilage towards the sternum is not seen
    height = _along_y(anatomy, _rib_number, iy)
    profile = _rib_profile(anatomy.rib_duty)
    back_phase = ((height - back.astype(np.float32)[place]) * _RIB_STEPS).astype(np.intp)
    layer = profile[back_phase & last] * (0.85 * edge).astype(np.float32)[place]
    front_phase = ((height - front.astype(np.float32)[place]) * _RIB_STEPS).astype(np.intp)
    layer += profile[front_phase & last] * (0.55 * edge * bone).astype(np.float32)[place]
    layer *= np.clip(wall * 0.8 + 0.5, 0, 1)
    layer *= anatomy.rib_contrast * _along_y(anatomy, _rib_fade, iy)
    return layer


def _rib_profile(duty: float) -> Field:
    """Return the cross-section of one rib: a dense rim, a lighter core, a sharper lower edge."""
    place = (np.arange(_RIB_STEPS) / _RIB_STEPS - 0.5) / (duty / 2)  # -1 .. 1 is the rib
    body = np.clip((1 - np.abs(place)) / 0.22, 0, 1)
    rim = np.exp(-(((np.abs(place) - 0.80) / 0.20) ** 2))
    return (body * (0.72 + 0.08 * place) + 0.34 * rim * body).astype(np.float32)


def _lay_vessels(anatomy: Anatomy, ix: Places, iy: Places, size: int) -> Field:
    textures = load_textures(size)
    rows, columns = textures.tree_shape
    x, y = np.linspace(*_X_RANGE, _STEPS), np.linspace(*_Y_RANGE, _STEPS)
    tree = np.where(x < 0, int(anatomy.right_tree), int(anatomy.left_tree)) * rows * columns
    column = np.clip((np.abs(x - anatomy.midline) * size).astype(np.intp), 0, columns - 1)
    row = np.clip(((y - TREE_TOP) * size).astype(np.intp), 0, rows - 1)
    return textures.trees[(tree + column)[ix] + (row * columns)[iy]]


def _to_index(values: Field, bounds: tuple[float, float]) -> Places:
    low, high = bounds
    scaled = (values - np.float32(low)) * np.float32((_STEPS - 1) / (high - low))
    return np.clip(scaled, 0, _STEPS - 1).astype(np.intp)


Profile = Callable[[Anatomy, NDArray[np.float64]], NDArray[np.float64]]


def _along_y(anatomy: Anatomy, profile: Profile, iy: Places) -> Field:
    return profile(anatomy, np.linspace(*_Y_RANGE, _STEPS)).astype(np.float32)[iy]


def _along_x(anatomy: Anatomy, profile: Profile, ix: Places) -> Field:
    return profile(anatomy, np.linspace(*_X_RANGE, _STEPS)).astype(np.float32)[ix]


def _bump(values: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    return np.exp(-(((values - centre) / width) ** 2))


def _arc(values: NDArray[np.float64], centre: float, radius: float) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(1 - ((values - centre) / radius) ** 2, 0))


def _cage_half_width(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.clip((y - a.cage_top) / (a.cage_base - a.cage_top), 0, 1)
    return np.maximum(a.cage_width * (1 - (1 - t) ** 2.3) ** a.cage_roundness, 1e-3)


def _left_border(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    upper = a.upper_width + a.knob * _bump(y, 0.315, 0.030) + 0.25 * np.maximum(0.21 - y, 0)
    ventricle = a.heart_left * _arc(y, a.heart_y, a.heart_length) ** 0.9
    waist = (a.upper_width + 0.012) * (y > 0.25) + 0.16 * np.clip(y - 0.36, 0, 0.3)
    smooth = np.logaddexp(np.logaddexp(upper * 90, ventricle * 90), waist * 90) / 90
    return smooth - 0.008 + a.midline


def _right_border(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    upper = a.upper_width - 0.010 + 0.25 * np.maximum(0.21 - y, 0)
    atrium = a.heart_right * _arc(y, a.heart_y + 0.02, a.heart_length * 0.85)
    return np.logaddexp(upper * 90, atrium * 90) / 90 - 0.008 - a.midline


def _diaphragm(a: Anatomy, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the height of both domes; the right one stands higher, above the liver."""
    lateral = np.abs(x) / a.cage_width
    peak = 0.50
    outer = a.dome_depth * np.maximum((lateral - peak) / (1 - peak), 0) ** 2.3
    inner = 0.035 * np.maximum((peak - lateral) / peak, 0) ** 2
    tilt = a.dome_tilt * np.clip(x / 0.1, -1, 1)
    return a.dome_y + outer + inner + tilt


def _body_half_width(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    neck = 0.105 + 0.02 * np.cos(y * 9)
    shoulder = 0.80 * np.clip((y - a.shoulder_y) / 0.11, 0, 1) ** 0.55
    leave = np.clip((y - a.arm_y) / 0.20, 0, 1)
    torso = a.cage_width + a.torso_margin + 0.02 * np.clip(y - 0.5, 0, 0.5)
    chest = shoulder + (torso - shoulder) * leave * leave * (3 - 2 * leave)
    return np.maximum(neck, chest)


def _heart_fade(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    upper = 0.55 + 0.45 * np.clip((y - 0.2) / 0.25, 0, 1)
    return upper * np.clip((a.dome_y + 0.10 - y) / 0.12, 0, 1)


def _spine_across(a: Anatomy, x: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = np.abs(x - 0.4 * a.midline)
    body = np.clip((0.040 - distance) / 0.008, 0, 1)
    return a.spine_contrast * (body + 0.35 * _bump(distance, 0.034, 0.006))


def _spine_along(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = np.mod((y + a.rib_phase * 0.05) / (0.85 * a.rib_spacing), 1)
    disc = _bump(phase, 0.5, 0.11)
    return (1 - 0.45 * disc) * np.clip((y + 0.2) / 0.3, 0.3, 1)


def _trachea_across(a: Anatomy, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.09 * np.clip((0.022 - np.abs(x - a.midline + 0.004)) / 0.008, 0, 1)


def _trachea_along(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip((0.37 - y) / 0.10, 0, 1) * np.clip((y - 0.02) / 0.06, 0, 1)


def _rib_number(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the height in ribs: they stand closer at the apex."""
    return (y + 0.05 * np.exp(-(y - 0.1) / 0.12)) / a.rib_spacing + a.rib_phase


def _rib_fade(a: Anatomy, y: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.45 + 0.55 * np.clip((a.dome_y + 0.10 - y) / 0.16, 0, 1)
