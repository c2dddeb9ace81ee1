"""Turn the bytes of a 2D NIfTI file (.nii, .nii.gz) into an image, upright as ITK writes it.

The image has the patient's left on its right and anterior (or superior) on top, so a PNG that ITK
turned into NIfTI comes back unchanged. Without an orientation (both codes 0) the first axis is
taken to run to the right and the second down. White is 255 for 8-bit types and 65535 for wider
ones, unless the header gives a range (cal_min < cal_max).
Refused: volumes, values outside the range of their type, floating point without a given range, NaN.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.read.image import (
    Color,
    DecodedImage,
    Header,
    Pixels,
    check_size,
    wrap_grey,
)
from medimg_baseline_cls.data.read.nifti_file import NiftiHeader, read_nifti_header, read_stored
from medimg_baseline_cls.errors import BadImageError


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a 2D NIfTI file; arguments, result and errors as `decode_image`."""
    header = _read_header(data)
    is_transposed, flips = _find_turn(header)
    grey = _scale(read_stored(data, header).reshape(header.shape[:2]), header)
    for axis, is_flipped in enumerate(flips):
        grey = np.flip(grey, axis) if is_flipped else grey
    return wrap_grey(grey.T if is_transposed else grey, mode=header.dtype.name, color=color)


def read_header(data: bytes) -> Header:
    """Read type and size of the picture, without decoding the pixels."""
    header = _read_header(data)
    first, second = header.shape[:2]
    width, height = (first, second) if _find_turn(header)[0] else (second, first)
    return header.describe(width=width, height=height)


def _read_header(data: bytes) -> NiftiHeader:
    header = read_nifti_header(data)
    if any(length != 1 for length in header.shape[2:]):
        raise BadImageError(
            f"the file is a volume or series of {header.sizes}, expected one 2D image (for "
            "volumes pass --slices)"
        )
    check_size(header.shape[0], header.shape[1])
    return header


def _find_turn(header: NiftiHeader) -> tuple[bool, tuple[bool, bool]]:
    """Return whether the first axis runs across the picture, and which axes are to be flipped.

    Across runs the first of right-left, anterior-posterior, superior-inferior in the plane, to L, P
    or I; the other runs down likewise.
    """
    turn = header.orientation
    if turn is None:
        return True, (False, False)
    return bool(turn[0, 0] < turn[1, 0]), (bool(turn[0, 1] > 0), bool(turn[1, 1] > 0))


def _scale(stored: NDArray[Any], header: NiftiHeader) -> Pixels:
    """Return stored values over the full range of uint8 or uint16."""
    top, dtype = (65535, np.uint16) if header.is_deep else (255, np.uint8)
    if header.given_range is None and header.dtype.kind == "f":
        raise BadImageError(
            "floating-point pixels have no fixed range, expected integers or cal_min and "
            "cal_max in the NIfTI header"
        )
    if not np.isfinite(stored).all():
        raise BadImageError("the image contains NaN or infinite pixels")
    values = stored.astype(np.float64) * header.slope + header.intercept
    if header.given_range is not None:
        lowest, highest = header.given_range
        values = np.clip((values - lowest) / (highest - lowest), 0, 1) * top
    if values.min() < 0 or values.max() > top:
        raise BadImageError(
            f"pixels from {values.min():g} to {values.max():g}, expected 0 to {top} or "
            "cal_min and cal_max in the NIfTI header"
        )
    return np.rint(values).astype(dtype)
