"""The header and the stored values of a NIfTI file (.nii, .nii.gz), of any number of axes.

Refused: pairs of .hdr and .img, color, a damaged header or file.
"""

import gzip
import io
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.read.image import Header
from medimg_baseline_cls.errors import BadImageError

_MAGIC = {348: slice(344, 348), 540: slice(4, 8)}
_HEADER_BYTES = 540
_MAX_EXTENSION = 1 << 20


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What the header of a NIfTI file says.

    Attributes:
        shape: of all axes.
        dtype: of the stored values.
        offset: the byte at which they begin.
        slope, intercept: of what they mean.
        given_range: cal_min and cal_max, if they are a range.
        orientation: for each of the first three axes the nearest patient axis (R, A, S) and its
            direction, shape (3, 2); None where the header gives none.
        spacing: between voxels along the first three axes, in millimeters; 0 where unknown.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    given_range: tuple[float, float] | None
    orientation: NDArray[np.float64] | None
    spacing: tuple[float, float, float]

    @property
    def is_deep(self) -> bool:
        """Return whether a stored value has more than one byte."""
        return self.dtype.itemsize > 1

    def describe(self, *, width: int, height: int) -> Header:
        """Return what is known of its images, of this size, before they are decoded."""
        return Header(
            mode=self.dtype.name,
            width=width,
            height=height,
            is_deep=self.is_deep,
            is_color=False,
        )

    @property
    def sizes(self) -> str:
        """Return the shape in words."""
        return " x ".join(map(str, self.shape))


def is_nifti(data: bytes) -> bool:
    """Return whether bytes begin as a NIfTI file does, compressed by gzip or not."""
    start = data[:_HEADER_BYTES]
    if start[:2] == b"\x1f\x8b":
        try:
            start = gzip.GzipFile(fileobj=io.BytesIO(data)).read1(_HEADER_BYTES)
        except (OSError, EOFError, zlib.error):
            return False
    return _header_length(start) is not None


def read_nifti_header(data: bytes) -> NiftiHeader:
    """Read the header.

    Raises:
        BadImageError: it is damaged, or of a file that is not read here.
    """
    header = load_header(data)
    slope, intercept = (_finite(header, name) for name in ("scl_slope", "scl_inter"))
    orientation = _find_orientation(header)
    num_axes = int(header["dim"][0])
    if not 2 <= num_axes <= 7:
        raise BadImageError(f"the NIfTI header names {num_axes} axes, expected 2 to 7")
    return NiftiHeader(
        shape=tuple(int(length) for length in header["dim"][1 : num_axes + 1]),
        dtype=_read_dtype(header),
        offset=_read_offset(header, len(header.binaryblock)),
        slope=slope or 1.0,
        intercept=intercept if slope else 0.0,  # a slope of 0 means unscaled
        given_range=_read_range(header),
        orientation=orientation,
        spacing=_read_spacing(header),
    )


def load_header(data: bytes) -> Any:
    """Return nibabel's object of the header, unchecked.

    Raises:
        BadImageError: nibabel is missing, the header is cut off, or its pixels are elsewhere.
    """
    start = _unpack(data, _HEADER_BYTES)
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
    return make(start[:length], check=False)


def read_stored(data: bytes, header: NiftiHeader) -> NDArray[Any]:
    """Return the values as stored, of the shape of the file's axes.

    Raises:
        BadImageError: the file is cut off or damaged.
    """
    count = math.prod(header.shape)
    end = header.offset + count * header.dtype.itemsize
    unpacked = _unpack(data, end)
    if len(unpacked) < end:
        raise BadImageError(f"the file is cut off: {len(unpacked)} bytes, its header needs {end}")
    flat = np.frombuffer(unpacked, header.dtype, count=count, offset=header.offset)
    return flat.reshape(header.shape, order="F")


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


def _finite(header: Any, name: str) -> float:
    value = float(header[name])
    if not math.isfinite(value):
        raise BadImageError(f"{name} of the NIfTI header is {value}, expected a finite number")
    return value


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


def _read_spacing(header: Any) -> tuple[float, float, float]:
    unit = {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # meters, micrometers
    x, y, z = (float(length) * unit for length in header["pixdim"][1:4])
    return (x, y, z) if math.isfinite(x + y + z) else (0.0, 0.0, 0.0)


def _read_range(header: Any) -> tuple[float, float] | None:
    lowest, highest = _finite(header, "cal_min"), _finite(header, "cal_max")
    return (lowest, highest) if lowest < highest else None


def _find_orientation(header: Any) -> NDArray[np.float64] | None:
    from nibabel.orientations import io_orientation

    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        return None
    affine = np.asarray(header.get_best_affine())
    if not np.isfinite(affine).all():
        raise BadImageError("the orientation in the NIfTI header is not finite")
    turn = io_orientation(affine)
    if not np.isfinite(turn).all():
        raise BadImageError("the orientation in the NIfTI header is singular")
    return np.asarray(turn, dtype=np.float64)
