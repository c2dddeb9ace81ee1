"""Turn the bytes of a 2D NIfTI file (.nii, .nii.gz) into an image, upright as ITK writes it.

The image has the patient's left on its right and anterior (or superior) on top, so a PNG that ITK
turned into NIfTI comes back unchanged. Without an orientation (both codes 0) the first axis is
taken to run to the right and the second down. White is 255 for 8-bit types and 65535 for wider
ones, unless the header gives a range (cal_min < cal_max).
Refused: volumes, color, values outside the range of their type, floating point without
a given range, NaN, pairs of .hdr and .img.
"""

import gzip
import io
import math
import zlib
from dataclasses import dataclass
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
from medimg_baseline_cls.errors import BadImageError

_MAGIC = {348: slice(344, 348), 540: slice(4, 8)}
_HEADER_BYTES = 540
_MAX_EXTENSION = 1 << 20


@dataclass(frozen=True, slots=True)
class _Parsed:
    """The header of a NIfTI file; `flips` are of its two axes in the image."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    given_range: tuple[float, float] | None
    is_transposed: bool
    flips: tuple[bool, bool]

    @property
    def is_deep(self) -> bool:
        return self.dtype.itemsize > 1

    @property
    def mode(self) -> str:
        return self.dtype.name

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the picture."""
        return self.shape if self.is_transposed else (self.shape[1], self.shape[0])


def is_nifti(data: bytes) -> bool:
    """Return whether bytes begin as a NIfTI file does, compressed by gzip or not."""
    start = data[:_HEADER_BYTES]
    if start[:2] == b"\x1f\x8b":
        try:
            start = gzip.GzipFile(fileobj=io.BytesIO(data)).read1(_HEADER_BYTES)
        except (OSError, EOFError, zlib.error):
            return False
    return _header_length(start) is not None


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a 2D NIfTI file; arguments, result and errors as `decode_image`."""
    parsed = _parse(_unpack(data, _HEADER_BYTES))
    stored = _read_stored(data, parsed)
    grey = _scale(stored, parsed)
    for axis, is_flipped in enumerate(parsed.flips):
        grey = np.flip(grey, axis) if is_flipped else grey
    return wrap_grey(grey.T if parsed.is_transposed else grey, mode=parsed.mode, color=color)


def read_header(data: bytes) -> Header:
    """Read type and size of the picture, without decoding the pixels."""
    parsed = _parse(_unpack(data, _HEADER_BYTES))
    width, height = parsed.size
    return Header(
        mode=parsed.mode, width=width, height=height, is_deep=parsed.is_deep, is_color=False
    )


def _header_length(start: bytes) -> int | None:
    """Return 348 (NIfTI-1) or 540 (NIfTI-2); None where the bytes are neither."""
    for length, where in _MAGIC.items():
        is_sized = length in (_integer(start[:4], "little"), _integer(start[:4], "big"))
        if is_sized and start[where][:1] == b"n":
            return length
    return None


def _integer(data: bytes, order: Any) -> int:
    return int.from_bytes(data, order)


def _unpack(data: bytes, num_bytes: int) -> bytes:
    """Return at most this many bytes of the file, unpacked if need be, its end checked."""
    if data[:2] != b"\x1f\x8b":
        return data[:num_bytes]
    try:
        stream = gzip.GzipFile(fileobj=io.BytesIO(data))
        unpacked = stream.read(num_bytes)
        stream.read(1)  # at the end this compares the checksum
    except (OSError, EOFError, zlib.error) as error:
        raise BadImageError(f"the gzip data are damaged or cut off: {error}") from error
    return unpacked


def _parse(start: bytes) -> _Parsed:
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError as error:
        raise BadImageError(
            "reading NIfTI needs nibabel: pip install 'medimg-baseline-cls[nifti]'"
        ) from error
    length = _header_length(start)
    if length is None or len(start) < length:
        raise BadImageError("the NIfTI header is cut off")
    if start[_MAGIC[length]][:2] != b"n+":
        raise BadImageError("this is the header of a .hdr and .img pair, expected one .nii file")
    make = Nifti1Header if length == 348 else Nifti2Header
    header = make(start[:length], check=False)
    slope, intercept = (_finite(header, name) for name in ("scl_slope", "scl_inter"))
    is_transposed, flips = _find_turn(header)
    return _Parsed(
        shape=_read_shape(header),
        dtype=_read_dtype(header),
        offset=_read_offset(header, length),
        slope=slope or 1.0,
        intercept=intercept if slope else 0.0,  # a slope of 0 means unscaled
        given_range=_read_range(header),
        is_transposed=is_transposed,
        flips=flips,
    )


def _finite(header: Any, name: str) -> float:
    value = float(header[name])
    if not math.isfinite(value):
        raise BadImageError(f"{name} of the NIfTI header is {value}, expected a finite number")
    return value


def _read_shape(header: Any) -> tuple[int, int]:
    num_axes = int(header["dim"][0])
    if not 2 <= num_axes <= 7:
        raise BadImageError(f"the NIfTI header names {num_axes} axes, expected 2 to 7")
    shape = [int(length) for length in header["dim"][1 : num_axes + 1]]
    if any(length != 1 for length in shape[2:]):
        sizes = " x ".join(map(str, shape))
        raise BadImageError(f"the file is a volume or series of {sizes}, expected one 2D image")
    check_size(shape[0], shape[1])
    return shape[0], shape[1]


def _read_dtype(header: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception as error:  # nibabel has its own family of errors
        raise BadImageError(f"unknown NIfTI data type {int(header['datatype'])}") from error
    if dtype.kind not in "iuf":
        raise BadImageError(f"NIfTI pixels of type {dtype}, expected integers of one channel")
    return dtype


def _read_offset(header: Any, length: int) -> int:
    offset = _finite(header, "vox_offset")
    if not length <= offset <= length + _MAX_EXTENSION or offset % 1:
        raise BadImageError(f"by the NIfTI header pixels begin at byte {offset:.0f}")
    return int(offset)


def _read_range(header: Any) -> tuple[float, float] | None:
    lowest, highest = _finite(header, "cal_min"), _finite(header, "cal_max")
    return (lowest, highest) if lowest < highest else None


def _find_turn(header: Any) -> tuple[bool, tuple[bool, bool]]:
    """Return whether the first axis runs across the picture, and which axes are to be flipped.

    Across runs the first of right-left, anterior-posterior, superior-inferior in the plane, to L, P
    or I; the other runs down likewise.
    """
    from nibabel.orientations import io_orientation

    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        return True, (False, False)
    affine = np.asarray(header.get_best_affine())
    if not np.isfinite(affine).all():
        raise BadImageError("the orientation in the NIfTI header is not finite")
    turn = io_orientation(affine)  # per axis: patient axis (R, A, S) and direction
    if not np.isfinite(turn).all():
        raise BadImageError("the orientation in the NIfTI header is singular")
    return bool(turn[0, 0] < turn[1, 0]), (bool(turn[0, 1] > 0), bool(turn[1, 1] > 0))


def _read_stored(data: bytes, parsed: _Parsed) -> NDArray[Any]:
    """Return the values as stored, shape of the file's two axes."""
    count = parsed.shape[0] * parsed.shape[1]
    end = parsed.offset + count * parsed.dtype.itemsize
    unpacked = _unpack(data, end)
    if len(unpacked) < end:
        raise BadImageError(f"the file is cut off: {len(unpacked)} bytes, its header needs {end}")
    flat = np.frombuffer(unpacked, parsed.dtype, count=count, offset=parsed.offset)
    return flat.reshape(parsed.shape, order="F")


def _scale(stored: NDArray[Any], parsed: _Parsed) -> Pixels:
    """Return stored values over the full range of uint8 or uint16."""
    top, dtype = (65535, np.uint16) if parsed.is_deep else (255, np.uint8)
    if parsed.given_range is None and parsed.dtype.kind == "f":
        raise BadImageError(
            "floating-point pixels have no fixed range, expected integers or cal_min and "
            "cal_max in the NIfTI header"
        )
    if not np.isfinite(stored).all():
        raise BadImageError("the image contains NaN or infinite pixels")
    values = stored.astype(np.float64) * parsed.slope + parsed.intercept
    if parsed.given_range is not None:
        lowest, highest = parsed.given_range
        values = np.clip((values - lowest) / (highest - lowest), 0, 1) * top
    if values.min() < 0 or values.max() > top:
        raise BadImageError(
            f"pixels from {values.min():g} to {values.max():g}, expected 0 to {top} or "
            "cal_min and cal_max in the NIfTI header"
        )
    return np.rint(values).astype(dtype)
