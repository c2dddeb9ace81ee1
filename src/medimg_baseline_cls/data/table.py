"""Turn a table of images (CSV, TSV, Parquet) into a listing: file, label, patient, split.

One row is one image; several rows of one image are refused unless a rule says how to join
them. Columns are named by the settings; missing ones are reported together. Paths that lead
out of the root folder are refused unless that is allowed. No image is opened.
"""

import csv
import math
import operator
import posixpath
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, cast

from medimg_baseline_cls.data.folders import FOLDER_NAMES, shorten_list
from medimg_baseline_cls.data.labels import LabelRule, Labels, read_labels
from medimg_baseline_cls.data.listing import (
    ListedFile,
    Listing,
    keep_some,
    path_of,
    require_images,
)
from medimg_baseline_cls.data.positive import infer_positive_class
from medimg_baseline_cls.data.split_lists import apply_lists
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import format_findings, parse_findings
from medimg_baseline_cls.utils.memory import collector_paused

TABLE_NAMES = ("table.csv", "table.tsv", "table.parquet")

Columns = dict[str, list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """Which column is what, and what is done with odd rows.

    Attributes:
        path_column: the file, relative to the root folder.
        labels: the columns of labels and what they mean.
        group_column: the patient; None: from the file's name.
        split_column: train, val or test; None: no split.
        subgroup_columns: kept beside each image.
        site_column: that of them by which TEST is left out.
        join_rows: several rows of one image: "error" refuses them, "same" joins those with
            one label and group, "any" makes the image positive of what any row is.
        positive_class: which class "any" takes for positive; None: the one not called normal.
        allow_outside: let paths lead out of the root folder.
        split_files: lists of image names, one file for each split.
    """

    path_column: str
    labels: LabelRule
    group_column: str | None = None
    split_column: str | None = None
    subgroup_columns: tuple[str, ...] = ()
    site_column: str | None = None
    join_rows: Literal["error", "same", "any"] = "error"
    positive_class: str | None = None
    allow_outside: bool = False
    split_files: tuple[Path, ...] = ()


def find_table(data_dir: Path) -> Path | None:
    """Return the table that lies in a data folder, if one does."""
    return next((data_dir / n for n in TABLE_NAMES if (data_dir / n).is_file()), None)


@collector_paused()
def list_table(
    manifest: Path, *, root: Path, settings: TableSettings, limit: int | None = None
) -> Listing:
    """List the images that a table names.

    Args:
        manifest: .csv, .tsv or .parquet.
        root: what paths are relative to.
        settings: which column is what.
        limit: keep about this many images, spread over splits and classes; None keeps all.

    Raises:
        DataError: The table cannot be read, lacks a column, or a row is not as it must be.
    """
    columns = read_columns(manifest)
    wanted = _wanted_columns(settings)
    _require_columns(columns, wanted, manifest=manifest)
    stripped = [note for name in wanted if (note := _strip_cells(columns, name)) is not None]
    paths = _read_paths(columns[settings.path_column], root=root, settings=settings)
    labels = _read_labels(columns, settings.labels, manifest=manifest)
    folders = _read_splits(columns, settings, manifest=manifest)
    groups = None if settings.group_column is None else columns[settings.group_column]
    subgroups = list(zip(*(columns[name] for name in settings.subgroup_columns), strict=True))
    rows = _Rows(paths, labels, groups, folders, subgroups or None)
    notes = [f"{len(paths)} rows in {manifest.name}", *stripped, *labels.notes]
    files = rows.files(_join_rows(rows, settings, notes=notes))
    if settings.split_files:
        files, more = apply_lists(files, settings.split_files)
        notes += more
    has_split = any(file.folder for file in files)
    require_images(files, labels.class_names, task=labels.task, has_split=has_split)
    if limit is not None and limit < len(files):
        notes.append(f"limited to {limit} of {len(files)} images")
        files = keep_some(files, limit, task=labels.task)
    files.sort(key=path_of)
    return Listing(
        tuple(files),
        labels.class_names,
        0,
        tuple(notes),
        task=labels.task,
        subgroup_names=settings.subgroup_columns,
        unused_columns=tuple(name for name in columns if name not in wanted),
        kind="table",
    )


def read_columns(path: Path) -> Columns:
    """Return the cells of each column as text.

    Raises:
        DataError: The file is missing, is of another kind, or is no table.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".txt", ".parquet"):
        raise DataError(f"{path}: expected a table that ends in .csv, .tsv or .parquet.")
    if not path.is_file():
        raise DataError(f"the table {path} does not exist or is no file.")
    columns = _read_parquet(path) if suffix == ".parquet" else _read_text(path)
    if not columns or not next(iter(columns.values())):
        raise DataError(f"the table {path} holds no row.")
    return columns


@dataclass(frozen=True)
class _Rows:
    """The table as parallel lists."""

    paths: list[str]
    labels: Labels
    groups: list[str] | None
    folders: list[str] | None
    subgroups: list[tuple[str, ...]] | None

    def files(self, texts: Mapping[int, str]) -> list[ListedFile]:
        """Return the images of some rows, with their label texts."""
        return [
            ListedFile(
                self.paths[row],
                text,
                "" if self.folders is None else self.folders[row],
                None if self.groups is None else _known_group(self.groups[row]),
                () if self.subgroups is None else self.subgroups[row],
                row + 2,
            )
            for row, text in texts.items()
        ]


def _read_text(path: Path) -> Columns:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            if path.suffix.lower() == ".tsv" or "\t" in first:
                delimiter = "\t"
            else:
                delimiter = ";" if first.count(";") > first.count(",") else ","
            file.seek(0)
            rows = list(csv.reader(file, delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8.") from error
    except (csv.Error, ValueError) as error:
        raise DataError(f"{path} is no readable table ({error}).") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not rows:
        return {}
    header, *rows = rows
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has two columns called {shorten_list(repeated)}: rename one.")
    rows = [row for row in rows if row]
    if not rows:
        return {}
    odd = next((n for n, row in enumerate(rows, start=2) if len(row) != len(names)), None)
    if odd is not None:
        raise DataError(
            f"{path}, row {odd}, has {len(rows[odd - 2])} cells where the header has {len(names)}."
        )
    return {
        name: [sys.intern(cell) for cell in cells]
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }


def _read_parquet(path: Path) -> Columns:
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise DataError(
            f"{path}: reading Parquet needs pyarrow: pip install 'medimg-baseline-cls[parquet]', "
            "or save the table as CSV."
        ) from error
    try:
        table = parquet.read_table(path)
    except Exception as error:  # pyarrow raises of its own and of many other kinds
        raise DataError(f"{path} is no readable Parquet file ({error}).") from error
    return {
        str(name): [_cell_text(value) for value in column.to_pylist()]
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _cell_text(value: object) -> str:
    """Return a Parquet value as a CSV file would hold it; missing whole numbers make floats."""
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value) if value.is_integer() else value)
    return str(value)


def _strip_cells(columns: Columns, name: str) -> str | None:
    """Strip blanks around the cells of a column; return a note where there were some."""
    cells = [cell.strip() for cell in columns[name]]
    num_changed = sum(map(operator.ne, cells, columns[name]))
    columns[name] = cells
    return f"blanks around {num_changed} cells of {name} stripped" if num_changed else None


def _known_group(cell: str) -> str | None:
    """Return a patient; None where the cell is blank, or what pandas makes of a blank."""
    return None if cell in ("", "nan", "NaN") else cell


def _wanted_columns(settings: TableSettings) -> dict[str, str]:
    """Return the columns that must be there, each with the setting that names it."""
    wanted = {settings.path_column: "path_column"}
    wanted |= dict.fromkeys(settings.labels.columns, "label_columns")
    for name, setting in (
        (settings.group_column, "group_column"),
        (settings.split_column, "split_column"),
    ):
        if name is not None:
            wanted[name] = setting
    wanted |= dict.fromkeys(settings.subgroup_columns, "subgroup_columns")
    if settings.site_column is not None:
        wanted[settings.site_column] = "site_column"
    return wanted


def _require_columns(columns: Columns, wanted: Mapping[str, str], *, manifest: Path) -> None:
    missing = [name for name in wanted if name not in columns]
    if not missing:
        return
    parts: list[str] = []
    for name in missing:
        near = get_close_matches(name, columns, 1, cutoff=0.5)
        hint = f", did you mean {near[0]}?" if near else ""
        parts.append(f"{name} ({wanted[name]}{hint})")
    raise DataError(
        f"{manifest} lacks the column(s) {', '.join(parts)}; it has {shorten_list(list(columns))}."
    )


def _read_paths(cells: Sequence[str], *, root: Path, settings: TableSettings) -> list[str]:
    """Return each path below the root, with forward slashes and without detours."""
    paths: list[str] = []
    prefix = f"{root.as_posix().rstrip('/')}/"
    for row, cell in enumerate(cells, start=2):
        path = cell.replace("\\", "/")
        if not path:
            raise DataError(f"row {row}: the column {settings.path_column} is blank.")
        if "./" in path or "//" in path:
            path = posixpath.normpath(path)
        if path.startswith(prefix):
            path = path[len(prefix) :]
        is_outside = path.startswith(("../", "/")) or path == ".." or path[1:3] == ":/"
        if is_outside and not settings.allow_outside:
            raise DataError(
                f"row {row}: {cell} lies outside {root}: paths are relative to that folder; set "
                "data_dir to the folder that holds all images, or say --allow-outside."
            )
        paths.append(path)
    return paths


def _read_labels(columns: Columns, rule: LabelRule, *, manifest: Path) -> Labels:
    try:
        return read_labels(columns, rule)
    except DataError as error:
        raise DataError(f"{manifest}: {error}") from error


def _read_splits(columns: Columns, settings: TableSettings, *, manifest: Path) -> list[str] | None:
    if settings.split_column is None:
        return None
    cells = columns[settings.split_column]
    names = {cell: FOLDER_NAMES.get(cell.lower()) for cell in set(cells)}
    unknown = sorted(cell for cell, name in names.items() if name is None)
    if unknown:
        row = cells.index(unknown[0]) + 2
        raise DataError(
            f"{manifest}, row {row}: {settings.split_column} is {unknown[0]!r}; expected train, "
            "val or test."
        )
    return [cast(str, names[cell]) for cell in cells]


def _join_rows(rows: _Rows, settings: TableSettings, *, notes: list[str]) -> dict[int, str]:
    """Return the label text of the first row of each image that is used."""
    rule, positive = settings.join_rows, settings.positive_class
    first: dict[str, int] = {}
    texts: dict[int, str] = {}
    num_joined = 0
    for row, (path, text) in enumerate(zip(rows.paths, rows.labels.texts, strict=True)):
        if text is None:
            continue
        held = first.setdefault(path, row)
        if held == row:
            texts[row] = text
            continue
        num_joined += 1
        _check_joined(rows, held, row=row, rule=rule)
        if texts[held] != text:
            texts[held] = _join_texts((texts[held], text), rows.labels, positive=positive)
    if num_joined:
        notes.append(f"{num_joined} further rows of the same images joined (join_rows = {rule})")
    return texts


def _check_joined(rows: _Rows, held: int, *, row: int, rule: str) -> None:
    """Refuse a second row of an image that the rule does not cover."""
    where = f"rows {held + 2} and {row + 2} are the same image, {rows.paths[row]}"
    if rule == "error":
        raise DataError(
            f"{where}: say how to join them, --join-rows same if they agree, --join-rows any if "
            "one positive row makes the image positive."
        )
    for name, values in (("patient", rows.groups), ("split", rows.folders)):
        if values is not None and values[held] != values[row]:
            raise DataError(
                f"{where}, but have the {name}s {values[held]!r} and {values[row]!r}: correct one."
            )
    texts = rows.labels.texts
    if rule == "same" and texts[held] != texts[row]:
        raise DataError(
            f"{where}, but have the labels {texts[held]!r} and {texts[row]!r}: correct one, or "
            "say --join-rows any."
        )


def _join_texts(texts: tuple[str, str], labels: Labels, *, positive: str | None) -> str:
    """Return the label of two rows: positive of what either is, the higher of two grades."""
    one, other = texts
    names = labels.class_names
    if labels.task == "ordinal":
        return max(one, other, key=names.index)
    if labels.task == "multiclass":
        wanted = positive or infer_positive_class(names)[0]
        if wanted not in texts:
            raise DataError(
                f"an image has rows of the classes {one} and {other}: --join-rows any joins the "
                "positive class with another, grades, or findings; name it by positive_class."
            )
        return wanted
    # 1 beats 0, and a known value an unknown one.
    pairs = zip(parse_findings(one, names), parse_findings(other, names), strict=True)
    return format_findings([max(pair) for pair in pairs], names)
