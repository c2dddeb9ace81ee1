"""Turn columns of a table, and parts of file names, into subgroups of the TEST images.

A column of many numbers, such as age (058Y, as in DICOM, is 58), becomes bands: those that are
set, or the quartiles of TRAIN, so that TEST does not decide its own bands. Words stay as they
are. A blank cell is not a subgroup: it is counted as not given.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.texts import is_missing, read_number

MAX_CODES = 10  # a column of more different numbers is a measure, not a code
_QUARTILES = (0.25, 0.5, 0.75)
# Kermany et al. 2018, chest radiographs: NORMAL/IM-..., PNEUMONIA/person1_virus_6.
CHEST_REGEX = r"(?:^|/)(?:person\d+_)?(?P<etiology>NORMAL(?=/)|bacteria(?=_)|virus(?=_))"
_AGE = re.compile(r"(\d{3})([YMWD])")  # DICOM's value representation AS
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_WORDS = {"auto": CHEST_REGEX, "none": r"(?!)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupColumn:
    """One way to divide the TEST images.

    Attributes:
        name: of the column.
        values: the subgroup of each TEST image, "" where it is not given; length N.
        order: the subgroups, in the order in which they are shown.
        source: "table", "bands" (of numbers) or "path" (the file name).
    """

    name: str
    values: tuple[str, ...]
    order: tuple[str, ...]
    source: str


def part_column(
    name: str, test: Sequence[str], *, train: Sequence[str], edges: Sequence[float] | None
) -> SubgroupColumn:
    """Return a column of a table as subgroups.

    Args:
        name: of the column.
        test: its cell for each TEST image, length N.
        train: its cells in TRAIN, from which quartiles come.
        edges: increasing limits of the bands; None uses the quartiles, and leaves words.

    Raises:
        ConfigError: edges are set, but a cell is not a number.

    >>> column = part_column("age", ["30", "65", ""], train=[], edges=[40, 65])
    >>> column.values, column.order
    (('< 40', '≥ 65', ''), ('< 40', '40 to < 65', '≥ 65'))
    """
    cells = tuple("" if is_missing(cell.strip()) else cell.strip() for cell in test)
    numbers = [_read_number(cell) for cell in cells]
    is_number = all(n is not None for n, cell in zip(numbers, cells, strict=True) if cell)
    if edges is not None and not is_number:
        odd = next(c for c, n in zip(cells, numbers, strict=True) if c and n is None)
        raise ConfigError(
            f"subgroup_bins names {name}, but this column has {odd!r}, which is not a number: "
            "correct the cell, or leave these bins out."
        )
    if edges is None and is_number and len(set(cells) - {""}) > MAX_CODES:
        edges = _find_quartiles(train)
    if edges is None:
        order = sorted(set(cells) - {""}, key=_sort_key)
        return SubgroupColumn(name=name, values=cells, order=tuple(order), source="table")
    bands = _name_bands(edges)
    values = tuple(
        "" if n is None else bands[int(np.searchsorted(edges, n, "right"))] for n in numbers
    )
    return SubgroupColumn(name=name, values=values, order=bands, source="bands")


def part_paths(paths: Sequence[str], *, regex: str) -> tuple[SubgroupColumn, ...]:
    r"""Return one column for each named group of a regular expression that matches in paths.

    Args:
        paths: of the TEST images, relative, with forward slashes; length N.
        regex: "auto" (names of the Kaggle chest radiographs), "none", or an expression with
            named groups.

    >>> (column,) = part_paths(["a/ct_1.png", "a/mr_2.png"], regex=r"/(?P<device>ct|mr)_")
    >>> column.name, column.values
    ('device', ('ct', 'mr'))
    """
    pattern = re.compile(_WORDS.get(regex, regex))
    found = [pattern.search(path) for path in paths]
    columns: list[SubgroupColumn] = []
    for name in pattern.groupindex:
        values = tuple(m[name] if m and m[name] else "" for m in found)
        order = tuple(sorted(set(values) - {""}, key=_sort_key))
        if len(order) > 1:  # a single value divides nothing
            columns.append(SubgroupColumn(name=name, values=values, order=order, source="path"))
    return tuple(columns)


def require_columns(bins: Mapping[str, object], names: Sequence[str]) -> None:
    """Refuse bands of a column that does not exist.

    Raises:
        ConfigError: with the name of the column, and those that exist.
    """
    unknown = [name for name in bins if name not in names]
    if unknown:
        known = ", ".join(names) or "none"
        raise ConfigError(
            f"subgroup_bins names {unknown[0]}, but the subgroup columns of this run are: {known}."
        )


def _read_number(text: str) -> float | None:
    """Return a number; for an age in the form of DICOM, 058Y or 018M, the years."""
    age = _AGE.fullmatch(text)
    return int(age[1]) / _PER_YEAR[age[2]] if age else read_number(text)


def _find_quartiles(train: Sequence[str]) -> tuple[float, ...] | None:
    """Return the different quartiles of the numbers; None where TRAIN has too few."""
    numbers = [n for n in map(_read_number, train) if n is not None]
    if len(set(numbers)) <= MAX_CODES:
        return None
    return tuple(sorted({float(q) for q in np.quantile(numbers, _QUARTILES)}))


def _name_bands(edges: Sequence[float]) -> tuple[str, ...]:
    texts = [f"{edge:g}" for edge in edges]
    between = [f"{low} to < {high}" for low, high in pairwise(texts)]
    return (f"< {texts[0]}", *between, f"≥ {texts[-1]}")


def _sort_key(text: str) -> tuple[bool, float, str]:
    number = _read_number(text)
    return number is None, number or 0.0, text
