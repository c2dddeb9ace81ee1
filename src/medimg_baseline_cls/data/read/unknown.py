"""Name what a file is that no reader knows, and what was expected instead."""

_EXPECTED = "expected an image: JPEG, PNG, BMP, TIFF, DICOM, NIfTI or .npy"
_KNOWN_STARTS = (
    (b"GIF8", "a GIF file"),
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a ZIP or office file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer whose image was never fetched"),
    (b"<", "a web page or XML text"),
)


def describe_unknown(data: bytes) -> str:
    """Return what the bytes look like and what was expected, in one line."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return f"this is a WebP file, {_EXPECTED}"
    if _is_bare_dicom(data):
        return (
            "this looks like DICOM without its preamble and file header, expected a DICOM "
            "file as exported by a PACS: export it again"
        )
    start = data[:1024].lstrip()
    for magic, name in _KNOWN_STARTS:
        if start.startswith(magic):
            return f"this is {name}, {_EXPECTED}"
    return f"this is no image or its beginning is damaged, {_EXPECTED}"


def _is_bare_dicom(data: bytes) -> bool:
    """Return whether bytes begin with a DICOM element (group 2 or 8) and no preamble."""
    if len(data) < 132 or data[:2] not in (b"\x02\x00", b"\x08\x00"):
        return False
    is_explicit = data[4:6].isalpha() and data[4:6].isupper()
    is_implicit = data[6:8] == b"\0\0" and 0 < data[4] <= 64
    return is_explicit or is_implicit
