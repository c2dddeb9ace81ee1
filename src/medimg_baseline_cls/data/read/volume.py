"""Turn the bytes of a NIfTI file into one volume in a canonical orientation.

Slices run from inferior to superior; each has anterior on top and the patient's left on its right,
as a radiologist looks at it. Axes follow the orientation that the header gives, to the nearest
patient axis; without one (both codes 0) the third axis is that of the slices, the first runs to
the right and the second down.
Refused: images of one slice, more than three axes, color, NaN.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.read.image import Geometry, Header
from medimg_baseline_cls.data.read.nifti_file import (
    NiftiHeader,
    is_nifti,
    read_nifti_header,
    read_stored,
)
from medimg_baseline_cls.data.read.slice_order import AXIS_LETTERS, Turn
from medimg_baseline_cls.errors import BadImageError

MAX_VOXELS = 1 << 30
_UNORIENTED = ("files without an orientation", "the third axis is taken as that of the slices")


@dataclass(frozen=True, slots=True)
class Volume:
    """Voxels in the canonical orientation.

    Attributes:
        voxels: shape (Z, H, W), float32, as the header scales them: Hounsfield units, for example.
        full_range: what is black and white by the type of the file; None where nothing says it.
        turn: for each of Z, H, W the axis of the file, and whether it runs the other way there.
    """

    voxels: NDArray[np.float32]
    full_range: tuple[float, float] | None
    turn: Turn


def decode_volume(data: bytes) -> Volume:
    """Decode a file into one volume.

    Raises:
        BadImageError: it is not one whole volume; the text is the reason alone.
    """
    header = _read_header(data)
    stored = read_stored(data, header).reshape(header.shape[:3])
    if not np.isfinite(stored).all():
        raise BadImageError("the volume contains NaN or infinite voxels")
    values = stored.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
    return turn_volume(values, _find_turn(header), full_range=_find_range(header))


def turn_volume(
    values: NDArray[np.float32], turn: Turn, *, full_range: tuple[float, float] | None
) -> Volume:
    """Return the voxels of a file as a volume in the canonical orientation."""
    values = values.transpose([axis for axis, _ in turn])
    for place, (_, is_flipped) in enumerate(turn):
        values = np.flip(values, place) if is_flipped else values
    return Volume(np.ascontiguousarray(values), full_range, turn)


def read_volume_header(data: bytes) -> Header:
    """Read type and size of the slices, without decoding the voxels.

    Raises:
        BadImageError: as `decode_volume`, as far as the header tells.
    """
    header = _read_header(data)
    turn = _find_turn(header)
    num_slices, height, width = (header.shape[axis] for axis, _ in turn)
    z, y, x = (header.spacing[axis] for axis, _ in turn)
    geometry = Geometry(num_slices, (z, y, x) if min(z, y, x) > 0 else None, _name_axes(header))
    return replace(
        header.describe(width=width, height=height),
        geometry=geometry,
        remarks=(() if header.orientation is not None else (_UNORIENTED,)),
    )


def _read_header(data: bytes) -> NiftiHeader:
    if not data:
        raise BadImageError("the file is empty (0 bytes)")
    if not is_nifti(data):
        raise BadImageError(
            "volumes are read from NIfTI files (.nii, .nii.gz) and arrays (.npy, .npz), which this "
            "is not"
        )
    header = read_nifti_header(data)
    shape = header.shape
    if any(length != 1 for length in shape[3:]):
        raise BadImageError(f"the file is a series of volumes, {header.sizes}, expected one volume")
    check_volume(shape)
    return header


def check_volume(shape: tuple[int, ...]) -> None:
    """Refuse what has not several slices, or more than MAX_VOXELS, by its header alone."""
    sizes = " x ".join(map(str, shape))
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise BadImageError(f"the file is an image of {sizes}, expected a volume of slices")
    if math.prod(shape) > MAX_VOXELS:
        raise BadImageError(f"the volume has {sizes} voxels, more than {MAX_VOXELS:,}")


def _find_turn(header: NiftiHeader) -> Turn:
    if header.orientation is None:
        return (2, False), (1, False), (0, False)
    of_patient = {
        int(patient): (axis, bool(direction > 0))
        for axis, (patient, direction) in enumerate(header.orientation[:3])
    }
    (z, runs_up), (y, runs_forward), (x, runs_right) = (of_patient[axis] for axis in (2, 1, 0))
    return (z, not runs_up), (y, runs_forward), (x, runs_right)


def _name_axes(header: NiftiHeader) -> str:
    """Return where the axes of the file run, such as "LPS"; "" where the header gives none."""
    if header.orientation is None:
        return ""
    return "".join(
        AXIS_LETTERS[int(patient)][bool((direction > 0) ^ (patient < 2))]  # counted to R, A
        for patient, direction in header.orientation[:3]
    )


def _find_range(header: NiftiHeader) -> tuple[float, float] | None:
    """Return what is black and white: as the header says, or by a small unsigned type."""
    if header.given_range is not None:
        return header.given_range
    is_plain = (header.slope, header.intercept) == (1.0, 0.0)
    return range_of_type(header.dtype) if is_plain else None


def range_of_type(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return what is black and white in numbers of 8 or 16 bits without a sign; None of others."""
    is_small = dtype.kind == "u" and dtype.itemsize <= 2
    return (0.0, float(np.iinfo(dtype).max)) if is_small else None
