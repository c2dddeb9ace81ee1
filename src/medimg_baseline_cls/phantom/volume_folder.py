"""Turn a seed into a folder of phantom CTs: NIfTI files in a folder per class, and masks/."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.phantom.image_folder import (
    MASK_FOLDER,
    draw_labels,
    require_both_classes,
    writing_whole,
)
from medimg_baseline_cls.phantom.thorax import make_volume
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import write_bytes_atomic

NEGATIVE, POSITIVE = "NORMAL", "LESION"
_WIDTH_MM, _HEIGHT_MM = 340.0, 240.0  # of the body, and of all slices


@ending_plainly(is_resumable=False)
def write_volumes(
    folder: Path,
    *,
    num_train: int,
    num_test: int,
    num_slices: int = 24,
    image_size: int = 96,
    seed: int = 0,
) -> Path:
    """Write a data set of phantom CTs: train/ and test/ with a folder per class, and masks/.

    The folder is written completely or not at all; half of each split have a lesion.

    Args:
        folder: where to write; it must not exist, or be empty.
        num_train, num_test: volumes of each split, at least 2.
        num_slices, image_size: of each volume.
        seed: any integer; volume i of a seed is always the same.

    Returns:
        The folder.

    Raises:
        DataError: when the folder is not empty, a number is too small, or nibabel is missing.
    """
    require_both_classes(num_train, num_test, positive_fraction=0.5)
    shape = num_slices, image_size
    with writing_whole(folder) as work:
        for split, start, count in (("train", 0, num_train), ("test", num_train, num_test)):
            labels = draw_labels(seed, split, count=count, fraction=0.5)
            for place, has_lesion in enumerate(labels.tolist()):
                _write_volume(
                    work / split, seed=seed, index=start + place, has_lesion=has_lesion, shape=shape
                )
    return folder


def _write_volume(
    folder: Path, *, seed: int, index: int, has_lesion: bool, shape: tuple[int, int]
) -> None:
    volume = make_volume(
        seed, index, has_lesion=has_lesion, num_slices=shape[0], image_size=shape[1]
    )
    name = f"{POSITIVE if has_lesion else NEGATIVE}/patient{index:04d}.nii.gz"
    write_bytes_atomic(folder / name, encode_nifti(volume.voxels))
    if has_lesion:
        mask = folder.parent / MASK_FOLDER / folder.name / name
        write_bytes_atomic(mask, encode_nifti(volume.mask.astype(np.uint8)))


def encode_nifti(voxels: NDArray[Any]) -> bytes:
    """Return a .nii.gz file of canonical voxels (Z, S, S), with their orientation and spacing.

    Raises:
        DataError: nibabel is missing.
    """
    try:
        from nibabel.filebasedimages import FileHolder
        from nibabel.nifti1 import Nifti1Image
    except ImportError as error:
        raise DataError(
            "writing NIfTI needs nibabel: pip install 'medimg-baseline-cls[nifti]'"
        ) from error
    import gzip

    num_slices, side = voxels.shape[:2]
    # Axes of the file run to the patient's left, back and up: columns, rows and slices here.
    spacing = (-_WIDTH_MM / side, -_WIDTH_MM / side, _HEIGHT_MM / num_slices, 1.0)
    image = Nifti1Image(voxels.transpose(2, 1, 0), np.diag(spacing))
    file = io.BytesIO()
    image.to_file_map({part: FileHolder(fileobj=file) for part in ("header", "image")})
    return gzip.compress(file.getvalue(), mtime=0)
