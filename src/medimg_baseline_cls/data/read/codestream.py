"""Check the beginning and the end of a compressed image inside a DICOM file.

The decoders trust the sizes in their stream and some fill what is missing with gray, so
both are compared with the DICOM header before anything is decoded.
"""

from pydicom.uid import (
    HTJ2K,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from medimg_baseline_cls.errors import BadImageError

_WAVELET = frozenset([*JPEG2000TransferSyntaxes, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL])
_JPEG = frozenset([*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes])
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # tables and extensions among the markers C0 to CF
_JPEG_LS = 0xF7
_END = b"\xff\xd9"  # in all of them; it cannot occur within compressed data
_MAX_TRAILING = 16


def check_codestream(stream: bytes, syntax: UID, *, width: int, height: int) -> None:
    """Refuse a stream that is cut off or of another size.

    Raises:
        BadImageError: As above; streams that are not JPEG are not checked.
    """
    if syntax not in _WAVELET | _JPEG:
        return
    size = _wavelet_size(stream) if syntax in _WAVELET else _jpeg_size(stream)
    if size is None:
        raise BadImageError("the compressed pixels do not begin as their transfer syntax requires")
    if size != (width, height):
        raise BadImageError(
            f"the compressed image is {size[0]} x {size[1]}, but the DICOM header has {width} x "
            f"{height}"
        )
    if _END not in stream[-_MAX_TRAILING:]:
        raise BadImageError("the compressed pixels are cut off before their end")


def _wavelet_size(stream: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG 2000 codestream (ISO 15444-1, A.5.1)."""
    start = stream.find(b"\xff\x4f\xff\x51", 0, 256)  # some files wrap it in a JP2 box
    if start < 0 or len(stream) < start + 24:
        return None
    x1, y1, x0, y0 = (
        int.from_bytes(stream[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    return x1 - x0, y1 - y0


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG or JPEG-LS stream (ISO 10918-1, B.2.2)."""
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME) or marker == _JPEG_LS:
            height, width = stream[at + 5 : at + 7], stream[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
