"""Details of decoding: strictness shared by threads, alpha by its formula, limits to the pixel."""

import io
import struct
import threading
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from medimg_baseline_cls.data.read import (
    MAX_PIXELS,
    DecodedImage,
    decode_image,
    is_colored,
    read_header,
    strict_decoding,
)
from medimg_baseline_cls.errors import BadImageError

DAMAGED_TIFFS = ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header alone says its size: there are no pixels to decode."""
    body = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", body), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_strictness_is_put_back_when_the_last_of_several_threads_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    filters = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with strict_decoding():
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(20)
    with strict_decoding():
        pass
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False  # the other thread still decodes
    leave.set()
    thread.join()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert list(warnings.filters) == filters


def test_strictness_is_put_back_after_an_error() -> None:
    before = ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    film = np.random.default_rng(0).integers(0, 256, (9, 9)).astype(np.uint8)
    for bad in (b"", b"nothing", encode(Image.fromarray(film))[:70]):
        with pytest.raises(BadImageError):
            decode_image(bad, color="grey")
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


@given(st.integers(0, 255), st.integers(0, 255))
@settings(deadline=None, max_examples=40)
def test_alpha_is_composed_on_black_by_its_share(value: int, alpha: int) -> None:
    grey = encode(Image.new("LA", (2, 2), (value, alpha)))
    photo = encode(Image.new("RGBA", (2, 2), (value, 0, value, alpha)))
    expected = value * alpha / 255
    assert np.abs(decode_image(grey, color="grey").pixels - expected).max() <= 0.5 + 1e-9
    pixels = decode_image(photo, color="rgb").pixels
    assert np.abs(pixels[..., 0] - expected).max() <= 0.5 + 1e-9
    assert not pixels[..., 1].any() and (pixels[..., 0] == pixels[..., 2]).all()


def test_grey_of_a_photo_is_the_luma_of_bt601() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    grey = decode_image(encode(Image.fromarray(photo)), color="grey").pixels
    assert np.abs(grey - photo @ np.array([0.299, 0.587, 0.114])).max() <= 1


@pytest.mark.parametrize(
    ("mode", "kind", "is_deep", "is_color"),
    [
        *(("1", "PNG", False, False), ("L", "BMP", False, False), ("LA", "PNG", False, False)),
        *(("I;16", "PNG", True, False), ("I", "TIFF", True, False), ("P", "PNG", False, True)),
        *(
            ("RGB", "JPEG", False, True),
            ("RGBA", "PNG", False, True),
            ("CMYK", "TIFF", False, True),
        ),
    ],
)
def test_header_tells_depth_and_color_of_each_mode(
    mode: str, kind: str, is_deep: bool, is_color: bool
) -> None:
    data = encode(Image.new(mode, (5, 3)), kind)
    header = read_header(data)
    assert (header.width, header.height, header.mode) == (5, 3, mode)
    assert (header.is_deep, header.is_color) == (is_deep, is_color)
    pixels = decode_image(data, color="grey").pixels
    assert (pixels.dtype == np.uint16) == is_deep and pixels.shape == (3, 5)


def test_the_pixel_limit_is_exact_and_needs_no_decoding() -> None:
    width = 8000
    most = MAX_PIXELS // width
    assert read_header(png_of_size(width, most)).height == most
    with pytest.raises(BadImageError, match=rf"8000 x {most + 1} pixels, more than 50 million"):
        read_header(png_of_size(width, most + 1))
    with pytest.raises(BadImageError):
        read_header(png_of_size(0, 10))


@pytest.mark.parametrize(
    ("spread", "num_pixels", "expected"),
    [(24, 100, False), (25, 2, False), (25, 3, True), (255, 2, False), (255, 100, True)],
)
def test_color_needs_more_than_24_levels_on_more_than_2_percent(
    spread: int, num_pixels: int, expected: bool
) -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels.reshape(100, 3)[:num_pixels, 1] = spread
    assert is_colored(DecodedImage(pixels, "RGB", 10, 10)) is expected
    assert not is_colored(DecodedImage(pixels[..., 1], "L", 10, 10))
    deep = pixels.astype(np.uint16) * 257
    assert is_colored(DecodedImage(deep, "RGB;16", 10, 10)) is expected


def test_deep_images_keep_black_and_white_of_the_full_scale_not_their_own() -> None:
    # A dark 16-bit film stays dark: its own range says nothing about exposure.
    values = np.array([[100, 300], [200, 4095]], np.uint16)
    decoded = decode_image(encode(Image.fromarray(values)), color="grey")
    np.testing.assert_array_equal(decoded.pixels, values)
    photo = decode_image(encode(Image.fromarray(values)), color="rgb")
    np.testing.assert_array_equal(photo.pixels, np.stack([values] * 3, axis=2))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    film = np.arange(12, dtype=np.uint8).reshape(3, 4)
    data = encode(Image.fromarray(film), exif=exif)
    np.testing.assert_array_equal(decode_image(data, color="grey").pixels, film)
    assert (read_header(data).width, read_header(data).height) == (4, 3)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"%PDF-1.4", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"\n\n<?xml", "XML"),
    ],
)
def test_what_is_no_image_is_called_by_its_name_in_header_and_decoder(
    start: bytes, name: str
) -> None:
    for read in (read_header, lambda data: decode_image(data, color="rgb")):
        with pytest.raises(BadImageError, match=rf"{name}.*expected an image: JPEG, PNG"):
            read(start + bytes(300))


def test_decoded_pixels_are_owned_by_the_caller() -> None:
    data = encode(Image.fromarray(np.full((4, 4), 9, np.uint8)))
    first = decode_image(data, color="grey").pixels
    first[:] = 0
    assert (decode_image(data, color="grey").pixels == 9).all()


@pytest.mark.parametrize("compression", DAMAGED_TIFFS)
def test_libraries_in_c_write_nothing_to_stderr(
    compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    whole = encode(image, "TIFF", compression=compression)

    for _ in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(8, len(data), 3)] ^= np.uint8(1 << rng.integers(0, 8))
        with suppress(BadImageError):
            decode_image(data.tobytes(), color="grey")
    assert capfd.readouterr().err == ""


def test_libtiff_is_loud_again_outside(capfd: pytest.CaptureFixture[str]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))
    data = bytearray(encode(image, "TIFF", compression="tiff_adobe_deflate"))
    data[100] ^= 255
    with pytest.raises(BadImageError):
        decode_image(bytes(data), color="grey")
    assert capfd.readouterr().err == ""
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(bytes(data))).load()
    assert "ZIPDecode" in capfd.readouterr().err
