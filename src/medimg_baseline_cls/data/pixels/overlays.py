"""Put a map of a volume back on the voxels of its own file, as a NIfTI file for viewers.

Size, spacing, position and orientation are those of the source, so that the map is over it without
any registration. Texts of its header are not copied, since they may name the patient. Sources of
other formats have no such file.
"""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.pixels.preprocess import PixelSettings, scaled_size
from medimg_baseline_cls.data.read import decode_volume
from medimg_baseline_cls.data.read.nifti_file import is_nifti, load_header
from medimg_baseline_cls.utils.own_output import SOFTWARE

_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True, slots=True)
class VolumeGrid:
    """Where the voxels of a NIfTI file are.

    Attributes:
        shape: (Z, H, W), in the canonical orientation.
        turn: for each of them the axis of the file, and whether it runs the other way there.
        header: nibabel's.
    """

    shape: tuple[int, int, int]
    turn: tuple[tuple[int, bool], ...]
    header: Any

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Return the distances of voxels along Z, H and W, as a rule in mm; 1 where not given."""
        zooms = self.header.get_zooms()
        z, y, x = (abs(float(zooms[axis])) or 1.0 for axis, _ in self.turn)
        return z, y, x

    @property
    def is_oriented(self) -> bool:
        """Return whether the file gives an orientation."""
        return bool(self.header["qform_code"] or self.header["sform_code"])


def read_grid(data: bytes) -> VolumeGrid | None:
    """Return where the voxels of a file are; None for another format than NIfTI.

    Raises:
        BadImageError: as `decode_volume`.
    """
    if not is_nifti(data):
        return None
    volume = decode_volume(data)
    depth, height, width = volume.voxels.shape
    return VolumeGrid((depth, height, width), volume.turn, load_header(data))


def place_overlay(panel: Path) -> Path:
    """Return where the map of a panel is written.

    >>> place_overlay(Path("01_p0.731_patient3.nii.png")).name
    '01_p0.731_patient3_map.nii.gz'
    """
    return panel.with_name(f"{panel.stem.removesuffix('.nii')}_map.nii.gz")


def measure_extents(grid: VolumeGrid, settings: PixelSettings) -> tuple[float, float, float]:
    """Return how deep, high and wide the network's array is, in the unit of the spacing."""
    (depth, *size), (z, *spacing) = grid.shape, grid.spacing
    inner = scaled_size(*size, side=settings.image_size, keep_aspect=settings.keep_aspect)
    height, width = (
        settings.image_size / part * whole * step
        for part, whole, step in zip(inner, size, spacing, strict=True)
    )
    return depth * z, height, width


def restore_map(
    heats: NDArray[np.float32], grid: VolumeGrid, *, settings: PixelSettings
) -> NDArray[np.float32]:
    """Return a map on the voxels of the file, in the order of its axes.

    Args:
        heats: shape (K, S, S), as the network sees the volume.
        grid: of the file.
        settings: by which the file became (K, S, S).
    """
    from torch import from_numpy
    from torch.nn.functional import interpolate

    side = settings.image_size
    rows, columns = scaled_size(*grid.shape[1:], side=side, keep_aspect=settings.keep_aspect)
    top, left = (side - rows) // 2, (side - columns) // 2
    inner = heats[:, top : top + rows, left : left + columns].copy()
    batch = from_numpy(inner)[None, None]  # (1, 1, K, h, w)
    values = interpolate(batch, size=grid.shape, mode="trilinear", align_corners=False)[0, 0]
    flipped = [place for place, (_, is_flipped) in enumerate(grid.turn) if is_flipped]
    return values.flip(flipped).numpy().transpose(np.argsort([axis for axis, _ in grid.turn]))


def encode_overlay(
    heats: NDArray[np.float32], grid: VolumeGrid, *, settings: PixelSettings
) -> bytes:
    """Return a .nii.gz file of a map in [0, 1], aligned with the file of the volume.

    Values are in 255 steps.
    """
    values = np.rint(restore_map(heats, grid, settings=settings) * 255).astype(np.uint8)
    header = type(grid.header)()
    for name in _GEOMETRY:
        header[name] = grid.header[name]
    header.set_data_shape(values.shape)
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1 / 255, 0)
    header["cal_max"], header["descrip"] = 1.0, f"{SOFTWARE}: heat map"
    file = io.BytesIO()
    header.write_to(file)
    return gzip.compress(file.getvalue() + values.tobytes(order="F"), mtime=0)
