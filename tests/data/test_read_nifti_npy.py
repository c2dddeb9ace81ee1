"""NIfTI slices are seen as a radiologist sees them; what is no grey slice or image is refused."""

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.data.read import MAX_PIXELS, decode_image, read_header
from medimg_baseline_cls.errors import BadImageError

PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


def nifti(values: NDArray[np.generic], affine: object = None, **header: float) -> bytes:
    image = nibabel.Nifti1Image(values, affine)
    for name, value in header.items():
        image.header[name] = value
    return image.to_bytes()


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, 1)])
def test_every_plane_is_seen_upright(plane: str, signs: tuple[int, int, int]) -> None:
    """The bright corner lies at the patient's right, front and head: always the upper left."""
    axes = PLANES[plane]
    shape = (4, 6)
    # RAS+: the greatest coordinates are right, front and head.
    ends = [-1 if signs[axis] > 0 else 0 for axis in axes]
    slice_ = np.zeros(shape, dtype=np.uint8)
    slice_[ends[0], ends[1]] = 200
    affine = np.zeros((4, 4))
    third = ({0, 1, 2} - set(axes)).pop()
    for column, axis in enumerate((*axes, third)):
        affine[axis, column] = signs[axis]
    affine[3, 3] = 1
    data = nifti(slice_[..., None], affine)
    pixels = decode_image(data, color="grey").pixels
    header = read_header(data)
    assert pixels.shape == (6, 4) == (header.height, header.width)
    assert pixels[0, 0] == 200 and pixels.sum() == 200


def test_slice_without_an_orientation_is_taken_as_stored() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    np.testing.assert_array_equal(decode_image(nifti(values), color="grey").pixels, values.T)


def test_integers_stay_and_real_numbers_are_windowed() -> None:
    deep = np.array([[0, 1], [1000, 65535]], dtype=np.int32)
    pixels = decode_image(nifti(deep), color="grey").pixels
    np.testing.assert_array_equal(pixels, deep.T.astype(np.uint16))
    real = np.array([[-5.0, 0.0], [1.0, 9.0]], dtype=np.float64)
    pixels = decode_image(nifti(real, cal_min=-1.0, cal_max=1.0), color="grey").pixels
    np.testing.assert_array_equal(pixels, [[0, 65535], [32768, 65535]])


SQUARE = np.ones((3, 3), dtype=np.uint8)
BAD_NIFTI = {
    "volume": (nifti(np.ones((3, 3, 2), np.uint8)), "shape"),
    "vector": (nifti(np.ones(3, np.uint8)), "shape"),
    "real without range": (nifti(SQUARE.astype(np.float32)), "cal_min < cal_max"),
    "not finite": (nifti(SQUARE * np.float32("nan"), cal_max=1.0), "not finite"),
    "negative": (nifti(SQUARE.astype(np.int16) * -1), "from -1 to -1"),
    "large": (nifti(SQUARE.astype(np.int32) * 65536), "from 65536"),
    "complex": (nifti(SQUARE.astype(np.complex64)), "complex64"),
    "cut off": (nifti(SQUARE)[:-2], "NIfTI file cannot be decoded"),
    "gzip cut off": (gzip.compress(nifti(SQUARE))[:-4], "truncated"),
    "header alone": (nifti(SQUARE)[:348], "NIfTI"),
}


@pytest.mark.parametrize("name", BAD_NIFTI)
def test_what_is_no_grey_slice_is_refused_with_its_reason(name: str) -> None:
    data, reason = BAD_NIFTI[name]
    with pytest.raises(BadImageError, match=reason):
        decode_image(data, color="grey")


def test_gzip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medimg_baseline_cls.data.read.nifti._MAX_BYTES", 10_000)
    with pytest.raises(BadImageError, match="larger than one image"):
        read_header(gzip.compress(nifti(np.zeros((200, 200), np.uint8))))
    assert read_header(gzip.compress(nifti(SQUARE))).width == 3


def npy(array: NDArray[np.generic], *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def claimed(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


class Harm:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


BAD_NPY = {
    "real": (npy(np.ones((3, 3))), "float64"),
    "signed": (npy(np.ones((3, 3), np.int16)), "int16"),
    "wide": (npy(np.ones((3, 3), np.uint32)), "uint32"),
    "two channels": (npy(np.ones((3, 3, 2), np.uint8)), "shape"),
    "vector": (npy(np.ones(3, np.uint8)), "shape"),
    "empty": (npy(np.ones((0, 3), np.uint8)), "no pixels"),
    "cut off": (npy(SQUARE)[:-1], "truncated"),
    "huge": (claimed((8000, MAX_PIXELS // 8000 + 1)), "more than 50 million"),
    "negative size": (claimed((-3, -3)), "no pixels"),
    "magic alone": (b"\x93NUMPY", "NumPy file cannot be decoded"),
}


@pytest.mark.parametrize("name", BAD_NPY)
def test_what_is_no_image_array_is_refused_with_its_reason(name: str) -> None:
    data, reason = BAD_NPY[name]
    for read in (read_header, lambda data: decode_image(data, color="rgb")):
        with pytest.raises(BadImageError, match=reason):
            read(data)


def test_pickle_in_a_numpy_file_is_not_run(tmp_path: Path) -> None:
    trap = np.array([[Harm(tmp_path / "written")]], dtype=object)
    with pytest.raises(BadImageError, match="object"):
        decode_image(npy(trap, allow_pickle=True), color="grey")
    assert list(tmp_path.iterdir()) == []


def test_colour_arrays_keep_their_colours_in_8_bits() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    for array in (rgb, rgb.astype(np.uint16) * 257):
        data = npy(array)
        assert read_header(data).is_color and not read_header(data).is_deep
        np.testing.assert_array_equal(decode_image(data, color="rgb").pixels, rgb)
        luma = rgb @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
        assert np.abs(decode_image(data, color="grey").pixels - luma).max() <= 1
