"""Turn a volume into the array that a network sees: intensity, in-plane size, number of slices.

Downscaling is antialiased in all three directions. Intensities become black and white by the range
that the file gives, by a window in the units of the file, or by the volume's own values.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.pixels.preprocess import (
    LOWER_PERCENTILE,
    UPPER_PERCENTILE,
    PixelSettings,
    pad,
    resize,
)
from medimg_baseline_cls.data.read import Pixels
from medimg_baseline_cls.data.read.volume import Volume
from medimg_baseline_cls.errors import BadImageError

# In Hounsfield units, from level and width: -600, 1500; 40, 400; 400, 1800.
WINDOWS = {"lung": (-1350.0, 150.0), "soft_tissue": (-160.0, 240.0), "bone": (-500.0, 1300.0)}
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)/(-?\d+(?:\.\d+)?)")


def preprocess_volume(
    volume: Volume,
    settings: PixelSettings,
    *,
    deep: bool,
    spacing: tuple[float, float, float] | None = None,
) -> Pixels:
    """Return the volume as the network's array.

    Args:
        volume: in the canonical orientation.
        settings: number of slices, size, aspect, intensity and spacing.
        deep: give uint16, else uint8.
        spacing: mm from voxel to voxel along Z, H, W; None where the file does not give it.

    Returns:
        Shape (K, S, S), from inferior to superior.

    Raises:
        BadImageError: nothing says which values are black and white, or how far voxels are apart.
    """
    lowest, highest = find_range(volume, settings.intensity)
    z, y, x = find_steps(spacing, settings.spacing)
    span = max(highest - lowest, np.finfo(np.float32).tiny)
    unit = ((volume.voxels - np.float32(lowest)) / np.float32(span)).clip(0, 1)  # (Z, H, W)
    side = settings.image_size
    if y is None:
        flat = pad(resize(unit, side=side, keep_aspect=settings.keep_aspect), side=side).numpy()
    else:
        rows, columns = (
            resampling_weights(num, side, step=step).astype(np.float32)
            for num, step in zip(unit.shape[1:], (y, x), strict=True)
        )
        flat = rows @ unit @ columns.T  # (S, H) (Z, H, W) (W, S)
    weights = resampling_weights(len(flat), settings.slices, step=z)  # (K, Z)
    slices = np.tensordot(weights, flat, axes=(1, 0))  # (K, S, S)
    top, dtype = (65535, np.uint16) if deep else (255, np.uint8)
    return np.rint(slices.clip(0, 1) * top).astype(dtype)


def find_range(volume: Volume, intensity: str) -> tuple[float, float]:
    """Return the values that become black and white.

    Raises:
        BadImageError: `intensity` is "full_range", but the file does not give one.
    """
    if intensity == "min_max":
        return float(volume.voxels.min()), float(volume.voxels.max())
    if intensity == "percentile":
        ends: Any = np.percentile(volume.voxels, (LOWER_PERCENTILE, UPPER_PERCENTILE))
        lowest, highest = map(float, ends)
        return (lowest, highest) if lowest < highest else find_range(volume, "min_max")
    if intensity in WINDOWS:
        return WINDOWS[intensity]
    if found := _RANGE.fullmatch(intensity):
        return float(found[1]), float(found[2])
    if volume.full_range is None:
        lowest, highest = find_range(volume, "min_max")
        raise BadImageError(
            f"voxels from {lowest:g} to {highest:g} of a type without a fixed range, which "
            "intensity = full_range needs"
        )
    return volume.full_range


def find_steps(
    spacing: tuple[float, float, float] | None, wanted: str | None
) -> tuple[float | None, float | None, float | None]:
    """Return how many voxels it is from slice to slice, row to row and column to column.

    Args:
        spacing: mm from voxel to voxel along Z, H, W; None where the file does not give it.
        wanted: that of the array, as in `PixelSettings`.

    Returns:
        None for what is taken whole.

    Raises:
        BadImageError: one is wanted, but the file gives none.
    """
    if wanted is None:
        return None, None, None
    if spacing is None:
        raise BadImageError(
            "the file does not give the spacing of its voxels: leave out --spacing, or save the "
            "volume as NIfTI"
        )
    z, y, x = spacing
    of_slice, slash, of_pixel = wanted.partition("/")
    if not slash:
        return float(of_slice) / z, None, None
    return float(of_slice) / z, float(of_pixel) / y, float(of_pixel) / x


def resampling_weights(
    num_in: int, num_out: int, *, step: float | None = None
) -> NDArray[np.float64]:
    """Return the weights of linear interpolation with a triangle as wide as the step.

    The filter of Pillow and of torch's antialiased interpolation: centers of the slices are
    aligned, and a series that has as many slices already stays as it is.

    Args:
        num_in, num_out: slices that there are, and that there will be.
        step: from one to the next of these, around the middle; None: as it takes for all of those.

    Returns:
        Shape (num_out, num_in); each row sums to 1, or is 0 where there is nothing.

    >>> resampling_weights(4, 2).round(3).tolist()
    [[0.429, 0.429, 0.143, 0.0], [0.0, 0.143, 0.429, 0.429]]
    >>> resampling_weights(2, 4, step=1).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    start = 0.0 if step is None else (num_in - num_out * step) / 2
    scale = num_in / num_out if step is None else step
    reach = max(scale, 1.0)
    centers = start + (np.arange(num_out) + 0.5) * scale
    distances = np.abs(np.arange(num_in) + 0.5 - centers[:, None]) / reach
    weights = np.clip(1 - distances, 0, None)
    is_inside = (centers > 0) & (centers < num_in)
    return weights / np.where(is_inside, weights.sum(axis=1), np.inf)[:, None]
