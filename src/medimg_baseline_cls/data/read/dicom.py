"""Turn the bytes of a DICOM file into one gray image: CR, DX, MG, any single gray frame.

The image is what a viewer shows first: modality LUT or rescale, then the VOI LUT or the
first window, else the full range of the stored bits; MONOCHROME1 inverted; padding black.
Up to 8 stored bits give uint8, more give uint16. Only the tags named here are parsed, and
no text of the file except its PatientID leaves this module. Refused: color, several frames,
floating-point or missing pixel data, numbers that are not finite or are invalid,
compressed pixels that no installed library decodes or that are damaged.
"""

import io
import zlib
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from medimg_baseline_cls.data.read.codestream import check_codestream
from medimg_baseline_cls.data.read.dicom_grey import StoredPixels, make_grey_table
from medimg_baseline_cls.data.read.dicom_tags import read_count, read_text
from medimg_baseline_cls.data.read.image import (
    MAX_PIXELS,
    Color,
    DecodedImage,
    Header,
    check_size,
    wrap_grey,
)
from medimg_baseline_cls.data.read.isolated import decode_isolated
from medimg_baseline_cls.errors import BadImageError

_PIXEL_TAGS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_TAGS = [
    *("PatientID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence"),
    *("RescaleSlope", "RescaleIntercept", "VOILUTSequence", "VOILUTFunction"),
    *("WindowCenter", "WindowWidth", "Modality", *_PIXEL_TAGS),
    *("ImageType", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
# Pillow is always installed and strict, so optional decoders never change pixels; gdcm fills gaps
# of a damaged stream and may crash.
_PLUGINS = ("pillow", "pylibjpeg", "pyjpegls", "pydicom", "gdcm")
_COLORED = (
    *("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
    *("YBR_PARTIAL_420", "YBR_PARTIAL_422", "HSV", "ARGB", "CMYK"),
)
_COMPRESSED = {
    "JPEG": JPEGBaseline8Bit,
    "JPEG 12 bit": JPEGExtended12Bit,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "HTJ2K": HTJ2K,
    "RLE": RLELossless,
}
_DEFLATED, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_MAX_INFLATED = 2 * MAX_PIXELS + (16 << 20)


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A parsed file: every tag that its header needs, checked."""

    dataset: Dataset
    syntax: UID
    photometric: str
    width: int
    height: int
    stored: StoredPixels

    @property
    def mode(self) -> str:
        """Return the photometric interpretation and the number of stored bits."""
        return f"{self.photometric};{self.stored.bits_stored}"


def decode(data: bytes, *, color: Color) -> DecodedImage:
    """Decode a DICOM file; arguments, result and errors as `decode_image`."""
    parsed = parse_dataset(read_dataset(data))
    table = make_grey_table(parsed.dataset, parsed.stored)
    return wrap_grey(table[decode_patterns(parsed, data)], mode=parsed.mode, color=color)


def decode_stored(data: bytes) -> NDArray[Any]:
    """Return the pixels (H, W) as they are stored, decoded in this very process."""
    return _run_decoder(parse_dataset(read_dataset(data)))


def read_header(data: bytes) -> Header:
    """Read size, depth and PatientID, after checking that the pixels are there to decode."""
    parsed = parse_dataset(read_dataset(data))
    return Header(
        mode=parsed.mode,
        width=parsed.width,
        height=parsed.height,
        is_deep=parsed.stored.bits_stored > 8,
        is_color=False,
        patient_id=read_text(parsed.dataset, "PatientID") or None,
    )


def list_missing_decoders() -> list[str]:
    """Return the kinds of compressed DICOM pixels that no installed library decodes."""
    return [name for name, syntax in _COMPRESSED.items() if not _list_plugins(syntax)]


def read_dataset(data: bytes) -> Dataset:
    """Return the tags of a file that are read here, with its pixels.

    Raises:
        BadImageError: there are none.
    """
    dataset = dcmread(io.BytesIO(_inflate(data)), specific_tags=_TAGS)
    _refuse_no_pixels(dataset)
    return dataset


def parse_dataset(dataset: Dataset) -> ParsedFile:
    """Return the tags that decoding needs, after checking that the pixels are there to decode.

    Raises:
        BadImageError: it is not one gray frame, or is damaged.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise BadImageError("the DICOM file names no transfer syntax")
    photometric = _read_photometric(dataset)
    frames = read_count(dataset, "NumberOfFrames", default=1)
    if frames > 1:
        raise BadImageError(f"the file contains {frames} frames, expected one still image")
    width, height = read_count(dataset, "Columns"), read_count(dataset, "Rows")
    check_size(width, height)
    stored = _read_stored_pixels(dataset, is_inverted=photometric == "MONOCHROME1")
    parsed = ParsedFile(dataset, UID(syntax), photometric, width, height, stored)
    _choose_plugin(parsed.syntax)
    _refuse_missing_pixels(parsed)
    return parsed


def _inflate(data: bytes) -> bytes:
    """Return a deflated file as a plain one, its size bounded; pydicom would have no bound."""
    if _DEFLATED not in data[132:4096]:
        return data
    start = 144 + int.from_bytes(data[140:144], "little")  # the length of the file header
    if _DEFLATED not in data[132:start]:
        raise BadImageError("the length of the DICOM file header is wrong")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[start:], _MAX_INFLATED)
    if not inflater.eof:
        raise BadImageError("the deflated DICOM data are cut off or far too large")
    return data[:start].replace(_DEFLATED, _PLAIN) + inflated


def _read_photometric(dataset: Dataset) -> str:
    """Return MONOCHROME1 or MONOCHROME2, the only ones that are gray."""
    photometric = read_text(dataset, "PhotometricInterpretation").upper()
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        name = photometric if photometric in _COLORED else "of an unknown color model"
        raise BadImageError(f"the DICOM pixels are {name}, expected MONOCHROME1 or MONOCHROME2")
    samples = read_count(dataset, "SamplesPerPixel")
    if samples != 1:
        raise BadImageError(f"the DICOM pixels have {samples} samples, expected 1 (gray)")
    return photometric


def _read_stored_pixels(dataset: Dataset, *, is_inverted: bool) -> StoredPixels:
    allocated, stored = read_count(dataset, "BitsAllocated"), read_count(dataset, "BitsStored")
    if allocated not in (8, 16):
        raise BadImageError(f"BitsAllocated is {allocated}, expected 8 or 16")
    if not 1 <= stored <= allocated:
        raise BadImageError(f"BitsStored is {stored}, expected 1 to {allocated}")
    highest = read_count(dataset, "HighBit", default=stored - 1)
    if highest != stored - 1:
        raise BadImageError(f"HighBit is {highest}, expected {stored - 1} (BitsStored - 1)")
    representation = read_count(dataset, "PixelRepresentation")
    if representation not in (0, 1):
        raise BadImageError(f"PixelRepresentation is {representation}, expected 0 or 1")
    return StoredPixels(allocated, stored, is_signed=representation == 1, is_inverted=is_inverted)


def _refuse_no_pixels(dataset: Dataset) -> None:
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise BadImageError(
            "this is a DICOMDIR, the index of a folder of DICOM files, not an image"
        )
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise BadImageError("floating-point pixels have no fixed range, expected 8 or 16 bits")
    if not dataset.get("PixelData"):
        raise BadImageError("the DICOM file contains no pixel data, or is cut off before them")


def _refuse_missing_pixels(parsed: ParsedFile) -> None:
    """Refuse files with fewer pixels than in the header, or pixels of another size."""
    if parsed.syntax.is_encapsulated:
        size = {"width": parsed.width, "height": parsed.height}
        check_codestream(_codestream(parsed), parsed.syntax, **size)
        return
    pixels = parsed.dataset.PixelData
    expected = parsed.width * parsed.height * parsed.stored.bits_allocated // 8
    if len(pixels) < expected:
        raise BadImageError(
            f"the file is cut off: {len(pixels)} bytes of pixels, its header needs {expected}"
        )


def _codestream(parsed: ParsedFile) -> bytes:
    return get_frame(parsed.dataset.PixelData, 0, number_of_frames=1)


def _choose_plugin(syntax: UID) -> str:
    """Return the decoder to use, "" for uncompressed pixels; the same for every file."""
    try:
        get_decoder(syntax)
    except NotImplementedError:
        raise BadImageError(f"the DICOM transfer syntax {_name(syntax)} is not supported") from None
    if not syntax.is_encapsulated:
        return ""
    if plugins := _list_plugins(syntax):
        return plugins[0]
    raise BadImageError(
        f"no installed library decodes {_name(syntax)}: pip install 'medimg-baseline-cls[dicom]'"
    )


def _list_plugins(syntax: UID) -> list[str]:
    available = get_decoder(syntax).available_plugins
    return [name for name in _PLUGINS if name in available]


def _name(syntax: UID) -> str:
    return syntax.name if syntax.is_transfer_syntax else "of this file"


def decode_patterns(parsed: ParsedFile, data: bytes) -> NDArray[Any]:
    """Return the stored bits of each pixel as an unsigned number, (H, W).

    Args:
        parsed: the file.
        data: its bytes, for decoders that need a process of their own.
    """
    is_crash_prone = _choose_plugin(parsed.syntax) == "gdcm"
    decoded = decode_isolated(data) if is_crash_prone else _run_decoder(parsed)
    if decoded.shape != (parsed.height, parsed.width):
        raise BadImageError("the decoded pixels are not of the size in the header")
    if parsed.syntax.is_encapsulated and parsed.syntax != RLELossless:
        parsed.stored.require_range(int(decoded.min()), int(decoded.max()))
    width = parsed.stored.bits_allocated // 8
    return decoded.astype(f"i{width}" if parsed.stored.is_signed else f"u{width}").view(f"u{width}")


def _run_decoder(parsed: ParsedFile) -> NDArray[Any]:
    options: dict[str, Any] = {
        "raw": True,
        "decoding_plugin": _choose_plugin(parsed.syntax),
        "allow_excess_frames": False,
        "correct_unused_bits": False,  # the table does it, and has to see padding unmasked
    }
    decoded, _ = get_decoder(parsed.syntax).as_array(parsed.dataset, index=0, **options)
    return decoded
