"""Find what the columns of a table of predictions are: image, label, patient, split, scores.

A column that a setting names is taken; the others are found by usual names, those that this
program writes among them. Scores are columns such as prob_NORMAL, P(NORMAL) or NORMAL_score, one
column such as y_score, or columns named like the classes.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medimg_baseline_cls.data.folders.split_folders import shorten_list
from medimg_baseline_cls.data.folders.words import read_split_word, split_words
from medimg_baseline_cls.data.patients import find_patient_column
from medimg_baseline_cls.data.spellings import find_spelling
from medimg_baseline_cls.data.tables.columns import USUAL, match_column, require_columns
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.split_column import NONE, is_split_name
from medimg_baseline_cls.data.tables.table_file import Table
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.texts import clean_text, is_missing, read_number

# The surest first; of several kinds of scores in one table the first is taken.
_SCORE_WORDS = (
    *("prob", "proba", "probs", "probability", "probabilities", "p", "softmax", "sigmoid"),
    *("score", "scores", "confidence", "conf", "output", "outputs", "pred", "preds"),
    *("prediction", "predictions", "predicted", "hat"),
)
_LOGIT_WORDS = ("logit", "logits")
_NOT_CLASSES = frozenset({"label", "class", "name", "id", "index"})
_WORD = rf"(?:(?:y|pred|predicted|model)[_ ]?)*({'|'.join((*_SCORE_WORDS, *_LOGIT_WORDS))})"
_BEFORE = re.compile(rf"{_WORD}(?:\((.+)\)|\[(.+)\]|[_ .:-](.+))?", re.IGNORECASE)
_BEHIND = re.compile(rf"(.+)[_ .:-]{_WORD}", re.IGNORECASE)
_TRUTH = r"(?:labels?|true|truth|y|y_true|gt|target|reference|ref)"
_IDS = ("imageid", "imgid", "dicomid", "studyid", "sampleid", "caseid", "id", "uid")
_LABELS = (
    *("label", "labels", "ytrue", "truelabel", "truth", "groundtruth", "gt", "reference"),
    *("referencestandard", "true"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """The meaning of the columns of a table of predictions, as far as it is set.

    Attributes:
        path_column: the image; None: found.
        labels: how labels are read; without columns: found.
        probability_columns: the scores; empty: found.
        group_column: the patient; None: found.
        split_column: val or test; None: found; the word none: not used.
        subgroup_columns: kept with each image.
        positive_class: of two; None: by the names.
        are_logits: the scores are what a softmax or a sigmoid is still to be applied to.
        maps: which label means which class, "" for none, from `parse_maps`.
    """

    path_column: str | None = None
    labels: LabelRule = field(default_factory=lambda: LabelRule(columns=()))
    probability_columns: tuple[str, ...] = ()
    group_column: str | None = None
    split_column: str | None = None
    subgroup_columns: tuple[str, ...] = ()
    positive_class: str | None = None
    are_logits: bool = False
    maps: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreColumns:
    """Which column is what.

    Attributes:
        image: identifies the image, `path` is its file; they may be the same.
        labels: one of classes or joined findings, or one for each finding.
        scores: one for each class, or one of two classes.
        classes: what the names of the scores say of their classes; "" for nothing.
        group: the patient; None where there is none.
        split: None where there is none.
        subgroups: kept with each image.
        reasons: why, by topic; "" for what was set.
    """

    image: str
    path: str
    labels: tuple[str, ...]
    scores: tuple[str, ...]
    classes: tuple[str, ...]
    group: str | None
    split: str | None
    subgroups: tuple[str, ...]
    reasons: Mapping[str, str]


def find_score_columns(table: Table, settings: ScoreSettings, *, path: Path) -> ScoreColumns:
    """Return which column of a table of predictions is what.

    Raises:
        DataError: A column is missing or named twice, or the first row is not a header.
    """
    _require_header(table, path)
    settings = _match_settings(table, settings, path=path)
    reasons: dict[str, str] = dict.fromkeys(("images", "labels", "probabilities"), "")
    scores = _name_scores(settings.probability_columns) or _find_scores(table, settings)
    if not settings.probability_columns:
        reasons["probabilities"] = "their names"
    labels = settings.labels.columns
    if not labels:
        labels, reasons["labels"] = _find_labels(table, scores), "its name"
    if not scores and len(labels) == 1:
        scores = _find_named_like_classes(table, labels[0])
        reasons["probabilities"] = f"they are named like the values of {labels[0]}"
    if not labels:
        raise _lack(table, path, what="the label", flag="--label-columns")
    if not scores:
        raise _lack(table, path, what="probabilities", flag="--probability-columns")
    _require_other_columns(settings, scores=tuple(scores), labels=labels, path=path)
    used = {*scores, *labels}
    group = settings.group_column or _find_group(table, used)
    image, file = _find_image(table, settings, used={*used, group or ""})
    if image is None or file is None:
        if group is None:
            raise _lack(table, path, what="the image or the patient", flag="--path-column")
        image = file = group
    reasons["images"] = "" if settings.path_column else "its name"
    return ScoreColumns(
        image=image,
        path=file,
        labels=labels,
        scores=tuple(scores),
        classes=tuple(scores.values()),
        group=group,
        split=_find_split(table, settings),
        subgroups=settings.subgroup_columns,
        reasons=reasons,
    )


def _require_header(table: Table, path: Path) -> None:
    odd = next((name for name in table.columns if read_number(name) is not None), None)
    if odd is not None:
        raise DataError(
            f"{path} has no header: its first row contains {odd}; name the columns in the first "
            "row, such as image_id,label,prob_NORMAL,prob_PNEUMONIA."
        )


def _match_settings(table: Table, settings: ScoreSettings, *, path: Path) -> ScoreSettings:
    """Return the settings with columns as the table spells them.

    Raises:
        DataError: The table lacks a column that is set.
    """
    wanted: dict[str, str] = {}

    def match(name: str, setting: str) -> str:
        found = match_column(name, table.columns, notes=[])
        wanted[found] = setting
        return found

    def match_one(name: str | None, setting: str) -> str | None:
        return None if name is None else match(name, setting)

    is_none = settings.split_column == NONE and NONE not in table.columns
    rule = settings.labels
    found = replace(
        settings,
        path_column=match_one(settings.path_column, "path_column"),
        labels=replace(rule, columns=tuple(match(name, "label_columns") for name in rule.columns)),
        probability_columns=tuple(
            match(name, "probability_columns") for name in settings.probability_columns
        ),
        group_column=match_one(settings.group_column, "group_column"),
        split_column=NONE if is_none else match_one(settings.split_column, "split_column"),
        subgroup_columns=tuple(
            match(name, "subgroup_columns") for name in settings.subgroup_columns
        ),
    )
    require_columns(table.columns, wanted, manifest=path)
    return found


def _require_other_columns(
    settings: ScoreSettings, *, scores: tuple[str, ...], labels: tuple[str, ...], path: Path
) -> None:
    """Refuse a column that is named twice, or has scores or labels and is named for another use.

    Raises:
        DataError: with the column and the flag.
    """
    roles: dict[str, str] = {}
    for flag, names, role in (
        ("--probability-columns", settings.probability_columns or scores, "the probabilities"),
        ("--label-columns", labels, "the labels"),
        ("--subgroup-columns", settings.subgroup_columns, ""),
        ("--group-column", (settings.group_column,), ""),
        ("--path-column", (settings.path_column,), ""),
    ):
        for name, count in Counter(filter(None, names)).items():
            if count > 1:
                raise DataError(f"{path}: {flag} names {name} twice: name each column once.")
            if name in roles:
                raise DataError(
                    f"{path}: {flag} names {name}, which has {roles[name]}: name another column."
                )
            if role:
                roles[name] = role


def name_class(column: str) -> tuple[str, str] | None:
    """Return the kind of a column of scores, and the class that its name contains.

    >>> [name_class(name) for name in ("prob_NORMAL", "P(NORMAL)", "NORMAL score", "y_score")]
    [('prob', 'NORMAL'), ('p', 'NORMAL'), ('score', 'NORMAL'), ('score', '')]
    >>> name_class("age") is None
    True
    """
    match = _BEFORE.fullmatch(column)
    if match is not None:
        word, *parts = match.groups()
        return word.lower(), next((part for part in parts if part), "")
    match = _BEHIND.fullmatch(column)
    return None if match is None else (match[2].lower(), match[1])


def _name_scores(columns: Sequence[str]) -> dict[str, str]:
    """Return the class that the name of each column of scores contains, else the whole name."""
    named = {column: name_class(column) for column in columns}
    return {column: column if found is None else found[1] for column, found in named.items()}


def _find_scores(table: Table, settings: ScoreSettings) -> dict[str, str]:
    """Return the columns of the surest kind of scores, each with its class."""
    families: dict[str, dict[str, str]] = {}
    numeric: set[str] = set()  # the others are names, such as the predicted class
    taken = {*settings.labels.columns, settings.path_column, settings.group_column}
    for column, cells in table.columns.items():
        found = name_class(column)
        if found is None or column in taken or found[1].casefold() in _NOT_CLASSES:
            continue
        families.setdefault(found[0], {})[column] = found[1]
        if _begins_with_number(cells):
            numeric.add(found[0])
    words = (*_SCORE_WORDS, *_LOGIT_WORDS)
    if settings.are_logits:
        words = (*_LOGIT_WORDS, *_SCORE_WORDS)
    kind = next((word for word in words if word in numeric), None)
    if kind is None:
        return {}
    named = {column: name for column, name in families[kind].items() if name}
    return named if len(named) > 1 else families[kind]


def _begins_with_number(cells: Sequence[str]) -> bool:
    first = next((cell for cell in cells if not is_missing(clean_text(cell))), "")
    return read_number(first.strip().removesuffix("%")) is not None


def _find_named_like_classes(table: Table, label: str) -> dict[str, str]:
    values = {clean_text(cell) for cell in table.columns[label]}
    found = [find_spelling(value, table.columns) for value in sorted(values)]
    columns = [name for name in table.columns if name in found and name != label]
    return {name: name for name in columns} if len(columns) > 1 else {}


def _find_labels(table: Table, scores: Mapping[str, str]) -> tuple[str, ...]:
    """Return the column of labels, or one for each finding; empty where there is none."""
    free = [column for column in table.columns if column not in scores]
    pairs = [_find_truth(free, name) for name in scores.values()]
    several = tuple(pair for pair in pairs if pair is not None)
    if len(several) == len(scores) > 1:
        return several
    words = {"".join(split_words(column)): column for column in reversed(free)}
    usual = (*_LABELS, *USUAL["label_columns"])
    found = next((words[word] for word in usual if word in words), None)
    return () if found is None else (found,)


def _find_truth(columns: Collection[str], name: str) -> str | None:
    """Return the column with the label of one finding."""
    escaped = re.escape(name)
    pattern = re.compile(rf"{_TRUTH}[_ .:-]{escaped}|{escaped}[_ .:-]{_TRUTH}", re.IGNORECASE)
    if name in columns:
        return name
    return next((column for column in columns if pattern.fullmatch(column)), None)


def _find_group(table: Table, used: Collection[str]) -> str | None:
    free = [name for name in table.columns if name not in used]
    return find_patient_column(free) or find_spelling("group", free)


def _find_image(
    table: Table, settings: ScoreSettings, *, used: Collection[str]
) -> tuple[str | None, str | None]:
    """Return what identifies an image, and its file."""
    if settings.path_column is not None:
        return settings.path_column, settings.path_column
    words = {"".join(split_words(n)): n for n in reversed(table.columns) if n not in used}
    ids, paths = (
        next((words[word] for word in usual if word in words), None)
        for usual in (_IDS, USUAL["path_column"])
    )
    return ids or paths, paths or ids


def _find_split(table: Table, settings: ScoreSettings) -> str | None:
    """Return the column that says which rows are VAL and which TEST."""
    if settings.split_column is not None:
        return None if settings.split_column == NONE else settings.split_column
    return next(_list_splits(table), None)


def _list_splits(table: Table) -> Iterator[str]:
    for name, cells in table.columns.items():
        if is_split_name(name) and all(read_split_word(clean_text(cell)) for cell in set(cells)):
            yield name


def _lack(table: Table, path: Path, *, what: str, flag: str) -> DataError:
    names = shorten_list(list(table.columns))
    return DataError(f"{path} has no column for {what}; it has {names}: name it by {flag}.")
