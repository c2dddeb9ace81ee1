"""Read a table file (CSV, TSV, Parquet) as columns of text, each row with its line in the file.

What table programs write is understood: UTF-16, a line that names the separator, blanks before a
quote, columns without a name, rows of separators alone. A row that does not fit the header is
refused with its line, and so is a workbook, which has to be exported as CSV first.
"""

import csv
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO, cast
from unicodedata import category

from medimg_baseline_cls.data.folders.split_folders import shorten_list
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.texts import clean_text

Columns = dict[str, list[str]]

ABSENT = "\0absent"  # the cell of a row that ends before this column
_DELIMITERS = "\t;,|"
_WORKBOOKS = frozenset({".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"})
_WORKBOOK_STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of each column as text; the line of the file in which each row begins; notes.

    `unread` is the type of each column without text values; its cells are `ABSENT`.
    """

    columns: Columns
    lines: Sequence[int]
    notes: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict[str, str])

    def strip(self, name: str) -> list[str]:
        """Return the cells of a column without the blanks around them.

        Raises:
            DataError: The column has no texts, or a row ends before it.
        """
        cells = self.columns[name]
        if name in self.unread:
            raise DataError(
                f"the column {name} cannot be read as text: it is of the type "
                f"{self.unread[name]}; write texts or numbers into it, or save the table as CSV."
            )
        if ABSENT in cells:
            line = self.lines[cells.index(ABSENT)]
            raise DataError(
                f"row {line} ends before the column {name}: a separator or a quote may be missing."
            )
        return [cell.strip() for cell in cells]


def read_table(path: Path) -> Table:
    """Return the table in a file; a cell that a short row lacks is `ABSENT`.

    Raises:
        DataError: The file is missing, is of another kind, or is not a table.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".txt", ".parquet", *_WORKBOOKS):
        raise DataError(f"{path}: expected a table that ends in .csv, .tsv or .parquet.")
    if not path.is_file():
        raise DataError(f"the table {path} does not exist or is not a file.")
    start = _read_start(path)
    if not start:
        raise DataError(f"the table {path} is empty (0 bytes): write it again.")
    if suffix in _WORKBOOKS or start.startswith(_WORKBOOK_STARTS):
        raise DataError(
            f"{path} is a workbook, which cannot be read: export its sheet as CSV (in Excel: Save "
            "As, CSV UTF-8) and pass that file."
        )
    table = _read_parquet(path) if suffix == ".parquet" else _read_text(path, start)
    if not table.columns or not table.lines:
        raise DataError(
            f"the table {path} has no rows below its header: if a program wrote it, check that it "
            "found your images, such as by their suffix."
        )
    return table


def _read_start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(256)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def find_encoding(start: bytes) -> str:
    """Return the encoding that the first bytes of a text show: UTF-8, or UTF-16 as Excel writes it.

    >>> find_encoding("path".encode("utf-16")), find_encoding(b"path,label")
    ('utf-16', 'utf-8-sig')
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in start:
        return "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    return "utf-8-sig"


def _read_text(path: Path, start: bytes) -> Table:
    try:
        with path.open(encoding=find_encoding(start), newline="") as file:
            rows = list(_read_rows(file, path))
    except UnicodeError as error:
        _require_text(path, start)
        raise DataError(
            f"{path} is not UTF-8 text ({error}): save it as UTF-8 (in Excel: Save As, CSV UTF-8)."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    filled = [(line, row) for line, row in rows if any(map(str.strip, row))]
    if len(filled) < 2:  # a header at most
        _require_text(path, start)
        return Table({}, ())
    (_, header), *body = filled
    names = [clean_text(name) for name in header]
    _require_different(path, names)
    if len(names) == 1 and names[0].startswith("#") and len(body[0][1]) > 1:
        raise DataError(
            f"{path} begins with a comment, {names[0][:60]!r}, where the header is expected: "
            "remove the lines above the header."
        )
    cells = [_fit_row(row, len(names), where=f"{path}, row {line}") for line, row in body]
    columns = {
        name: [sys.intern(cell) for cell in column]
        for name, column in zip(names, zip(*cells, strict=True), strict=True)
        if name
    }
    lines = [line for line, _ in body]
    plain = range(2, len(lines) + 2)
    return Table(columns, plain if lines == list(plain) else lines, tuple(_note(rows, names)))


def _require_text(path: Path, start: bytes) -> None:
    """Refuse a file with control characters, which no table has.

    Raises:
        DataError: it is a picture, an archive or the like.
    """
    text = start.decode(find_encoding(start), errors="replace")
    if any(category(letter) in ("Cc", "Cn") and not letter.isspace() for letter in text):
        raise DataError(f"{path} is not a table of text: pass a CSV, TSV or Parquet file.")


def _read_rows(file: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line in which it begins.

    Raises:
        DataError: Quotes are not closed, or a cell continues after one.
    """
    first, *more = _read_first_lines(file)
    delimiter, num_before = _find_declared(first), 1
    if delimiter is None:
        delimiter, num_before = _find_delimiter(path, first, *more), 0
        more = [first, *more]
    reader = csv.reader(chain(more, file), delimiter=delimiter, skipinitialspace=True, strict=True)
    begin = num_before + 1
    try:
        for row in reader:
            yield begin, row
            begin = num_before + reader.line_num + 1
    except csv.Error as error:
        is_long = "field larger" in str(error)
        found = f"a cell of more than {csv.field_size_limit():,} characters" if is_long else ""
        raise DataError(
            f"{path} is not a readable table: the row that begins in line {begin} has "
            f"{found or 'a quote that is not closed, or text behind a closing quote'}"
            f"{': a quote may not be closed' if is_long else ''}."
        ) from error


def _read_first_lines(file: TextIO) -> list[str]:
    """Return the lines up to the second that is not blank; "" where the file is empty."""
    lines: list[str] = []
    while sum(map(bool, map(str.strip, lines))) < 2:
        line = file.readline()
        if not line:
            break
        lines.append(line)
    return lines or [""]


def _find_declared(line: str) -> str | None:
    """Return the separator of a first line such as sep=; that Excel reads and writes."""
    text = line.strip('\r\n\ufeff" ')
    return text[-1] if len(text) == 5 and text.lower().startswith("sep=") else None


def _find_delimiter(path: Path, *lines: str) -> str:
    """Return what separates the cells: what gives the first two rows the same number of them."""
    header, *body = [line for line in lines if line.strip()] or [""]

    def rate(delimiter: str) -> tuple[bool, bool, int, int]:
        count = _count_cells(header, delimiter)
        fits = not body or _count_cells(body[0], delimiter) == count
        return count > 1, fits, count, -_DELIMITERS.index(delimiter)

    if path.suffix.lower() == ".tsv" and "\t" in header:
        return "\t"
    best = max(_DELIMITERS, key=rate)
    return best if rate(best)[0] else ","


def _count_cells(line: str, delimiter: str) -> int:
    """Return the number of cells of a line up to its last that is not blank."""
    try:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a cell is too long: said when the row is read
        return 0
    return max((n for n, cell in enumerate(row, start=1) if cell.strip()), default=0)


def _fit_row(row: list[str], width: int, *, where: str) -> list[str]:
    """Return a row as wide as the header: blank cells beyond it are dropped.

    Raises:
        DataError: A cell beyond the header is not blank.
    """
    if any(map(str.strip, row[width:])):
        raise DataError(
            f"{where}, has {len(row)} cells where the header has {width}: name each column, and "
            "put quotes around a cell that contains the separator."
        )
    return row if len(row) == width else [*row[:width], *[ABSENT] * (width - len(row))]


def _note(rows: Iterable[tuple[int, list[str]]], names: Sequence[str]) -> Iterator[str]:
    num_blank = sum(bool(row) and not any(map(str.strip, row)) for _, row in rows)
    if num_blank:
        yield f"{say_count(num_blank, 'blank rows')} left out"
    num_unnamed = names.count("")
    if num_unnamed:
        yield f"{say_count(num_unnamed, 'columns')} without a name left out"


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise DataError(
            f"{path}: reading Parquet needs pyarrow: pip install 'medimg-baseline-cls[parquet]', "
            "or save the table as CSV."
        ) from error
    damaged = DataError(
        f"{path} is not a readable Parquet file: it is damaged, or of another kind; write it "
        "again, or save the table as CSV."
    )
    with parsing(lambda _: damaged), parquet.ParquetFile(path) as file:
        _require_different(path, file.schema_arrow.names)
        table = file.read()
    columns: Columns = {}
    unread: dict[str, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns[name] = [_cell_text(value) for value in column.to_pylist()]
        except Exception as error:  # pyarrow raises of its own and of many other kinds
            columns[name] = [ABSENT] * table.num_rows
            more = " with bytes that are not UTF-8" if isinstance(error, UnicodeError) else ""
            unread[name] = f"{str(column.type)[:200]}{more}"
    lines = range(2, table.num_rows + 2)  # as a spreadsheet would count
    return Table(columns, lines, unread=unread)


def _require_different(path: Path, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has two columns named {shorten_list(repeated)}: rename one.")


def _cell_text(value: object) -> str:
    """Return a Parquet value as in a CSV file; missing whole numbers make floats.

    Raises:
        ValueError: It is a record, which has no such text, or not UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value) if value.is_integer() else value)
    if isinstance(value, bytes):
        return value.decode()
    items = cast(list[object], value) if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list | tuple) for item in items):
        raise ValueError("a record")
    return str(value)
