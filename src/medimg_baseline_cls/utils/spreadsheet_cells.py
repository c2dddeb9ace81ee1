"""Cells that no spreadsheet takes for a formula, and what they were before.

For tables that people open. A mark in front makes a cell text; reading takes it off again, so
that a name which begins with one is the same name.
"""

from pathlib import Path

from medimg_baseline_cls.utils.files import read_csv

_MARK = "'"
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠" + _MARK)


def guard_cell(cell: object) -> object:
    """Return a CSV cell that no spreadsheet takes for a formula; numbers stay as they are.

    >>> [guard_cell(cell) for cell in ("=1+1", " @a", "a=b", -0.5, None)]
    ["'=1+1", "' @a", 'a=b', -0.5, None]
    """
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA_STARTS):
        return f"{_MARK}{cell}"
    return cell


def unguard_cell(cell: str) -> str:
    """Return what `guard_cell` was given.

    >>> unguard_cell("'=1+1"), unguard_cell("a=b")
    ('=1+1', 'a=b')
    """
    return cell.removeprefix(_MARK)


def read_guarded_csv(path: Path) -> list[dict[str, str]]:
    """Read a table with guarded cells, as `read_csv` does.

    Raises:
        RunError: The file is missing, has no header, or a row does not fit the header.
    """
    return [{k: unguard_cell(cell) for k, cell in row.items()} for row in read_csv(path)]
