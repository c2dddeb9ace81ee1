"""Arrays (Z, H, W) are volumes as they are; what is not one volume has its reason."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.data.read import decode_image, decode_volume, read_volume_header
from medimg_baseline_cls.data.read.volume import MAX_VOXELS
from medimg_baseline_cls.errors import BadImageError

SHAPE = (5, 7, 6)


def npy(values: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def draw(dtype: str, *, order: Any = "C") -> NDArray[Any]:
    """Return a volume that looks different from every side."""
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype, order=order)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i2", "i8", "f2", "f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_a_volume_as_it_is(dtype: str, order: str) -> None:
    stored = draw(dtype, order=order)
    found = decode_volume(npy(stored))
    assert found.voxels.dtype == np.float32
    np.testing.assert_array_equal(found.voxels, stored.astype(np.float64))
    header = read_volume_header(npy(stored))
    assert (header.width, header.height, header.mode) == (6, 7, np.dtype(dtype).name)
    assert header.is_deep == (dtype != "u1")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("u1", (0, 255)), ("u2", (0, 65535)), ("u4", None), ("i2", None), ("f4", None)],
)
def test_small_numbers_without_a_sign_have_a_range(
    dtype: str, expected: tuple[int, int] | None
) -> None:
    assert decode_volume(npy(draw(dtype))).full_range == expected


def rewrite_shape(data: bytes, shape: tuple[int, ...]) -> bytes:
    """Return a file whose header has another shape than it has voxels for."""
    text = str(shape).encode()
    return data.replace(str(SHAPE).encode() + b", }" + b" " * len(text), text + b", }")


LONG = (2, 1 << 20, 1 << 10)
BAD: dict[str, tuple[bytes, str]] = {
    "image": (npy(np.zeros((4, 4), np.uint8)), r"shape \(4, 4\) is an image, .* \(Z, H, W\)"),
    "color image": (npy(np.zeros((9, 9, 3), np.uint8)), r"\(9, 9, 3\) is a color image"),
    "several": (npy(np.zeros((2, 4, 4, 4), np.uint8)), r"\(2, 4, 4, 4\) is no volume"),
    "one slice": (npy(np.zeros((1, 9, 9), np.uint8)), "an image of 1 x 9 x 9"),
    "objects": (npy(np.array([[[None]]]), allow_pickle=True), "array of object, expected whole"),
    "truth values": (npy(np.zeros(SHAPE, bool)), "array of bool"),
    "complex": (npy(np.zeros(SHAPE, complex)), "array of complex128"),
    "damaged header": (npy(draw("u1")).replace(b"{'descr'", b"{'desc\x00'"), "damaged"),
    "huge": (rewrite_shape(npy(draw("u1")), LONG), f"more than {MAX_VOXELS:,}"),
}
BAD_VOXELS: dict[str, tuple[bytes, str]] = {
    "cut off": (npy(draw("i2"))[:-1], "cut off: 419 bytes of pixels, its header needs 420"),
    "NaN": (npy(np.full(SHAPE, np.nan)), "NaN or infinite"),
    "beyond float32": (npy(np.full(SHAPE, 1e300)), "NaN or infinite"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_one_volume_is_refused_by_its_header(kind: str) -> None:
    data, reason = BAD[kind]
    for read in (read_volume_header, decode_volume):
        with pytest.raises(BadImageError, match=reason) as caught:
            read(data)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", BAD_VOXELS)
def test_voxels_that_are_missing_or_not_finite_are_refused(kind: str) -> None:
    data, reason = BAD_VOXELS[kind]
    with pytest.raises(BadImageError, match=reason):
        decode_volume(data)


def test_an_image_reader_refuses_a_volume_and_says_what_to_pass() -> None:
    with pytest.raises(BadImageError, match=r"\(5, 7, 6\), .*for volumes pass --slices"):
        decode_image(npy(draw("u1")), color="grey")
    with pytest.raises(BadImageError, match=r"\(4,\), expected \(H, W\)"):
        decode_image(npy(np.zeros(4, np.uint8)), color="grey")
