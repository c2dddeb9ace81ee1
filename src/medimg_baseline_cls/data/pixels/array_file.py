"""Write the pixel array of a data set and map it again, each row verified by its checksum.

pixels.npy has one image per row, contents.csv lists for each row its content, why it could not be
decoded, and the CRC-32 of both. An unexpected file counts as missing; rows with a wrong checksum
are listed, to rebuild them alone.
"""

import csv
import os
import zlib
from array import array
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.read import Pixels
from medimg_baseline_cls.errors import MedimgError
from medimg_baseline_cls.utils.files import read_csv, write_csv

Result = tuple[Pixels | None, str | None]  # the pixels of a row, or why it has none

_PIXELS, _CONTENTS = "pixels.npy", "contents.csv"
_COLUMNS = ["sha256", "error", "crc32"]
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredArray:
    """A mapped pixel array.

    Attributes:
        pixels: read-only memory map, one image per row.
        errors: by row, why it has no pixels.
        damaged: the rows that are not as they were written.
    """

    pixels: NDArray[Any]
    errors: Mapping[int, str]
    damaged: frozenset[int] = frozenset()

    def result(self, row: int) -> Result:
        """Return a row as `write_array` takes it."""
        error = self.errors.get(row)
        return (np.array(self.pixels[row]) if error is None else None), error


def write_array(
    folder: Path,
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    contents: Iterable[str],
    results: Iterable[Result],
) -> None:
    """Write the rows one by one, then their contents.

    Args:
        folder: exists, without these files.
        shape: of the array; the first number is that of the rows.
        dtype: of a pixel.
        contents: row by row, the sha256 of the file that was decoded.
        results: row by row.
    """
    # Plain writes, not a writable memory map: on a full disk that one dies by SIGBUS.
    blank = np.zeros(shape[1:], dtype).tobytes()
    errors: list[str | None] = []
    checksums = array("L")  # a list of a million numbers would fill 32 MB
    with (folder / _PIXELS).open("xb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)
        for pixels, error in results:
            data = blank if pixels is None else pixels.tobytes()
            file.write(data)
            errors.append(error)
            checksums.append(_checksum(data, error or ""))
        file.flush()
        os.fsync(file.fileno())
    texts = (f"{checksum:08x}" for checksum in checksums)
    rows = zip(contents, errors, texts, strict=True)
    write_csv(folder / _CONTENTS, _COLUMNS, rows=rows)


def open_array(
    folder: Path, *, shape: tuple[int, ...], dtype: np.dtype[Any], contents: Iterable[str]
) -> StoredArray | None:
    """Map an array and verify it, or return None if there is none with these contents.

    Args:
        folder: of `write_array`, as are the others.
        shape: likewise.
        dtype: likewise.
        contents: likewise.
    """
    try:
        pixels = np.lib.format.open_memmap(folder / _PIXELS, mode="r")
        if pixels.shape != shape or pixels.dtype != dtype or not pixels.flags.c_contiguous:
            return None
        return _verify(folder, pixels, contents=contents)
    except Exception:  # a damaged file may raise anything: it is rebuilt
        return None


def list_contents(folder: Path) -> list[str]:
    """Return the sha256 of each row of an array; nothing where it cannot be read."""
    try:
        return [row["sha256"] for row in read_csv(folder / _CONTENTS)]
    except (MedimgError, KeyError):
        return []


def _verify(folder: Path, pixels: "np.memmap[Any, Any]", *, contents: Iterable[str]) -> StoredArray:
    """Return the array with its damaged rows.

    Raises:
        ValueError: contents.csv does not list these contents, row by row.
    """
    errors: dict[int, str] = {}
    damaged: set[int] = set()
    data = _read_rows(folder / _PIXELS, pixels)
    with closing(data), (folder / _CONTENTS).open(encoding="utf-8", newline="") as file:
        table = csv.reader(file, strict=True)
        if next(table, None) != _COLUMNS:
            raise ValueError(f"{folder / _CONTENTS} has other columns")
        rows = zip(data, contents, table, strict=True)
        for row, (found, wanted, (sha256, error, crc32)) in enumerate(rows):
            if sha256 != wanted:
                raise ValueError(f"{folder / _CONTENTS} lists another content")
            if error:
                errors[row] = error
            if f"{_checksum(found, error):08x}" != crc32:
                damaged.add(row)
    return StoredArray(pixels, errors, frozenset(damaged))


def _read_rows(path: Path, pixels: "np.memmap[Any, Any]") -> Generator[memoryview]:
    """Yield the bytes of each row, read without the map, which would fill memory."""
    size = pixels[0].nbytes
    num_rows = max(1, _BLOCK_BYTES // size)
    block = memoryview(bytearray(num_rows * size))
    with path.open("rb", buffering=0) as file:
        file.seek(pixels.offset)
        for start in range(0, len(pixels), num_rows):
            count = file.readinto(block[: min(num_rows, len(pixels) - start) * size])
            yield from (block[at : at + size] for at in range(0, count, size))


def _checksum(data: bytes | memoryview, error: str) -> int:
    return zlib.crc32(error.encode(), zlib.crc32(data))
