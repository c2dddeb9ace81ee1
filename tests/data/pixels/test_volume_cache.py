"""The pixel array of a set of volumes: one row each, K slices as channels, reasons for the rest."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.data.pixels.cache import ImageCache, build_cache, find_array
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.pixels.volumes import preprocess_volume
from medimg_baseline_cls.data.read import decode_volume

SETTINGS = PixelSettings(image_size=32, slices=4, intensity="-100/200")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    place = tmp_path / "data"
    place.mkdir()
    for number in range(3):
        voxels = draw.integers(-200, 300, (40, 36, 5 + number)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), place / f"case{number}.nii.gz")
    Image.fromarray(draw.integers(0, 255, (40, 40), dtype=np.uint8)).save(place / "flat.png")
    nib.save(nib.Nifti1Image(np.ones((9, 9, 1), np.int16), np.eye(4)), place / "flat.nii")
    (place / "cut.nii.gz").write_bytes((place / "case0.nii.gz").read_bytes()[:200])
    return place


def build(folder: Path, settings: PixelSettings = SETTINGS, *, threads: int = 0) -> ImageCache:
    paths = sorted(path.name for path in folder.iterdir())
    return build_cache(
        folder, paths, settings=settings, cache_dir=folder.parent / "cache", num_workers=threads
    )


def test_each_volume_is_a_row_of_slices(folder: Path) -> None:
    cache = build(folder)
    assert (cache.pixels.shape, cache.pixels.dtype) == ((3, 4, 32, 32), np.uint16)
    for fact in cache.facts:
        if fact.error is not None:
            continue
        volume = decode_volume((folder / fact.path).read_bytes())
        expected = preprocess_volume(volume, SETTINGS, deep=True)
        np.testing.assert_array_equal(cache.pixels[fact.row], expected)
        assert (fact.width, fact.height, fact.mode) == (40, 36, "int16")


def test_a_volume_is_the_same_row_in_each_format(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])  # columns to the left, rows to the back
    voxels = np.random.default_rng(1).integers(-200, 300, (7, 40, 36)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels.T, affine), tmp_path / "a.nii.gz")
    np.save(tmp_path / "b.npy", voxels)
    np.savez_compressed(tmp_path / "c.npz", voxels)
    paths = ["a.nii.gz", "b.npy", "c.npz"]
    cache = build_cache(tmp_path, paths, settings=SETTINGS, cache_dir=tmp_path / "cache")
    first, *others = (cache.pixels[fact.row] for fact in cache.facts)
    assert first.std() > 0
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_spacing_is_that_of_each_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(2).integers(-100, 200, (40, 40, 12)).astype(np.int16)
    for name, step in (("a", 2.0), ("b", 4.0)):
        nib.save(nib.Nifti1Image(draw, np.diag([-1.0, -1.0, step, 1.0])), tmp_path / f"{name}.nii")
    np.save(tmp_path / "c.npy", draw)
    settings = replace(SETTINGS, spacing="4")
    cache = build_cache(
        tmp_path, ["a.nii", "b.nii", "c.npy"], settings=settings, cache_dir=tmp_path / "cache"
    )
    fine, coarse, none = cache.facts
    assert none.row == -1
    assert (
        cache.path
        != build_cache(
            tmp_path, ["a.nii", "b.nii"], settings=SETTINGS, cache_dir=tmp_path / "cache"
        ).path
    )
    middle = preprocess_volume(
        decode_volume(nib.Nifti1Image(draw[:, :, 4:8], np.diag([-1.0, -1, 1, 1])).to_bytes()),
        SETTINGS,
        deep=True,
    )
    np.testing.assert_array_equal(cache.pixels[coarse.row], middle)  # the 4 slices in the middle
    assert (cache.pixels[fine.row] != middle).mean() > 0.5
    assert none.error is not None and "does not give the spacing" in none.error


def test_what_is_no_volume_has_its_reason(folder: Path) -> None:
    reasons = {fact.path: fact.error for fact in build(folder).facts if fact.error}
    assert reasons.keys() == {"flat.png", "flat.nii", "cut.nii.gz"}
    assert "volumes are read from NIfTI files" in reasons["flat.png"]
    assert "an image of 9 x 9 x 1, expected a volume" in reasons["flat.nii"]
    assert "damaged or cut off" in reasons["cut.nii.gz"]


def test_threads_and_another_name_change_nothing(folder: Path) -> None:
    first = build(folder)
    (folder / "case1.nii.gz").rename(folder / "zzz.nii.gz")
    again = build(folder, threads=2)
    assert again.was_reused
    assert again.path == first.path
    rows = {fact.sha256: fact.row for fact in first.facts if not fact.error}
    assert rows == {fact.sha256: fact.row for fact in again.facts if not fact.error}


@pytest.mark.parametrize(
    "other",
    [
        PixelSettings(image_size=32, slices=5, intensity="-100/200"),
        PixelSettings(image_size=32, slices=4, intensity="lung"),
        PixelSettings(image_size=48, slices=4, intensity="-100/200"),
    ],
)
def test_other_settings_have_another_array(folder: Path, other: PixelSettings) -> None:
    assert build(folder).path != build(folder, other).path


def test_an_array_is_found_without_its_files(folder: Path) -> None:
    cache = build(folder)
    facts = [fact for fact in cache.facts if not fact.error]
    found = find_array(folder.parent / "cache", [fact.sha256 for fact in facts], settings=SETTINGS)
    assert found is not None
    pixels, rows = found
    assert rows.tolist() == [fact.row for fact in facts]
    np.testing.assert_array_equal(pixels, cache.pixels)
    assert find_array(folder.parent / "cache", ["0" * 64], settings=SETTINGS) is None
