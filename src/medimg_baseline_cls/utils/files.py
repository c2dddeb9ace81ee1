"""Write files whole or not at all, and read back exactly what was written.

Every file is written next to its target, synced to the disk and then renamed over it, so
a reader sees the old file or the new one, whatever kills the writer. CSV numbers read back to the
same float64. A file that is missing or garbled is refused with a RunError.
"""

import csv
import hashlib
import json
import os
import re
import secrets
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils.faults import plain_faults
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.visible import escape_json

# Names of files are bytes on POSIX: what is not UTF-8 must survive a round trip too.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_NEEDS_QUOTES = frozenset(',"\r\n')
_REWRITE = "restore it, or run the stage that writes it again"
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.tmp", re.DOTALL)


@contextmanager
def open_atomic(path: Path, *, is_private: bool = False) -> Generator[BinaryIO, None, None]:
    """Open a binary file that replaces `path` when the block ends, and leaves it on an error.

    Args:
        path: the target; its folder is made if it is missing.
        is_private: only its owner can read the file, at any time.

    Yields:
        A file open for writing bytes, in the same folder under a hidden temporary name.

    Raises:
        ResourceError: The disk is full, read-only or fails, whatever the writer made of that.
    """
    # Cut to keep a long name with its suffix within the usual limit of 255 bytes.
    temporary = path.with_name(f".{path.name[:48]}.{secrets.token_hex(8)}.tmp")
    with plain_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(temporary, _NEW_FILE, 0o600 if is_private else 0o666)
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers of `open_atomic` left in a folder that has no other writer now.

    `predict` may write its own files meanwhile: these stay.
    """
    for path in folder.rglob(".*.tmp"):
        is_predicted = any("predictions_new" in part for part in path.relative_to(folder).parts)
        if _TEMPORARY.fullmatch(path.name) and not is_predicted:
            path.unlink(missing_ok=True)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write bytes to a file, whole or not at all."""
    with open_atomic(path) as file:
        file.write(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Write text as UTF-8 with the line ends it has, whole or not at all."""
    write_bytes_atomic(path, text.encode(_ENCODING, _ERRORS))


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON in UTF-8, indented, keys in their own order.

    What a name hides (control characters, bytes outside UTF-8) is written as escapes of JSON.

    Args:
        path: the target.
        content: dicts, lists, strings, numbers, None; NumPy scalars and arrays and paths too.

    Raises:
        ValueError: A number is NaN or infinite: JSON has no word for it, write null and a reason.
    """
    write_text_atomic(path, format_json(content))


def format_json(content: Any) -> str:
    """Return plain values as the text that `write_json` writes."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False, default=_plain)
    return escape_json(text) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains an object, as all of ours do.

    Raises:
        RunError: The file is missing, is not JSON, or contains something else.
    """
    _require(path)
    with parsing(lambda reason: _refuse_json(path, f"is not valid JSON ({reason})")):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise _refuse_json(path, "does not contain a JSON object")
    return cast(dict[str, Any], content)


def write_csv(
    path: Path,
    header: Sequence[str],
    *,
    rows: Iterable[Sequence[object]],
    is_private: bool = False,
) -> None:
    """Write a table: one header line, then one line per row, each ended by a line feed.

    Args:
        path: the target.
        header: the column names.
        rows: cells; floats read back to the same float64; None is an empty cell.
        is_private: only its owner can read the file.

    Raises:
        ValueError: A row has more or fewer cells than the header.
    """
    with open_atomic(path, is_private=is_private) as file:
        file.write(format_csv_row(header).encode(_ENCODING, _ERRORS))
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f"a row of {path.name} has {len(row)} cells, not {len(header)}")
            file.write(format_csv_row(row).encode(_ENCODING, _ERRORS))


def format_csv_row(cells: Sequence[object]) -> str:
    r"""Return one line of a CSV file, with its line end.

    >>> format_csv_row(["a,b", 0.1, None, 3])
    '"a,b",0.1,,3\n'
    """
    texts = [_quote(_cell_text(cell)) for cell in cells]
    if texts == [""]:
        return '""\n'  # an empty line would be skipped by readers
    return ",".join(texts) + "\n"


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a table as one dict per row, every cell as text.

    Raises:
        RunError: The file is missing, has no header, or a row does not fit the header.
    """
    _require(path)
    with path.open(encoding=_ENCODING, errors=_ERRORS, newline="") as file:
        try:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
        except csv.Error as error:
            raise RunError(f"{path} is not a readable CSV file ({error}): {_REWRITE}.") from error
    if not header:
        raise RunError(f"{path} is empty or has no header: {_REWRITE}.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise RunError(
                f"{path}, row {number}, has {len(row)} cells where the header has {len(header)}; "
                "the file is cut off or was edited: restore it, or write it again."
            )
    return [dict(zip(header, row, strict=True)) for row in rows]


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal.

    Raises:
        RunError: The file is missing.
    """
    _require(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _require(path: Path) -> None:
    if not path.is_file():
        raise RunError(
            f"{path} is missing: check the path, or run the stage that writes it (again)."
        )


def _refuse_json(path: Path, found: str) -> RunError:
    return RunError(f"{path} {found}; it was changed after it was written: {_REWRITE}.")


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float | np.floating):
        return repr(float(cell))  # the shortest text that reads back to the same float64
    return str(cell)


def _quote(text: str) -> str:
    # The csv module leaves a lone carriage return unquoted before Python 3.13.
    if _NEEDS_QUOTES.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
