"""Labels against the classes that scores are of: tasks, class order, unknown labels."""

import numpy as np
import pytest

from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.score_labels import (
    LabelCells,
    ScoreClasses,
    find_classes,
    find_task,
    read_score_labels,
)
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.schema import Task

RULE = LabelRule(columns=())


def cells(*texts: str) -> LabelCells:
    return LabelCells({"": texts}, range(2, len(texts) + 2), "test.csv")


def columns(**texts: tuple[str, ...]) -> LabelCells:
    return LabelCells(texts, range(2, len(next(iter(texts.values()))) + 2), "test.csv")


def read(part: LabelCells, *names: str, task: Task = "multiclass") -> list[str]:
    classes = ScoreClasses(names, tuple(range(len(names))))
    return read_score_labels(part, classes, rule=RULE, task=task)[0]


@pytest.mark.parametrize(
    ("part", "row", "task"),
    [
        (cells("A", "B"), [0.5, 0.5], "multiclass"),
        (cells("1", "0"), [0.7], "multiclass"),
        (cells("A|B", "A"), [0.5, 0.5], "multilabel"),
        (cells("?A", "A"), [0.5, 0.5], "multilabel"),
        (cells("A", ""), [0.9, 0.8], "multilabel"),
        (cells("A", ""), [0.5, 0.5], "multiclass"),
        (columns(A=("1", "0"), B=("0", "1")), [0.5, 0.5], "multiclass"),
        (columns(A=("1", "0"), B=("1", "1")), [0.5, 0.5], "multilabel"),
        (columns(A=("1", "0"), B=("0", "1")), [0.9, 0.8], "multilabel"),
    ],
)
def test_the_task_is_inferred_from_labels_and_scores(
    part: LabelCells, row: list[float], task: Task
) -> None:
    found, reason = find_task([part], np.array([row, row]), rule=RULE)
    assert found == task
    assert reason


def test_the_task_that_is_set_is_kept_without_a_reason() -> None:
    rule = LabelRule(columns=(), task="ordinal")
    assert find_task([cells("0", "1")], np.array([[0.5, 0.5]]), rule=rule) == ("ordinal", "")
    joined = LabelRule(columns=(), separator=";")
    assert find_task([cells("A")], np.array([[0.5, 0.5]]), rule=joined)[0] == "multilabel"


def test_classes_are_those_of_the_columns_in_their_order() -> None:
    found = find_classes(["B", " A ", "1.0"], [cells("A")], rule=RULE, positive=None)
    assert found == ScoreClasses(("B", "A", "1"), (0, 1, 2))
    rule = LabelRule(columns=(), class_names=("a", "1", "B"))
    moved = find_classes(["B", "A", "1"], [cells("A")], rule=rule, positive=None)
    assert moved == ScoreClasses(("a", "1", "B"), (1, 2, 0))


@pytest.mark.parametrize("named", [["", ""], ["A", "A"], ["1", "1.0"]])
def test_columns_that_do_not_tell_their_classes_are_refused(named: list[str]) -> None:
    with pytest.raises(DataError, match="do not name their classes; pass --probability-columns"):
        find_classes(named, [cells("A")], rule=RULE, positive=None)


@pytest.mark.parametrize(
    ("named", "texts", "positive", "expected"),
    [
        ("", ("0", "1"), None, "1"),
        ("", ("0.0", "1.0"), None, "1"),
        ("", ("NORMAL", "PNEUMONIA"), None, "PNEUMONIA"),
        ("NORMAL", ("NORMAL", "PNEUMONIA"), None, "NORMAL"),
        ("pneumonia", ("NORMAL", "PNEUMONIA"), None, "PNEUMONIA"),
        ("malignancy", ("0", "1"), None, "1"),
        ("", ("left", "right"), "left", "left"),
    ],
)
def test_a_lone_column_is_of_one_of_two_labels(
    named: str, texts: tuple[str, ...], positive: str | None, expected: str
) -> None:
    found = find_classes([named], [cells(*texts)], rule=RULE, positive=positive)
    assert found.positive == expected
    spread = found.spread(np.array([[0.25], [0.75]]))
    assert spread[:, found.names.index(expected)].tolist() == [0.25, 0.75]
    assert spread.sum(axis=1).tolist() == [1.0, 1.0]


def test_a_lone_column_of_other_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="of left or of right"):
        find_classes([""], [cells("left", "right")], rule=RULE, positive=None)
    with pytest.raises(DataError, match="needs two classes, but the labels are 0, 1, 2"):
        find_classes([""], [cells("0", "1", "2")], rule=RULE, positive=None)


def test_labels_are_read_in_any_spelling_and_number() -> None:
    assert read(cells("a", "A ", "B"), "A", "B") == ["A", "A", "B"]
    assert read(cells("0", "1.0", "2,0"), "0", "1", "2") == ["0", "1", "2"]


@pytest.mark.parametrize("text", ["C", "10", "A B"])
def test_a_label_of_no_column_is_refused_with_its_row(text: str) -> None:
    with pytest.raises(DataError, match=f"test.csv, row 3: the label '{text}' is none of .* A, B"):
        read(cells("A", text), "A", "B")


@pytest.mark.parametrize("text", ["", "NA", "nan"])
def test_a_blank_label_is_refused_with_its_row(text: str) -> None:
    with pytest.raises(DataError, match="test.csv, row 3: the label is blank"):
        read(cells("A", text), "A", "B")


def test_a_joined_label_may_say_that_there_is_no_finding() -> None:
    part = cells("A|B", "No Finding", "", "?b|A")
    assert read(part, "A", "B", task="multilabel") == ["A|B", "", "", "A|?B"]
    with pytest.raises(DataError, match="row 2: the label 'A|C' is none"):
        read(cells("A|C"), "A", "B", task="multilabel")


def test_columns_of_labels_are_read_by_the_rules_of_a_table() -> None:
    part = columns(A=("1", "0", "-1"), B=("0", "yes", ""))
    assert read(part, "A", "B", task="multilabel") == ["A", "B", "?A|?B"]
    one_hot = columns(A=("1", "0"), B=("0", "1"))
    assert read(one_hot, "A", "B") == ["A", "B"]
    with pytest.raises(DataError, match="test.csv: row 2: A is '7'; expected 1, 0, -1"):
        read(columns(A=("7",), B=("0",)), "A", "B", task="multilabel")


def test_grades_need_an_order() -> None:
    assert read(cells("2", "0"), "0", "1", "2", task="ordinal") == ["2", "0"]
    with pytest.raises(DataError, match="needs the order of the classes"):
        read(cells("mild"), "mild", "severe", task="ordinal")
