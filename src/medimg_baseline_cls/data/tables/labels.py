"""Turn the label cells of a table into the label texts of images, by one stated rule.

One column contains the class of each image; several columns, or one with a separator, contain
findings that are 1, 0, -1 (uncertain) or blank (missing). What uncertain and missing mean is a
setting. Cells that fit neither are refused with their row.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from medimg_baseline_cls.data.classes import (
    find_missing_grades,
    judge_class_count,
    judge_stray_classes,
    require_order,
    shorten_names,
    sort_classes,
)
from medimg_baseline_cls.data.spellings import infer_spellings, read_names, unify_spellings
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import (
    FINDING_SEPARATOR,
    UNKNOWN_MARK,
    Inference,
    Task,
    format_findings,
)
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.texts import clean_text, is_missing

Policy = Literal["ignore", "positive", "negative"]

UNCERTAIN, MISSING = -1, -2
_VALUES = {
    **dict.fromkeys(("1", "true", "yes"), 1),
    **dict.fromkeys(("0", "false", "no"), 0),
    "-1": UNCERTAIN,
}
_POLICY_VALUES = {"ignore": -1, "positive": 1, "negative": 0}
_NEGATIVE_CELLS = frozenset({"no finding", "no findings", "normal", "none", "negative", "healthy"})
_CLASSES_FLAG = "--class-names NAME NAME ..."
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)(?:\.0*|,0+)")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """How to read label cells.

    Attributes:
        columns: one column of classes, or several of findings.
        separator: between the findings of one cell; None: one class per cell.
        task: "auto" takes several columns, or a separator, as several findings per image.
        class_names: the classes and their order; None: as found.
        uncertain, missing: how -1 and blank findings count.
        fewest_classes: 1 where a column may have one class alone.
    """

    columns: tuple[str, ...]
    separator: str | None = None
    task: Literal["auto", "multiclass", "ordinal", "multilabel"] = "auto"
    class_names: tuple[str, ...] | None = None
    uncertain: Policy = "ignore"
    missing: Policy = "ignore"
    fewest_classes: int = 2


@dataclass(frozen=True, slots=True)
class Labels:
    """The label text of each row, None if the row is left out; what was inferred from it."""

    texts: list[str | None]
    class_names: tuple[str, ...]
    task: Task
    notes: tuple[str, ...]
    inferences: tuple[Inference, ...] = ()


def read_labels(
    columns: Mapping[str, Sequence[str]], rule: LabelRule, *, lines: Sequence[int] | None = None
) -> Labels:
    """Read the labels of every row of a table.

    Args:
        columns: the cells of each column of the rule, blanks around them stripped.
        rule: how to read them.
        lines: of the file, in which each row begins; None: a header and a line for each row.

    Raises:
        DataError: A cell does not fit the rule; the text names the first such row.

    >>> rule = LabelRule(columns=("Effusion", "Mass"))
    >>> read_labels({"Effusion": ["1", ""], "Mass": ["0", "-1"]}, rule).texts
    ['Effusion', '?Effusion|?Mass']
    """
    first, *others = rule.columns
    where = range(2, len(columns[first]) + 2) if lines is None else lines
    if rule.separator is not None:
        if others:
            raise DataError(
                f"label_separator splits one column, but label_columns names "
                f"{', '.join(rule.columns)}: leave out one of the two."
            )
        return _read_joined(columns[first], rule)
    if not others:
        return _read_classes(columns[first], rule, lines=where)
    if rule.task in ("multiclass", "ordinal"):
        return _read_one_hot(columns, rule, lines=where)
    return _read_findings(columns, rule, lines=where)


def check_finding_names(names: Sequence[str]) -> None:
    """Refuse fewer than two findings, and names that a label text cannot contain."""
    if len(names) < 2:
        raise DataError(
            f"{len(names)} finding(s) found: {shorten_names(names)}; expected two or more."
        )
    for name in names:
        if FINDING_SEPARATOR in name or name.startswith(UNKNOWN_MARK):
            raise DataError(
                f"the finding {name!r} contains {FINDING_SEPARATOR!r} or begins with "
                f"{UNKNOWN_MARK!r}, which have a special meaning in split.csv: rename it."
            )


def _require_classes(found: set[str], names: Sequence[str], *, column: str, fewest: int) -> None:
    """Refuse fewer than `fewest` classes, and classes that no row has."""
    if len(names) < fewest:
        raise DataError(
            f"the column {column} has {len(names)} class(es){': ' + names[0] if names else ''}; "
            "expected two or more."
        )
    for name in names:
        if name not in found:
            near = get_close_matches(name, found, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise DataError(f"no row of the column {column} is of the class {name}{hint}.")


def _refuse_policies(rule: LabelRule, *words: Literal["uncertain", "missing"]) -> None:
    """Refuse settings of uncertain or missing labels where there can be none."""
    given = {"uncertain": rule.uncertain, "missing": rule.missing}
    for word in words:
        if given[word] != "ignore":
            raise DataError(
                f"{word}_labels = {given[word]} has no effect: the labels in "
                f"{', '.join(rule.columns)} are not 1, 0, -1 or blank; leave it out."
            )


def _read_classes(cells: Sequence[str], rule: LabelRule, *, lines: Sequence[int]) -> Labels:
    """Read one class per row; numbers lose a decimal part of zero."""
    column = ", ".join(rule.columns)
    if rule.task == "multilabel":
        raise DataError(
            "task = multilabel needs several label_columns, or a label_separator; "
            f"label_columns names {column} alone."
        )
    _refuse_lists(cells, column=column)
    read = read_names(cells, column=column, class_names=rule.class_names, flag=_CLASSES_FLAG)
    plain = {name: plain_number(name) for name in set(read.cells)}
    labels: list[str | None] = [plain[name] for name in read.cells]
    notes = [*read.notes]
    values = set(plain.values())
    if values <= {"1", "0", "-1", ""} and values & {"-1", ""}:
        labels, more = _settle_binary(labels, rule)
        notes += more
    elif not values <= {"1", "0"}:
        _refuse_policies(rule, "uncertain", "missing")
    if "" in labels:
        blank = {cell for cell, text in zip(cells, labels, strict=True) if text == ""}
        words = shorten_names(sorted(blank - {""}))
        raise DataError(
            f"the column {column} is blank{f' ({words})' if words else ''} in "
            f"{labels.count('')} row(s), the first is row {lines[labels.index('')]}: give these "
            "images a class, or take the rows out."
        )
    counts = Counter(text for text in labels if text is not None)
    names = rule.class_names or tuple(sort_classes(counts))
    if rule.task == "ordinal" and rule.class_names is None:
        require_order(names)
    _require_classes(set(counts), names, column=column, fewest=rule.fewest_classes)
    labels = [text if text in names else None for text in labels]
    notes += [
        f"class {name} is not among class_names: {say_count(count, 'images')} left out"
        for name, count in sorted(counts.items())
        if name not in names
    ]
    many: tuple[Inference, ...] = ()
    if not rule.class_names:
        many = judge_class_count(counts, where=f"the column {column}")
        many += judge_stray_classes(counts)
    task: Task = "ordinal" if rule.task == "ordinal" else "multiclass"
    gaps = find_missing_grades(names) if task == "ordinal" else ()
    return Labels(labels, names, task, (*notes,), (*read.inferences, *many, *gaps))


def _refuse_lists(cells: Sequence[str], *, column: str) -> None:
    """Refuse cells such as ['mass', 'nodule'] where each cell is to be one class."""
    odd = next((cell for cell in cells if _is_list(cell)), None)
    if odd is not None:
        raise DataError(
            f"the column {column} has lists, such as {odd[:60]}: pass --label-separator , to read "
            "each list as the findings of an image."
        )


def _settle_binary(
    labels: Sequence[str | None], rule: LabelRule
) -> tuple[list[str | None], list[str]]:
    """Apply the policies to one column of 1, 0, -1 and blank; "ignore" leaves the row out."""
    meanings: dict[str, Policy] = {"-1": rule.uncertain, "": rule.missing}
    values: dict[Policy, str | None] = {"ignore": None, "positive": "1", "negative": "0"}
    settled = [
        values[meanings[text]] if text is not None and text in meanings else text for text in labels
    ]
    words = {"-1": "uncertain (-1)", "": "blank"}
    notes = [
        f"{say_count(count, 'images')} with a label that is {words[text]}: "
        + ("left out" if policy == "ignore" else f"taken as {policy}")
        for text, policy in meanings.items()
        if (count := list(labels).count(text))
    ]
    return settled, notes


def _read_one_hot(
    columns: Mapping[str, Sequence[str]], rule: LabelRule, *, lines: Sequence[int]
) -> Labels:
    """Read one class per row from a column for each class, of which exactly one is 1."""
    _refuse_policies(rule, "uncertain", "missing")
    names = _choose_columns(rule)
    labels: list[str | None] = []
    rows = _read_values(columns, names, lines=lines)
    for line, values in zip(lines, rows, strict=True):
        if values.count(1) != 1:
            raise DataError(
                f"row {line}: {values.count(1)} of {', '.join(names)} are 1; task = "
                f"{rule.task} expects exactly one, and task = multilabel takes any number."
            )
        labels.append(names[values.index(1)])
    return Labels(labels, names, "ordinal" if rule.task == "ordinal" else "multiclass", ())


def _read_findings(
    columns: Mapping[str, Sequence[str]], rule: LabelRule, *, lines: Sequence[int]
) -> Labels:
    """Read a column for each finding."""
    names = _choose_columns(rule)
    rows = _read_values(columns, names, lines=lines)
    labels = _write_findings(rows, names, rule=rule)
    if all(row.count(1) == 1 and row.count(0) == len(row) - 1 for row in set(rows)):
        note = "each row has exactly one finding: pass --task multiclass if they are classes"
        return replace(labels, notes=(*labels.notes, note))
    return labels


def _read_joined(cells: Sequence[str], rule: LabelRule) -> Labels:
    """Read cells that name their findings; a cell that names none of them is all negative."""
    assert rule.separator is not None
    if rule.task in ("multiclass", "ordinal"):
        raise DataError(
            f"label_separator means several findings per image, but task = {rule.task}: "
            "leave out one of the two."
        )
    _refuse_policies(rule, "uncertain")
    parts = {cell: _split_cell(cell, rule) for cell in set(cells)}
    counts = Counter(part for cell in cells for part in parts[cell] or ())
    spellings = unify_spellings(counts, rule.class_names)
    found = sorted({name for name in spellings.names.values() if not is_negative(name)})
    names = rule.class_names or tuple(found)
    check_finding_names(names)
    values = {
        cell: tuple(int(name in {spellings.names[part] for part in held}) for name in names)
        if held is not None
        else (MISSING,) * len(names)
        for cell, held in parts.items()
    }
    labels = _write_findings([values[cell] for cell in cells], names, rule=rule)
    others = sorted(set(spellings.names.values()) - set(names))
    notes = [f"not findings, and so negative: {shorten_names(others)}"] if others else []
    column = f"in the column {rule.columns[0]}"
    return replace(
        labels,
        notes=(*labels.notes, *notes, *spellings.notes),
        inferences=infer_spellings(spellings, where=column, flag=_CLASSES_FLAG),
    )


def _split_cell(cell: str, rule: LabelRule) -> list[str] | None:
    """Return the findings that a cell names; None where it is blank.

    >>> rule = LabelRule(columns=("f",), separator="|")
    >>> [_split_cell(cell, rule) for cell in ("Mass|NA", "['mass', 'nodule']", "[]", "NA")]
    [['Mass'], ['mass', 'nodule'], [], None]
    """
    assert rule.separator is not None
    if _is_list(cell):
        inner = cell[1:-1]
        quoted = [one or other for one, other in _QUOTED.findall(inner)]
        is_quoted = quoted and not _QUOTED.sub("", inner).strip(" ,")
        parts = quoted if is_quoted else inner.split("," if "," in inner else rule.separator)
    else:
        parts = cell.split(rule.separator)
    held = [part.strip() for part in parts]
    named = [p for p in held if p in (rule.class_names or ()) or not is_missing(clean_text(p))]
    return None if not named and cell != "[]" else named


def _write_findings(
    rows: Sequence[tuple[int, ...]], names: tuple[str, ...], *, rule: LabelRule
) -> Labels:
    meanings = {UNCERTAIN: _POLICY_VALUES[rule.uncertain], MISSING: _POLICY_VALUES[rule.missing]}
    texts = {
        row: format_findings([meanings.get(value, value) for value in row], names)
        for row in set(rows)
    }
    notes: list[str] = []
    for word, value, policy in (
        ("uncertain (-1)", UNCERTAIN, rule.uncertain),
        ("blank", MISSING, rule.missing),
    ):
        counts = {n: sum(row[i] == value for row in rows) for i, n in enumerate(names)}
        shown = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        taken = "excluded from loss and metrics" if policy == "ignore" else f"taken as {policy}"
        if shown:
            notes.append(f"{word} findings are {taken}: {shown}")
    return Labels([texts[row] for row in rows], names, "multilabel", tuple(notes))


def _choose_columns(rule: LabelRule) -> tuple[str, ...]:
    names = rule.class_names or rule.columns
    if not set(names) <= set(rule.columns):
        wrong = next(name for name in names if name not in rule.columns)
        raise DataError(f"class_names names {wrong}, which is not in label_columns.")
    check_finding_names(names)
    return names


def _read_values(
    columns: Mapping[str, Sequence[str]], names: Sequence[str], *, lines: Sequence[int]
) -> list[tuple[int, ...]]:
    """Return for each row the value of each finding."""
    table: list[list[int]] = []
    for name in names:
        values = {cell: _read_value(cell) for cell in set(columns[name])}
        odd = next((row for row, cell in enumerate(columns[name]) if values[cell] is None), None)
        if odd is not None:
            raise DataError(
                f"row {lines[odd]}: {name} is {columns[name][odd]!r}; expected 1, 0, -1 "
                "(uncertain) or blank."
            )
        table.append([value for cell in columns[name] if (value := values[cell]) is not None])
    return list(zip(*table, strict=True))


def _read_value(cell: str) -> int | None:
    text = clean_text(cell)
    return MISSING if is_missing(text) else _VALUES.get(plain_number(text).lower())


def plain_number(text: str) -> str:
    """Return a whole number without its decimal part, anything else as it is.

    >>> plain_number("1.0"), plain_number("1,0"), plain_number("1.5"), plain_number("no")
    ('1', '1', '1.5', 'no')
    """
    found = _WHOLE_NUMBER.fullmatch(text)
    return found[1] if found else text


def _is_list(cell: str) -> bool:
    return cell.startswith("[") and cell.endswith("]")


def is_negative(part: str) -> bool:
    """Return whether a cell says that there is no finding.

    >>> is_negative("No Finding"), is_negative("Mass")
    (True, False)
    """
    return part.lower().replace("_", " ") in _NEGATIVE_CELLS
