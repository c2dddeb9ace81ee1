"""Turn a table of images (CSV, TSV, Parquet) into a listing: file, label, patient, split.

One row is one image; several rows of one image are refused unless a rule says how to join
them. Columns are named by the settings; missing ones are reported together. Paths that lead
out of the root folder are refused unless that is allowed. No image is opened.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medimg_baseline_cls.data.folders.cases import CaseRemarks, describe_remarks, expand_folder
from medimg_baseline_cls.data.folders.image_files import (
    ListedFile,
    Listing,
    limit_images,
    path_of,
    require_images,
)
from medimg_baseline_cls.data.patients import find_patient_column
from medimg_baseline_cls.data.positive import infer_positive_class
from medimg_baseline_cls.data.spellings import Names, find_spelling, read_names
from medimg_baseline_cls.data.splitting.split_lists import apply_lists
from medimg_baseline_cls.data.tables.columns import match_column, require_columns
from medimg_baseline_cls.data.tables.labels import LabelRule, Labels, read_labels
from medimg_baseline_cls.data.tables.paths import read_paths
from medimg_baseline_cls.data.tables.split_column import NONE, find_split_column, read_split_column
from medimg_baseline_cls.data.tables.table_file import Table, read_table
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Inference, format_findings, parse_findings
from medimg_baseline_cls.utils.garbage_collection import collector_paused
from medimg_baseline_cls.utils.quantities import say_count

TABLE_NAMES = ("table.csv", "table.tsv", "table.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """The meaning of the columns, and how to handle odd rows.

    Attributes:
        path_column: the file, relative to the root folder.
        labels: the columns of labels and what they mean.
        group_column: the patient; None: from the file's name.
        finds_patients: without a group_column, use one named patient, subject, ...
        split_column: train, val or test; None: no split, or the one that is found.
        finds_split: without a split_column, use one with the values train and test.
        split_by: the setting that defines TEST instead of the table.
        subgroup_columns: kept with each image.
        site_column: that of them by which TEST is left out.
        join_rows: several rows of one image: "error" refuses them, "same" joins those with
            one label and group, "any" makes the image positive for what any row is.
        positive_class: which class "any" takes for positive; None: the one not named normal.
        allow_outside: let paths lead out of the root folder.
        split_files: lists of image names, one file for each split.
        has_volumes: whether a path may be that of a folder of slices.
    """

    path_column: str
    labels: LabelRule
    group_column: str | None = None
    finds_patients: bool = False
    split_column: str | None = None
    finds_split: bool = False
    split_by: str = ""
    subgroup_columns: tuple[str, ...] = ()
    site_column: str | None = None
    join_rows: Literal["error", "same", "any"] = "error"
    positive_class: str | None = None
    allow_outside: bool = False
    split_files: tuple[Path, ...] = ()
    has_volumes: bool = False


def find_table(data_dir: Path) -> Path | None:
    """Return the table in a data folder, if there is one."""
    return next((data_dir / n for n in TABLE_NAMES if (data_dir / n).is_file()), None)


@collector_paused()
def list_table(
    manifest: Path, *, root: Path, settings: TableSettings, limit: int | None = None
) -> Listing:
    """List the images that a table names.

    Args:
        manifest: .csv, .tsv or .parquet.
        root: what paths are relative to.
        settings: the meaning of the columns.
        limit: keep about this many images, spread over splits and classes; None keeps all.

    Raises:
        DataError: The table cannot be read, lacks a column, or a row is invalid.
    """
    table = read_table(manifest)
    notes = [say_count(len(table.lines), f"rows in {manifest.name}"), *table.notes]
    settings, said = _settle_columns(table, settings, notes=notes)
    wanted = _wanted_columns(settings)
    require_columns(table.columns, wanted, manifest=manifest)
    for name in wanted:
        notes += _strip_cells(table, name)
    paths = read_paths(
        table, settings.path_column, root=root, allow_outside=settings.allow_outside, notes=notes
    )
    labels = _read_labels(table, settings.labels, manifest=manifest)
    split = settings.split_column
    folders = None if split is None else read_split_column(table, split, where=str(manifest))
    names = {
        name: read_names(table.columns[name], column=name)
        for name in filter(None, (settings.group_column, *settings.subgroup_columns))
    }
    _require_sites(table, names, column=settings.site_column)
    groups = None if settings.group_column is None else names[settings.group_column].cells
    subgroups = list(zip(*(names[name].cells for name in settings.subgroup_columns), strict=True))
    rows = _Rows(table.lines, paths, labels, groups, folders, subgroups or None)
    notes += [note for part in (labels, *names.values()) for note in part.notes]
    files = rows.files(_join_rows(rows, settings, notes=notes))
    remarks: list[Inference] = []
    if settings.has_volumes:
        files, remarks = _expand_folders(files, root)
    if settings.split_files:
        files, more = apply_lists(files, settings.split_files)
        notes += more
    if settings.labels.fewest_classes > 1:
        has_split = any(file.folder for file in files)
        require_images(files, labels.class_names, task=labels.task, has_split=has_split)
    files, limited = limit_images(files, limit, task=labels.task)
    files.sort(key=path_of)
    return Listing(
        tuple(files),
        labels.class_names,
        0,
        tuple(notes),
        task=labels.task,
        subgroup_names=settings.subgroup_columns,
        unused_columns=tuple(name for name in table.columns if name not in wanted),
        kind="table",
        inferences=(
            *limited,
            *remarks,
            *labels.inferences,
            *said,
            *_note_patients(table, groups, column=settings.group_column),
            *(item for part in names.values() for item in part.inferences),
        ),
        group_column=settings.group_column,
    )


def _expand_folders(
    files: Sequence[ListedFile], root: Path
) -> tuple[list[ListedFile], list[Inference]]:
    """Return the cases of folders in their place, and what was left out in them."""
    cases: dict[str, ListedFile] = {}
    remarks: list[CaseRemarks] = []
    for file in files:
        paths = [file.path]
        if (root / file.path).is_dir():
            paths, found = expand_folder(root, file.path)
            remarks.append(found)
        for path in paths or [file.path]:
            if path in cases:
                raise DataError(
                    f"rows {cases[path].row} and {file.row} are the same case, {path}: name a "
                    "folder or its series, not both."
                )
            cases[path] = replace(file, path=path)
    return list(cases.values()), describe_remarks(remarks)


def _settle_columns(
    table: Table, settings: TableSettings, *, notes: list[str]
) -> tuple[TableSettings, tuple[Inference, ...]]:
    """Return the settings with columns as the table spells them; split and patient may be found."""
    split, rule = settings.split_column, settings.labels
    if split == NONE and NONE not in table.columns:
        settings, split = replace(settings, split_column=None, finds_split=False), None
    path, group, split, *labels = (
        name and match_column(name, table.columns, notes=notes)
        for name in (settings.path_column, settings.group_column, split, *rule.columns[:1])
    )
    if len(rule.columns) == 1:  # several name their findings
        settings = replace(settings, labels=replace(rule, columns=tuple(map(str, labels))))
    settings = replace(settings, path_column=str(path), group_column=group, split_column=split)
    said: tuple[Inference, ...] = ()
    if split is None and settings.finds_split:
        used = {settings.path_column, *settings.labels.columns, group or ""}
        split, said = find_split_column(table, used=used, instead=settings.split_by)
        settings = replace(settings, split_column=split)
    if settings.finds_patients and group is None:
        settings = replace(settings, group_column=_find_patient_column(table, settings))
    return settings, said


def _find_patient_column(table: Table, settings: TableSettings) -> str | None:
    """Return an unused column that is named like the patient and has several images of some.

    In some public tables patientId is a number of the image.
    """
    used = _wanted_columns(settings)
    if settings.path_column not in table.columns:
        return None
    column = find_patient_column(name for name in table.columns if name not in used)
    if column is None:
        return None
    values = table.columns[column]
    pairs = set(zip(values, table.columns[settings.path_column], strict=True))
    return column if len(set(values)) < len(pairs) else None


@dataclass(frozen=True)
class _Rows:
    """The table as parallel lists."""

    lines: Sequence[int]
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
                None if self.groups is None else self.groups[row] or None,
                () if self.subgroups is None else self.subgroups[row],
                self.lines[row],
            )
            for row, text in texts.items()
        ]


def _strip_cells(table: Table, name: str) -> list[str]:
    """Strip blanks around the cells of a column; return a note where there were some."""
    stripped = table.strip(name)
    num_changed = sum(map(operator.ne, stripped, table.columns[name]))
    table.columns[name] = stripped
    return [f"blanks around {num_changed} cells of {name} stripped"] if num_changed else []


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


def _read_labels(table: Table, rule: LabelRule, *, manifest: Path) -> Labels:
    try:
        return read_labels(table.columns, rule, lines=table.lines)
    except DataError as error:
        raise DataError(f"{manifest}: {error}") from error


def _require_sites(table: Table, names: Mapping[str, Names], *, column: str | None) -> None:
    """Refuse a blank site where one site is TEST: the image may be of that site, or not."""
    cells = [] if column is None else names[column].cells
    if "" in cells:
        raise DataError(
            f"the site column {column} is blank in {cells.count('')} of {len(cells)} rows, the "
            f"first is row {table.lines[cells.index('')]}: enter the site of these images, or "
            "take the rows out."
        )


def _note_patients(
    table: Table, groups: Sequence[str] | None, *, column: str | None
) -> tuple[Inference, ...]:
    """Return a warning where the column of patients is blank in some rows, or in all."""
    if groups is None or "" not in groups:
        return ()
    found = f"{column} is blank in {groups.count('')} of {len(groups)} rows"
    line = table.lines[groups.index("")]
    return (
        Inference(
            topic="patient column",
            found=found,
            reason=f"the first is row {line}",
            certainty="unknown",
            flag="--group-column COLUMN",
            warning=f"the patient column {found} (the first is row {line}): an image without a "
            "patient counts as a patient of its own unless its name or header identifies the "
            "patient, so one patient may be in more than one split; fill in the column",
        ),
    )


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
        more = say_count(num_joined, "further rows")
        notes.append(f"{more} of the same images joined (join_rows = {rule})")
    return texts


def _check_joined(rows: _Rows, held: int, *, row: int, rule: str) -> None:
    """Refuse a second row of an image that the rule does not cover."""
    lines = rows.lines
    where = f"rows {lines[held]} and {lines[row]} are the same image, {rows.paths[row]}"
    if rule == "error":
        raise DataError(
            f"{where}: pass --join-rows same if they agree, or --join-rows any if one positive row "
            "makes the image positive."
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
            "pass --join-rows any."
        )


def _join_texts(texts: tuple[str, str], labels: Labels, *, positive: str | None) -> str:
    """Return the label of two rows: positive of what either is, the higher of two grades."""
    one, other = texts
    names = labels.class_names
    if labels.task == "ordinal":
        return max(one, other, key=names.index)
    if labels.task == "multiclass":
        wanted = find_spelling(positive, names) if positive else infer_positive_class(names)[0]
        if wanted not in texts:
            raise DataError(
                f"an image has rows of the classes {one} and {other}: --join-rows any joins the "
                "positive class with another, grades, or findings; name it by positive_class."
            )
        return wanted
    # 1 beats 0, and a known value an unknown one.
    pairs = zip(parse_findings(one, names), parse_findings(other, names), strict=True)
    return format_findings([max(pair) for pair in pairs], names)
