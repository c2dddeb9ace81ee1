"""Turn an anatomy into attenuation: a sum of layers, pixel by pixel.

Attenuation is soft tissue, less the air of lungs, trachea and stomach, plus heart,
spine, vessels and ribs. The ribs are hoops around an elliptic cage seen from the front:
one formula gives the flat posterior arcs, the steep anterior ones and the bright turn
at the side. Every curve of the anatomy is tabulated once and looked up per pixel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.phantom import anatomy as curves
from medimg_baseline_cls.phantom.anatomy import Anatomy, Line
from medimg_baseline_cls.phantom.textures import TREE_TOP, Field, load_textures

Places = NDArray[np.intp]
Curve = Callable[[Anatomy, Line], Line]

_STEPS = 1024  # entries of a table along x or y
_X_RANGE, _Y_RANGE = (-0.75, 0.75), (-0.25, 1.25)
_X_GRID = np.linspace(*_X_RANGE, _STEPS, dtype=np.float32)
_Y_GRID = np.linspace(*_Y_RANGE, _STEPS, dtype=np.float32)
_RIB_STEPS = 1024  # entries of a table across one rib and its gap; a power of two
_RIB_GRID = np.linspace(0, 1, _RIB_STEPS, dtype=np.float32)
_RIB_TURN = np.arcsin(_RIB_GRID) / np.float32(math.pi)  # around the cage: 0.5 at the side


@dataclass(frozen=True, slots=True)
class Chest:
    """One chest, pixel by pixel; every field is (S, S) float32.

    Attributes:
        x, y: the anatomical place of each pixel.
        lung: how much of the ray's thickness is air, from 0 (outside the lungs) to about 1.
        vessels: the branching of vessels and bronchi, in [0, 1], not cut to the lungs.
        attenuation: the brightness before the effects of tube and detector.
    """

    x: Field
    y: Field
    lung: Field
    vessels: Field
    attenuation: Field


def build_chest(anatomy: Anatomy, size: int) -> Chest:
    """Sum the layers of one chest on an image of size x size pixels."""
    frame = _lay_frame(anatomy, size)
    distance = np.abs(frame.x)
    cage = frame.along_y(curves.cage_half_width)
    across = np.minimum(distance / cage, 1.0)  # 0 at the midline, 1 at the lateral wall
    wall = cage - distance
    below = frame.y - frame.along_x(curves.diaphragm)  # positive below the diaphragm
    lung = _round_corner(wall, _silhouette(frame)) * _step(below, width=-0.016, offset=0.0)
    lung *= np.float32(0.45) + np.float32(0.55) * np.sqrt(np.float32(1.02) - across * across)
    vessels = _lay_vessels(frame, size)
    image = _soft_layers(anatomy, size)
    image += (np.float32(anatomy.vessel_contrast) * vessels - np.float32(anatomy.air)) * lung
    image += _ribs(frame, across) * _step(wall, width=0.030, offset=0.35)
    return Chest(frame.x, frame.y, lung, vessels, image)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The pixels of an image on an anatomy, ready to look up its curves."""

    anatomy: Anatomy
    x: Field
    y: Field
    ix: Places
    iy: Places

    def along_x(self, curve: Curve) -> Field:
        return _look_up(curve(self.anatomy, _X_GRID), self.ix)

    def along_y(self, curve: Curve) -> Field:
        return _look_up(curve(self.anatomy, _Y_GRID), self.iy)

    def part(self, window: tuple[slice, slice]) -> "_Frame":
        x, y = self.x[window], self.y[window]
        return _Frame(self.anatomy, x, y, self.ix[window], self.iy[window])


def _lay_frame(anatomy: Anatomy, size: int) -> _Frame:
    centers = (np.arange(size) + 0.5) / size - 0.5
    right = (centers - anatomy.shift_x) / anatomy.scale
    down = (centers - anatomy.shift_y) / anatomy.scale
    cos, sin = math.cos(anatomy.rotation), math.sin(anatomy.rotation)
    x = (right * cos).astype(np.float32)[None, :] + (down * sin).astype(np.float32)[:, None]
    y = (down * cos + 0.5).astype(np.float32)[:, None] - (right * sin).astype(np.float32)[None, :]
    return _Frame(anatomy, x, y, _to_index(x, _X_RANGE), _to_index(y, _Y_RANGE))


def _silhouette(frame: _Frame) -> Field:
    """Return the distance from the mediastinum, negative inside."""
    left = frame.x - frame.along_y(curves.left_border)
    return np.maximum(left, -frame.x - frame.along_y(curves.right_border))


def _soft_layers(anatomy: Anatomy, size: int) -> Field:
    """Return all layers without fine detail, drawn at half size and enlarged: a third faster."""
    frame = _lay_frame(anatomy, (size + 1) // 2)
    below = frame.y - frame.along_x(curves.diaphragm)
    layers = _soft_tissue(frame, below)
    layers += _mediastinum(frame)
    if anatomy.gas > 0:
        first = _first_row(below, 0.0)
        layers[first:] -= _gas(anatomy, frame.x[first:], below=below[first:])
    enlarged = Image.fromarray(layers).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(enlarged)


def _soft_tissue(frame: _Frame, below: Field) -> Field:
    """Return muscle, fat and the organs below the diaphragm."""
    distance = np.abs(frame.x)
    inside = np.minimum(distance / frame.along_y(curves.body_half_width), 1)
    tissue = np.sqrt(1 - inside * inside)
    tissue *= np.float32(0.68) - np.float32(0.12) * np.minimum(distance * np.float32(3), 1)
    first = _first_row(below, -0.04)
    organs = np.clip(below[first:] * np.float32(1 / 0.10) + np.float32(0.30), 0, 1)
    organs *= np.float32(frame.anatomy.liver_contrast)
    organs *= np.minimum((1 - inside[first:]) * 3, 1)
    tissue[first:] += organs
    return tissue


def _mediastinum(frame: _Frame) -> Field:
    """Return the heart and great vessels, the spine seen through them, and the trachea."""
    layer = np.sqrt(np.clip(_silhouette(frame) * np.float32(-1 / 0.13), 0, 1))
    layer *= np.float32(frame.anatomy.heart_contrast) * frame.along_y(curves.heart_fade)
    seen = np.flatnonzero((np.abs(frame.x[[0, -1]]) < 0.07).any(axis=0))
    if seen.size:
        # Spine and trachea are nowhere else.
        middle = np.s_[:, int(seen[0]) : int(seen[-1]) + 1]
        part = frame.part(middle)
        layer[middle] += part.along_x(curves.spine_across) * part.along_y(curves.spine_along)
        layer[middle] -= part.along_x(curves.trachea_across) * part.along_y(curves.trachea_along)
    return layer


def _gas(anatomy: Anatomy, x: Field, *, below: Field) -> Field:
    """Return the gastric bubble, under the left dome."""
    right = (x - np.float32(anatomy.gas_x)) / np.float32(anatomy.gas_width)
    down = (below - np.float32(0.045)) / np.float32(0.45 * anatomy.gas_width)
    bubble = np.clip(np.float32(1.2) - right**2 - down**2, 0, 0.7) * np.float32(anatomy.gas)
    return bubble.astype(np.float32, copy=False)


def _first_row(below: Field, limit: float) -> int:
    """Return the first row that is deeper than a limit; the number of rows if none is."""
    rows = np.flatnonzero(below.max(axis=1) > limit)
    return int(rows[0]) if rows.size else len(below)


def _ribs(frame: _Frame, across: Field) -> Field:
    """Return both halves of every rib, summed where they cross."""
    anatomy, turn = frame.anatomy, _RIB_TURN
    place = (across * np.float32(_RIB_STEPS - 1)).astype(np.intp)
    drop = anatomy.rib_slope / anatomy.rib_spacing * _RIB_STEPS
    # A posterior rib rises slightly from the spine, then descends toward the side.
    back = drop * (2.6 * turn**2 - 0.20 * np.sin(2 * math.pi * turn))
    front = drop * (2.6 * 0.25 + 2.7 * (0.5 - turn))
    edge = np.minimum(1 / np.sqrt(1.10 - _RIB_GRID**2), 2.5)
    bone = np.clip((_RIB_GRID - 0.36) / 0.3, 0, 1)  # cartilage near the sternum is invisible
    height = frame.along_y(curves.rib_number) * np.float32(_RIB_STEPS)
    profile = _rib_profile(anatomy.rib_duty)
    layer = _rib_half(height - _look_up(back, place), profile)
    layer *= _look_up(0.80 * edge, place)
    anterior = _rib_half(height - _look_up(front, place), profile)
    layer += anterior * _look_up(0.55 * edge * bone, place)
    layer *= np.float32(anatomy.rib_contrast) * frame.along_y(curves.rib_fade)
    return layer


def _rib_half(phase: Field, profile: Field) -> Field:
    return np.take(profile, phase.astype(np.intp) & (_RIB_STEPS - 1))


def _rib_profile(duty: float) -> Field:
    """Return the cross-section of one rib: dense rims, a lighter core, a sharper lower edge."""
    place = (_RIB_GRID - 0.5) / (duty / 2)  # -1 .. 1 is the rib
    body = np.clip((1 - np.abs(place)) / 0.30, 0, 1)
    rim = np.exp(-(((place - 0.74) / 0.22) ** 2)) + 0.6 * np.exp(-(((place + 0.72) / 0.24) ** 2))
    return (body * (0.70 + 0.10 * place) + 0.30 * rim * body).astype(np.float32)


def _lay_vessels(frame: _Frame, size: int) -> Field:
    anatomy = frame.anatomy
    textures = load_textures(size)
    rows, columns = textures.tree_shape
    tree = np.where(_X_GRID < 0, int(anatomy.right_tree), int(anatomy.left_tree)) * rows * columns
    column = (np.abs(_X_GRID - anatomy.midline) * size).astype(np.intp)
    row = ((_Y_GRID - TREE_TOP) * size).astype(np.intp)
    first = tree + np.clip(column, 0, columns - 1)
    second = np.clip(row, 0, rows - 1) * columns
    return np.take(
        textures.trees,
        np.take(first, frame.ix, mode="clip") + np.take(second, frame.iy, mode="clip"),
    )


def _step(distance: Field, *, width: float, offset: float) -> Field:
    """Return a soft step from 0 to 1 where the distance passes offset * width."""
    return np.clip(distance * np.float32(1 / width) + np.float32(0.5 - offset), 0, 1)


def _round_corner(wall: Field, silhouette: Field) -> Field:
    """Return a soft step inside both borders; where they meet, at the apex, it is round."""
    outer = np.maximum(wall + np.float32(0.016), 1e-4)
    inner = np.maximum(silhouette + np.float32(0.024), 1e-4)
    together = outer * inner
    together /= outer + inner
    return _step(together, width=0.017, offset=1.35)


def _to_index(values: Field, bounds: tuple[float, float]) -> Places:
    low, high = bounds
    scale = (_STEPS - 1) / (high - low)
    return (values * np.float32(scale) + np.float32(0.5 - low * scale)).astype(np.intp)


def _look_up(table: NDArray[np.floating], places: Places) -> Field:
    return np.take(table.astype(np.float32, copy=False), places, mode="clip")
