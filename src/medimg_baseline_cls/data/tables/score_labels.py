"""Read the labels of a table of predictions, against the classes that its scores are of.

The columns of scores name the classes; one column alone is the score of the positive one of two
labels. A label of another class is refused with its row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.classes import require_order, shorten_names, sort_classes
from medimg_baseline_cls.data.positive import infer_positive_class
from medimg_baseline_cls.data.spellings import find_spelling
from medimg_baseline_cls.data.tables.labels import (
    LabelRule,
    check_finding_names,
    is_negative,
    plain_number,
    read_labels,
)
from medimg_baseline_cls.data.tables.score_values import look_exclusive
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.schema import (
    FINDING_SEPARATOR,
    UNKNOWN_MARK,
    Task,
    format_findings,
)
from medimg_baseline_cls.utils.texts import clean_text, is_missing

_MULTILABEL: Task = "multilabel"


@dataclass(frozen=True, slots=True)
class LabelCells:
    """The label cells of some rows: by class or finding, or under "" those of one column.

    `lines` are the rows of the file, `name` is what messages call the file.
    """

    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    name: str

    @property
    def are_several(self) -> bool:
        """Return whether each class or finding has a column of its own."""
        return "" not in self.columns

    def where(self, row: int) -> str:
        """Return the place of a row."""
        return f"{self.name}, row {self.lines[row]}"


@dataclass(frozen=True, slots=True)
class ScoreClasses:
    """The classes in order, the column of scores of each, and for a lone column the positive one.

    Without `columns` the one column is of `positive`. `source` says in messages whose they are.
    """

    names: tuple[str, ...]
    columns: tuple[int, ...] = ()
    positive: str | None = None
    source: str = "that the scores are of"

    def spread(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n, C)."""
        if self.columns:
            return probabilities[:, self.columns]
        lone = probabilities[:, 0]
        return np.stack([lone if n == self.positive else 1 - lone for n in self.names], axis=1)


def find_task(
    parts: Sequence[LabelCells], scores: NDArray[np.float64], *, rule: LabelRule
) -> tuple[Task, str]:
    """Return what the labels are, and why: set, or as labels and scores look."""
    if rule.task != "auto":
        return rule.task, ""
    if rule.separator is not None:
        return _MULTILABEL, "--label-separator"
    exclusive = look_exclusive(scores)
    if parts[0].are_several:
        is_one_hot = all(_are_one_hot(part) for part in parts)
        if exclusive and is_one_hot:
            return "multiclass", "each image has one of the classes, and their scores add up to 1"
        return _MULTILABEL, "a column of labels for each finding"
    if scores.shape[1] == 1:
        return "multiclass", "one column of scores"
    cells = {cell for part in parts for cell in part.columns[""]}
    if any(FINDING_SEPARATOR in cell or cell.startswith(UNKNOWN_MARK) for cell in cells):
        return _MULTILABEL, f"labels with {FINDING_SEPARATOR} or {UNKNOWN_MARK}"
    if not exclusive and any(is_missing(clean_text(cell)) for cell in cells):
        return _MULTILABEL, "blank labels, and scores that do not add up to 1"
    return "multiclass", "one label for each image"


def find_classes(
    named: Sequence[str], parts: Sequence[LabelCells], *, rule: LabelRule, positive: str | None
) -> ScoreClasses:
    """Return the classes of the scores.

    Args:
        named: what the columns of scores say of their classes, "" for nothing.
        parts: the labels of each file.
        rule: the class order, if it is set.
        positive: the positive one of two, if it is set.

    Raises:
        DataError: The classes cannot be told, or are not those that are set.
        ConfigError: One column of scores, and the labels do not tell which is the positive one.
    """
    if len(named) == 1:
        return _find_pair(named[0], parts, rule=rule, positive=positive)
    names = tuple(plain_number(clean_text(name)) for name in named)
    wanted = rule.class_names
    if wanted is None:
        if "" in names or len(set(names)) < len(names):
            raise DataError(
                f"{parts[0].name}: the columns of scores do not name their classes; pass "
                "--probability-columns and, in the same order, --class-names."
            )
        return ScoreClasses(names, tuple(range(len(names))))
    found = [find_spelling(name, names) for name in wanted]
    if len(wanted) != len(names):
        raise DataError(
            f"class_names has {len(wanted)} classes, but there are {len(names)} columns of scores: "
            f"{shorten_names(names)}."
        )
    is_by_name = None not in found and len(set(found)) == len(names)
    columns = [names.index(str(name)) for name in found] if is_by_name else range(len(names))
    return ScoreClasses(wanted, tuple(columns))


def read_score_labels(
    part: LabelCells, classes: ScoreClasses, *, rule: LabelRule, task: Task
) -> tuple[list[str], tuple[str, ...]]:
    """Return the label text of each row as in split.csv, and notes.

    Raises:
        DataError: A label is blank, or none of the classes.
    """
    names = classes.names
    if task == "ordinal" and rule.class_names is None:
        require_order(names)
    if task == _MULTILABEL:
        check_finding_names(names)
    if part.are_several:
        try:
            columns = {n: [c.strip() for c in cells] for n, cells in part.columns.items()}
            own = replace(rule, columns=tuple(columns), task=task, class_names=None)
            found = read_labels(columns, own, lines=part.lines)
        except DataError as error:
            raise DataError(f"{part.name}: {error}") from error
        return [str(text) for text in found.texts], found.notes
    read: Callable[[str, Sequence[str]], str | None] = _match_class
    if task == _MULTILABEL:
        separator = rule.separator or FINDING_SEPARATOR
        read = lambda cell, names: _match_findings(cell, names, separator=separator)  # noqa: E731
    cells = part.columns[""]
    texts = {cell: read(clean_text(cell), names) for cell in set(cells)}
    odd = next((row for row, cell in enumerate(cells) if texts[cell] is None), None)
    if odd is not None:
        _refuse_label(part, odd, classes=classes)
    return [str(texts[cell]) for cell in cells], ()


def _are_one_hot(part: LabelCells) -> bool:
    rows = zip(*part.columns.values(), strict=True)
    return all([plain_number(cell) for cell in row].count("1") == 1 for row in set(rows))


def _find_pair(
    named: str, parts: Sequence[LabelCells], *, rule: LabelRule, positive: str | None
) -> ScoreClasses:
    """Return the two classes of a lone column of scores, and which of them it is of."""
    labels = [_list_labels(part) for part in parts]
    is_known = len(parts) > 1 and len(labels[0]) == 2  # VAL has both: another label is a mistake
    found = labels[0] if is_known else set[str]().union(*labels)
    names = rule.class_names or tuple(sort_classes(found))
    if len(names) != 2:
        several = "name a column for each class by --probability-columns"
        advice = several if len(found) > 2 else "a model cannot be judged without images of both"
        _, fullest = max(zip(map(len, labels), parts, strict=True), key=lambda pair: pair[0])
        raise DataError(
            f"{fullest.name}: one column of scores needs two classes, but the labels are "
            f"{shorten_names(sorted(found))}; {advice}."
        )
    guess, inference = infer_positive_class(names)
    chosen = find_spelling(positive, names) if positive else find_spelling(named, names) or guess
    if chosen is None:
        raise ConfigError(
            f"the column of scores may be of {' or of '.join(names)}: name its class by "
            f"--positive-class ({inference.reason})."
        )
    if rule.class_names or not is_known:
        return ScoreClasses(names, positive=chosen)
    return ScoreClasses(names, positive=chosen, source=f"of {parts[0].name}")


def _list_labels(part: LabelCells) -> set[str]:
    cells: set[str] = set(part.columns.get("", ()))
    return {plain_number(t) for t in map(clean_text, cells) if not is_missing(plain_number(t))}


def _match_class(cell: str, names: Sequence[str]) -> str | None:
    return find_spelling(plain_number(cell), names) or find_spelling(cell, names)


def _match_findings(cell: str, names: Sequence[str], *, separator: str) -> str | None:
    """Return findings as `format_findings` writes them; None if one of them is unknown."""
    values = dict.fromkeys(names, 0)
    for part in filter(None, map(str.strip, cell.split(separator))):
        name = find_spelling(part.removeprefix(UNKNOWN_MARK).strip(), names)
        if name is not None:
            values[name] = -1 if part.startswith(UNKNOWN_MARK) else 1
        elif not is_negative(part):
            return None
    return format_findings([*values.values()], names)


def _refuse_label(part: LabelCells, row: int, *, classes: ScoreClasses) -> None:
    names, cell = classes.names, clean_text(part.columns[""][row])
    if is_missing(cell):
        raise DataError(
            f"{part.where(row)}: the label is blank: give each image its reference standard, or "
            "take the row out."
        )
    hint = ""
    if classes.columns and len(names) == 2 and plain_number(cell) in ("0", "1"):
        hint = ", or pass the column of the class 1 alone by --probability-columns"
    raise DataError(
        f"{part.where(row)}: the label {cell!r} is none of the classes {classes.source}, "
        f"{shorten_names(names)}: write the labels as these classes{hint}."
    )
