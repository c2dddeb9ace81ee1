"""Writes volumes as DICOM series: of any orientation, by nibabel's geometry, not by ours."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from medimg_baseline_cls.phantom.thorax import make_volume

SPACING = (2.5, 1.5, 1.25)
"""Between slices, rows and columns of the canonical orientation, in millimeters."""

Change = Callable[[int, Dataset], None]


def phantom(index: int = 0, *, num_slices: int = 8, has_lesion: bool = False) -> NDArray[np.int16]:
    """Return Hounsfield units of a phantom CT, (Z, 32, 32), in the canonical orientation."""
    made = make_volume(0, index, has_lesion=has_lesion, num_slices=num_slices, image_size=32)
    return made.voxels


def turn(voxels: NDArray[Any], codes: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return canonical voxels with axes that run to `codes`, and the affine to RAS."""
    steps = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt(tuple(codes))
    )
    across = voxels.transpose(2, 1, 0)  # to the left, posterior, superior
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = (17, -5, 100)
    turned = nib.orientations.apply_orientation(across, steps)
    return turned, affine @ nib.orientations.inv_ornt_aff(steps, across.shape)


def draw_slices(
    voxels: NDArray[np.int16], *, codes: str = "LPS", uid: str = "", **tags: Any
) -> list[Dataset]:
    """Return the slices of a series; columns, rows and slices run to `codes`."""
    stored, affine = turn(voxels, codes)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sides = np.linalg.norm(to_lps[:3, :3], axis=0)
    cosines = to_lps[:3, :3] / sides
    uid = uid or str(generate_uid())
    return [
        _draw_slice(
            stored[:, :, k].T,
            {
                "SeriesInstanceUID": uid,
                "InstanceNumber": k + 1,
                "ImagePositionPatient": [round(v, 6) for v in (to_lps @ (0, 0, k, 1))[:3]],
                "ImageOrientationPatient": [*cosines[:, 0], *cosines[:, 1]],
                "PixelSpacing": [sides[1], sides[0]],
            }
            | tags,
        )
        for k in range(stored.shape[2])
    ]


def _draw_slice(units: NDArray[np.int16], tags: dict[str, Any]) -> Dataset:
    dataset = Dataset()
    plain: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "PatientID": "P1",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Rows": units.shape[0],
        "Columns": units.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    for name, value in (plain | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    shift = 1024 if "RescaleIntercept" in dataset else 0
    dataset.add_new("PixelData", "OW", (units + shift).astype("<u2").tobytes())
    return dataset


def encode(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return the bytes of a file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    file = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def write_files(folder: Path, slices: Iterable[Dataset], *, name: str = "{:03d}.dcm") -> Path:
    """Write a file for each slice, numbered from 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(slices):
        (folder / name.format(number)).write_bytes(encode(dataset))
    return folder


def write_series(
    folder: Path, voxels: NDArray[np.int16], *, name: str = "{:03d}.dcm", **options: Any
) -> Path:
    """Write a series, one file for each slice."""
    return write_files(folder, draw_slices(voxels, **options), name=name)


def join_frames(slices: list[Dataset]) -> Dataset:
    """Return the slices as one enhanced file, with positions in functional groups."""
    first = slices[0]
    moved = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    rescale = ("RescaleSlope", "RescaleIntercept")
    whole = Dataset()
    for element in first:
        if element.keyword not in (*moved, *rescale, "InstanceNumber"):
            whole.add(element)
    whole.SOPClassUID, whole.NumberOfFrames = EnhancedCTImageStorage, len(slices)
    whole.PixelData = b"".join(item.PixelData for item in slices)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_pick(first, "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [_pick(first, "PixelSpacing")]
    shared.PixelValueTransformationSequence = [_pick(first, *rescale)]
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = []
    for item in slices:
        group = Dataset()
        group.PlanePositionSequence = [_pick(item, "ImagePositionPatient")]
        whole.PerFrameFunctionalGroupsSequence.append(group)
    return whole


def _pick(dataset: Dataset, *names: str) -> Dataset:
    item = Dataset()
    for name in names:
        item.add(dataset[name])
    return item
