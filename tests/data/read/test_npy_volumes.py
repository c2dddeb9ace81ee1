"""Arrays (Z, H, W) are volumes as they are; what is not one volume has its reason."""

import io
import zipfile
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


def npz(*arrays: NDArray[Any], **named: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, *arrays, **named)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
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


def test_the_one_array_of_an_npz_is_the_same_volume() -> None:
    stored = draw("i2")
    expected = decode_volume(npy(stored)).voxels
    for data in (npz(stored), npz(image=stored), zipped(**{"a.npy": npy(stored), "notes": b"x"})):
        np.testing.assert_array_equal(decode_volume(data).voxels, expected)
        assert read_volume_header(data) == read_volume_header(npy(stored))


def test_an_npz_is_unpacked_only_as_far_as_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as a,
    ):
        a.write(npy(draw("i2")))
        for _ in range(64):  # 64 MiB of nothing after the array
            a.write(bytes(1 << 20))
    asked: list[int] = []
    read = zipfile.ZipExtFile.read

    def count(self: zipfile.ZipExtFile, size: int | None = -1) -> bytes:
        asked.append(-1 if size is None else size)
        return read(self, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", count)
    np.testing.assert_array_equal(decode_volume(file.getvalue()).voxels, draw("i2"))
    assert asked and min(asked) > 0 and max(asked) < 2000


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
    old = f"{SHAPE}, }}".ljust(40).encode()
    assert old in data
    return data.replace(old, f"{shape}, }}".ljust(40).encode())


def damage(data: bytes) -> bytes:
    """Return the .npz file with another checksum of its array."""
    place = data.rindex(b"PK\x01\x02") + 16
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


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
    "two arrays": (npz(image=draw("u1"), label=draw("u1")), "contains 2 arrays, expected one"),
    "no array": (zipped(text=b"x"), "contains 0 arrays"),
    "no .npz": (b"PK\x03\x04" + bytes(99), "the .npz file is damaged"),
    "no array in it": (zipped(**{"a.npy": b"text"}), "the .npz file is damaged"),
    "packed objects": (npz(np.array([[[None]]])), "array of object"),
    "packed image": (npz(np.zeros((4, 4))), r"\(4, 4\) is an image"),
    "huge": (rewrite_shape(npy(draw("u1")), LONG), f"more than {MAX_VOXELS:,}"),
}
BAD_VOXELS: dict[str, tuple[bytes, str]] = {
    "cut off": (npy(draw("i2"))[:-1], "cut off: 419 bytes of pixels, its header needs 420"),
    "cut off in an .npz": (zipped(**{"a.npy": npy(draw("i2"))[:-1]}), "cut off: 419 bytes"),
    "checksum": (damage(npz(draw("i2"))), "the .npz file is damaged"),
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
    with pytest.raises(BadImageError, match=r"for volumes in .npz files pass --slices"):
        decode_image(npz(draw("u1")), color="grey")
    with pytest.raises(BadImageError, match=r"\(4,\), expected \(H, W\)"):
        decode_image(npy(np.zeros(4, np.uint8)), color="grey")
