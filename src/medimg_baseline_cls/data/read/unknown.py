"""Name what a file is that no reader knows, and what was expected instead."""

from medimg_baseline_cls.data.read.kinds import is_bare_dicom, sniff_format

_EXPECTED = (
    "expected an image: JPEG, PNG, BMP, TIFF, WebP, GIF, PNM, JPEG 2000, DICOM, NIfTI or .npy"
)
_KNOWN_STARTS = (
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a ZIP, office or .npz file (for volumes in .npz files pass --slices)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer without its image: run git lfs pull"),
    (b"<", "a web page or XML text"),
)


def describe_unknown(data: bytes) -> str:
    """Return what the bytes look like and what was expected, in one line."""
    if is_bare_dicom(data):
        return (
            "this looks like DICOM without its preamble and file header, expected a DICOM "
            "file as exported by a PACS: export it again"
        )
    start = data[:1024].lstrip()
    for magic, name in _KNOWN_STARTS:
        if start.startswith(magic):
            return f"this is {name}, {_EXPECTED}"
    if kind := sniff_format(data[:1024]):
        return f"the {kind} file is damaged or of a kind that cannot be read: save it as PNG"
    return f"this is not an image or its beginning is damaged, {_EXPECTED}"
