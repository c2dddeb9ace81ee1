"""Turn the bytes of a .npy file into an image: (H, W), (H, W, 1) or (H, W, 3), 8 or 16 bits.

Or that of a .npy file, or of an .npz file of one array, into a volume (Z, H, W) of any numbers,
its axes taken as they are.
Refused: other shapes and types, pickled objects, files shorter than in their header.
"""

import io
import math
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.data.read.deep import to_deep_grey
from medimg_baseline_cls.data.read.image import (
    Color,
    DecodedImage,
    Geometry,
    Header,
    check_size,
    wrap_grey,
)
from medimg_baseline_cls.data.read.slice_order import AS_STORED
from medimg_baseline_cls.data.read.volume import Volume, check_volume, range_of_type
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.utils.quantities import say_count

_READ_HEADER = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a .npy file; arguments, result and errors as `decode_image`."""
    array = _read_array(data)
    if array.shape[2] == 1:
        mode = "I;16" if array.dtype == np.uint16 else "L"
        return wrap_grey(array[..., 0], mode=mode, color=color)
    is_deep = array.dtype == np.uint16
    if color == "grey":
        array = to_deep_grey(array) if is_deep else np.array(Image.fromarray(array).convert("L"))
    mode = "RGB;16" if is_deep else "RGB"
    return DecodedImage(pixels=array, mode=mode, width=array.shape[1], height=array.shape[0])


def read_header(data: bytes) -> Header:
    """Read type and size, after checking that the pixels are all there."""
    height, width, channels = (array := _read_array(data)).shape
    is_deep, is_color = array.dtype == np.uint16, channels == 3
    mode = ("RGB;16" if is_color else "I;16") if is_deep else "RGB" if is_color else "L"
    return Header(mode=mode, width=width, height=height, is_deep=is_deep, is_color=is_color)


def decode_volume(data: bytes) -> Volume:
    """Decode an array into a volume; result and errors as `decode_volume` of `data.read`."""
    with _opening(data) as stream:
        shape, is_fortran, dtype = _read_volume_header(stream)
        array = _read_values(stream, shape, is_fortran=is_fortran, dtype=dtype)
        stream.read(1)  # at the end of a packed array this compares the checksum
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite
        voxels = np.array(array, np.float32, order="C")
    if not np.isfinite(voxels).all():
        raise BadImageError("the volume contains NaN or infinite voxels")
    return Volume(voxels, range_of_type(dtype), AS_STORED)


def read_volume_header(data: bytes) -> Header:
    """Read type and size of the slices, without decoding the voxels."""
    with _opening(data) as stream:
        (num_slices, height, width), _, dtype = _read_volume_header(stream)
    return Header(
        dtype.name,
        width=width,
        height=height,
        is_deep=dtype.itemsize > 1,
        is_color=False,
        geometry=Geometry(num_slices, None, ""),
    )


@contextmanager
def _opening(data: bytes) -> Generator[IO[bytes], None, None]:
    """Yield the array as the stream of a .npy file, out of the .npz file if it is in one."""
    if not data.startswith(b"PK"):
        yield io.BytesIO(data)
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            if len(names) != 1:
                found = say_count(len(names), "arrays")
                raise BadImageError(
                    f"the ZIP or .npz file contains {found}, expected one: save each volume as a "
                    "file of its own"
                )
            with archive.open(names[0]) as stream:
                yield stream
    except (BadImageError, MemoryError):
        raise
    except Exception as error:  # BadZipFile, zlib.error, RuntimeError of a password, ...
        raise BadImageError(
            "the .npz file is damaged, or packed in a way that is not supported: save it by "
            "numpy.savez"
        ) from error


def _read_volume_header(stream: IO[bytes]) -> tuple[tuple[int, int, int], bool, np.dtype[Any]]:
    shape, is_fortran, dtype = _read_start(stream)
    if dtype.kind not in "iuf":
        raise BadImageError(f"array of {dtype}, expected whole numbers or floating point")
    if len(shape) != 3 or shape[2] in (3, 4):
        kind = {2: "an image", 3: "a color image"}.get(len(shape), "no volume")
        raise BadImageError(f"array of shape {shape} is {kind}, expected one volume (Z, H, W)")
    check_volume(shape)
    return (shape[0], shape[1], shape[2]), is_fortran, dtype


def _read_start(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether it is in Fortran's order, and the type."""
    version = npy_format.read_magic(stream)
    if version not in _READ_HEADER:
        raise BadImageError(f".npy format {version[0]}.{version[1]}, expected 1.0 or 2.0")
    try:
        return _READ_HEADER[version](stream)
    except Exception as error:  # NumPy parses it as Python: SyntaxError, tokenize errors
        raise BadImageError("the .npy header is damaged") from error


def _read_values(
    stream: IO[bytes], shape: tuple[int, ...], *, is_fortran: bool, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the array that follows the header."""
    expected = math.prod(shape) * dtype.itemsize
    values = stream.read(expected)
    if len(values) < expected:
        raise BadImageError(
            f"the file is cut off: {len(values)} bytes of pixels, its header needs {expected}"
        )
    return np.frombuffer(values, dtype).reshape(shape, order="F" if is_fortran else "C")


def _read_array(data: bytes) -> NDArray[np.uint8 | np.uint16]:
    """Return the array (H, W, 1 or 3) in the byte order of this machine, owned by the caller."""
    stream = io.BytesIO(data)
    shape, is_fortran, dtype = _read_start(stream)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise BadImageError(
            f"array of shape {shape}, expected (H, W), (H, W, 1) or (H, W, 3) (for volumes pass "
            "--slices)"
        )
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise BadImageError(f"array of {dtype}, expected uint8 or uint16")
    check_size(shape[1], shape[0])
    array = _read_values(stream, shape, is_fortran=is_fortran, dtype=dtype)
    return np.array(array.reshape(*shape[:2], -1), dtype=dtype.newbyteorder("="), order="C")
