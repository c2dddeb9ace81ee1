"""Read a file of tensors, verified: what is damaged, foreign or hostile gets one reason.

`torch.load` checks no checksum, and its error for a refused file advises unpickling it anyway. Here
the checksums of the archive come first, nothing but tensors and plain values is read, and every
reason is our own clause.
"""

import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_DAMAGED = "it is cut off or damaged"
_NOT_OURS = "torch.save did not write it, or it is damaged"


class UnreadableFileError(Exception):
    """No tensors can be read from a file; the text is the reason, a clause."""


def read_tensor_file(path: Path) -> Any:
    """Return what a file of tensors contains, whatever it is named: of torch, or safetensors.

    Raises:
        UnreadableFileError: It is not such a file, is damaged, or contains more than tensors and
            plain values.
    """
    head = _read_head(path)
    if head.startswith(_ZIP):
        return read_torch_archive(path)
    if head[8:9] == b"{":
        return _try(lambda: load_file(path), reason=_DAMAGED)
    if head.startswith(_PICKLE):  # of torch before 1.6: there is no checksum to verify
        return _load(path)
    raise UnreadableFileError("it is neither a file of torch nor safetensors")


def read_torch_archive(path: Path) -> Any:
    """Return the content of a file that `torch.save` wrote, once its checksums are verified.

    Raises:
        UnreadableFileError: as for `read_tensor_file`.
    """
    if not _read_head(path).startswith(_ZIP):
        raise UnreadableFileError("it is not a file that torch.save wrote")
    _try(lambda: _verify_archive(path), reason=_DAMAGED)
    return _load(path)


def find_odd_tensor(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a value that is not finite, or None."""
    return next((name for name, t in tensors.items() if not torch.isfinite(t).all()), None)


def _read_head(path: Path) -> bytes:
    """Return the first bytes of a file."""
    if path.is_dir():
        raise UnreadableFileError("it is a folder")
    if not path.is_file():
        raise UnreadableFileError("it is not there, or not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UnreadableFileError(f"it cannot be read: {error.strerror or error}") from error
    if not head:
        raise UnreadableFileError("it is empty")
    return head


def _verify_archive(path: Path) -> None:
    """Compare every checksum of a zip archive of torch.

    torch stores its records as they are: a compressed one is another program's, and might
    unpack to more than fits on the disk.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename.rpartition("/")[2] for record in records]
        is_stored = all(record.compress_type == zipfile.ZIP_STORED for record in records)
        if names.count("data.pkl") != 1 or "constants.pkl" in names or not is_stored:
            raise UnreadableFileError("it is a zip archive, but not one that torch.save wrote")
        damaged = archive.testzip()
        if damaged is not None:
            raise UnreadableFileError(f"it is damaged: the checksum of {damaged!r} does not match")


def _load(path: Path) -> Any:
    def load() -> Any:
        # Opened here, for torch would read a path that ends in .safetensors by another library.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)

    return _try(load, reason=_NOT_OURS)


def _try(step: Callable[[], Any], *, reason: str) -> Any:
    """Return what a step returns; any error of a parser at a hostile file is one of the file."""
    try:
        return step()
    except UnreadableFileError:
        raise
    except Exception as error:  # KeyError, struct.error, UnpicklingError, RecursionError ...
        if "GLOBAL" in str(error):  # an opcode of pickle: a class or a function
            reason = "it contains Python objects, not only tensors and plain values"
        raise UnreadableFileError(reason) from error
