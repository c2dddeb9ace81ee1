"""Turn the label cells of a table into the label texts of images, by one stated rule.

One column holds the class of each image; several columns, or one with a separator, hold
findings that are 1, 0, -1 (uncertain) or blank (missing). What uncertain and missing mean is
a setting. Cells that fit neither are refused with their row.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from medimg_baseline_cls.data.spellings import unify_spellings
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import FINDING_SEPARATOR, UNKNOWN_MARK, Task, format_findings

Policy = Literal["ignore", "positive", "negative"]

UNCERTAIN, MISSING = -1, -2
_VALUES = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no"), 0),
    **dict.fromkeys(("-1", "-1.0"), UNCERTAIN),
    **dict.fromkeys(("", "nan"), MISSING),
}
_POLICY_VALUES = {"ignore": -1, "positive": 1, "negative": 0}
_NEGATIVE_CELLS = frozenset({"no finding", "no findings", "normal", "none", "negative", "healthy"})
_NUM_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """How label cells are to be read.

    Attributes:
        columns: one column of classes, or several of findings.
        separator: between the findings of one cell; None: one class per cell.
        task: "auto" takes several columns, or a separator, as several findings per image.
        class_names: the classes and their order; None: as found.
        uncertain, missing: what -1 and blank findings count as.
    """

    columns: tuple[str, ...]
    separator: str | None = None
    task: Literal["auto", "multiclass", "ordinal", "multilabel"] = "auto"
    class_names: tuple[str, ...] | None = None
    uncertain: Policy = "ignore"
    missing: Policy = "ignore"


@dataclass(frozen=True, slots=True)
class Labels:
    """The label text of each row, None where the row is left out; classes, task and notes."""

    texts: list[str | None]
    class_names: tuple[str, ...]
    task: Task
    notes: tuple[str, ...]


def read_labels(columns: Mapping[str, Sequence[str]], rule: LabelRule) -> Labels:
    """Read the labels of every row of a table.

    Args:
        columns: the cells of each column of the rule, blanks around them stripped.
        rule: how to read them.

    Raises:
        DataError: A cell does not fit the rule; the text names the first such row.

    >>> rule = LabelRule(columns=("Effusion", "Mass"))
    >>> read_labels({"Effusion": ["1", ""], "Mass": ["0", "-1"]}, rule).texts
    ['Effusion', '?Effusion|?Mass']
    """
    first, *others = rule.columns
    if rule.separator is not None:
        if others:
            raise DataError(
                f"label_separator splits one column, but label_columns names "
                f"{', '.join(rule.columns)}: leave out one of the two."
            )
        return _read_joined(columns[first], rule)
    if not others:
        return _read_classes(columns[first], rule)
    if rule.task in ("multiclass", "ordinal"):
        return _read_one_hot(columns, rule)
    return _read_findings(columns, rule)


def check_finding_names(names: Sequence[str]) -> None:
    """Refuse fewer than two findings, and names that a label text could not hold."""
    if len(names) < 2:
        raise DataError(f"{len(names)} finding(s) found: {_shorten(names)}; expected two or more.")
    for name in names:
        if FINDING_SEPARATOR in name or name.startswith(UNKNOWN_MARK):
            raise DataError(
                f"the finding {name!r} holds {FINDING_SEPARATOR!r} or begins with "
                f"{UNKNOWN_MARK!r}, which have a meaning of their own in split.csv: rename it."
            )


def sort_classes(names: Iterable[str]) -> list[str]:
    """Return class names sorted, whole numbers by value and before texts.

    >>> sort_classes(["10", "no", "2"])
    ['2', '10', 'no']
    """
    return sorted(names, key=_natural_key)


def require_order(names: Sequence[str]) -> None:
    """Refuse classes whose names do not tell which grade is the higher one."""
    if not all(map(_is_whole, names)):
        raise DataError(
            f"task = ordinal needs the order of the classes: set class_names to "
            f"{_shorten(sorted(names))} in rising order."
        )


def _require_classes(found: set[str], names: Sequence[str], *, column: str) -> None:
    """Refuse fewer than two classes, and classes that no row has."""
    if len(names) < 2:
        raise DataError(
            f"the column {column} holds {len(names)} class(es){': ' + names[0] if names else ''}; "
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
                f"{word}_labels = {given[word]} does nothing: the labels in "
                f"{', '.join(rule.columns)} are none of 1, 0, -1 and blank; leave it out."
            )


def _read_classes(cells: Sequence[str], rule: LabelRule) -> Labels:
    """Read one class per row; numbers lose a decimal part of zero."""
    column = ", ".join(rule.columns)
    if rule.task == "multilabel":
        raise DataError(
            "task = multilabel needs several label_columns, or a label_separator; "
            f"label_columns names {column} alone."
        )
    plain = {cell: _plain_number(cell) for cell in set(cells)}
    spellings = unify_spellings(Counter(plain[cell] for cell in cells), rule.class_names)
    texts = {cell: spellings.names[text] for cell, text in plain.items()}
    labels: list[str | None] = [texts[cell] for cell in cells]
    notes = [*spellings.notes, *map(_advise, spellings.warnings)]
    if set(texts.values()) <= {"1", "0", "-1", ""} and set(texts.values()) & {"-1", ""}:
        labels, notes = _settle_binary(labels, rule)
    elif not set(texts.values()) <= {"1", "0"}:
        _refuse_policies(rule, "uncertain", "missing")
    blank = next((row for row, text in enumerate(labels) if text == ""), None)
    if blank is not None:
        raise DataError(
            f"the column {column} is blank in {labels.count('')} row(s), the first is "
            f"row {blank + 2}: give these images a class, or take the rows out."
        )
    found = {text for text in labels if text is not None}
    names = rule.class_names or tuple(sort_classes(found))
    if rule.task == "ordinal" and rule.class_names is None:
        require_order(names)
    _require_classes(found, names, column=column)
    outside = Counter(text for text in labels if text is not None and text not in names)
    labels = [text if text in names else None for text in labels]
    notes += [
        f"class {name} is not among class_names: {count} images left out"
        for name, count in sorted(outside.items())
    ]
    if len(found) > _NUM_SHOWN and rule.class_names is None:
        raise DataError(
            f"the column {column} holds {len(found)} different values, such as "
            f"{_shorten(sorted(found)[:3])}: expected at most {_NUM_SHOWN} classes; name another "
            "column by label_columns, a label_separator, or the class_names you mean."
        )
    return Labels(labels, names, "ordinal" if rule.task == "ordinal" else "multiclass", (*notes,))


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
        f"{count} images with a label that is {words[text]}: "
        + ("left out" if policy == "ignore" else f"taken as {policy}")
        for text, policy in meanings.items()
        if (count := list(labels).count(text))
    ]
    return settled, notes


def _read_one_hot(columns: Mapping[str, Sequence[str]], rule: LabelRule) -> Labels:
    """Read one class per row from a column for each class, of which exactly one is 1."""
    _refuse_policies(rule, "uncertain", "missing")
    names = _choose_columns(rule)
    table = [
        [_value(cell, name, row=row) for row, cell in enumerate(columns[name])] for name in names
    ]
    labels: list[str | None] = []
    for row, values in enumerate(zip(*table, strict=True)):
        if values.count(1) != 1:
            raise DataError(
                f"row {row + 2}: {values.count(1)} of {', '.join(names)} are 1; task = "
                f"{rule.task} expects exactly one, and task = multilabel takes any number."
            )
        labels.append(names[values.index(1)])
    return Labels(labels, names, "ordinal" if rule.task == "ordinal" else "multiclass", ())


def _read_findings(columns: Mapping[str, Sequence[str]], rule: LabelRule) -> Labels:
    """Read a column for each finding."""
    names = _choose_columns(rule)
    table = [
        [_value(cell, name, row=row) for row, cell in enumerate(columns[name])] for name in names
    ]
    rows = list(zip(*table, strict=True))
    labels = _write_findings(rows, names, rule=rule)
    if all(row.count(1) == 1 and row.count(0) == len(row) - 1 for row in set(rows)):
        note = "each row has exactly one finding: say task = multiclass if they are classes"
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
    parts = {cell: [part.strip() for part in cell.split(rule.separator)] for cell in set(cells)}
    counts = Counter(part for cell in cells for part in parts[cell] if part)
    spellings = unify_spellings(counts, rule.class_names)
    parts = {cell: [spellings.names[part] for part in held if part] for cell, held in parts.items()}
    found = sorted({name for name in spellings.names.values() if not _is_negative(name)})
    names = rule.class_names or tuple(found)
    check_finding_names(names)
    values = {
        cell: tuple(1 if name in held else 0 for name in names) if cell else (MISSING,) * len(names)
        for cell, held in parts.items()
    }
    labels = _write_findings([values[cell] for cell in cells], names, rule=rule)
    others = sorted(set(spellings.names.values()) - set(names))
    notes = [f"not findings, and so negative: {_shorten(others)}"] if others else []
    notes += [*spellings.notes, *map(_advise, spellings.warnings)]
    return replace(labels, notes=(*labels.notes, *notes))


def _advise(warning: str) -> str:
    """Return a warning of joined spellings with the setting that keeps them apart."""
    return f"{warning}; list each of them in --class-names if they are different classes"


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
        taken = "left out of loss and figures" if policy == "ignore" else f"taken as {policy}"
        if shown:
            notes.append(f"{word} findings are {taken}: {shown}")
    return Labels([texts[row] for row in rows], names, "multilabel", tuple(notes))


def _choose_columns(rule: LabelRule) -> tuple[str, ...]:
    names = rule.class_names or rule.columns
    if not set(names) <= set(rule.columns):
        wrong = next(name for name in names if name not in rule.columns)
        raise DataError(f"class_names names {wrong}, which is none of label_columns.")
    check_finding_names(names)
    return names


def _value(cell: str, column: str, *, row: int) -> int:
    value = _VALUES.get(cell.lower())
    if value is None:
        raise DataError(
            f"row {row + 2}: {column} is {cell!r}; expected 1, 0, -1 (uncertain) or blank."
        )
    return value


def _plain_number(text: str) -> str:
    """Return a whole number without its decimal part, anything else as it is.

    >>> _plain_number("1.0"), _plain_number("1.5"), _plain_number("no")
    ('1', '1.5', 'no')
    """
    whole, dot, decimals = text.partition(".")
    if text.lower() == "nan":
        return ""
    return whole if dot and not decimals.strip("0") and _is_whole(whole) else text


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _natural_key(text: str) -> tuple[int, int, str]:
    """Sort numbers by value and before texts."""
    return (0, int(text), "") if _is_whole(text) else (1, 0, text)


def _is_negative(part: str) -> bool:
    return part.lower().replace("_", " ") in _NEGATIVE_CELLS


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NUM_SHOWN])
    return shown if len(names) <= _NUM_SHOWN else f"{shown} and {len(names) - _NUM_SHOWN} more"
