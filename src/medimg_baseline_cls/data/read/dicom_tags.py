"""Read single values of a DICOM data set: one finite number, one count, one text, one LUT.

No message repeats the text of a tag: it might name a patient.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg_baseline_cls.errors import BadImageError

_MAX_MAPPED = 1 << 16


def read_number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first number of a tag; None where it is absent or empty.

    Raises:
        BadImageError: The tag is not a finite number.
    """
    value = _first(dataset, keyword)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadImageError(f"{keyword} of the DICOM file is not a finite number")
    return number


def read_count(dataset: Dataset, keyword: str, *, default: int | None = None) -> int:
    """Return the number of a tag, which must be whole and not negative.

    Raises:
        BadImageError: It is not, or it is absent and there is no default.
    """
    number = read_number(dataset, keyword)
    if number is None:
        if default is None:
            raise BadImageError(f"the DICOM file has no {keyword}")
        return default
    if number < 0 or number % 1:
        raise BadImageError(f"{keyword} of the DICOM file is {number:g}, expected a whole number")
    return int(number)


def read_numbers(dataset: Dataset, keyword: str, *, count: int) -> tuple[float, ...] | None:
    """Return the numbers of a tag; None where it is absent or empty.

    Raises:
        BadImageError: They are not finite, or not `count`.
    """
    text = read_text(dataset, keyword)
    if not text:
        return None
    try:
        numbers = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise BadImageError(f"{keyword} of the DICOM file is not {count} finite numbers")
    return numbers


def read_text(dataset: Dataset, keyword: str) -> str:
    """Return the text of a tag without outer blanks, "" where it is absent."""
    try:
        value = dataset.get(keyword)
    except Exception as error:
        raise BadImageError(f"{keyword} of the DICOM file cannot be read") from error
    if value is None or isinstance(value, bytes):
        return ""
    is_single = isinstance(value, str) or not hasattr(value, "__len__")
    parts = [value] if is_single else list(value)
    return "\\".join(str(part) for part in parts).strip().strip("\0").strip()


@dataclass(frozen=True, slots=True)
class Lut:
    """A table of shades: `entries[i]` is that of the value `first + i`, `top` is white."""

    entries: NDArray[np.float64]
    first: int
    top: float

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the shade of each value; those beyond the table have that of its ends."""
        where = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[where.astype(np.int64)]


def read_lut(dataset: Dataset, keyword: str, *, limits: tuple[float, float]) -> Lut | None:
    """Return the table of a LUT sequence; None where there is no sequence.

    The first item is taken, as viewers do. If the entries fit into fewer bits than in the
    descriptor, the largest of them is white: many files declare 16 bits for a table of 12. The
    first value mapped is read as signed or unsigned, whichever covers more of the limits.

    Args:
        dataset: may have the sequence.
        keyword: of the sequence.
        limits: the lowest and the highest value that may be looked up.

    Raises:
        BadImageError: The table contradicts its descriptor (PS3.3 C.11.1.1.1), or is of
            other values than those within the limits.
    """
    try:
        items = dataset.get(keyword)
        if not items:
            return None
        item = items[0]
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        entries = _read_entries(item, (count & 0xFFFF) or _MAX_MAPPED)
    except BadImageError:
        raise
    except Exception as error:
        raise BadImageError(f"{keyword} of the DICOM file is damaged") from error
    highest = int(entries.max())
    if not 8 <= bits <= 16 or highest >= 1 << bits:
        raise BadImageError(f"{keyword} of the DICOM file does not fit its {bits} bits")
    is_smaller = 0 < highest < 1 << (bits - 1)
    top = highest if is_smaller else (1 << bits) - 1
    first = _choose_first(first, len(entries), limits=limits)
    if first > limits[1] or first + len(entries) - 1 < limits[0]:
        raise BadImageError(f"{keyword} of the DICOM file is not of the values of its pixels")
    return Lut(entries.astype(np.float64), first, float(top))


def _choose_first(first: int, count: int, *, limits: tuple[float, float]) -> int:
    """Return the first value mapped, with or without a sign."""

    def covered(start: int) -> float:
        return min(start + count - 1, limits[1]) - max(start, limits[0])

    unsigned = first & 0xFFFF
    signed = unsigned - (1 << 16) if unsigned >= 1 << 15 else unsigned
    return max(first, signed, unsigned, key=covered)


def _first(dataset: Dataset, keyword: str) -> Any:
    try:
        value = dataset.get(keyword)
    except Exception as error:
        raise BadImageError(f"{keyword} of the DICOM file cannot be read") from error
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        return None if value in ("", b"") else value
    return value[0] if len(value) else None


def _read_entries(item: Dataset, count: int) -> NDArray[np.integer[Any]]:
    """Return the entries of LUTData: 16-bit words, or bytes where they are packed so."""
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if item.original_encoding[1] is not False else ">"
        width = 1 if len(data) in (count, count + 1) else 2
        values = np.frombuffer(data, f"{order}u{width}", count=min(count, len(data) // width))
    else:
        values = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(values) != count:
        raise BadImageError(f"LUTData of the DICOM file has {len(values)} entries, not {count}")
    return values
