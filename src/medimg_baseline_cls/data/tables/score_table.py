"""Read tables of predictions of any model: VAL and TEST as two files, or one with a split column.

What would make a metric wrong is refused with its row: an image twice, a side with one class alone,
other classes in one file than in the other.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.classes import shorten_names
from medimg_baseline_cls.data.folders.image_files import ListedFile, Listing
from medimg_baseline_cls.data.label_mapping import map_label
from medimg_baseline_cls.data.spellings import find_spelling
from medimg_baseline_cls.data.tables.labels import plain_number
from medimg_baseline_cls.data.tables.score_columns import (
    ScoreColumns,
    ScoreSettings,
    find_score_columns,
)
from medimg_baseline_cls.data.tables.score_labels import (
    LabelCells,
    find_classes,
    find_task,
    read_score_labels,
)
from medimg_baseline_cls.data.tables.score_values import read_numbers, to_probabilities
from medimg_baseline_cls.data.tables.split_column import read_split_column
from medimg_baseline_cls.data.tables.table_file import Table, read_table
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.schema import Certainty, Inference, Task
from medimg_baseline_cls.utils.garbage_collection import collector_paused
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.texts import clean_text, is_missing


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Predictions of VAL and TEST, sorted by path.

    Attributes:
        listing: the images with their labels, patients and splits ("val" or "test").
        image_ids: of each, length N.
        probabilities: shape (N, C), in the order of the listing's classes.
        positive_class: of two classes with one column of scores; else None.
    """

    listing: Listing
    image_ids: tuple[str, ...]
    probabilities: NDArray[np.float64]
    positive_class: str | None


@dataclass(frozen=True, slots=True)
class _Part:
    """One file: its table and columns, and the rows that are used with the split of each.

    `maps` are of its labels; `num_unmapped` rows are left out by them.
    """

    path: Path
    table: Table
    columns: ScoreColumns
    rows: Sequence[int]
    splits: Sequence[str]
    maps: Mapping[str, str] = field(default_factory=dict[str, str])
    num_unmapped: int = 0

    def cells(self, column: str) -> list[str]:
        """Return the cells of a column in the rows that are used, without blanks around them."""
        try:
            cells = self.table.strip(column)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        return [cells[row] for row in self.rows]

    @property
    def lines(self) -> list[int]:
        """Return the row of the file of each row that is used."""
        return [self.table.lines[row] for row in self.rows]

    def labels(self) -> LabelCells:
        """Return the label cells."""
        columns = self.columns
        names = columns.classes if len(columns.labels) > 1 else ("",)
        cells = {n: self.cells(c) for n, c in zip(names, columns.labels, strict=True)}
        if self.maps:
            cells = {n: [map_label(c, self.maps) or c for c in own] for n, own in cells.items()}
        return LabelCells(cells, self.lines, str(self.path))

    def scores(self) -> NDArray[np.float64]:
        """Return the numbers in the columns of scores, shape (n, C)."""
        labels, names = self.lines, self.columns.scores
        numbers = [
            read_numbers(self.cells(n), n, where=lambda row: f"{self.path}, row {labels[row]}")
            for n in names
        ]
        return np.stack(numbers, axis=1)


@collector_paused()
def read_scores(test: Path, val: Path | None = None, *, settings: ScoreSettings) -> ScoreTable:
    """Read the predictions of VAL and TEST.

    Args:
        test: the table of TEST; without `val` its split column may name VAL too.
        val: the table of VAL; None for none.
        settings: the meaning of the columns, as far as it is set.

    Raises:
        DataError: A table cannot be used; the text names the file and the first such row.
        ConfigError: The positive class has to be named, or a mapping is not possible.
    """
    files = {"val": val, "test": test}
    parts = [
        _open_part(path, split, settings=settings, is_alone=val is None)
        for split, path in files.items()
        if path is not None
    ]
    _require_alike(parts)
    if settings.maps:
        parts = _map_parts(parts, settings)
    places = [f"{part.path}, row {line}" for part in parts for line in part.lines]
    image_ids = [cell for part in parts for cell in part.cells(part.columns.image)]
    _require_images(image_ids, places, column=parts[-1].columns.image)
    labels, rule = [part.labels() for part in parts], settings.labels
    scores = np.concatenate([part.scores() for part in parts])
    task, reason = find_task(labels, scores, rule=rule)
    named, positive = parts[0].columns.classes, settings.positive_class
    classes = find_classes(named, labels, rule=rule, positive=positive)
    read = [read_score_labels(part, classes, rule=rule, task=task) for part in labels]
    probabilities = to_probabilities(
        scores,
        are_logits=settings.are_logits,
        are_exclusive=task != "multilabel",
        where=places.__getitem__,
    )
    files_of = _list_files(parts, [texts for texts, _ in read])
    _require_both_classes(files_of, task=task)
    order = sorted(range(len(files_of)), key=lambda i: (files_of[i].path, image_ids[i]))
    notes = [note for part in parts for note in _note_part(part)]
    if settings.maps:
        notes.append(f"labels by --map: {', '.join('='.join(p) for p in settings.maps.items())}")
    listing = Listing(
        tuple(files_of[i] for i in order),
        classes.names,
        0,
        (*notes, *(note for _, more in read for note in more)),
        task=task,
        subgroup_names=parts[-1].columns.subgroups,
        kind="table",
        inferences=tuple(_infer(parts[-1], settings, task=(task, reason))),
        group_column=parts[-1].columns.group,
    )
    return ScoreTable(
        listing,
        tuple(image_ids[i] for i in order),
        classes.spread(probabilities)[order],
        classes.positive,
    )


def _open_part(path: Path, split: str, *, settings: ScoreSettings, is_alone: bool) -> _Part:
    """Read a file: all of its rows are of one split, or its split column names that of each."""
    table = read_table(path)
    columns = find_score_columns(table, settings, path=path)
    everyone = range(len(table.lines))
    if columns.split is None:
        return _Part(path, table, columns, everyone, [split] * len(everyone))
    named = read_split_column(table, columns.split, where=str(path))
    if not is_alone:
        others = sorted({name for name in named if name != split})
        if others:
            raise DataError(
                f"{path} is passed as --{split}, but its column {columns.split} says "
                f"{' and '.join(others)} too: pass one file with both splits as --test alone, or "
                "pass --split-column none."
            )
        return _Part(path, table, columns, everyone, named)
    rows = [row for row in everyone if named[row] in ("val", "test")]
    if "test" not in named:
        raise DataError(f"{path}: no row of the column {columns.split} is test.")
    return _Part(path, table, columns, rows, [named[row] for row in rows])


def _require_alike(parts: Sequence[_Part]) -> None:
    """Refuse a file with other classes than the other one.

    Raises:
        DataError: with the classes of both.
    """
    first, last = parts[0], parts[-1]
    if first.columns.classes != last.columns.classes:
        raise DataError(
            f"{first.path} has scores of {_show_classes(first)}, but {last.path} of "
            f"{_show_classes(last)}: give both files the same columns of scores in the same order."
        )


def _map_parts(parts: Sequence[_Part], settings: ScoreSettings) -> list[_Part]:
    """Return the files with the classes that labels are mapped to, without rows of none.

    Raises:
        ConfigError: There are several labels for each image, or no such label.
        DataError: No row is left.
    """
    rule = settings.labels
    maps = {plain_number(label): name for label, name in settings.maps.items()}
    is_single = all(len(part.columns.labels) == 1 for part in parts)
    if not is_single or rule.separator is not None or rule.task == "multilabel":
        raise ConfigError(
            "--map is for a column with one label for each image, but here are several findings: "
            "rename them in the table."
        )
    cells = [part.cells(part.columns.labels[0]) for part in parts]
    found = {plain_number(clean_text(c)) for own in (*cells, parts[0].columns.classes) for c in own}
    for label, name in maps.items():
        if find_spelling(label, found) is None:
            raise ConfigError(
                f"--map {label}={name}: the tables have no label {label}, but "
                f"{shorten_names(sorted(found - {''}))}."
            )
    mapped: list[_Part] = []
    for part, own in zip(parts, cells, strict=True):
        kept = [row for row, cell in enumerate(own) if map_label(cell, maps) is not None]
        if not kept:
            raise DataError(f"{part.path}: --map leaves out every image, so nothing can be judged.")
        classes = tuple(map_label(name, maps) or name for name in part.columns.classes)
        mapped.append(
            replace(
                part,
                columns=replace(part.columns, classes=classes),
                rows=[part.rows[row] for row in kept],
                splits=[part.splits[row] for row in kept],
                maps=maps,
                num_unmapped=len(own) - len(kept),
            )
        )
    return mapped


def _show_classes(part: _Part) -> str:
    columns = part.columns
    return shorten_names([n or c for n, c in zip(columns.classes, columns.scores, strict=True)])


def _require_images(image_ids: Sequence[str], places: Sequence[str], *, column: str) -> None:
    first: dict[str, str] = {}
    for image, place in zip(image_ids, places, strict=True):
        if is_missing(image):
            raise DataError(f"{place}: the column {column} is blank: name each image.")
        if image in first:
            raise DataError(
                f"{first[image]}, and {place}, are both {image!r} by the column {column}: keep one "
                "row for each image, or name another column by --path-column."
            )
        first[image] = place


def _list_files(parts: Sequence[_Part], texts: Sequence[Sequence[str]]) -> list[ListedFile]:
    """Return every row as a listed image."""
    found: list[ListedFile] = []
    for part, labels in zip(parts, texts, strict=True):
        group = part.columns.group
        groups = [""] * len(part.rows) if group is None else part.cells(group)
        paths = part.cells(part.columns.path)
        if len(set(paths)) < len(paths):  # a column that names no file, such as the site
            paths = part.cells(part.columns.image)
        subgroups = [part.cells(name) for name in part.columns.subgroups]
        found += [
            ListedFile(path, label, split, None if is_missing(own) else own, tuple(more), line)
            for path, label, split, own, more, line in zip(
                paths,
                labels,
                part.splits,
                groups,
                zip(*subgroups, strict=True) if subgroups else [()] * len(groups),
                part.lines,
                strict=True,
            )
        ]
    return found


def _require_both_classes(files: Sequence[ListedFile], *, task: Task) -> None:
    """Refuse a split whose images are all of one class.

    Raises:
        DataError: with the split and its class.
    """
    for split in dict.fromkeys(file.folder for file in files):
        counts = Counter(file.label for file in files if file.folder == split)
        if len(counts) == 1 and task != "multilabel":
            only, number = counts.popitem()
            raise DataError(
                f"all {number} images of {split.upper()} are of the class {only}: a model cannot "
                "be judged without images of two classes."
            )


def _note_part(part: _Part) -> Iterator[str]:
    left_out = len(part.table.lines) - len(part.rows) - part.num_unmapped
    more = f", {left_out} of another split left out" if left_out else ""
    if part.num_unmapped:
        more += f", {part.num_unmapped} left out by --map"
    yield f"{say_count(len(part.rows), f'rows of {part.path.name}')}{more}"
    yield from part.table.notes


def _infer(part: _Part, settings: ScoreSettings, *, task: tuple[Task, str]) -> Iterator[Inference]:
    """Yield what was concluded of the columns, with the flag that changes each."""
    columns = part.columns
    scores = ", ".join(columns.scores)
    said: Mapping[str, tuple[str, str]] = {
        "images": (f"column {columns.image}", "--path-column COLUMN"),
        "labels": (f"column {', '.join(columns.labels)}", "--label-columns COLUMN"),
        "probabilities": (f"column {scores}", "--probability-columns COLUMN ..."),
    }
    for topic, (found, flag) in said.items():
        reason = columns.reasons[topic]
        certainty: Certainty = "sure" if reason else "set"
        yield Inference(
            topic=topic,
            found=found,
            reason=reason or flag.split()[0],
            certainty=certainty,
            flag=flag,
        )
    if columns.split is not None:
        is_set = settings.split_column is not None
        yield Inference(
            topic="split",
            found=f"column {columns.split}",
            reason="--split-column" if is_set else "its name and values",
            certainty="set" if is_set else "sure",
            flag="--split-column NAME|none",
        )
    kind, reason = task
    yield Inference(
        topic="task",
        found=kind,
        reason=reason or "--task",
        certainty="sure" if reason else "set",
        flag="--task multiclass|ordinal|multilabel",
    )
    if settings.are_logits:
        yield Inference(
            topic="scores",
            found="logits",
            reason="--logits",
            certainty="set",
        )
