"""Color and transparency of 16 bits keep every bit; what cannot keep them is refused."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.read import decode_image, read_header
from medimg_baseline_cls.errors import BadImageError

Deep = NDArray[np.uint16]
HEIGHT, WIDTH = 11, 14
PNG_KIND = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> color type
LUMA = np.array([0.299, 0.587, 0.114])


def make_values(channels: int, *, seed: int = 0) -> Deep:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 65536, (HEIGHT, WIDTH, channels)).astype(np.uint16)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filter_rows(rows: NDArray[np.uint8], step: int) -> bytes:
    """The rows of a PNG, each with another of its five filters (PNG, second edition, 9.2)."""
    lines = []
    above = np.zeros(rows.shape[1], np.int64)
    for number, row in enumerate(rows.astype(np.int64)):
        left = np.concatenate([np.zeros(step, np.int64), row[:-step]])
        corner = np.concatenate([np.zeros(step, np.int64), above[:-step]])
        guess = left + above - corner
        far = [abs(guess - near) for near in (left, above, corner)]
        nearest = np.where(
            (far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner)
        )
        kind = number % 5
        taken = (np.zeros_like(row), left, above, (left + above) // 2, nearest)[kind]
        lines.append(bytes([kind]) + ((row - taken) % 256).astype(np.uint8).tobytes())
        above = row
    return b"".join(lines)


def write_png(values: Deep, *, interlaced: bool = False, more: bytes = b"") -> bytes:
    height, width, channels = values.shape
    # The seven passes of Adam7: first column and row, steps across and down.
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    packed = b""
    for x, y, across, down in passes:
        part = values[y::down, x::across]
        raw = part.astype(">u2").view(np.uint8).reshape(part.shape[0], -1)
        packed += filter_rows(raw, 2 * channels) if part.size else b""
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_KIND[channels], 0, 0, interlaced)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(packed))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def write_tiff(
    values: Deep, *, order: str, extra: int | None, packed: bool, planes: int = 1
) -> bytes:
    """One strip, or one for each plane, raw or deflated."""
    height, width, channels = values.shape
    stored = values.astype(f"{order}u2")
    parts = [stored] if planes == 1 else [stored[..., i] for i in range(channels)]
    strips = [zlib.compress(p.tobytes()) if packed else p.tobytes() for p in parts]
    tags: list[tuple[int, str, list[int]]] = [
        *((256, "I", [width]), (257, "I", [height]), (258, "H", [16] * channels)),
        *((259, "H", [8 if packed else 1]), (262, "H", [2])),
        (273, "I", [8 + sum(map(len, strips[:i])) for i in range(len(strips))]),
        *((277, "H", [channels]), (278, "I", [height]), (279, "I", [len(s) for s in strips])),
        (284, "H", [planes]),
        *([] if extra is None else [(338, "H", [extra])]),
    ]
    data = b"".join(strips)
    later = 8 + len(data) + 2 + 12 * len(tags) + 4
    directory, tail = struct.pack(f"{order}H", len(tags)), b""
    for tag, kind, numbers in tags:
        body = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(body) > 4:
            place, tail = struct.pack(f"{order}I", later + len(tail)), tail + body
        else:
            place = body.ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(numbers)) + place
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}I", 8 + len(data)) + data + directory + bytes(4) + tail


def write_ppm(values: Deep, *, highest: int = 65535) -> bytes:
    header = f"P6\n{WIDTH} {HEIGHT}\n{highest}\n".encode()
    return header + values.astype(">u2").tobytes()


def write_npy(values: Deep) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


COLOR: dict[str, Callable[[Deep], bytes]] = {
    "png": write_png,
    "interlaced png": lambda values: write_png(values, interlaced=True),
    "little-endian tiff": lambda v: write_tiff(v, order="<", extra=None, packed=False),
    "big-endian tiff": lambda v: write_tiff(v, order=">", extra=None, packed=False),
    "deflated tiff": lambda v: write_tiff(v, order="<", extra=None, packed=True),
    "deflated big-endian tiff": lambda v: write_tiff(v, order=">", extra=None, packed=True),
    "ppm": write_ppm,
    "npy": write_npy,
}


@pytest.mark.parametrize("kind", COLOR)
def test_16_bit_color_keeps_every_bit(kind: str) -> None:
    values = make_values(3)
    data = COLOR[kind](values)
    decoded, header = decode_image(data, color="rgb"), read_header(data)
    np.testing.assert_array_equal(decoded.pixels, values)
    assert (header.mode, header.is_deep, header.is_color) == ("RGB;16", True, True)
    assert decoded.mode == header.mode
    grey = decode_image(data, color="grey").pixels
    assert grey.dtype == np.uint16
    assert np.abs(grey - values @ LUMA).max() <= 0.5 + 1e-6


ALPHA: dict[str, Callable[[Deep], bytes]] = {
    "png": write_png,
    "interlaced png": lambda values: write_png(values, interlaced=True),
    "tiff": lambda v: write_tiff(v, order="<", extra=2, packed=False),
    "big-endian tiff": lambda v: write_tiff(v, order=">", extra=2, packed=False),
    "deflated tiff": lambda v: write_tiff(v, order=">", extra=2, packed=True),
}


@pytest.mark.parametrize("kind", ALPHA)
def test_16_bit_color_under_transparency_is_composed_on_black(kind: str) -> None:
    values = make_values(4)
    values[0, :2, 3] = 0, 65535
    pixels = decode_image(ALPHA[kind](values), color="rgb").pixels
    expected = values[..., :3].astype(np.float64) * values[..., 3:] / 65535
    assert np.abs(pixels - expected).max() <= 0.5 + 1e-6
    assert not pixels[0, 0].any() and (pixels[0, 1] == values[0, 1, :3]).all()


@pytest.mark.parametrize("interlaced", [False, True])
def test_16_bit_grey_with_alpha_is_deep_grey(interlaced: bool) -> None:
    values = make_values(2)
    data = write_png(values, interlaced=interlaced)
    expected = values[..., 0].astype(np.float64) * values[..., 1] / 65535
    grey = decode_image(data, color="grey").pixels
    assert grey.dtype == np.uint16 and np.abs(grey - expected).max() <= 0.5 + 1e-6
    colored = decode_image(data, color="rgb").pixels
    np.testing.assert_array_equal(colored, np.repeat(grey[..., None], 3, axis=2))
    assert read_header(data).is_deep


def test_premultiplied_tiff_is_on_black_as_it_is() -> None:
    values = make_values(4)
    values[..., :3] = values[..., :3] * (values[..., 3:] / 65535)
    for order, packed in (("<", False), (">", True)):
        data = write_tiff(values, order=order, extra=1, packed=packed)
        np.testing.assert_array_equal(decode_image(data, color="rgb").pixels, values[..., :3])


def test_unused_fourth_channel_is_no_transparency() -> None:
    values = make_values(4)
    data = write_tiff(values, order="<", extra=0, packed=False)
    np.testing.assert_array_equal(decode_image(data, color="rgb").pixels, values[..., :3])


def test_transparent_shade_of_a_deep_png_is_black() -> None:
    values = make_values(3)
    values[0, 0] = values[5, 5] = (1000, 2000, 3000)
    more = chunk(b"tRNS", struct.pack(">HHH", 1000, 2000, 3000))
    expected = values.copy()
    expected[0, 0] = expected[5, 5] = 0
    data = write_png(values, more=more)
    np.testing.assert_array_equal(decode_image(data, color="rgb").pixels, expected)
    grey = make_values(1)
    data = write_png(grey, more=chunk(b"tRNS", struct.pack(">H", grey[3, 3, 0])))
    expected = np.where(grey == grey[3, 3, 0], 0, grey)[..., 0]
    np.testing.assert_array_equal(decode_image(data, color="grey").pixels, expected)


def test_deep_color_turned_by_exif_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    values = make_values(3)
    turned = np.ascontiguousarray(np.rot90(values))  # a quarter to the left, undone by 6
    data = write_png(turned, more=chunk(b"eXIf", body))
    np.testing.assert_array_equal(decode_image(data, color="rgb").pixels, values)
    assert (read_header(data).width, read_header(data).height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("highest", [256, 1023, 4095, 40000])
def test_deep_ppm_is_stretched_to_its_highest_value(highest: int) -> None:
    values = (make_values(3) % (highest + 1)).astype(np.uint16)
    pixels = decode_image(write_ppm(values, highest=highest), color="rgb").pixels
    assert np.abs(pixels - values / highest * 65535).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_grey_jpeg_2000_reaches_white_at_its_own_depth(bits: int) -> None:
    openjpeg = pytest.importorskip("openjpeg")
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 1 << bits, (48, 64)).astype(np.uint16)
    values[0, 0] = (1 << bits) - 1
    data = bytes(openjpeg.utils.encode_array(values, bits_stored=bits))
    pixels = decode_image(data, color="grey").pixels
    assert np.abs(pixels - values / ((1 << bits) - 1) * 65535).max() <= 1
    assert pixels[0, 0] == 65535


def deep_wavelet_color() -> bytes:
    openjpeg = pytest.importorskip("openjpeg")
    values = np.random.default_rng(0).integers(0, 4096, (48, 64, 3)).astype(np.uint16)
    options: dict[str, Any] = {"bits_stored": 12, "photometric_interpretation": 1}
    return bytes(openjpeg.utils.encode_array(values, **options))


REFUSED: dict[str, Callable[[], bytes]] = {
    "separate planes": lambda: write_tiff(
        make_values(3), order="<", extra=None, packed=True, planes=2
    ),
    "separate raw planes": lambda: write_tiff(
        make_values(3), order="<", extra=None, packed=False, planes=2
    ),
    "plain ppm": lambda: b"P3 1 1 4095 1 2 3\n",
    "jpeg 2000": deep_wavelet_color,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_deep_color_that_would_lose_bits_is_refused(kind: str) -> None:
    data = REFUSED[kind]()
    with pytest.raises(BadImageError, match="would lose its lower bits: save it as 16-bit PNG"):
        decode_image(data, color="rgb")


@pytest.mark.parametrize("kind", COLOR)
def test_cut_off_deep_color_is_refused_or_lost_nothing(kind: str) -> None:
    values = make_values(3)
    data = COLOR[kind](values)
    for end in np.linspace(0, len(data) - 1, 60).astype(int):
        try:
            pixels = decode_image(data[:end], color="rgb").pixels
        except BadImageError:
            continue
        np.testing.assert_array_equal(pixels, values)


def test_deep_color_reaches_the_pixel_array_whole(tmp_path: Any) -> None:
    values = make_values(3)[:, :HEIGHT]
    (tmp_path / "a.png").write_bytes(write_png(values))
    settings = PixelSettings(image_size=HEIGHT, color="rgb")
    cache = build_cache(tmp_path, ["a.png"], settings=settings, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(cache.pixels[0], np.moveaxis(values, 2, 0))
