"""Where the bytes of an image come from: a file of a folder, or a slice of a MedMNIST .npz.

A case of several files is one block of bytes, in which the order of DICOM files is that of their
contents. A source turns the path of an image into bytes that `decode_image` reads. Unreadable
files get a reason.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from medimg_baseline_cls.data.folders.cases import list_case_files
from medimg_baseline_cls.data.npz import NpzSource, is_npz
from medimg_baseline_cls.data.read import pack_files, starts_like_dicom
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.utils.faults import explain_fault, is_of_machine
from medimg_baseline_cls.utils.quantities import format_bytes

MISSING = "the file is not there"
MAX_CASE_BYTES = 4 << 30


class ImageSource(Protocol):
    """Gives the bytes of an image by its path."""

    def read(self, path: str) -> bytes:
        """Return the bytes of one image.

        Raises:
            BadImageError: there is no such file, or it cannot be read.
            ResourceError: no file could be read just now.
        """
        ...


def open_source(data_dir: Path, *, cache_dir: Path, has_volumes: bool = False) -> ImageSource:
    """Return the source of a data folder, or of an .npz file.

    Args:
        data_dir: the folder or file.
        cache_dir: for the arrays of an .npz file.
        has_volumes: whether a path may be that of a folder or series, see `data.folders.cases`.

    Raises:
        DataError: the .npz file cannot be read.
    """
    if is_npz(data_dir):
        return NpzSource(data_dir, cache_dir)
    return FolderSource(data_dir, has_volumes=has_volumes)


def read_file(files: Sequence[Path], position: int) -> bytes:
    """Return the bytes of one of these files, as a source does."""
    return FolderSource(Path(), has_volumes=True).read(str(files[position]))


class FolderSource:
    """Reads files below a folder."""

    def __init__(self, root: Path, *, has_volumes: bool = False) -> None:
        self._root = root
        self._has_volumes = has_volumes

    def read(self, path: str) -> bytes:
        """Return the bytes of a file, or of the files of a case."""
        place = self._root / path
        if not self._has_volumes or (os.path.lexists(place) and not place.is_dir()):
            return self._read_file(place)
        try:
            files = list_case_files(place)
            num_bytes = sum(file.stat().st_size for file in files)
        except OSError as error:
            raise BadImageError(f"the folder cannot be read: {error.strerror or error}") from error
        if num_bytes > MAX_CASE_BYTES:
            raise BadImageError(
                f"the files of the case have {format_bytes(num_bytes)}, more than "
                f"{format_bytes(MAX_CASE_BYTES)}"
            )
        parts = [self._read_file(file) for file in files or [place]]
        return pack_files(sorted(parts) if any(map(starts_like_dicom, parts)) else parts)

    def _read_file(self, file: Path) -> bytes:
        try:
            if not os.path.lexists(file):
                raise BadImageError(MISSING)
            # A named pipe x.png would block forever; a folder or a broken link is not a file.
            if file.is_dir():
                raise BadImageError(
                    "not a regular file but a folder: cases of several files need --slices"
                )
            if not file.is_file():
                raise BadImageError("not a regular file, or a broken link")
            return file.read_bytes()
        except OSError as error:
            fault = explain_fault(error) if is_of_machine(error) else None
            if fault is not None:
                raise fault from error  # no reason to leave out this image
            raise BadImageError(f"the file cannot be read: {error.strerror or error}") from error
