"""Find which files are images: by their suffix if it is known, else by their first bytes.

Exports of hospitals have no suffix (IM000001), or a UID with a last number that looks like one
(1.2.840.113619.2.55.1012). Suffixes that are never those of images are not opened.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from medimg_baseline_cls.data.read.image import ImageReader
from medimg_baseline_cls.data.read.nifti_file import is_nifti
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.plugins import load_plugins
from medimg_baseline_cls.utils.quantities import say_count

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff"),
        *(".webp", ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx"),
        *(".dcm", ".dicom", ".ima", ".nii", ".npy"),
    }
)
# Often next to every image, and slow to open; the last line are camera files and slides, where the
# first image is a thumbnail.
_NEVER_IMAGES = frozenset(
    {
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".htm", ".md", ".yaml"),
        *(".yml", ".toml", ".ini", ".log", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".zip"),
        *(".tar", ".npz", ".mat", ".h5", ".pkl", ".parquet", ".db", ".py", ".ipynb", ".pt"),
        *(".nef", ".cr2", ".arw", ".dng", ".orf", ".svs", ".ndpi", ".scn"),
    }
)
_REAL_SUFFIX = re.compile(r"\.\d*[a-z][a-z0-9]{0,9}")
_NUM_START, _NUM_SHOWN = 1024, 10
_DICOMDIR, _UNREADABLE = "DICOMDIR", "unreadable"
_NO_IMAGES = ("", _DICOMDIR, _UNREADABLE)
_MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10"  # the SOP class of a DICOMDIR
_FORMATS: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]"),
        ("WebP", rb"RIFF....WEBP"),
        ("GIF", rb"GIF8[79]a"),
        ("JPEG 2000", rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
        ("BMP", rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("PNM", rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s"),
        (".npy", rb"\x93NUMPY"),
        (_DICOMDIR, rb".{128}DICM.{0,60}" + re.escape(_MEDIA_DIRECTORY)),
        ("DICOM", rb".{128}DICM"),
    )
)


def is_image_name(name: str) -> bool:
    """Return whether a file name ends as those of images do, in any case.

    >>> is_image_name("a.NII.GZ"), is_image_name("a.gz"), is_image_name(".png")
    (True, False, False)
    """
    lowered = name.lower()
    added = (suffix for reader in list_readers() for suffix in reader.suffixes)
    known = (*SUFFIXES, ".nii.gz", *added)  # not in SUFFIXES: its last suffix means nothing
    return any(lowered.endswith(end) and len(lowered) > len(end) for end in known)


def sniff_format(start: bytes) -> str:
    r"""Return the format that the first bytes of a file show; "" if it is unknown.

    Args:
        start: at least 132 bytes for DICOM, 540 for NIfTI, 1,024 for packed NIfTI.

    >>> sniff_format(b"\xff\xd8\xff\xe0..JFIF"), sniff_format(b"patient,label")
    ('JPEG', '')
    """
    if own := _sniff_own(start):
        return own
    reader = find_reader(start)
    return "" if reader is None else reader.name


def list_readers() -> tuple[ImageReader, ...]:
    """Return the readers of other packages, by name."""
    return tuple(load_plugins("readers", expected=ImageReader).values())


def find_reader(start: bytes) -> ImageReader | None:
    """Return another package's reader of a content; None where it is known here, or to nobody.

    Raises:
        ConfigError: A reader cannot look at it.
    """
    if _sniff_own(start[:_NUM_START]):
        return None
    for reader in list_readers():
        try:
            if reader.matches(start[:_NUM_START]):
                return reader
        except Exception as error:  # foreign code raises anything
            raise ConfigError(
                f"the reader {reader.name} of another package fails on the first bytes of a file "
                f"({type(error).__name__}: {error}): fix or uninstall that package."
            ) from error
    return None


def _sniff_own(start: bytes) -> str:
    for name, pattern in _FORMATS:
        if pattern.match(start):
            return name
    if is_nifti(start):
        return "NIfTI"
    return "DICOM" if is_bare_dicom(start) else ""


def is_bare_dicom(data: bytes) -> bool:
    """Return whether bytes begin with a DICOM element (group 2 or 8) and no preamble."""
    if len(data) < 132 or data[:2] not in (b"\x02\x00", b"\x08\x00") or data[3]:
        return False
    is_explicit = data[4:6].isalpha() and data[4:6].isupper()
    is_implicit = data[6:8] == b"\0\0" and 0 < data[4] <= 64
    return is_explicit or is_implicit


class FileSorter:
    """Sorts files into images and others, and counts them.

    Args:
        has_volumes: whether volumes are wanted: then an .npz file is one. Next to images it often
            has something else.

    Attributes:
        has_volumes: as given.
        read_as: images without an image suffix, by their format.
        left_out: files that are not images, by their suffix.
    """

    def __init__(self, *, has_volumes: bool = False) -> None:
        self.has_volumes = has_volumes
        self.read_as: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def is_image(self, path: Path) -> bool:
        """Return whether a file is an image; without a known suffix, it is opened."""
        suffix = path.suffix.lower()
        if is_image_name(path.name) or (self.has_volumes and suffix == ".npz"):
            return True
        kind = "" if suffix in _NEVER_IMAGES else sniff_file(path)
        is_image = kind not in _NO_IMAGES
        if is_image:
            self.read_as[kind] += 1
        else:
            self.left_out[kind or _name_suffix(suffix)] += 1
        return is_image


def describe_files(sorters: Iterable[FileSorter]) -> str:
    """Return what is read by its content, and what is left out, with their numbers; "" if none."""
    read_as: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for sorter in sorters:
        read_as += sorter.read_as
        left_out += sorter.left_out
    parts: list[str] = []
    if read_as:
        counts = list_counts(read_as)
        files = say_count(read_as.total(), "files")
        parts.append(f"{files} without an image suffix read as {counts}")
    if left_out:
        counts = list_counts(left_out)
        num = left_out.total()
        files = "1 file that is not an image" if num == 1 else f"{num} files that are not images"
        parts.append(f"{files} left out: {counts}")
    return "; ".join(parts)


def list_counts(counts: Counter[str]) -> str:
    """Return the commonest first, each with its number; "" where there are none."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ranked[_NUM_SHOWN:])
    shown = [*ranked[:_NUM_SHOWN], *([("others", rest)] if rest else [])]
    return ", ".join(f"{name} ({count})" for name, count in shown)


def sniff_file(path: Path) -> str:
    """Return the format by the first bytes of a file; "" if it is unknown or no regular file."""
    try:
        if not path.is_file():  # a named pipe would block forever
            return ""
        with path.open("rb") as file:
            return sniff_format(file.read(_NUM_START))
    except OSError:
        return _UNREADABLE


def _name_suffix(suffix: str) -> str:
    """Return a suffix for a list of them; the last number of a UID is none."""
    return suffix if _REAL_SUFFIX.fullmatch(suffix) else "no suffix"
