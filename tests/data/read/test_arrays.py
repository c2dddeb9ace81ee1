"""NIfTI and .npy: orientation by nibabel, ranges by type or header, bounded and whole."""

import builtins
import gzip
import io
import sys
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.data.read import MAX_PIXELS, decode_image, is_colored, read_header
from medimg_baseline_cls.errors import BadImageError

ITK = np.diag([-1.0, -1, 1, 1])  # to the patient's left and to the back, as ITK writes a PNG
FILM = np.arange(12, dtype=np.uint8).reshape(3, 4)


def make_nifti(
    values: NDArray[Any], affine: NDArray[np.float64] | None = ITK, **fields: Any
) -> bytes:
    """A NIfTI-1 file of an array (across, down, ...); fields are poked into its header."""
    image = nibabel.Nifti1Image(values, affine)
    data = bytearray(image.to_bytes())
    header = np.frombuffer(bytes(data[:348]), nibabel.nifti1.header_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.tobytes()
    return bytes(data)


def npy(values: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def pixels(data: bytes) -> NDArray[Any]:
    return decode_image(data, color="grey").pixels


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_a_png_that_itk_turned_into_nifti_comes_back(axes: int) -> None:
    values = FILM.T.reshape(*FILM.T.shape, *(1,) * (axes - 2))
    data = make_nifti(values)
    np.testing.assert_array_equal(pixels(data), FILM)
    header = read_header(data)
    assert (header.width, header.height, header.mode) == (4, 3, "uint8")


@pytest.mark.parametrize(
    ("across", "down"),
    [*("LP LA RP RA LI LS RS".split()), *("PI PS AI AS PL PR AR IL SR SA".split())],
)
def test_every_orientation_shows_left_on_the_right_and_front_or_head_on_top(
    across: str, down: str
) -> None:
    pairs = ["LR", "PA", "IS"]
    first, second = (next(i for i, p in enumerate(pairs) if c in p) for c in (across, down))
    third = 3 - first - second
    affine = np.zeros((4, 4))
    affine[3, 3] = affine[third, 2] = 1
    affine[first, 0] = 1 if across in "RAS" else -1
    affine[second, 1] = 1 if down in "RAS" else -1
    assert aff2axcodes(affine)[:2] == (across, down)
    values = FILM.T  # (4 along the first axis, 3 along the second)
    if across in "RAS":
        values = values[::-1]
    if down in "RAS":
        values = values[:, ::-1]
    expected = FILM if first < second else FILM.T
    np.testing.assert_array_equal(pixels(make_nifti(values[:, :, None], affine)), expected)
    header = read_header(make_nifti(values[:, :, None], affine))
    assert (header.height, header.width) == expected.shape


def test_without_an_orientation_the_axes_are_across_and_down() -> None:
    data = make_nifti(FILM.T, None, qform_code=0, sform_code=0)
    np.testing.assert_array_equal(pixels(data), FILM)


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "i8", ">u2"])
def test_wide_integers_are_16_bit_and_bytes_are_8(dtype: str) -> None:
    values = (FILM.T.astype(np.int64) * 2000).astype(dtype)
    image = nibabel.Nifti1Image(values, ITK, dtype=values.dtype)
    decoded = decode_image(image.to_bytes(), color="grey")
    assert decoded.pixels.dtype == np.uint16
    np.testing.assert_array_equal(decoded.pixels, FILM.astype(np.uint16) * 2000)


def test_nifti_2_and_packed_files_are_read() -> None:
    data = nibabel.Nifti2Image(FILM.T, ITK).to_bytes()
    for file in (data, gzip.compress(data), gzip.compress(make_nifti(FILM.T))):
        np.testing.assert_array_equal(pixels(file), FILM)


def test_slope_and_given_range_are_applied() -> None:
    scaled = make_nifti(FILM.T, scl_slope=2.0, scl_inter=10.0)
    np.testing.assert_array_equal(pixels(scaled), FILM * 2 + 10)
    np.testing.assert_array_equal(pixels(make_nifti(FILM.T, scl_slope=0.0, scl_inter=9.0)), FILM)
    values = np.linspace(-0.5, 1.5, 12, dtype=np.float32).reshape(4, 3)
    ranged = make_nifti(values, cal_min=0.0, cal_max=1.0)
    expected = np.rint(np.clip(values.T, 0, 1).astype(float) * 65535)
    np.testing.assert_array_equal(pixels(ranged), expected)


BIG = np.zeros((4, 3), np.float32)
NIFTI_BAD: dict[str, tuple[bytes, str]] = {
    "volume": (make_nifti(np.zeros((4, 3, 5), np.uint8)), "volume or series of 4 x 3 x 5"),
    "series": (make_nifti(np.zeros((4, 3, 1, 7), np.uint8)), "volume or series"),
    "floating point": (make_nifti(BIG), "floating-point"),
    "NaN": (make_nifti(BIG * np.float32("nan"), cal_min=0, cal_max=1), "NaN"),
    "negative": (make_nifti(np.full((4, 3), -3, np.int16)), "from -3 to -3"),
    "beyond 16 bits": (make_nifti(np.full((4, 3), 70000, np.int32)), "70000"),
    "complex": (make_nifti(BIG.astype(np.complex64)), "complex64"),
    "slope NaN": (make_nifti(FILM.T, scl_slope=np.nan), "scl_slope .* nan"),
    "range infinite": (make_nifti(FILM.T, cal_max=np.inf), "cal_max .* inf"),
    "unknown type": (make_nifti(FILM.T, datatype=4321), "data type 4321"),
    "no axes": (make_nifti(FILM.T, dim=[0, 4, 3, 1, 1, 1, 1, 1]), "names 0 axes"),
    "negative size": (make_nifti(FILM.T, dim=[2, -4, 3, 1, 1, 1, 1, 1]), "no pixels"),
    "too many pixels": (make_nifti(FILM.T, dim=[2, 30000, 30000, 1, 1, 1, 1, 1]), "50 million"),
    "cut off": (make_nifti(FILM.T)[:-1], "cut off"),
    "header cut off": (make_nifti(FILM.T)[:347], "no image|cut off"),
    "pixels in the header": (make_nifti(FILM.T, vox_offset=100.0), "begin at byte 100"),
    "pixels far away": (make_nifti(FILM.T, vox_offset=1e12), "begin at byte"),
    "a pair of files": (make_nifti(FILM.T, magic=b"ni1\0"), "hdr and .img pair"),
    "orientation NaN": (make_nifti(FILM.T, srow_x=[np.nan] * 4), "orientation"),
    "orientation zero": (make_nifti(FILM.T, srow_x=[0] * 4, srow_y=[0] * 4), "orientation"),
    "gzip cut off": (gzip.compress(make_nifti(FILM.T))[:-9], "damaged or cut off"),
    "gzip checksum": (gzip.compress(make_nifti(FILM.T))[:-8] + bytes(8), "damaged or cut off"),
}


@pytest.mark.parametrize("kind", NIFTI_BAD)
def test_what_is_no_2d_nifti_image_is_refused_with_its_reason(kind: str) -> None:
    data, reason = NIFTI_BAD[kind]
    with pytest.raises(BadImageError, match=reason) as caught:
        pixels(data)
    assert "\n" not in str(caught.value)


def test_gzip_bomb_is_not_unpacked_beyond_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(make_nifti(FILM.T) + bytes(200 << 20))
    asked: list[int] = []
    read = gzip.GzipFile.read

    def count(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        asked.append(-1 if size is None else size)
        return read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", count)
    np.testing.assert_array_equal(pixels(bomb), FILM)
    assert asked and min(asked) > 0 and max(asked) < 2000


def test_missing_nibabel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("nibabel"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    data = make_nifti(FILM.T)
    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.startswith("nibabel")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BadImageError, match=r"pip install 'medimg-baseline-cls\[nifti\]'"):
        read_header(data)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_grey_arrays_come_back_as_they_are(dtype: str, shape: tuple[int, ...], order: Any) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(dtype, order=order)
    decoded = decode_image(npy(values), color="grey")
    np.testing.assert_array_equal(decoded.pixels, values.reshape(5, 7))
    assert decoded.pixels.dtype == np.dtype(dtype).newbyteorder("=")
    assert read_header(npy(values)).is_deep == (decoded.pixels.dtype == np.uint16)


def test_colored_arrays_are_as_their_png() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    for color in ("grey", "rgb"):
        expected = decode_image(file.getvalue(), color=color).pixels
        np.testing.assert_array_equal(decode_image(npy(photo), color=color).pixels, expected)
        deep = decode_image(npy(photo.astype(np.uint16) * np.uint16(257)), color=color).pixels
        assert np.abs(deep / 257 - expected).max() <= (0.6 if color == "grey" else 0)
    assert read_header(npy(photo)).is_color and is_colored(decode_image(npy(photo), color="rgb"))


SIDE = int(MAX_PIXELS**0.5) + 1
NPY_BAD: dict[str, tuple[bytes, str]] = {
    "floating point": (npy(np.zeros((4, 4))), "array of float64"),
    "signed": (npy(np.zeros((4, 4), np.int16)), "array of int16"),
    "truth values": (npy(np.zeros((4, 4), bool)), "array of bool"),
    "objects": (npy(np.array([[None]]), allow_pickle=True), "array of object"),
    "a line": (npy(np.zeros(4, np.uint8)), r"shape \(4,\)"),
    "two channels": (npy(np.zeros((4, 4, 2), np.uint8)), r"shape \(4, 4, 2\)"),
    "a stack": (npy(np.zeros((4, 4, 3, 3), np.uint8)), "shape"),
    "no pixels": (npy(np.zeros((0, 4), np.uint8)), "no pixels"),
    "cut off": (npy(np.zeros((4, 4), np.uint8))[:-1], "cut off: 15 bytes of pixels, .* 16"),
    "too many pixels": (
        npy(np.zeros((10, 10), np.uint8)).replace(
            b"(10, 10), }    ", b"(%d, %d), }" % (SIDE, SIDE)
        ),
        "50 million",
    ),
    "damaged header": (npy(FILM).replace(b"{'descr'", b"{'desc\x00'"), "header is damaged"),
    "version": (b"\x93NUMPY\x09\x00" + npy(FILM)[8:], "format 9.0"),
}


@pytest.mark.parametrize("kind", NPY_BAD)
def test_arrays_that_are_no_image_are_refused_with_their_reason(kind: str) -> None:
    data, reason = NPY_BAD[kind]
    for read in (read_header, pixels):
        with pytest.raises(BadImageError, match=reason) as caught:
            read(data)
        assert "\n" not in str(caught.value)


def test_decoded_arrays_are_owned_by_the_caller() -> None:
    for data in (npy(FILM), make_nifti(FILM.T)):
        first = pixels(data)
        first[:] = 0
        np.testing.assert_array_equal(pixels(data), FILM)
