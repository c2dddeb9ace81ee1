"""Where the bytes of an image come from: a file of a folder, or a slice of a MedMNIST .npz.

A source turns the path of an image into bytes that `decode_image` reads. Unreadable files get a
reason.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from medimg_baseline_cls.data.npz import NpzSource, is_npz
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.utils.faults import explain_fault, is_of_machine

MISSING = "the file is not there"


class ImageSource(Protocol):
    """Gives the bytes of an image by its path."""

    def read(self, path: str) -> bytes:
        """Return the bytes of one image.

        Raises:
            BadImageError: there is no such file, or it cannot be read.
            ResourceError: no file could be read just now.
        """
        ...


def open_source(data_dir: Path, *, cache_dir: Path) -> ImageSource:
    """Return the source of a data folder, or of an .npz file.

    Raises:
        DataError: the .npz file cannot be read.
    """
    return NpzSource(data_dir, cache_dir) if is_npz(data_dir) else FolderSource(data_dir)


def read_file(files: Sequence[Path], position: int) -> bytes:
    """Return the bytes of one of these files, as a source does."""
    return FolderSource(Path()).read(str(files[position]))


class FolderSource:
    """Reads files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes:
        """Return the bytes of a file."""
        file = self._root / path
        try:
            if not os.path.lexists(file):
                raise BadImageError(MISSING)
            # A named pipe x.png would block forever; a folder or a broken link is not a file.
            if not file.is_file():
                raise BadImageError("not a regular file, or a broken link")
            return file.read_bytes()
        except OSError as error:
            fault = explain_fault(error) if is_of_machine(error) else None
            if fault is not None:
                raise fault from error  # no reason to leave out this image
            raise BadImageError(f"the file cannot be read: {error.strerror or error}") from error
