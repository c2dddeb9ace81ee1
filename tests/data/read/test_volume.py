"""Volumes in one orientation, whatever the order and direction of the axes in the file."""

import gzip
import io
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.data.read import decode_image, decode_volume, read_volume_header
from medimg_baseline_cls.errors import BadImageError

SHAPE = (6, 7, 5)  # to the right, forward, up
CODES = ["".join(part) for part in product("RL", "AP", "SI")] + [
    "".join(order) for order in permutations("RAS")
][1:]


def pack(image: nib.Nifti1Image, *, zipped: bool = False) -> bytes:
    file = io.BytesIO()
    image.to_file_map(
        {"image": nib.FileHolder(fileobj=file), "header": nib.FileHolder(fileobj=file)}
    )
    data = file.getvalue()
    return gzip.compress(data) if zipped else data


def draw(dtype: type = np.int16) -> NDArray[np.generic]:
    """Return a volume that looks different from every side, axes to R, A, S."""
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


@pytest.mark.parametrize("codes", CODES)
def test_one_volume_is_one_array_in_every_orientation(codes: str) -> None:
    stored = draw()
    image = nib.Nifti1Image(stored, np.diag([1.0, 1.0, 3.0, 1.0]))
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes))
        )
    )
    assert "".join(nib.aff2axcodes(turned.affine)) == codes
    found = decode_volume(pack(turned, zipped=codes == "LPS")).voxels
    # Slices upward; in each, rows from front to back and columns from right to left.
    expected = stored.astype(np.float32).transpose(2, 1, 0)[:, ::-1, ::-1]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    geometry = read_volume_header(pack(turned)).geometry
    assert geometry is not None
    assert (geometry.num_slices, geometry.spacing_mm, geometry.axes) == (5, (3, 1, 1), codes)


def test_an_oblique_volume_follows_the_nearest_axes() -> None:
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    straight, oblique = (
        decode_volume(pack(nib.Nifti1Image(draw(), affine))).voxels for affine in (np.eye(4), turn)
    )
    np.testing.assert_array_equal(straight, oblique)


def test_without_an_orientation_axes_are_as_stored() -> None:
    image = nib.Nifti1Image(draw(), np.eye(4))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    found = decode_volume(pack(image)).voxels
    np.testing.assert_array_equal(found, draw().transpose(2, 1, 0))
    header = read_volume_header(pack(image))
    assert header.geometry is not None
    assert header.geometry.axes == ""
    assert [kind for kind, _ in header.remarks] == ["files without an orientation"]
    assert read_volume_header(pack(nib.Nifti1Image(draw(), np.eye(4)))).remarks == ()


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("unknown", 1)])
def test_spacing_is_in_millimeters(unit: str, factor: float) -> None:
    image = nib.Nifti1Image(draw(), np.diag([0.5, 0.5, 2.0, 1.0]))
    image.header.set_xyzt_units(unit)
    geometry = read_volume_header(pack(image)).geometry
    assert geometry is not None
    assert geometry.spacing_mm == (2 * factor, 0.5 * factor, 0.5 * factor)


def test_values_are_scaled_as_the_header_says() -> None:
    image = nib.Nifti1Image(draw(), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    volume = decode_volume(pack(image))
    assert volume.full_range is None
    expected = nib.Nifti1Image.from_bytes(pack(image)).get_fdata()
    np.testing.assert_allclose(volume.voxels, expected.transpose(2, 1, 0)[:, ::-1, ::-1])


@pytest.mark.parametrize(
    ("dtype", "cal", "expected"),
    [
        (np.uint8, None, (0, 255)),
        (np.uint16, None, (0, 65535)),
        (np.int16, None, None),
        (np.float32, None, None),
        (np.int16, (-160, 240), (-160, 240)),
    ],
)
def test_black_and_white_are_known_only_where_the_file_says_them(
    dtype: type, cal: tuple[int, int] | None, expected: tuple[int, int] | None
) -> None:
    image = nib.Nifti1Image(draw(dtype), np.eye(4))
    if cal is not None:
        image.header["cal_min"], image.header["cal_max"] = cal
    assert decode_volume(pack(image)).full_range == expected


def test_the_header_has_the_size_of_a_slice() -> None:
    header = read_volume_header(pack(nib.Nifti1Image(draw(), np.eye(4))))
    assert (header.width, header.height, header.is_deep) == (6, 7, True)
    assert not read_volume_header(pack(nib.Nifti1Image(draw(np.uint8), np.eye(4)))).is_deep


def broken() -> dict[str, tuple[bytes, str]]:
    whole = pack(nib.Nifti1Image(draw(), np.eye(4)))
    nan = np.full(SHAPE, np.nan, np.float32)
    return {
        "empty": (b"", "is empty"),
        "text": (b"hello", "which this is not"),
        "cut off": (whole[:-1], "cut off"),
        "flat": (pack(nib.Nifti1Image(draw()[:, :, :1], np.eye(4))), "an image of 6 x 7 x 1"),
        "two axes": (pack(nib.Nifti1Image(draw()[:, :, 0], np.eye(4))), "an image of 6 x 7"),
        "series": (
            pack(nib.Nifti1Image(np.stack([draw()] * 2, axis=-1), np.eye(4))),
            "a series of volumes, 6 x 7 x 5 x 2",
        ),
        "NaN": (pack(nib.Nifti1Image(nan, np.eye(4))), "NaN"),
    }


@pytest.mark.parametrize("kind", broken())
def test_what_is_not_one_volume_is_refused_with_the_reason(kind: str) -> None:
    data, reason = broken()[kind]
    with pytest.raises(BadImageError, match=reason):
        decode_volume(data)


def test_an_image_reader_refuses_a_volume() -> None:
    with pytest.raises(BadImageError, match="a volume or series of 6 x 7 x 5"):
        decode_image(pack(nib.Nifti1Image(draw(), np.eye(4))), color="grey")
