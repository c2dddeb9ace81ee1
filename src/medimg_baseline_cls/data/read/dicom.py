"""Turn a DICOM file of one grey frame into one upright array, as a viewer would show it.

Stored values go through the modality LUT or rescale, then the VOI LUT or the first window,
or else keep the full range of BitsStored; MONOCHROME1 is inverted, padding is black. Up to
8 stored bits give uint8, more give uint16 over the full range. Of the patient nothing but
the PatientID is read. Refused with a BadImageError: colour, several frames, missing or
damaged pixels, numbers that are not finite, syntaxes that no installed plugin decodes.
"""

import io
import zlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
from medimg_baseline_cls.data.read.grey_levels import make_grey_table
from medimg_baseline_cls.data.read.tags import read_integer, read_optional_integer
from medimg_baseline_cls.errors import BadImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_TAGS = (
    *_PIXEL_DATA,
    *("PatientID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth"),
)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MAX_INFLATED = 2 * MAX_PIXELS + 64 * 2**20
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_WHAT = "the DICOM file"
_HINT = "install more decoders: pip install 'medimg-baseline-cls[dicom]'"


def starts_like_dicom(start: bytes) -> bool:
    """Return whether a file that begins with these bytes (132 are enough) is a DICOM file."""
    return start[128:132] == b"DICM"


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a DICOM file as `read.decode_image` does.

    Raises:
        BadImageError: The file is not one whole grey frame.
    """
    with refusing(_WHAT):
        dataset = _open(data)
        mode = _describe(dataset).mode
        stored = _decode_stored(dataset)
        table = make_grey_table(dataset)
        if mode == "MONOCHROME1":
            table = np.iinfo(table.dtype).max - table
        grey = table[stored & (len(table) - 1)]
        grey[_find_padding(stored, dataset)] = 0
        return finish_grey(grey, color=color, mode=mode)


def read_header(data: bytes) -> Header:
    """Read size, depth and PatientID of a DICOM file without decoding its pixels.

    Raises:
        BadImageError: As `decode`, as far as the header tells.
    """
    with refusing(_WHAT):
        return _describe(_open(data))


def _open(data: bytes) -> "Dataset":
    from pydicom import dcmread

    _refuse_bomb(data)
    return dcmread(io.BytesIO(data), specific_tags=list(_TAGS))


def _refuse_bomb(data: bytes) -> None:
    """Refuse a deflated file that inflates to more than one image: pydicom has no limit."""
    if _DEFLATED not in data:
        return
    if data[132:140] != _META_LENGTH:
        raise BadImageError("the deflated DICOM file does not say where its data begin")
    start = 144 + int.from_bytes(data[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = len(inflater.decompress(data[start:], _MAX_INFLATED))
    if not inflater.eof:
        reason = "larger than one image" if inflated >= _MAX_INFLATED else "truncated"
        raise BadImageError(f"the deflated DICOM file is {reason}")


def _describe(dataset: "Dataset") -> Header:
    """Return the header of a dataset that can be decoded; refuse any other."""
    present = [name for name in _PIXEL_DATA if name in dataset]
    if present != ["PixelData"]:
        found = f"{present[0]}, which has no fixed range" if present else "no pixel data"
        raise BadImageError(f"the DICOM file holds {found}, expected one grey image")
    frames = read_optional_integer(dataset, "NumberOfFrames")
    if frames not in (None, 1):
        raise BadImageError(f"the DICOM file holds {frames} frames, expected one still image")
    mode = str(dataset.get("PhotometricInterpretation", "")).strip().upper()
    if read_integer(dataset, "SamplesPerPixel") != 1 or mode not in _GREY:
        raise BadImageError(
            f"the DICOM file holds {mode or 'unnamed'} pixels, expected a grey image "
            "(MONOCHROME1 or MONOCHROME2)"
        )
    width, height = read_integer(dataset, "Columns"), read_integer(dataset, "Rows")
    refuse_size(width, height)
    return Header(
        mode=mode,
        width=width,
        height=height,
        is_deep=_read_bits(dataset) > 8,
        is_color=False,
        patient_id=str(dataset.get("PatientID") or "").strip() or None,
    )


def _read_bits(dataset: "Dataset") -> int:
    """Return BitsStored, checked against the bits around it."""
    allocated = read_integer(dataset, "BitsAllocated")
    stored = read_integer(dataset, "BitsStored")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise BadImageError(
            f"the DICOM file stores {stored} bits in {allocated}, expected 8 or 16 bits"
        )
    highest = read_optional_integer(dataset, "HighBit")
    if highest not in (None, stored - 1):
        raise BadImageError(
            f"the DICOM file has the high bit {highest}, expected {stored - 1} "
            f"for {stored} stored bits"
        )
    if read_integer(dataset, "PixelRepresentation") not in (0, 1):
        raise BadImageError("the DICOM file has a PixelRepresentation that is neither 0 nor 1")
    return stored


def _decode_stored(dataset: "Dataset") -> NDArray[np.uint8 | np.uint16]:
    """Return the stored values (H, W) as their bits, unsigned, unused high bits included."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax.is_compressed and not syntax.is_deflated:
        try:
            is_available = get_decoder(syntax).is_available
        except NotImplementedError as error:
            raise BadImageError(
                f"the DICOM file is compressed as {syntax.name}, which cannot be read"
            ) from error
        if not is_available:
            raise BadImageError(f"the DICOM file is compressed as {syntax.name}; {_HINT}")
    # Unused high bits stay: PixelPaddingValue may lie in them.
    dataset.pixel_array_options(correct_unused_bits=False)
    try:
        array = dataset.pixel_array
    except RuntimeError as error:
        if find_spec("gdcm") is None or find_spec("openjpeg") is None:
            raise BadImageError(
                f"the DICOM file, compressed as {syntax.name}, cannot be decoded; {_HINT}"
            ) from error
        raise
    shape = (read_integer(dataset, "Rows"), read_integer(dataset, "Columns"))
    if array.shape != shape or array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        raise BadImageError(
            f"the DICOM pixels have the shape {array.shape} and type {array.dtype}, "
            f"expected {shape} integers"
        )
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native.view(np.uint8 if array.dtype.itemsize == 1 else np.uint16)


def _find_padding(stored: Pixels, dataset: "Dataset") -> NDArray[np.bool_]:
    """Return where the stored values are padding, compared with all allocated bits."""
    first = read_optional_integer(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    last = read_optional_integer(dataset, "PixelPaddingRangeLimit")
    bits = 8 * stored.dtype.itemsize
    is_signed = read_integer(dataset, "PixelRepresentation") == 1
    values = stored.view(f"i{stored.dtype.itemsize}") if is_signed else stored
    ends = [
        _wrap(end, bits, is_signed=is_signed) for end in (first, first if last is None else last)
    ]
    return (values >= min(ends)) & (values <= max(ends))


def _wrap(value: int, bits: int, *, is_signed: bool) -> int:
    """Return the value that the same bits have as a pixel: writers mix up US and SS."""
    value %= 1 << bits
    return value - (1 << bits) if is_signed and value >= 1 << (bits - 1) else value
