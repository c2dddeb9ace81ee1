"""Turn the bytes of an image file into one upright array, the same whatever the format.

The content of a file, not its name, tells its format: DICOM, NumPy and NIfTI have readers
of their own, everything else goes to Pillow (JPEG, PNG, BMP, TIFF). Refused with a
BadImageError: what is no whole still image, more than MAX_PIXELS, and what has no fixed
range from black to white.
"""

from medimg_baseline_cls.data.read import dicom, nifti, npy, raster
from medimg_baseline_cls.data.read.common import (
    MAX_PIXELS,
    Color,
    DecodedImage,
    Header,
    Pixels,
    is_colored,
    strict_decoding,
)
from medimg_baseline_cls.data.read.dicom import starts_like_dicom
from medimg_baseline_cls.data.read.raster import FORMATS, SUFFIXES

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Color",
    "DecodedImage",
    "Header",
    "Pixels",
    "decode_image",
    "is_colored",
    "is_image_name",
    "read_header",
    "starts_like_dicom",
    "strict_decoding",
]

_NAME_ENDS = (*sorted(SUFFIXES), ".dcm", ".dicom", ".ima", ".nii", ".nii.gz", ".npy")


def decode_image(data: bytes, *, color: Color) -> DecodedImage:
    """Decode an image file into one upright array.

    Args:
        data: the bytes of the file.
        color: "grey" gives (H, W); "rgb" gives (H, W, 3), grey replicated. A deep grey
            image stays uint16 in both, its full range stretched to 0..65535.

    Raises:
        BadImageError: The file is not one whole still image; the text is the reason alone.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2), 7).save(file, "PNG")
    >>> decode_image(file.getvalue(), color="grey").pixels.tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    if dicom.starts_like_dicom(data):
        return dicom.decode(data, color=color)
    if npy.starts_like_npy(data):
        return npy.decode(data, color=color)
    if nifti.starts_like_nifti(data):
        return nifti.decode(data, color=color)
    return raster.decode(data, color=color)


def read_header(data: bytes) -> Header:
    """Read mode and upright size from the bytes of an image file, without decoding it.

    Raises:
        BadImageError: As `decode_image`, as far as the header tells.
    """
    if dicom.starts_like_dicom(data):
        return dicom.read_header(data)
    if npy.starts_like_npy(data):
        return npy.read_header(data)
    if nifti.starts_like_nifti(data):
        return nifti.read_header(data)
    return raster.read_header(data)


def is_image_name(name: str) -> bool:
    """Return whether a file name ends as those of readable images do, in any case.

    >>> is_image_name("FILM.DCM"), is_image_name("film.nii.gz"), is_image_name("notes.txt")
    (True, True, False)
    """
    return name.lower().endswith(_NAME_ENDS)
