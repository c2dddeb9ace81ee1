"""A map that went to the network's grid and back is where its source was, in any orientation."""

import gzip
import io
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.dicom_series import SPACING, draw_slices, encode, phantom, turn

from medimg_baseline_cls.data.pixels.overlays import (
    VolumeGrid,
    encode_overlay,
    measure_extents,
    place_overlay,
    read_grid,
    restore_map,
)
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.pixels.volumes import preprocess_volume
from medimg_baseline_cls.data.read import decode_volume, pack_files, read_volume_header
from medimg_baseline_cls.phantom.thorax import make_volume

SETTINGS = PixelSettings(image_size=48, slices=16, intensity="0/1")
ORIENTATIONS = ("RAS", "LPS", "LAS", "RPI", "ASR", "SPL", "PIR", "IRA")


def pack(image: nib.Nifti1Image) -> bytes:
    file = io.BytesIO()
    holder = nib.FileHolder(fileobj=file)
    image.to_file_map({"image": holder, "header": holder})
    return gzip.compress(file.getvalue())


def encode_npy(array: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def unpack(data: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(data))


def make_mask(codes: str = "LPS", *, rows: int = 64) -> nib.Nifti1Image:
    """Return the mask of a phantom's lesion, obliquely in space, its axes as these codes say."""
    mask = make_volume(0, 1, has_lesion=True, num_slices=24, image_size=64).mask
    flat = mask.transpose(2, 1, 0)[:, 64 - rows :].astype(np.float32)
    angle = np.deg2rad(10)
    affine = np.diag([-2.0, -1.5, 5.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine[:2, :2] = turn @ affine[:2, :2]
    affine[:3, 3] = 30.0, -20.0, 7.0
    image = nib.Nifti1Image(flat, affine)
    target = nib.orientations.axcodes2ornt(tuple(codes))
    return image.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), target)
    )


def send_back(
    data: bytes, settings: PixelSettings = SETTINGS
) -> tuple[nib.Nifti1Image, VolumeGrid]:
    """Return a volume after the way to the network's grid and back."""
    spacing = read_volume_header(data).spacing_mm
    seen = preprocess_volume(decode_volume(data), settings, deep=True, spacing=spacing)
    assert seen.shape == (settings.slices, settings.image_size, settings.image_size)
    grid = read_grid(data)
    assert grid is not None
    heats = seen.astype(np.float32) / 65535
    return unpack(encode_overlay(heats, grid, settings=settings)), grid


def find_center(image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return the center of mass in voxels."""
    values = image.get_fdata()
    places = np.indices(values.shape).reshape(3, -1)
    return (places * values.ravel()).sum(axis=1) / values.sum()


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_lesion_comes_back_to_its_voxels(codes: str) -> None:
    source = make_mask(codes)
    assert "".join(nib.aff2axcodes(source.affine)) == codes
    back, _ = send_back(pack(source))
    assert back.shape == source.shape
    np.testing.assert_allclose(back.affine, source.affine)
    assert np.abs(find_center(back) - find_center(source)).max() < 0.25  # voxels
    world = [nib.affines.apply_affine(i.affine, find_center(i)) for i in (back, source)]
    assert np.linalg.norm(world[0] - world[1]) < 0.5  # mm
    # Inside it is bright, and the brightest place is inside.
    values, mask = back.get_fdata(), source.get_fdata() > 0
    assert values[mask].mean() > 5 * values[~mask].mean()
    assert mask[np.unravel_index(values.argmax(), values.shape)]


@pytest.mark.parametrize("codes", ["LPS", "ASR"])
def test_a_padded_volume_comes_back_to_its_voxels(codes: str) -> None:
    source = make_mask(codes, rows=40)
    settings = PixelSettings(image_size=48, slices=16, intensity="0/1", keep_aspect=True)
    back, _ = send_back(pack(source), settings)
    assert back.shape == source.shape
    assert np.abs(find_center(back) - find_center(source)).max() < 0.3


@pytest.mark.parametrize("codes", ["LPS", "ASR"])
@pytest.mark.parametrize("spacing", ["4", "7/2", "9/3"])
def test_what_was_in_the_box_comes_back_to_its_voxels(codes: str, spacing: str) -> None:
    source = make_mask(codes)  # 24 x 64 x 64 voxels of 5 x 1.5 x 2 mm
    settings = replace(SETTINGS, spacing=spacing)
    back, grid = send_back(pack(source), settings)
    assert back.shape == source.shape
    assert np.abs(find_center(back) - find_center(source)).max() < 0.5
    deep = np.moveaxis(back.get_fdata(), [axis for axis, _ in grid.turn], [0, 1, 2])
    if spacing == "4":  # 16 slices of 4 mm are 64 of 120 mm
        assert not deep[:5].any() and not deep[-5:].any()
        assert measure_extents(grid, settings) == pytest.approx((64, 96, 128))
    else:
        of_slice, of_pixel = map(float, spacing.split("/"))
        box = 16 * of_slice, 48 * of_pixel, 48 * of_pixel
        assert measure_extents(grid, settings) == pytest.approx(box)


def test_a_grid_of_the_same_size_gives_the_same_values() -> None:
    source = make_mask("PIR")
    data = pack(source)
    grid = read_grid(data)
    assert grid is not None
    settings = PixelSettings(image_size=64, slices=24)
    back = restore_map(decode_volume(data).voxels, grid, settings=settings)
    np.testing.assert_array_equal(back, source.get_fdata())


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 1), (0, 0)])
def test_both_ways_to_give_a_position_are_copied(codes: tuple[int, int]) -> None:
    source = make_mask()
    source.set_qform(source.affine, codes[0])
    source.set_sform(source.affine, codes[1])
    source.header.set_xyzt_units("mm", "sec")
    back, grid = send_back(pack(source))
    for name in ("qform_code", "sform_code", "xyzt_units"):
        assert back.header[name] == source.header[name]
    np.testing.assert_allclose(back.header.get_zooms(), source.header.get_zooms())
    expected = unpack(pack(source)).header.get_best_affine()
    np.testing.assert_allclose(back.affine, expected, rtol=1e-5, atol=1e-4)
    assert grid.is_oriented == any(codes)


def test_no_text_of_the_source_is_copied() -> None:
    source = make_mask()
    source.header["descrip"], source.header["db_name"] = b"DOE^JOHN", b"DOE^JOHN"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JOHN"))
    data = pack(source)
    assert b"DOE" in gzip.decompress(data)
    back, _ = send_back(data)
    assert b"DOE" not in pack(back)
    assert bytes(back.header["descrip"]).startswith(b"medimg_baseline_cls")


def test_values_are_those_of_the_map() -> None:
    heats = np.linspace(0, 1, 24 * 64 * 64, dtype=np.float32).reshape(24, 64, 64)
    data = pack(make_mask())
    grid = read_grid(data)
    assert grid is not None
    encoded = encode_overlay(heats, grid, settings=PixelSettings(image_size=64, slices=24))
    back = unpack(encoded)
    assert (back.get_data_dtype(), back.header["cal_max"]) == (np.uint8, 1.0)
    values = back.get_fdata().transpose(2, 1, 0)
    np.testing.assert_allclose(values, heats, atol=0.51 / 128)
    assert (values.min(), values.max()) == (0, 1)  # in double precision, too
    again = encode_overlay(heats, grid, settings=PixelSettings(image_size=64, slices=24))
    assert encoded == again


def test_nifti_2_stays_nifti_2() -> None:
    source = make_mask()
    image = nib.Nifti2Image(source.get_fdata(dtype=np.float32), source.affine)
    data = pack(image)
    grid = read_grid(data)
    assert grid is not None
    encoded = encode_overlay(np.ones((4, 8, 8), np.float32), grid, settings=SETTINGS_8)
    back = nib.Nifti2Image.from_bytes(gzip.decompress(encoded))
    np.testing.assert_allclose(back.affine, source.affine)
    assert back.get_fdata().min() == pytest.approx(1.0)


SETTINGS_8 = PixelSettings(image_size=8, slices=4)


def test_extents_are_those_of_the_body() -> None:
    grid = read_grid(pack(make_mask("ASR")))
    assert grid is not None
    assert grid.shape == (24, 64, 64)
    assert grid.spacing == pytest.approx((5.0, 1.5, 2.0), rel=1e-6)
    np.testing.assert_allclose(measure_extents(grid, SETTINGS), (120, 96, 128), rtol=1e-6)
    padded = read_grid(pack(make_mask("ASR", rows=32)))
    assert padded is not None
    kept = PixelSettings(image_size=48, slices=16, keep_aspect=True)
    # The 32 rows are padded to as many as there are columns.
    np.testing.assert_allclose(measure_extents(padded, kept), (120, 96, 128), rtol=1e-6)


@pytest.mark.parametrize("codes", ["LPS", "RAI", "PIR", "ASL", "LIP"])
def test_a_map_of_a_dicom_series_is_where_its_lesion_is(codes: str) -> None:
    """In millimeters of the scanner: tests/dicom_series.py has them from nibabel."""
    mask = make_volume(0, 1, has_lesion=True, num_slices=12, image_size=48).mask
    turned, affine = turn(mask, codes)
    slices = draw_slices(1000 * mask.astype(np.int16), codes=codes)
    data = pack_files([encode(item) for item in slices[::-1]])
    back, grid = send_back(data, replace(SETTINGS, intensity="0/1000"))
    assert grid.is_oriented
    assert grid.spacing == pytest.approx(SPACING)
    assert sorted(back.shape) == sorted(turned.shape)
    expected = nib.affines.apply_affine(affine, np.argwhere(turned).mean(axis=0))
    found = nib.affines.apply_affine(back.affine, find_center(back))
    assert np.linalg.norm(found - expected) < 0.5  # mm
    np.testing.assert_allclose(back.get_qform(), back.get_sform(), atol=1e-4)


def test_a_series_without_positions_has_no_grid() -> None:
    slices = draw_slices(phantom(), ImageOrientationPatient=None)
    assert read_grid(pack_files([encode(item) for item in slices])) is None


@pytest.mark.parametrize("gone", [{1}, {2, 3, 4}])
def test_a_series_with_missing_slices_has_sides_but_no_place_for_a_map(gone: set[int]) -> None:
    slices = draw_slices(phantom())
    kept = pack_files([encode(item) for i, item in enumerate(slices) if i not in gone])
    grid = read_grid(kept)
    assert grid is not None
    assert grid.header is None
    assert grid.is_oriented
    assert grid.spacing == pytest.approx(SPACING)
    assert grid.shape == (8 - len(gone), 32, 32)
    whole = read_grid(pack_files([encode(item) for item in slices]))
    assert whole is not None
    assert whole.header is not None


def test_other_formats_have_no_grid() -> None:
    assert read_grid(encode_npy(np.zeros((4, 8, 8), np.uint8))) is None


def test_a_map_is_next_to_its_panel() -> None:
    assert place_overlay(Path("a/01_p0.5_x.nii.png")) == Path("a/01_p0.5_x_map.nii.gz")
    assert place_overlay(Path("a/01_p0.5_x.png")) == Path("a/01_p0.5_x_map.nii.gz")
