"""A reader of an image format: `DEMO`, height and width in two bytes each, then gray levels."""

import struct

import numpy as np

from medimg_baseline_cls.data.read.image import (
    Color,
    DecodedImage,
    Header,
    ImageReader,
    check_size,
    wrap_grey,
)
from medimg_baseline_cls.errors import BadImageError

MAGIC = b"DEMO"


def read_header(data: bytes) -> Header:
    """Return the size of the image."""
    height, width = struct.unpack(">HH", data[4:8])
    check_size(width, height)
    return Header(mode="L", width=width, height=height, is_deep=False, is_color=False)


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Return the image; what is cut off is an error, and never filled up."""
    header = read_header(data)
    levels = np.frombuffer(data, np.uint8, offset=8)
    if len(levels) != header.width * header.height:
        raise BadImageError(f"the file has {len(levels)} pixels, but its header says otherwise")
    return wrap_grey(levels.reshape(header.height, header.width), mode="L", color=color)


DEMO = ImageReader(
    name="DEMO",
    suffixes=(".demo",),
    matches=lambda start: start.startswith(MAGIC),
    decode=decode,
    read_header=read_header,
)
