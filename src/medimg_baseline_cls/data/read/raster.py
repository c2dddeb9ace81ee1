"""Turn the bytes of a JPEG, PNG, BMP, TIFF, WebP, GIF, PNM or JPEG 2000 file into one array.

Gray, palette, alpha, CMYK, 1-bit and 16-bit, WhiteIsZero and EXIF-rotated files of one image
all give the same upright gray image. Pixels under transparency are composed on black, as the
air around a patient is. Refused with a BadImageError: several frames, truncated or damaged
data, floating-point and out-of-range integer pixels.
"""

import io
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from medimg_baseline_cls.data.read.deep import (
    find_highest,
    find_wavelet_bits,
    read_deep_color,
    to_deep_grey,
)
from medimg_baseline_cls.data.read.image import (
    MAX_PIXELS,
    Color,
    DecodedImage,
    Header,
    Pixels,
    check_size,
)
from medimg_baseline_cls.data.read.unknown import describe_unknown
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.utils.own_output import SOFTWARE

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a file; arguments, result and errors as `decode_image`."""
    with _opened(data) as image:
        if _is_deep_color(image, data):
            mode = f"{image.mode};16"
            deep = read_deep_color(image, data, turn=_turn_upright)
            pixels = to_deep_grey(deep) if color == "grey" else _as_three(deep)
        else:
            mode = image.mode
            image.load()
            pixels = _to_array(_turn_upright(image), color, data=data)
    height, width = pixels.shape[:2]
    return DecodedImage(pixels=pixels, mode=mode, width=width, height=height)


def read_header(data: bytes) -> Header:
    """Read mode and upright size, without decoding the pixels."""
    with _opened(data) as image:
        width, height = image.size
        # Pillow rotates the size of a TIFF automatically.
        if image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        is_deep_color = _is_deep_color(image, data)
        return Header(
            mode=f"{image.mode};16" if is_deep_color else image.mode,
            width=width,
            height=height,
            is_deep=is_deep_color or image.mode in _DEEP_MODES,
            is_color=image.mode not in _GREY_MODES,
        )


def _is_deep_color(image: Image.Image, data: bytes) -> bool:
    return image.mode not in (*_DEEP_MODES, "F") and find_highest(image, data) > 255


def _as_three(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return (H, W, 1 or 3) with three channels."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


@contextmanager
def _opened(data: bytes) -> Generator[Image.Image, None, None]:
    """Yield the opened still image."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_unsuitable(image)
            yield image
    except Image.UnidentifiedImageError as error:
        raise BadImageError(describe_unknown(data)) from error
    except Image.DecompressionBombError as error:
        raise BadImageError(
            f"the image has more than {MAX_PIXELS // 10**6} million pixels"
        ) from error


def _refuse_unsuitable(image: Image.Image) -> None:
    if image.info.get("Software") == SOFTWARE:
        raise BadImageError("the image was drawn by medimg: it is not an original image")
    check_size(*image.size)
    # MPO is the JPEG of cameras that store previews as further frames; the first is the image.
    num_frames = getattr(image, "n_frames", 1)
    if num_frames != 1 and image.format != "MPO":
        raise BadImageError(f"the file contains {num_frames} frames, expected one still image")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8; 1 where there is none or the block is unreadable."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # garbled EXIF is common and does not affect the pixels
        return 1


def _turn_upright(image: Image.Image) -> Image.Image:
    # Asked first because the transposition of Pillow raises on garbled EXIF.
    if _orientation(image) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_array(image: Image.Image, color: Color, *, data: bytes) -> Pixels:
    if image.mode == "F":
        raise BadImageError("floating-point pixels have no fixed range, expected 8 or 16 bits")
    if image.mode in _DEEP_MODES:
        grey = _stretch_deep(image, data)
        return grey if color == "grey" else _as_three(grey[:, :, None])
    flat = _compose_on_black(image)
    return np.array(flat.convert("L" if color == "grey" else "RGB"), dtype=np.uint8)


def _stretch_deep(image: Image.Image, data: bytes) -> NDArray[np.uint16]:
    """Return 16-bit pixels over their full range; Pillow's convert("L") would saturate them."""
    values = np.asarray(image).astype(np.int64)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise BadImageError(
            f"integer pixels from {lowest} to {highest}, expected 8 or 16 bits (0 to 65535)"
        )
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TIFF_BITS) == (12,):
        values = (values * 65535 + 2047) // 4095
    if image.format == "JPEG2000":  # shifted to the upper bits
        shift = 16 - find_wavelet_bits(data)
        values = (values >> shift) * 65535 // (65535 >> shift)
    if tags.get(_TIFF_PHOTOMETRIC) == 0:
        values = 65535 - values  # WhiteIsZero (MONOCHROME1), which Pillow undoes for 8 bits only
    values[values == image.info.get("transparency", -1)] = 0
    return values.astype(np.uint16)


def _compose_on_black(image: Image.Image) -> Image.Image:
    """Return the image without alpha, transparent parts black."""
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if "transparency" in image.info or image.mode == "PA":
        image = image.convert("RGBA")
    if image.mode == "LA":
        grey, alpha = image.split()
        return Image.composite(grey, Image.new("L", image.size, 0), alpha)
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        return Image.composite(image.convert("RGB"), Image.new("RGB", image.size), alpha)
    return image
