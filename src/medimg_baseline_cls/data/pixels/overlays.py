"""Put a map of a volume back on the voxels of its own file, as a NIfTI file for viewers.

Size, spacing, position and orientation are those of the source, so that the map is over it without
any registration. Texts of its header are not copied, since they may name the patient. Sources that
do not say where they are, such as arrays and folders of images, have no such file. Nor have
series whose slices are not on a regular grid.
"""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.pixels.preprocess import PixelSettings, scaled_size
from medimg_baseline_cls.data.pixels.volumes import find_steps, resampling_weights
from medimg_baseline_cls.data.read import decode_volume, read_volume_header
from medimg_baseline_cls.data.read.nifti_file import is_nifti, load_header
from medimg_baseline_cls.utils.own_output import SOFTWARE

_STEPS = 128
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True, slots=True)
class VolumeGrid:
    """Where the voxels of a NIfTI file or of a DICOM series are.

    Attributes:
        shape: (Z, H, W), in the canonical orientation.
        turn: for each of them the axis of the NIfTI file, and whether it runs the other way there.
        spacing: mm from voxel to voxel along each; None where the file gives none.
        is_oriented: whether the file gives an orientation.
        header: nibabel's; None without nibabel, and where the voxels are not on a regular grid.
    """

    shape: tuple[int, int, int]
    turn: tuple[tuple[int, bool], ...]
    spacing: tuple[float, float, float] | None
    is_oriented: bool
    header: Any


def read_grid(data: bytes) -> VolumeGrid | None:
    """Return where the voxels of a volume are; None if it neither is NIfTI nor has positions.

    Raises:
        BadImageError: as `decode_volume`.
    """
    geometry = read_volume_header(data).geometry
    if geometry is None or not (is_nifti(data) or geometry.axes):
        return None
    volume = decode_volume(data)
    depth, height, width = volume.voxels.shape
    if is_nifti(data):
        turn, header = volume.turn, load_header(data)
    else:  # a NIfTI file of a series has its columns first, and its slices last
        turn = tuple((2 - axis, is_flipped) for axis, is_flipped in volume.turn)
        header = _make_header(geometry.affine) if geometry.affine else None
    shape = depth, height, width
    return VolumeGrid(shape, turn, geometry.spacing_mm, bool(geometry.axes), header)


def _make_header(affine: tuple[tuple[float, ...], ...]) -> Any:
    """Return a NIfTI header for a DICOM series, whose axes run to the other sides."""
    try:
        from nibabel.nifti1 import Nifti1Header
    except ImportError:
        return None
    header = Nifti1Header()
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    header.set_sform(to_ras @ np.vstack([affine, (0, 0, 0, 1)]), code="scanner")
    header.set_qform(header.get_sform(), code="scanner")
    header.set_xyzt_units("mm")
    return header


def place_overlay(panel: Path) -> Path:
    """Return where the map of a panel is written.

    >>> place_overlay(Path("01_p0.731_patient3.nii.png")).name
    '01_p0.731_patient3_map.nii.gz'
    """
    return panel.with_name(f"{panel.stem.removesuffix('.nii')}_map.nii.gz")


def measure_extents(grid: VolumeGrid, settings: PixelSettings) -> tuple[float, float, float]:
    """Return how deep, high and wide the network's array is, in mm if the file gives them."""
    side, steps = settings.image_size, find_steps(grid.spacing, settings.spacing)
    inner = scaled_size(*grid.shape[1:], side=side, keep_aspect=settings.keep_aspect)
    whole = grid.shape[0], *(n * side / part for n, part in zip(grid.shape[1:], inner, strict=True))
    boxes = zip((settings.slices, side, side), steps, whole, strict=True)
    voxels = (num if step is None else length * step for length, step, num in boxes)
    spacing = grid.spacing or (1.0, 1.0, 1.0)
    depth, height, width = (num * mm for num, mm in zip(voxels, spacing, strict=True))
    return depth, height, width


def restore_map(
    heats: NDArray[np.float32], grid: VolumeGrid, *, settings: PixelSettings
) -> NDArray[np.float32]:
    """Return a map on the voxels of the file, in the order of its axes; 0 where it was not seen.

    Args:
        heats: shape (K, S, S), as the network sees the volume.
        grid: of the file.
        settings: by which the file became (K, S, S).
    """
    side, steps = settings.image_size, find_steps(grid.spacing, settings.spacing)
    values = heats
    if steps[1] is None:
        rows, columns = scaled_size(*grid.shape[1:], side=side, keep_aspect=settings.keep_aspect)
        top, left = (side - rows) // 2, (side - columns) // 2
        values = heats[:, top : top + rows, left : left + columns]
    for axis, (num, step) in enumerate(zip(grid.shape, steps, strict=True)):
        back = None if step is None else 1 / step
        weights = resampling_weights(values.shape[axis], num, step=back).astype(np.float32)
        values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    flipped = tuple(place for place, (_, is_flipped) in enumerate(grid.turn) if is_flipped)
    return np.flip(values, flipped).transpose(np.argsort([axis for axis, _ in grid.turn]))


def encode_overlay(
    heats: NDArray[np.float32], grid: VolumeGrid, *, settings: PixelSettings
) -> bytes:
    """Return a .nii.gz file of a map in [0, 1], aligned with the file of the volume.

    Values are in 128 steps: headers have 32 bits for the step, in which 1/128 is exact.

    Args:
        heats: shape (K, S, S).
        grid: with a header.
        settings: by which the file became (K, S, S).
    """
    values = np.rint(restore_map(heats, grid, settings=settings) * _STEPS).astype(np.uint8)
    header = type(grid.header)()
    for name in _GEOMETRY:
        header[name] = grid.header[name]
    header.set_data_shape(values.shape)
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1 / _STEPS, 0)
    header["cal_max"], header["descrip"] = 1.0, f"{SOFTWARE}: heat map"
    file = io.BytesIO()
    header.write_to(file)
    return gzip.compress(file.getvalue() + values.tobytes(order="F"), mtime=0)
