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


def preprocess_volume(volume: Volume, settings: PixelSettings, *, deep: bool) -> Pixels:
    """Return the volume as the network's array.

    Args:
        volume: in the canonical orientation.
        settings: number of slices, size, aspect and intensity.
        deep: give uint16, else uint8.

    Returns:
        Shape (K, S, S), from inferior to superior.

    Raises:
        BadImageError: nothing says which values are black and white.
    """
    lowest, highest = find_range(volume, settings.intensity)
    span = max(highest - lowest, np.finfo(np.float32).tiny)
    unit = ((volume.voxels - np.float32(lowest)) / np.float32(span)).clip(0, 1)  # (Z, H, W)
    side = settings.image_size
    flat = pad(resize(unit, side=side, keep_aspect=settings.keep_aspect), side=side).numpy()
    weights = resampling_weights(len(flat), settings.slices)  # (K, Z)
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
            f"voxels from {lowest:g} to {highest:g} of a type without a fixed range: choose "
            "--intensity lung, soft_tissue, bone or LOWEST/HIGHEST (Hounsfield units), or "
            "percentile"
        )
    return volume.full_range


def resampling_weights(num_in: int, num_out: int) -> NDArray[np.float64]:
    """Return the weights of linear interpolation with a triangle as wide as the step.

    The filter of Pillow and of torch's antialiased interpolation: centers of the slices are
    aligned, and a series that has as many slices already stays as it is.

    Returns:
        Shape (num_out, num_in); each row sums to 1.

    >>> resampling_weights(4, 2).round(3).tolist()
    [[0.429, 0.429, 0.143, 0.0], [0.0, 0.143, 0.429, 0.429]]
    """
    scale = num_in / num_out
    reach = max(scale, 1.0)
    centers = (np.arange(num_out) + 0.5) * scale
    distances = np.abs(np.arange(num_in) + 0.5 - centers[:, None]) / reach
    weights = np.clip(1 - distances, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)
