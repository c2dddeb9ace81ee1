"""Turn the bytes of an image file into one upright array, the same whatever the format.

JPEG, PNG, BMP and TIFF; grey, palette, alpha, CMYK, 1-bit and 16-bit, WhiteIsZero and
EXIF-rotated files of one film all give the same grey image. Pixels under transparency
are composed on black, as the air around a patient is. 16-bit colour comes as 8-bit.
Refused with a BadImageError: what is none of these formats, several frames, truncated or
damaged data, floating-point and out-of-range integer pixels, more than MAX_PIXELS.
"""

import io
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps

from medimg_baseline_cls.errors import BadImageError

Color = Literal["grey", "rgb"]
Pixels = NDArray[np.uint8 | np.uint16]

FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff"})
MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_KNOWN_STARTS = (
    (b"GIF8", "a GIF file"),
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a ZIP or office file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"<", "a web page or XML text"),
)
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_CHROMA, _COLORED_SHARE = 24, 0.02


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright image: `pixels` (H, W) grey or (H, W, 3) RGB, uint8 or (grey only) uint16.

    `mode` is the colour mode of the file as Pillow names it; `width` and `height` are of
    the upright image.
    """

    pixels: Pixels
    mode: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before its pixels are decoded; sizes of the upright image."""

    mode: str
    width: int
    height: int
    is_deep: bool
    is_color: bool
    patient_id: str | None = None


def decode_image(data: bytes, *, color: Color) -> DecodedImage:
    """Decode an image file into one upright array.

    Args:
        data: the bytes of the file.
        color: "grey" gives (H, W); "rgb" gives (H, W, 3), grey replicated. A deep grey
            image stays uint16 in both, its full range stretched to 0..65535.

    Raises:
        BadImageError: The file is not one whole still image; the text is the reason alone.

    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2), 7).save(file, "PNG")
    >>> decode_image(file.getvalue(), color="grey").pixels.tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    with _opened(data) as image:
        mode = image.mode
        image.load()
        pixels = _to_array(_turn_upright(image), color)
    height, width = pixels.shape[:2]
    return DecodedImage(pixels=pixels, mode=mode, width=width, height=height)


def read_header(data: bytes) -> Header:
    """Read mode and upright size from the bytes of an image file, without decoding it.

    Raises:
        BadImageError: As `decode_image`, as far as the header tells.
    """
    with _opened(data) as image:
        width, height = image.size
        # Pillow turns a TIFF's size by itself.
        if image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        return Header(
            mode=image.mode,
            width=width,
            height=height,
            is_deep=image.mode in _DEEP_MODES,
            is_color=image.mode not in _GREY_MODES,
        )


def is_colored(decoded: DecodedImage) -> bool:
    """Return whether an image shows colour, not only a grey film stored as RGB.

    True where the three channels differ by more than 24 of 255 on more than 2 % of the
    pixels: a small coloured marker or JPEG noise does not make a film a photograph.
    """
    if decoded.pixels.ndim == 2 or decoded.pixels.dtype != np.uint8:
        return False
    spread = decoded.pixels.max(axis=2) - decoded.pixels.min(axis=2)
    return bool((spread > _CHROMA).mean() > _COLORED_SHARE)


@contextmanager
def strict_decoding() -> Generator[None, None, None]:
    """Hold Pillow to refuse truncated files and to keep its warnings to itself.

    Both are settings of the whole process; they are put back when the last of several
    blocks (of any thread) ends.
    """
    _strictness.enter()
    try:
        yield
    finally:
        _strictness.leave()


class _Strictness:
    """Pillow's process-wide switches, counted so that threads can hold them together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._accepted_truncated = False
        self._filters = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._accepted_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._filters = warnings.catch_warnings()
            self._filters.__enter__()
            warnings.filterwarnings("ignore", module="PIL")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth > 0:
                return
            self._filters.__exit__(None, None, None)
            ImageFile.LOAD_TRUNCATED_IMAGES = self._accepted_truncated


_strictness = _Strictness()


@contextmanager
def _opened(data: bytes) -> Generator[Image.Image, None, None]:
    """Yield the opened still image; whatever a decoder raises becomes a BadImageError."""
    if not data:
        raise BadImageError("the file is empty (0 bytes)")
    try:
        with strict_decoding(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_unsuitable(image)
            yield image
    except BadImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise BadImageError(_describe_unknown(data)) from error
    except MemoryError as error:
        raise BadImageError("the image needs more memory than there is") from error
    except Exception as error:  # decoders of foreign bytes raise anything: struct.error, KeyError
        raise BadImageError(f"the image cannot be decoded: {_one_line(error)}") from error


def _refuse_unsuitable(image: Image.Image) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise BadImageError(f"the image has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise BadImageError(
            f"the image has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million"
        )
    # MPO is the JPEG of cameras that store previews as further frames; the first is the image.
    num_frames = getattr(image, "n_frames", 1)
    if num_frames != 1 and image.format != "MPO":
        raise BadImageError(f"the file holds {num_frames} frames, expected one still image")


def _describe_unknown(data: bytes) -> str:
    wanted = "expected a JPEG, PNG, BMP or TIFF image"
    if data[128:132] == b"DICM":
        return f"this is a DICOM file, {wanted}"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return f"this is a WebP file, {wanted}"
    for start, name in _KNOWN_STARTS:
        if data.lstrip()[: len(start)] == start:
            return f"this is {name}, {wanted}"
    return f"this is no image or its beginning is damaged, {wanted}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8; 1 where there is none or the block is unreadable."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # garbled EXIF is common and says nothing about the pixels
        return 1


def _turn_upright(image: Image.Image) -> Image.Image:
    # Asked first because the transposition of Pillow raises on garbled EXIF.
    if _orientation(image) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_array(image: Image.Image, color: Color) -> Pixels:
    if image.mode == "F":
        raise BadImageError("floating-point pixels have no fixed range, expected 8 or 16 bits")
    if image.mode in _DEEP_MODES:
        grey = _stretch_deep(image)
        return grey if color == "grey" else np.repeat(grey[:, :, None], 3, axis=2)
    flat = _compose_on_black(image)
    return np.array(flat.convert("L" if color == "grey" else "RGB"), dtype=np.uint8)


def _stretch_deep(image: Image.Image) -> NDArray[np.uint16]:
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
    if tags.get(_TIFF_PHOTOMETRIC) == 0:
        values = 65535 - values  # WhiteIsZero (MONOCHROME1), which Pillow undoes for 8 bits only
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
