"""Turn the bytes of an image file into one upright array, the same whatever the format.

JPEG, PNG, BMP, TIFF, WebP, GIF, PNM, JPEG 2000, DICOM, NIfTI and .npy, recognized by content, not
by name. Refused with a BadImageError that gives the reason: other formats, several frames or a
volume, truncated or damaged data, values without a known range, more than MAX_PIXELS. Nothing else
is ever raised, and nothing is ever put in place of an image.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from medimg_baseline_cls.data.read import volume
from medimg_baseline_cls.data.read.image import (
    MAX_PIXELS,
    Color,
    DecodedImage,
    Geometry,
    Header,
    Pixels,
    Remark,
    SeriesFacts,
)
from medimg_baseline_cls.data.read.kinds import (
    SUFFIXES,
    FileSorter,
    describe_files,
    find_reader,
    is_image_name,
    list_counts,
    sniff_file,
    sniff_format,
)
from medimg_baseline_cls.data.read.nifti_file import is_nifti
from medimg_baseline_cls.data.read.packed import pack_files, unpack_files
from medimg_baseline_cls.data.read.strict import strict_decoding
from medimg_baseline_cls.data.read.volume import Volume
from medimg_baseline_cls.errors import BadImageError

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Color",
    "DecodedImage",
    "FileSorter",
    "Geometry",
    "Header",
    "Pixels",
    "Remark",
    "SeriesFacts",
    "Volume",
    "decode_image",
    "decode_volume",
    "describe_files",
    "is_colored",
    "is_image_name",
    "list_counts",
    "pack_files",
    "read_header",
    "read_volume_header",
    "sniff_file",
    "sniff_format",
    "starts_like_dicom",
    "strict_decoding",
]

_CHROMA, _COLORED_SHARE = 24, 0.02


def decode_image(data: bytes, *, color: Color) -> DecodedImage:
    """Decode an image file into one upright array.

    Args:
        data: the bytes of the file.
        color: "grey" gives (H, W); "rgb" gives (H, W, 3), gray replicated. A deep image
            stays uint16 in both, its full range stretched to 0..65535.

    Raises:
        BadImageError: The file is not one whole still image; the text is the reason alone.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2), 7).save(file, "PNG")
    >>> decode_image(file.getvalue(), color="grey").pixels.tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    with _refusing():
        return _choose_reader(data).decode(data, color=color)


def read_header(data: bytes) -> Header:
    """Read mode and upright size from the bytes of an image file, without decoding it.

    Raises:
        BadImageError: As `decode_image`, as far as the header tells.
    """
    with _refusing():
        return _choose_reader(data).read_header(data)


def is_colored(decoded: DecodedImage) -> bool:
    """Return whether an image shows color, not only gray stored as RGB.

    True where the three channels differ by more than 24 of 255 on more than 2 % of the
    pixels: a small colored marker or JPEG noise does not make a radiograph a photograph.
    """
    if decoded.pixels.ndim == 2:
        return False
    spread = decoded.pixels.max(axis=2) - decoded.pixels.min(axis=2)
    levels = 1 if decoded.pixels.dtype == "uint8" else 257
    return bool((spread > _CHROMA * levels).mean() > _COLORED_SHARE)


def starts_like_dicom(start: bytes) -> bool:
    """Return whether the first 132 bytes of a file are those of a DICOM file.

    Exports of hospitals often have no suffix (IM000001).

    >>> starts_like_dicom(bytes(128) + b"DICM")
    True
    """
    return start[128:132] == b"DICM"


class _Reader(Protocol):
    """A module that reads one family of formats, or an `ImageReader` of another package."""

    @property
    def decode(self) -> Callable[..., DecodedImage]: ...

    @property
    def read_header(self) -> Callable[[bytes], Header]: ...


def _choose_reader(data: bytes) -> _Reader:
    """Return the reader of this content; each is imported when its first file comes."""
    if not data:
        raise BadImageError("the file is empty (0 bytes)")
    if starts_like_dicom(data):
        from medimg_baseline_cls.data.read import dicom

        return dicom
    if data.startswith(b"\x93NUMPY"):
        from medimg_baseline_cls.data.read import npy

        return npy
    from medimg_baseline_cls.data.read import nifti, raster

    return nifti if is_nifti(data) else find_reader(data) or raster


class _VolumeReader(Protocol):
    """A module that reads volumes of one family of formats."""

    @property
    def decode_volume(self) -> Callable[[bytes], Volume]: ...

    @property
    def read_volume_header(self) -> Callable[[bytes], Header]: ...


def decode_volume(data: bytes) -> Volume:
    """Decode a file into one volume in the canonical orientation, see `data.read.volume`.

    Raises:
        BadImageError: The file is not one whole volume; the text is the reason alone.
    """
    with _refusing():
        return _choose_volume_reader(data).decode_volume(data)


def read_volume_header(data: bytes) -> Header:
    """Read type and size of the slices of a volume.

    Raises:
        BadImageError: As `decode_volume`, as far as the header tells.
    """
    with _refusing():
        return _choose_volume_reader(data).read_volume_header(data)


def _choose_volume_reader(data: bytes) -> _VolumeReader:
    """Return the reader of one file, or of a folder of them as `pack_files` puts them together."""
    files = unpack_files(data)
    if data.startswith((b"\x93NUMPY", b"PK")):
        from medimg_baseline_cls.data.read import npy

        return npy
    if any(map(starts_like_dicom, files)):
        from medimg_baseline_cls.data.read import dicom_series

        return dicom_series
    from medimg_baseline_cls.data.read import image_stack

    return volume if files[0] is data else image_stack


@contextmanager
def _refusing() -> Generator[None, None, None]:
    """Turn whatever a decoder raises into a BadImageError."""
    try:
        with strict_decoding():
            yield
    except BadImageError:
        raise
    except MemoryError as error:
        raise BadImageError("the image needs more memory than there is") from error
    except Exception as error:  # decoders of foreign bytes raise anything: struct.error, KeyError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImageError(f"the image cannot be decoded: {reason}") from error
