"""Turn a NIfTI file (.nii, .nii.gz) of one slice into one upright array; needs nibabel.

The slice is turned to how a radiologist sees it: columns run to the patient's left (to the
back in a sagittal slice), rows to the back (to the feet where the slice is upright). A file
without an orientation is taken as stored. Integers of 0..65535 are grey values as they are;
floating-point and rescaled values run from cal_min (black) to cal_max (white). Refused with
a BadImageError: several slices, colour, values out of range or not finite, gzip bombs.
"""

import zlib
from typing import Any

import numpy as np

from medimg_baseline_cls.data.read.common import (
    MAX_PIXELS,
    Color,
    DecodedImage,
    Header,
    Pixels,
    finish_grey,
    refuse_size,
    refusing,
)
from medimg_baseline_cls.errors import BadImageError

_HEADER_BYTES = 348
_GZIP = b"\x1f\x8b"
_MAX_BYTES = 8 * MAX_PIXELS + 2**20  # one slice of float64 and its header
_SUPERIOR = 2


def starts_like_nifti(data: bytes) -> bool:
    """Return whether a file with these bytes is a NIfTI-1 file, gzipped or not."""
    if data.startswith(_GZIP):
        try:
            data = zlib.decompressobj(31).decompress(data, _HEADER_BYTES)
        except zlib.error:
            return False
    size = data[:4]
    is_header = _HEADER_BYTES in (int.from_bytes(size, "little"), int.from_bytes(size, "big"))
    return is_header and data[344:348] == b"n+1\0"


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a NIfTI file of one slice as `read.decode_image` does.

    Raises:
        BadImageError: The file is not one slice of grey values.
    """
    with refusing("the NIfTI file"):
        image = _open(data)
        header = _describe(image)
        grey = _to_grey(image, is_deep=header.is_deep)
        return finish_grey(_turn_upright(grey, image), color=color, mode=header.mode)


def read_header(data: bytes) -> Header:
    """Read type and upright size of a NIfTI file without its values.

    Raises:
        BadImageError: As `decode`, as far as the header tells.
    """
    with refusing("the NIfTI file"):
        return _describe(_open(data))


def _open(data: bytes) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise BadImageError(
            "this is a NIfTI file; install its reader: pip install 'medimg-baseline-cls[nifti]'"
        ) from error
    return nibabel.Nifti1Image.from_bytes(_inflate(data))


def _inflate(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    inflater = zlib.decompressobj(31)
    inflated = inflater.decompress(data, _MAX_BYTES)
    if not inflater.eof:
        reason = "larger than one image" if len(inflated) >= _MAX_BYTES else "truncated"
        raise BadImageError(f"the gzipped NIfTI file is {reason}")
    return inflated


def _describe(image: Any) -> Header:
    dtype = image.header.get_data_dtype()
    if dtype.kind not in "uif":
        raise BadImageError(f"the NIfTI file holds {dtype}, expected integers or real numbers")
    shape = tuple(int(n) for n in image.shape)
    if len(shape) < 2 or any(n != 1 for n in shape[2:]):
        raise BadImageError(f"the NIfTI file has the shape {shape}, expected one slice (W, H, 1)")
    refuse_size(*shape[:2])
    if dtype.kind == "f" or _is_rescaled(image):
        _read_window(image)
    height, width = _turn_upright(np.broadcast_to(np.uint8(0), shape[:2]), image).shape
    is_deep = dtype != np.uint8 or _is_rescaled(image)
    return Header(dtype.name, width, height, is_deep=is_deep, is_color=False)


def _is_rescaled(image: Any) -> bool:
    return image.dataobj.slope != 1 or image.dataobj.inter != 0


def _read_window(image: Any) -> tuple[float, float]:
    lowest, highest = float(image.header["cal_min"]), float(image.header["cal_max"])
    if not (np.isfinite([lowest, highest]).all() and lowest < highest):
        raise BadImageError(
            "real numbers have no fixed range, expected cal_min < cal_max in the NIfTI header, "
            f"found {lowest:g} and {highest:g}"
        )
    return lowest, highest


def _to_grey(image: Any, *, is_deep: bool) -> Pixels:
    """Return the values as (i, j) of the file, black 0, white the end of the type."""
    values = np.asarray(image.dataobj).reshape(image.shape[:2])
    if values.dtype.kind == "f":
        lowest, highest = _read_window(image)
        if not np.isfinite(values).all():
            raise BadImageError("the NIfTI file holds values that are not finite")
        share = np.clip((values.astype(np.float64) - lowest) / (highest - lowest), 0, 1)
        return np.rint(share * 65535).astype(np.uint16)
    if values.min() < 0 or values.max() > 65535:
        raise BadImageError(
            f"integer pixels from {values.min()} to {values.max()}, expected 0 to 65535"
        )
    return values.astype(np.uint16 if is_deep else np.uint8)


def _turn_upright(grey: Pixels, image: Any) -> Pixels:
    """Turn (i, j) of the file to (rows, columns) as seen from the patient's feet or front."""
    from nibabel import orientations

    if not (image.header["qform_code"] > 0 or image.header["sform_code"] > 0):
        return grey.T
    found = orientations.io_orientation(image.affine)
    if not np.isfinite(found).all():
        raise BadImageError("the NIfTI file has an orientation that is no rotation")
    wanted = orientations.axcodes2ornt(("L", "P", "S"))
    turn = orientations.ornt_transform(found, wanted)
    upright = orientations.apply_orientation(grey[:, :, None], turn)
    through = int(found[2, 0])
    plane = upright.squeeze(axis=through)
    rows_run_up = through != _SUPERIOR
    return plane.T[::-1] if rows_run_up else plane.T
