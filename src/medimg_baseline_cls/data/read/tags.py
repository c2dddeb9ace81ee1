"""Turn DICOM elements into numbers that are certainly finite; refuse all others.

Writers leave elements empty, repeat them and put text where numbers belong; each such case
is told as a BadImageError that names the element.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from medimg_baseline_cls.errors import BadImageError

if TYPE_CHECKING:
    from pydicom import Dataset


def read_number(dataset: "Dataset", keyword: str) -> float | None:
    """Return the first value of an element, None where it is missing or empty.

    Raises:
        BadImageError: The value is no finite number.
    """
    value: object = dataset.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        values = cast("Sequence[object]", value)
        value = values[0] if len(values) else None
    if value is None or value == "":
        return None
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadImageError(f"the DICOM file has {keyword} {value!r:.40}, expected a finite number")
    return number


def read_optional_integer(dataset: "Dataset", keyword: str) -> int | None:
    """Return the first value of an element as a whole number, None where there is none.

    Raises:
        BadImageError: The value is no whole number.
    """
    number = read_number(dataset, keyword)
    if number is None:
        return None
    if number != int(number):
        raise BadImageError(f"the DICOM file has {keyword} {number:g}, expected a whole number")
    return int(number)


def read_integer(dataset: "Dataset", keyword: str) -> int:
    """Return the first value of a required element as a whole number.

    Raises:
        BadImageError: There is none, or it is no whole number.
    """
    number = read_optional_integer(dataset, keyword)
    if number is None:
        raise BadImageError(f"the DICOM file has no {keyword}")
    return number
