"""One film in many formats is one image; what is not one whole still image is refused."""

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin

from medimg_baseline_cls.data.read import (
    MAX_PIXELS,
    DecodedImage,
    decode_image,
    is_colored,
    read_header,
)
from medimg_baseline_cls.errors import BadImageError

Array = NDArray[np.uint8]


def make_film(height: int = 60, width: int = 90, *, seed: int = 0) -> Array:
    """A smooth film with an asymmetric bright spot and black and white pixels."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.sin(x / 9 + seed) + np.cos(y / 7)
    spot = 3 * np.exp(-((x - width / 5) ** 2 + (y - height / 4) ** 2) / 60)
    film = np.rint(255 * (waves + spot - (waves + spot).min()) / np.ptp(waves + spot))
    film[0, 0], film[-1, -1] = 0, 255
    return film.astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(film: Array) -> Image.Image:
    return Image.fromarray(film)


def deep(film: Array) -> Image.Image:
    return Image.fromarray(film.astype(np.uint16) * 257)


def palette(film: Array) -> Image.Image:
    """A palette in scrambled order: the stored indices are not the grey values."""
    order = np.random.default_rng(3).permutation(256).astype(np.uint8)
    image = Image.fromarray(np.argsort(order).astype(np.uint8)[film], mode=None).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(np.repeat(order, 3).tobytes())
    return image


def with_alpha(film: Array, mode: str) -> Image.Image:
    image = grey(film).convert(mode)
    image.putalpha(255)
    return image


def big_endian_deep_tiff(film: Array, *, photometric: int = 1, bits: int = 16) -> bytes:
    return write_tiff(film.astype(np.uint16) * 257, order=">", photometric=photometric, bits=bits)


def write_tiff(values: NDArray[np.generic], *, order: str, photometric: int, bits: int) -> bytes:
    """A minimal one-strip grey TIFF, written by hand: Pillow cannot write all of them."""
    height, width = values.shape
    if bits == 12:
        flat = values.astype(np.uint16).reshape(-1, 2)
        first, second = flat[:, 0], flat[:, 1]
        packed = [first >> 4, ((first & 15) << 4) | (second >> 8), second & 255]
        data = np.stack(packed, axis=1).astype(np.uint8).tobytes()
    else:
        data = values.astype(np.dtype(f"u{bits // 8}").newbyteorder(order)).tobytes()
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)),
        *((273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))),
    ]
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (
            struct.pack(order + "H", value) + b"\0\0"
            if kind == 3
            else struct.pack(order + "I", value)
        )
        for tag, kind, value in tags
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0"
    return start + struct.pack(order + "I", 8 + len(data)) + data + directory


def plain_pnm(values: NDArray[np.generic], *, highest: int) -> bytes:
    height, width = values.shape
    rows = "\n".join(" ".join(f"{value:.0f}" for value in row) for row in values)
    return f"P2\n# by hand\n{width} {height}\n{highest}\n{rows}\n".encode()


def rotated(film: Array, orientation: int, kind: str, **options: object) -> bytes:
    """The film stored as a camera held differently would: readers must turn it back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(grey(film).transpose(undo), kind, exif=exif, **options)


LOSSLESS: dict[str, Callable[[Array], bytes]] = {
    "grey png": lambda film: encode(grey(film), "PNG"),
    "rgb png": lambda film: encode(grey(film).convert("RGB"), "PNG"),
    "interlaced-like optimized png": lambda film: encode(grey(film), "PNG", optimize=True),
    "16-bit png": lambda film: encode(deep(film), "PNG"),
    "palette png": lambda film: encode(palette(film), "PNG"),
    "palette png with transparency": lambda film: encode(
        palette(film), "PNG", transparency=bytes([255] * 256)
    ),
    "rgba png": lambda film: encode(with_alpha(film, "RGBA"), "PNG"),
    "la png": lambda film: encode(with_alpha(film, "LA"), "PNG"),
    "bmp": lambda film: encode(grey(film), "BMP"),
    "rgb bmp": lambda film: encode(grey(film).convert("RGB"), "BMP"),
    "palette bmp": lambda film: encode(palette(film), "BMP"),
    "grey tiff": lambda film: encode(grey(film), "TIFF"),
    "lzw tiff": lambda film: encode(grey(film), "TIFF", compression="tiff_lzw"),
    "rgb tiff": lambda film: encode(grey(film).convert("RGB"), "TIFF"),
    "la tiff": lambda film: encode(with_alpha(film, "LA"), "TIFF"),
    "16-bit tiff": lambda film: encode(deep(film), "TIFF"),
    "16-bit big-endian tiff": big_endian_deep_tiff,
    "8-bit white-is-zero tiff": lambda film: write_tiff(
        255 - film, order="<", photometric=0, bits=8
    ),
    "16-bit white-is-zero tiff": lambda film: write_tiff(
        65535 - film.astype(np.uint16) * 257, order="<", photometric=0, bits=16
    ),
    "12-bit tiff": lambda film: write_tiff(
        np.rint(film / 255 * 4095), order="<", photometric=1, bits=12
    ),
    "32-bit integer tiff": lambda film: encode(
        Image.fromarray(film.astype(np.int32) * 257), "TIFF"
    ),
    "cmyk tiff": lambda film: encode(grey(film).convert("RGB").convert("CMYK"), "TIFF"),
    "black-only cmyk tiff": lambda film: encode(
        Image.merge("CMYK", [Image.new("L", (90, 60))] * 3 + [grey(255 - film)]), "TIFF"
    ),
    "rotated png": lambda film: rotated(film, 6, "PNG"),
    "rotated tiff": lambda film: rotated(film, 8, "TIFF"),
    "webp": lambda film: encode(grey(film), "WEBP", lossless=True),
    "gif": lambda film: encode(grey(film), "GIF"),
    "pgm": lambda film: encode(grey(film), "PPM"),
    "plain pgm": lambda film: plain_pnm(film, highest=255),
    "pgm of 12 bits": lambda film: plain_pnm(np.rint(film / 255 * 4095), highest=4095),
    "16-bit pgm": lambda film: encode(deep(film), "PPM"),
    "ppm": lambda film: encode(grey(film).convert("RGB"), "PPM"),
    "jpeg 2000": lambda film: encode(grey(film), "JPEG2000"),
    "jpeg 2000 codestream": lambda film: encode(grey(film), "JPEG2000", no_jp2=True),
    "rgb jpeg 2000": lambda film: encode(grey(film).convert("RGB"), "JPEG2000"),
    "16-bit jpeg 2000": lambda film: encode(deep(film), "JPEG2000"),
}
LOSSY: dict[str, Callable[[Array], bytes]] = {
    "jpeg": lambda film: encode(grey(film), "JPEG", quality=95),
    "rgb jpeg": lambda film: encode(grey(film).convert("RGB"), "JPEG", quality=95),
    "progressive jpeg": lambda film: encode(grey(film), "JPEG", quality=95, progressive=True),
    "cmyk jpeg": lambda film: encode(grey(film).convert("RGB").convert("CMYK"), "JPEG", quality=95),
    "rotated jpeg": lambda film: rotated(film, 6, "JPEG", quality=95),
    "lossy webp": lambda film: encode(grey(film), "WEBP", quality=95),
    "jpeg in tiff": lambda film: encode(
        grey(film).convert("RGB"), "TIFF", compression="jpeg", quality=95
    ),
}


def unit_range(decoded: DecodedImage) -> NDArray[np.float64]:
    return decoded.pixels / np.iinfo(decoded.pixels.dtype).max


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("seed", [0, 1])
def test_lossless_formats_give_the_same_film(kind: str, seed: int) -> None:
    film = make_film(seed=seed)
    decoded = decode_image(LOSSLESS[kind](film), color="grey")
    assert decoded.pixels.shape == film.shape
    assert np.abs(unit_range(decoded) - film / 255).max() <= 1 / 255 + 1e-9


@pytest.mark.parametrize("kind", LOSSY)
def test_jpeg_gives_nearly_the_same_film(kind: str) -> None:
    film = make_film()
    decoded = decode_image(LOSSY[kind](film), color="grey")
    assert decoded.pixels.shape == film.shape
    assert np.abs(unit_range(decoded) - film / 255).mean() <= 2 / 255


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_header_agrees_with_the_decoded_image(kind: str) -> None:
    data = (LOSSLESS | LOSSY)[kind](make_film())
    header, decoded = read_header(data), decode_image(data, color="grey")
    assert (header.width, header.height) == (decoded.width, decoded.height) == (90, 60)
    assert header.mode == decoded.mode
    assert header.is_deep == (decoded.pixels.dtype == np.uint16)


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_rgb_of_a_grey_film_has_three_equal_channels(kind: str) -> None:
    data = (LOSSLESS | LOSSY)[kind](make_film())
    decoded = decode_image(data, color="rgb")
    assert decoded.pixels.shape == (60, 90, 3)
    spread = np.ptp(decoded.pixels.astype(np.int64), axis=2)
    assert spread.max() <= 2
    assert not is_colored(decoded)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_exif_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    film = make_film()
    decoded = decode_image(rotated(film, orientation, kind), color="grey")
    np.testing.assert_array_equal(decoded.pixels, film)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_16_bit_values_survive_exactly(seed: int, height: int, width: int) -> None:
    values = np.random.default_rng(seed).integers(0, 65536, (height, width)).astype(np.uint16)
    for data in (
        encode(Image.fromarray(values), "PNG"),
        encode(Image.fromarray(values), "TIFF"),
        write_tiff(values, order=">", photometric=1, bits=16),
    ):
        np.testing.assert_array_equal(decode_image(data, color="grey").pixels, values)


def test_1_bit_images_become_black_and_white() -> None:
    film = (make_film() > 120).astype(np.uint8) * 255
    for kind in ("PNG", "BMP", "TIFF"):
        data = encode(grey(film).convert("1"), kind)
        np.testing.assert_array_equal(decode_image(data, color="grey").pixels, film)


def test_transparent_parts_are_black() -> None:
    film = np.full((4, 6), 200, np.uint8)
    alpha = np.zeros((4, 6), np.uint8)
    alpha[:, :3] = 255
    expected = np.where(alpha > 0, film, 0)
    for mode in ("LA", "RGBA"):
        image = grey(film).convert(mode)
        image.putalpha(Image.fromarray(alpha))
        data = encode(image, "PNG")
        np.testing.assert_array_equal(decode_image(data, color="grey").pixels, expected)


def test_half_transparent_is_half_as_bright() -> None:
    image = Image.new("LA", (3, 3), (200, 128))
    assert decode_image(encode(image, "PNG"), color="grey").pixels[0, 0] == 100


def test_single_transparent_grey_of_a_png_is_black() -> None:
    image = Image.fromarray(np.array([[10, 20], [30, 40]], np.uint8))
    data = encode(image, "PNG", transparency=30)
    assert decode_image(data, color="grey").pixels.tolist() == [[10, 20], [0, 40]]


def test_color_is_kept_and_noticed() -> None:
    photo = np.zeros((20, 20, 3), np.uint8)
    photo[..., 0] = 180
    data = encode(Image.fromarray(photo), "PNG")
    decoded = decode_image(data, color="rgb")
    np.testing.assert_array_equal(decoded.pixels, photo)
    assert is_colored(decoded)
    assert read_header(data).is_color
    assert decode_image(data, color="grey").pixels.shape == (20, 20)


def test_small_colored_marker_does_not_make_a_photo() -> None:
    film = np.repeat(make_film()[:, :, None], 3, axis=2)
    film[:6, :8] = (255, 0, 0)
    assert not is_colored(decode_image(encode(Image.fromarray(film), "PNG"), color="rgb"))


WHOLE = {
    "jpeg": lambda film: encode(grey(film), "JPEG"),
    "rgb jpeg": lambda film: encode(grey(film).convert("RGB"), "JPEG"),
    "progressive jpeg": lambda film: encode(grey(film), "JPEG", progressive=True),
    "png": lambda film: encode(grey(film), "PNG"),
    "16-bit png": lambda film: encode(deep(film), "PNG"),
    "bmp": lambda film: encode(grey(film), "BMP"),
    "tiff": lambda film: encode(grey(film), "TIFF"),
    "lzw tiff": lambda film: encode(grey(film), "TIFF", compression="tiff_lzw"),
    "webp": lambda film: encode(grey(film), "WEBP"),
    "lossless webp": lambda film: encode(grey(film), "WEBP", lossless=True),
    "gif": lambda film: encode(grey(film), "GIF"),
    "pgm": lambda film: encode(grey(film), "PPM"),
    "16-bit pgm": lambda film: encode(deep(film), "PPM"),
    "jpeg 2000": lambda film: encode(grey(film), "JPEG2000"),
    "jpeg 2000 codestream": lambda film: encode(deep(film), "JPEG2000", no_jp2=True),
}


@pytest.mark.parametrize("kind", WHOLE)
@given(fraction=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=40)
def test_cut_off_file_is_refused_or_lost_nothing(kind: str, fraction: float) -> None:
    data = WHOLE[kind](make_film())
    whole = decode_image(data, color="grey").pixels
    try:
        decoded = decode_image(data[: int(fraction * len(data))], color="grey")
    except BadImageError:
        return
    np.testing.assert_array_equal(decoded.pixels, whole)


def test_truncated_jpeg_that_verify_passes_is_refused() -> None:
    data = encode(grey(make_film(300, 300)), "JPEG")
    half = data[: len(data) // 2]
    with Image.open(io.BytesIO(half)) as image:
        image.verify()
    with pytest.raises(BadImageError, match="truncated"):
        decode_image(half, color="grey")


def test_truncated_file_is_refused_whatever_the_user_told_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(grey(make_film(300, 300)), "JPEG")
    with pytest.raises(BadImageError, match="truncated"):
        decode_image(data[: len(data) // 2], color="grey")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def animation(kind: str) -> bytes:
    frames = [grey(make_film(seed=seed)) for seed in range(3)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def floating() -> bytes:
    return encode(Image.fromarray(make_film().astype(np.float32)), "TIFF")


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"patient,label\n1,0\n", "not an image"),
    "web page": (lambda: b"  <html><body>404</body></html>", "web page"),
    "pdf": (lambda: b"%PDF-1.7 ...", "PDF"),
    "zip": (lambda: b"PK\x03\x04....", "ZIP"),
    "dicom": (lambda: b"\0" * 128 + b"DICM" + b"\0" * 50, "DICOM"),
    "animated gif": (lambda: animation("GIF"), "3 frames"),
    "animated webp": (lambda: animation("WEBP"), "3 frames"),
    "floating-point pnm": (lambda: b"Pf\n2 2\n-1.0\n" + bytes(16), "floating-point"),
    "tiff of a kind that is not known": (
        lambda: write_tiff(make_film(), order="<", photometric=99, bits=8),
        "TIFF file is damaged or of a kind",
    ),
    "animated png": (lambda: animation("PNG"), "3 frames"),
    "tiff of several pages": (lambda: animation("TIFF"), "3 frames"),
    "floating-point tiff": (floating, "floating-point"),
    "negative tiff": (
        lambda: encode(Image.fromarray(np.full((3, 3), -5, np.int32)), "TIFF"),
        "from -5 to -5",
    ),
    "integers beyond 16 bits": (
        lambda: encode(Image.fromarray(np.full((3, 3), 70000, np.int32)), "TIFF"),
        "70000",
    ),
    "zeros": (lambda: bytes(1000), "not an image"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_what_is_no_still_image_is_refused_with_its_reason(kind: str, color: str) -> None:
    make, reason = REFUSED[kind]
    with pytest.raises(BadImageError, match=reason) as caught:
        decode_image(make(), color="grey" if color == "grey" else "rgb")
    assert "\n" not in str(caught.value)


def test_huge_image_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    data = encode(Image.new("1", (side, side)), "PNG")
    for side_two in (data, encode(Image.new("1", (2 * side, side)), "PNG")):
        with pytest.raises(BadImageError):
            read_header(side_two)


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(WHOLE)))
@settings(deadline=None, max_examples=100)
def test_damaged_bytes_raise_nothing_but_bad_image_error(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    data = np.frombuffer(WHOLE[kind](make_film(16, 16)), np.uint8).copy()
    where = random.integers(0, len(data), 6)
    data[where] = random.integers(0, 256, 6)
    for read in (read_header, lambda file: decode_image(file, color="grey")):
        try:
            read(data.tobytes())
        except BadImageError as error:
            assert str(error)


def test_garbled_exif_does_not_cost_the_image() -> None:
    film = make_film()
    file = io.BytesIO()
    grey(film).save(file, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    assert decode_image(file.getvalue(), color="grey").pixels.shape == film.shape


def test_camera_jpeg_with_a_preview_is_its_first_image() -> None:
    film = make_film()
    preview = [grey(make_film(10, 10))]
    data = encode(grey(film), "MPO", save_all=True, append_images=preview, quality=95)
    decoded = decode_image(data, color="grey")
    assert np.abs(unit_range(decoded) - film / 255).mean() <= 2 / 255


def test_long_text_in_a_png_is_no_reason_to_refuse_it() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 5000, zip=True)
    data = encode(grey(make_film()), "PNG", pnginfo=info)
    np.testing.assert_array_equal(decode_image(data, color="grey").pixels, make_film())


def test_reading_leaves_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    decode_image(encode(grey(make_film()), "PNG"), color="grey")
    with pytest.raises(BadImageError):
        decode_image(b"nothing", color="grey")
    assert list(warnings.filters) == before


def test_decoding_does_not_depend_on_a_file(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(encode(grey(make_film()), "PNG"))
    data = path.read_bytes()
    path.unlink()
    assert decode_image(data, color="grey").width == 90
