"""Turn the bytes of a .npy file into an image: (H, W), (H, W, 1) or (H, W, 3), 8 or 16 bits.

Refused: other shapes and types, pickled objects, files shorter than in their header.
"""

import io
import math

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.data.read.deep import to_deep_grey
from medimg_baseline_cls.data.read.image import Color, DecodedImage, Header, check_size, wrap_grey
from medimg_baseline_cls.errors import BadImageError

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


def _read_array(data: bytes) -> NDArray[np.uint8 | np.uint16]:
    """Return the array (H, W, 1 or 3) in the byte order of this machine, owned by the caller."""
    stream = io.BytesIO(data)
    version = npy_format.read_magic(stream)
    if version not in _READ_HEADER:
        raise BadImageError(f".npy format {version[0]}.{version[1]}, expected 1.0 or 2.0")
    try:
        shape, is_fortran, dtype = _READ_HEADER[version](stream)
    except Exception as error:  # NumPy parses it as Python: SyntaxError, tokenize errors
        raise BadImageError("the .npy header is damaged") from error
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise BadImageError(f"array of {dtype}, expected uint8 or uint16")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise BadImageError(f"array of shape {shape}, expected (H, W), (H, W, 1) or (H, W, 3)")
    check_size(shape[1], shape[0])
    count, start = math.prod(shape), stream.tell()
    if len(data) < start + count * dtype.itemsize:
        raise BadImageError(
            f"the file is cut off: {len(data) - start} bytes of pixels, its header needs "
            f"{count * dtype.itemsize}"
        )
    flat = np.frombuffer(data, dtype, count=count, offset=start)
    array = flat.reshape(shape, order="F" if is_fortran else "C")
    return np.array(array.reshape(*shape[:2], -1), dtype=dtype.newbyteorder("="), order="C")
