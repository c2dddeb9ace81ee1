"""Phantom CTs: the same patient with and without a lesion, which is in two slices."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg_baseline_cls.data.read import decode_volume
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.phantom.thorax import make_volume
from medimg_baseline_cls.phantom.volume_folder import write_volumes

SHAPE = {"num_slices": 12, "image_size": 48}


def test_a_patient_is_the_same_with_and_without_a_lesion() -> None:
    ill, healthy = (make_volume(3, 7, has_lesion=has, **SHAPE) for has in (True, False))
    assert ill.mask.any(axis=(1, 2)).sum() == 2
    assert not healthy.mask.any()
    differs = ill.voxels != healthy.voxels
    near = np.abs(np.argwhere(differs)[:, 0][:, None] - np.flatnonzero(ill.mask.any(axis=(1, 2))))
    assert near.min(axis=1).max() == 0  # the same slices, and nothing else
    assert (differs & ill.mask).sum() >= 0.95 * ill.mask.sum()
    again = make_volume(3, 7, has_lesion=True, **SHAPE)
    np.testing.assert_array_equal(ill.voxels, again.voxels)
    assert not np.array_equal(ill.voxels, make_volume(3, 8, has_lesion=True, **SHAPE).voxels)


def test_values_are_those_of_a_chest() -> None:
    volume = make_volume(0, 0, has_lesion=True, **SHAPE)
    assert volume.voxels[:, 0, 0].mean() == pytest.approx(-1000, abs=40)
    healthy = make_volume(0, 0, has_lesion=False, **SHAPE)
    assert np.median(volume.voxels[volume.mask]) > -100  # its edge has a part of both
    assert np.median(healthy.voxels[volume.mask]) < -700
    assert np.percentile(volume.voxels, 99.5) > 300  # the spine


def test_files_are_the_volumes_in_their_orientation(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "set", num_train=4, num_test=2, seed=1, **SHAPE)
    files = sorted(folder.glob("t*/*/*.nii.gz"))
    assert len(files) == 6
    for file in files:
        index, has_lesion = int(file.name[7:11]), file.parent.name == "LESION"
        expected = make_volume(1, index, has_lesion=has_lesion, **SHAPE)
        np.testing.assert_array_equal(decode_volume(file.read_bytes()).voxels, expected.voxels)
        mask = folder / "masks" / file.relative_to(folder)
        assert mask.is_file() == has_lesion
        if has_lesion:
            np.testing.assert_array_equal(decode_volume(mask.read_bytes()).voxels, expected.mask)
        assert "".join(nib.aff2axcodes(nib.load(file).affine)) == "LPS"
    assert {file.parent.name for file in files} == {"NORMAL", "LESION"}


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="shows no chest"):
        make_volume(0, 0, has_lesion=True, num_slices=4, image_size=48)
    with pytest.raises(DataError, match="both classes"):
        write_volumes(tmp_path / "set", num_train=1, num_test=2, **SHAPE)
    assert not (tmp_path / "set").exists()
