"""Read images of several channels and more than 8 bits, of which Pillow alone keeps 8.

Pillow's unpackers of 16-bit samples keep one byte, depending on the byte order. Called with both
orders, they give both bytes. Transparent parts become black. Refused: CMYK, separate planes and
JPEG 2000, where Pillow drops the lower bits.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.errors import BadImageError

_TIFF_BITS, _TIFF_PLANES = 258, 284
_PNG_DEPTH = 24  # position of the bit depth in IHDR
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's "L"

Deep = NDArray[np.uint16]
Turn = Callable[[Image.Image], Image.Image]


def find_highest(image: Image.Image, data: bytes) -> int:
    """Return the highest value that a sample of an opened file can have, 255 or more."""
    if image.format == "PNG":
        return (1 << max(8, data[_PNG_DEPTH])) - 1
    if image.format == "TIFF":
        return (1 << max(8, *getattr(image, "tag_v2", {}).get(_TIFF_BITS, (8,)), 8)) - 1
    if image.format == "JPEG2000":
        return (1 << max(8, find_wavelet_bits(data))) - 1
    tiles = _tiles(image) if image.format == "PPM" else []
    args = tiles[0].args if tiles else ()  # the name of the unpacker, and the highest value
    return max(255, args[1]) if isinstance(args, tuple) and len(args) == 2 else 255


def find_wavelet_bits(data: bytes) -> int:
    """Return the bits of a sample of a JPEG 2000 file (ISO 15444-1, A.5.1); 0 if it has none."""
    start = data.find(b"\xff\x4f\xff\x51")
    count = int.from_bytes(data[start + 40 : start + 42], "big")
    sizes = data[start + 42 : start + 42 + 3 * count : 3] if start >= 0 else b""
    return max(((size & 0x7F) + 1 for size in sizes), default=0)


def read_deep_color(image: Image.Image, data: bytes, *, turn: Turn) -> Deep:
    """Return an opened but not yet loaded file as (H, W, 1 or 3), over the full range of uint16.

    Args:
        image: its samples have more than 8 bits.
        data: the bytes of the file.
        turn: turns an image upright.
    """
    if image.format == "PPM":
        return _read_pnm(image, data)
    rawmodes = {_rawmode(tile.args) for tile in _tiles(image)}
    planes = getattr(image, "tag_v2", {}).get(_TIFF_PLANES, 1)
    name = rawmodes.pop() if len(rawmodes) == 1 and planes == 1 else ""
    channels, _, order = name.partition(";16")
    if not order or channels not in ("RGB", "RGBX", "RGBA", "RGBa", "LA"):
        raise _refusal(image)
    if channels == "LA":  # four bytes a pixel, as RGBA of 8 bits has
        parts = _decode(image, data, rawmode="RGBA", turn=turn)
        return _compose(parts[..., ::2] * np.uint16(256) + parts[..., 1::2])
    rawmode = channels.replace("a", "A")  # premultiplied: black has been put under it
    first = _decode(image, data, rawmode=f"{rawmode};16B", turn=turn)
    second = _decode(image, data, rawmode=f"{rawmode};16L", turn=turn)
    is_little = order == "L" or (order == "N" and np.little_endian)
    low, high = (first, second) if is_little else (second, first)
    values = high * np.uint16(256) + low
    if channels == "RGBA":
        return _compose(values)
    hidden = image.info.get("transparency")
    if isinstance(hidden, tuple):
        values[(values == np.array(hidden)).all(axis=2)] = 0
    return values[..., :3]


def to_deep_grey(values: NDArray[Any]) -> Deep:
    """Return (H, W, 1 or 3) as its luminance (H, W)."""
    if values.shape[2] == 1:
        return values[..., 0]
    return np.rint(values @ _LUMA).astype(np.uint16)


def _decode(image: Image.Image, data: bytes, *, rawmode: str, turn: Turn) -> Deep:
    """Return the bytes that an unpacker keeps of each sample, as numbers of 16 bits."""
    with Image.open(io.BytesIO(data), formats=[str(image.format)]) as again:
        again.tile = [t._replace(args=_with_rawmode(t.args, rawmode)) for t in _tiles(image)]
        again.load()
        return np.asarray(turn(again)).astype(np.uint16)


def _tiles(image: Any) -> list[Any]:
    """Return what Pillow has noted of each part of a file: codec, box, offset, arguments."""
    return image.tile


def _rawmode(args: Any) -> str:
    return args if isinstance(args, str) else str(args[0])


def _with_rawmode(args: Any, rawmode: str) -> Any:
    return rawmode if isinstance(args, str) else (rawmode, *args[1:])


def _compose(values: Deep) -> Deep:
    """Return the channels before the last one, which is the alpha, on black."""
    product = values[..., :-1].astype(np.uint64) * values[..., -1:]
    return ((product + 32767) // 65535).astype(np.uint16)


def _read_pnm(image: Image.Image, data: bytes) -> Deep:
    """Return the pixels of a PPM, which are plain big-endian numbers."""
    tile = _tiles(image)[0]
    if tile.codec_name != "ppm":
        raise _refusal(image)
    count, highest = image.width * image.height * 3, find_highest(image, data)
    pixels = data[tile.offset : tile.offset + 2 * count]
    if len(pixels) < 2 * count:
        raise BadImageError(f"the file is cut off: {len(pixels)} bytes of pixels, not {2 * count}")
    values = np.minimum(np.frombuffer(pixels, ">u2").astype(np.uint32), highest)
    scaled = (values * 65535 + highest // 2) // highest
    return scaled.astype(np.uint16).reshape(image.height, image.width, 3)


def _refusal(image: Image.Image) -> BadImageError:
    return BadImageError(
        f"{image.format} color of more than 8 bits in this form would lose its lower bits: save "
        "it as 16-bit PNG"
    )
