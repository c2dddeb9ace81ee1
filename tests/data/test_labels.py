"""Label cells become label texts by one stated rule; what fits no rule is named with its row."""

import random

import pytest

from medimg_baseline_cls.data.labels import LabelRule, Labels, Policy, read_labels
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import parse_findings

FINDINGS = ("Effusion", "Mass", "Nodule")
POLICIES: tuple[Policy, ...] = ("ignore", "positive", "negative")


def read(cells: dict[str, list[str]], **rule: object) -> Labels:
    return read_labels(cells, LabelRule(columns=tuple(cells), **rule))  # type: ignore[arg-type]


def test_classes_are_kept_as_text_and_sorted_with_numbers_by_value() -> None:
    labels = read({"label": ["10", "2.0", "no", "2"]})
    assert (labels.texts, labels.class_names) == (["10", "2", "no", "2"], ("2", "10", "no"))
    assert labels.task == "multiclass"
    assert read({"label": ["b", "a"]}, class_names=("b", "a")).class_names == ("b", "a")


def test_classes_that_are_not_asked_for_are_left_out_and_counted() -> None:
    labels = read({"label": ["a", "b", "c", "c"]}, class_names=("b", "a"))
    assert labels.texts == ["a", "b", None, None]
    assert labels.notes == ("class c is not among class_names: 2 images left out",)


def test_grades_need_an_order() -> None:
    assert read({"grade": ["4", "0", "2.0"]}, task="ordinal").class_names == ("0", "2", "4")
    assert read({"grade": ["mild", "none"]}, task="ordinal", class_names=("none", "mild")).task == (
        "ordinal"
    )
    with pytest.raises(DataError, match="needs the order of the classes"):
        read({"grade": ["mild", "none"]}, task="ordinal")


@pytest.mark.parametrize("uncertain", POLICIES)
@pytest.mark.parametrize("missing", POLICIES)
def test_every_value_of_a_finding_follows_its_policy(uncertain: Policy, missing: Policy) -> None:
    rng = random.Random(f"{uncertain} {missing}")
    spelling = {1: ["1", "1.0", "True", "yes"], 0: ["0", "0.0", "FALSE"], -1: ["-1", "-1.0"]}
    spelling[-2] = ["", "nan"]
    truth = [[rng.choice((1, 0, -1, -2)) for _ in FINDINGS] for _ in range(50)]
    cells = {
        name: [rng.choice(spelling[row[i]]) for row in truth] for i, name in enumerate(FINDINGS)
    }
    labels = read(cells, uncertain=uncertain, missing=missing)
    assert (labels.task, labels.class_names) == ("multilabel", FINDINGS)
    by_hand = {"ignore": -1, "positive": 1, "negative": 0}
    meaning = {1: 1, 0: 0, -1: by_hand[uncertain], -2: by_hand[missing]}
    for text, row in zip(labels.texts, truth, strict=True):
        assert text is not None
        assert parse_findings(text, FINDINGS) == [meaning[value] for value in row]
    for word, value in (("uncertain", -1), ("blank", -2)):
        (note,) = [note for note in labels.notes if note.startswith(word)]
        for i, name in enumerate(FINDINGS):
            assert f"{name} {sum(row[i] == value for row in truth)}" in note


def test_one_column_of_uncertain_values_leaves_them_out_or_takes_them() -> None:
    cells = {"Effusion": ["1", "0", "-1", ""]}
    assert read(cells).texts == ["1", "0", None, None]
    assert read(cells, uncertain="positive", missing="negative").texts == ["1", "0", "1", "0"]
    assert "1 images with a label that is blank: left out" in read(cells).notes


def test_a_separator_splits_findings_and_no_finding_is_all_negative() -> None:
    labels = read({"f": ["Mass|Effusion", "No Finding", "Mass", ""]}, separator="|")
    assert labels.class_names == ("Effusion", "Mass")
    assert labels.texts == ["Effusion|Mass", "", "Mass", "?Effusion|?Mass"]
    assert "not findings, and so negative: No Finding" in labels.notes
    subset = read({"f": ["Mass, Hernia", "Effusion"]}, separator=",", class_names=("Mass", "X"))
    assert subset.texts == ["Mass", ""]


def test_a_column_per_class_may_hold_one_class_each() -> None:
    cells = {"MEL": ["1.0", "0.0"], "NV": ["0", "1"]}
    assert read(cells, task="multiclass").texts == ["MEL", "NV"]
    with pytest.raises(DataError, match="row 3: 2 of MEL, NV are 1"):
        read({"MEL": ["1", "1"], "NV": ["0", "1"]}, task="multiclass")


@pytest.mark.parametrize(
    ("cells", "rule", "words"),
    [
        ({"l": ["a", "", "b"]}, {}, "blank in 1 row.*row 3"),
        ({"A": ["1", "2"], "B": ["0", "0"]}, {}, "row 3: A is '2'; expected 1, 0, -1"),
        ({"A|B": ["1"], "C": ["0"]}, {}, "holds '|' or begins"),
        ({"?A": ["1"], "C": ["0"]}, {}, "rename it"),
        ({"A": ["1"], "B": ["0"]}, {"separator": "|"}, "leave out one of the two"),
        ({"A": ["x"]}, {"task": "multilabel"}, "needs several label_columns"),
        ({"A": ["x|y"]}, {"separator": "|", "task": "ordinal"}, "leave out one"),
        ({"A": [str(n) for n in range(30)]}, {}, "30 different values"),
        ({"A": ["1"], "B": ["0"]}, {"class_names": ("A", "C")}, "none of label_columns"),
        ({"l": ["a", "a"]}, {}, "holds 1 class.*: a; expected two"),
        ({"l": ["", "-1"]}, {}, "holds 0 class.*; expected two"),
        ({"l": ["well", "sick"]}, {"class_names": ("well", "sik")}, "class sik .*mean sick"),
        ({"l": ["a", "b"]}, {"missing": "negative"}, "missing_labels = negative does nothing"),
        (
            {"l": ["a|b"]},
            {"separator": "|", "uncertain": "positive"},
            "uncertain_labels = positive",
        ),
        (
            {"A": ["1", "0"], "B": ["0", "1"]},
            {"task": "multiclass", "missing": "positive"},
            "missing_labels = positive does nothing",
        ),
    ],
)
def test_cells_that_fit_no_rule_are_refused(
    cells: dict[str, list[str]], rule: dict[str, object], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read(cells, **rule)


def test_a_row_of_one_finding_each_is_pointed_out_where_the_task_was_not_set() -> None:
    cells = {"A": ["1", "0"], "B": ["0", "1"]}
    hint = "each row has exactly one finding: say task = multiclass if they are classes"
    assert hint in read(cells).notes
    for others in ({"A": ["1", "0"], "B": ["0", "0"]}, {"A": ["1", "1"], "B": ["", "0"]}):
        assert hint not in read(others).notes
