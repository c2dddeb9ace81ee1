"""What a panel of a volume has besides its best slice: a curve, planes, a file for viewers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.pixels.overlays import (
    VolumeGrid,
    encode_overlay,
    measure_extents,
    place_overlay,
    read_grid,
)
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.interpret.panels import PANEL_WIDTH, blend_heat
from medimg_baseline_cls.interpret.volume_maps import VolumeMap
from medimg_baseline_cls.plots.volume_planes import Plane, draw_planes
from medimg_baseline_cls.utils.files import write_bytes_atomic

ReadBytes = Callable[[int], bytes]


def find_grid(read: ReadBytes | None, position: int) -> VolumeGrid | None:
    """Return where the voxels of a volume are; None where its file does not say, or is damaged.

    Args:
        read: gives the bytes of a file by its position in a set.
        position: which one.
    """
    try:
        return None if read is None else read_grid(read(position))
    except BadImageError:
        return None


def draw_views(
    found: VolumeMap, grid: VolumeGrid | None, *, settings: PixelSettings
) -> NDArray[np.uint8]:
    """Return the lower part of a panel, shape (h, PANEL_WIDTH, 3).

    Args:
        found: the volume and its map.
        grid: of the file, for the scale of the planes and the sides of the patient.
        settings: how the file became pixels.
    """
    extents = (1.0, 1.0, 1.0) if grid is None else measure_extents(grid, settings)
    is_oriented = grid is not None and grid.is_oriented
    planes = cut_planes(found, extents, is_oriented=is_oriented)
    return draw_planes(
        planes, curve=found.curve, best=found.best, measure=found.measure, width=PANEL_WIDTH
    )


def cut_planes(
    found: VolumeMap, extents: tuple[float, float, float], *, is_oriented: bool
) -> list[Plane]:
    """Return the planes through the peak, as a radiologist looks at them.

    Args:
        found: the volume and its map, slices from inferior to superior.
        extents: how deep, high and wide it is.
        is_oriented: whether its sides are known to be those of the patient.
    """
    places, (depth, height, width) = found.peak, extents
    shape = found.heats.shape
    shares = [(place + 0.5) / length for place, length in zip(places, shape, strict=True)]
    up, (down, across) = 1 - shares[0], shares[1:]
    shown = (
        ("Axial", "Slice", "from below", (width, height), (across, down), "RLAP"),
        ("Coronal", "Row", "from the front", (width, depth), (across, up), "RLSI"),
        ("Sagittal", "Column", "from the right", (height, depth), (down, up), "APSI"),
    )
    planes: list[Plane] = []
    for axis, (name, plain, start, size, cross, letters) in enumerate(shown):
        pixels, heat = (np.take(part, places[axis], axis) for part in (found.pixels, found.heats))
        picture = blend_heat(pixels, heat)
        number = f"{plain} {places[axis] + 1} of {shape[axis]}"
        planes.append(
            Plane(
                title=f"{name}, {number.lower()} {start}" if is_oriented else number,
                picture=picture[::-1] if axis else picture,  # the upper end on top
                size=size,
                cross=cross,
                letters=letters if is_oriented else "",
            )
        )
    return planes


def write_overlay(
    panel: Path, found: VolumeMap, *, grid: VolumeGrid | None, settings: PixelSettings
) -> None:
    """Write the map next to its panel, aligned with the files of the volume, if they say where.

    A map without any evidence is not written.
    """
    if grid is not None and grid.header is not None and found.heats.any():
        write_bytes_atomic(
            place_overlay(panel), encode_overlay(found.heats, grid, settings=settings)
        )
