"""Turn a seed into a phantom CT of the chest: body, lungs with vessels, spine, a lesion or none.

Vessels run through many slices; a lesion is wider and is in two slices alone. Volume i depends
only on (seed, i). Values are in Hounsfield units; nothing here says anything about patients.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.seed import generator

_AIR, _LUNG, _TISSUE, _BONE = -1000.0, -850.0, 40.0, 450.0
_NUM_VESSELS = 10  # in each lung
_SMALLEST = 8, 32
_LESION_SLICES = 2
_Array = NDArray[np.float64]


class _Grid(NamedTuple):
    """Coordinates from -1 to 1 of shapes (Z, 1, 1), (S, 1) and (S,): up, back, to the left."""

    z: _Array
    y: _Array
    x: _Array


@dataclass(frozen=True, slots=True)
class PhantomVolume:
    """One phantom CT.

    Attributes:
        voxels: Hounsfield units, shape (Z, S, S), int16; slices upward, anterior on top, the left
            of the patient on the right.
        mask: where the lesion is, of the same shape; all False without one.
    """

    voxels: NDArray[np.int16]
    mask: NDArray[np.bool_]


def make_volume(
    seed: int, index: int, *, has_lesion: bool, num_slices: int = 24, image_size: int = 96
) -> PhantomVolume:
    """Draw phantom `index` of a seed.

    The same (seed, index) is the same patient, with a lesion or without.

    Args:
        seed: any integer.
        index: which patient, from 0.
        has_lesion: whether there is a lesion, in two slices.
        num_slices: Z, at least 8.
        image_size: S in pixels, at least 32.

    Raises:
        DataError: the volume would be too small for a chest.

    >>> volume = make_volume(0, 1, has_lesion=True, num_slices=8, image_size=32)
    >>> volume.voxels.shape, int(volume.mask.any(axis=(1, 2)).sum())
    ((8, 32, 32), 2)
    """
    if num_slices < _SMALLEST[0] or image_size < _SMALLEST[1]:
        raise DataError(
            f"A phantom CT of {num_slices} slices of {image_size} px shows no chest; use at least "
            f"{_SMALLEST[0]} slices of {_SMALLEST[1]} px."
        )
    draw = generator(seed, "phantom", "thorax", index)
    z = (np.arange(num_slices) + 0.5)[:, None, None] / num_slices * 2 - 1  # -1 to 1
    side = (np.arange(image_size) + 0.5) / image_size * 2 - 1
    grid = _Grid(z, side[:, None], side)
    lungs = _draw_lungs(draw, grid)
    size = draw.uniform(0.82, 0.95)
    body = (grid.x / size) ** 2 + (grid.y / (0.72 * size)) ** 2 < 1
    voxels = np.where(body, _TISSUE, _AIR) * np.ones_like(z)
    spine = grid.x**2 + (grid.y - 0.42 * size) ** 2 < 0.1**2
    voxels = np.where(spine, _BONE, voxels)
    inside = np.maximum(*lungs)
    voxels += (draw.normal(_LUNG, 25) - voxels) * inside
    for lung in lungs:
        voxels = _draw_vessels(draw, voxels, lung=lung, grid=grid)
    lesion = _draw_lesion(generator(seed, "phantom", "nodule", index), lungs, image_size=image_size)
    if has_lesion:
        voxels += (_TISSUE - voxels) * lesion
    voxels += draw.normal(0, 35, voxels.shape)
    mask = (lesion > 0.5) & has_lesion
    return PhantomVolume(np.rint(voxels.clip(-1024, 3071)).astype(np.int16), mask)


def _draw_lungs(draw: np.random.Generator, grid: _Grid) -> list[_Array]:
    """Return the right and the left lung, 0 to 1, shape (Z, S, S)."""
    lungs: list[_Array] = []
    for direction in (-1, 1):
        center = direction * draw.uniform(0.38, 0.44), draw.uniform(-0.08, 0.02)
        width, depth = draw.uniform(0.27, 0.32), draw.uniform(0.42, 0.5)
        taper = np.sqrt(np.clip(1.15 - grid.z**2, 0.05, None))  # narrower at the apex and the base
        radius = np.hypot(
            (grid.x - center[0]) / (width * taper), (grid.y - center[1]) / (depth * taper)
        )
        lungs.append(np.clip((1 - radius) / 0.08, 0, 1))
    return lungs


def _draw_vessels(
    draw: np.random.Generator, voxels: _Array, *, lung: _Array, grid: _Grid
) -> _Array:
    """Return the voxels with vessels in a lung: thin, oblique, each through many slices."""
    z, y, x = grid
    rows, columns = np.nonzero(lung[len(lung) // 2] > 0.9)
    kept = np.ones_like(voxels)  # the share of each voxel that no vessel covers
    for _ in range(_NUM_VESSELS):
        pick = int(draw.integers(len(rows)))
        slope = draw.normal(0, 0.12, 2)
        middle = draw.uniform(-0.5, 0.5)
        row = y[rows[pick], 0] + slope[0] * (z - middle)
        column = x[columns[pick]] + slope[1] * (z - middle)
        width = draw.uniform(0.018, 0.03)
        reach = draw.uniform(0.5, 1.0)
        down = np.exp(-((y - row) ** 2) / (2 * width**2))  # (Z, S, 1)
        down = down * np.clip((reach - np.abs(z - middle)) / 0.1, 0, 1)
        kept *= 1 - down * np.exp(-((x - column) ** 2) / (2 * width**2))
    return voxels + (_TISSUE - voxels) * lung * (1 - kept)


def _draw_lesion(draw: np.random.Generator, lungs: list[_Array], *, image_size: int) -> _Array:
    """Return a lesion in one of the lungs, 0 to 1, in two slices."""
    lung = lungs[int(draw.integers(len(lungs)))]
    num_slices = len(lung)
    first = int(draw.integers(num_slices // 6, num_slices - num_slices // 6 - _LESION_SLICES + 1))
    rows, columns = np.nonzero(lung[first] > 0.95)
    pick = int(draw.integers(len(rows)))
    radius = draw.uniform(0.07, 0.1) * image_size
    row, column = np.arange(image_size)[:, None] - rows[pick], np.arange(image_size) - columns[pick]
    disk = np.clip(radius + 0.5 - np.hypot(row, column), 0, 1)
    lesion = np.zeros_like(lung)
    lesion[first : first + _LESION_SLICES] = disk
    return lesion
