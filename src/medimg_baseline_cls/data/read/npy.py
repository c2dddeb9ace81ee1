"""Turn a NumPy file (.npy) into one upright array.

Accepted are uint8 and uint16 arrays of shape (H, W), (H, W, 1) or (H, W, 3) RGB, upright
and over the full range of their type. 16-bit colour comes as 8-bit. Refused with a
BadImageError: every other type or shape, pickled objects, truncated files.
"""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.data.read.common import (
    Color,
    DecodedImage,
    Header,
    finish_grey,
    refuse_size,
    refusing,
)
from medimg_baseline_cls.errors import BadImageError

_MAGIC = b"\x93NUMPY"


def starts_like_npy(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is a NumPy file."""
    return start.startswith(_MAGIC)


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a NumPy file as `read.decode_image` does.

    Raises:
        BadImageError: The array is no image.
    """
    header = read_header(data)
    with refusing("the NumPy file"):
        array = np.load(io.BytesIO(data), allow_pickle=False)
    array = array.astype(array.dtype.newbyteorder("="), copy=True)
    if not header.is_color:
        grey = array.reshape(header.height, header.width)
        return finish_grey(grey, color=color, mode=header.mode)
    rgb = array if array.dtype == np.uint8 else _as_8_bits(array)
    pixels = rgb if color == "rgb" else np.array(Image.fromarray(rgb).convert("L"))
    return DecodedImage(np.ascontiguousarray(pixels), header.mode, header.width, header.height)


def read_header(data: bytes) -> Header:
    """Read type and size of the array without loading it.

    Raises:
        BadImageError: As `decode`, as far as the header tells.
    """
    with refusing("the NumPy file"):
        shape, dtype, start = _read_description(data)
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise BadImageError(f"the NumPy array holds {dtype}, expected uint8 or uint16")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise BadImageError(
            f"the NumPy array has the shape {shape}, expected (H, W), (H, W, 1) or (H, W, 3)"
        )
    refuse_size(shape[1], shape[0])
    if len(data) - start < math.prod(shape) * dtype.itemsize:
        raise BadImageError("the NumPy file is truncated")
    is_color = len(shape) == 3 and shape[2] == 3
    return Header(
        mode=dtype.name,
        width=shape[1],
        height=shape[0],
        is_deep=dtype.itemsize == 2 and not is_color,
        is_color=is_color,
    )


def _read_description(data: bytes) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Return shape, type and the offset of the first value."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise BadImageError(f"the NumPy file has version {version}, expected 1.0 or 2.0")
    return shape, dtype, file.tell()


def _as_8_bits(array: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
