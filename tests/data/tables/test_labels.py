"""Label cells become label texts by one stated rule; what fits no rule is named with its row."""

import random

import pytest

from medimg_baseline_cls.data.tables.labels import LabelRule, Labels, Policy, read_labels
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
    assert "1 image with a label that is blank: left out" in read(cells).notes


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
        ({"A": [str(n) for n in range(30)]}, {}, "30 different classes.*single image"),
        ({"A": ["1"], "B": ["0"]}, {"class_names": ("A", "C")}, "not in label_columns"),
        ({"l": ["a", "a"]}, {}, "has 1 class.*: a; expected two"),
        ({"l": ["", "-1"]}, {}, "has 0 class.*; expected two"),
        ({"l": ["well", "sick"]}, {"class_names": ("well", "sik")}, "class sik .*mean sick"),
        ({"l": ["a", "b"]}, {"missing": "negative"}, "missing_labels = negative has no effect"),
        (
            {"l": ["a|b"]},
            {"separator": "|", "uncertain": "positive"},
            "uncertain_labels = positive",
        ),
        (
            {"A": ["1", "0"], "B": ["0", "1"]},
            {"task": "multiclass", "missing": "positive"},
            "missing_labels = positive has no effect",
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
    hint = "each row has exactly one finding: pass --task multiclass if they are classes"
    assert hint in read(cells).notes
    for others in ({"A": ["1", "0"], "B": ["0", "0"]}, {"A": ["1", "1"], "B": ["", "0"]}):
        assert hint not in read(others).notes


WORDS = ("NA", "n/a", "#N/A", "<NA>", "nan", "None", "NULL", "-", ".")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_a_missing_value_is_no_class_and_no_finding(word: str) -> None:
    with pytest.raises(DataError, match=r"in 1 row\(s\), the first is row 4") as caught:
        read({"l": ["a", "b", word]})
    assert f"l is blank ({word}) in" in str(caught.value)
    binary = read({"l": ["1", "0", word]}, missing="negative")
    assert binary.texts == ["1", "0", "0"]
    findings = read({"A": ["1", word], "B": [word, "0"]})
    assert findings.texts == ["A|?B", "?A"]
    joined = read({"f": ["Mass|Effusion", f"Mass|{word}", word, f"{word}|{word}"]}, separator="|")
    assert joined.class_names == ("Effusion", "Mass")
    assert joined.texts == ["Effusion|Mass", "Mass", *["?Effusion|?Mass"] * 2]


def test_a_class_may_be_called_none_where_class_names_say_so() -> None:
    labels = read({"l": ["None", "Mild", "none"]}, class_names=("None", "Mild"))
    assert labels.texts == ["None", "Mild", "None"]
    assert read({"l": ["none", "tumor"]}).class_names == ("none", "tumor")


def test_numbers_with_a_decimal_comma_are_those_with_a_point() -> None:
    assert read({"l": ["1,0", "0,0", "1.0", "2,00"]}).texts == ["1", "0", "1", "2"]
    findings = {"A": ["1,0", "-1,0"], "B": ["0,0", "1"]}
    assert read(findings).texts == ["A", "B|?A"]
    assert read({"l": ["1,5", "0"]}).class_names == ("0", "1,5")


LISTS = {
    "['mass', 'nodule']": "mass|nodule",
    '["mass", "nodule"]': "mass|nodule",
    "['mass' 'nodule']": "mass|nodule",
    "[mass, nodule]": "mass|nodule",
    "[mass]": "mass",
    "[' nodule', '', 'nan']": "nodule",
    """["Crohn's disease", 'mass']""": "Crohn's disease|mass",
    "['normal']": "",
    "[]": "",
    "['']": "?Crohn's disease|?mass|?nodule",
    "[nan]": "?Crohn's disease|?mass|?nodule",
}


@pytest.mark.parametrize("separator", [",", "|"])
def test_cells_that_are_lists_name_their_findings(separator: str) -> None:
    labels = read({"Labels": list(LISTS)}, separator=separator)
    assert labels.class_names == ("Crohn's disease", "mass", "nodule")
    assert dict(zip(LISTS, labels.texts, strict=True)) == LISTS


def test_lists_without_a_separator_are_refused_with_the_flag_that_reads_them() -> None:
    with pytest.raises(DataError, match=r"lists, such as \['mass'\]: pass --label-separator ,"):
        read({"Labels": ["normal", "['mass']"]})


def test_spellings_of_one_class_are_one_class_and_those_of_a_finding_one_finding() -> None:
    labels = read({"l": ["benign", "Benign", "benign\u200b", "malin", "benign"]})
    assert labels.texts == ["benign", "benign", "benign", "malin", "benign"]
    (item,) = labels.inferences
    assert (item.topic, item.certainty) == ("spelling", "guess")
    assert "Benign (1 image) is read as benign" in item.warning
    assert any("\\u200b" in note for note in labels.notes)
    joined = read({"f": ["Mass|Effusion", "mass", "Mass"]}, separator="|")
    assert joined.texts == ["Effusion|Mass", "Mass", "Mass"] and joined.inferences
    apart = read({"l": ["benign", "Benign", "x"]}, class_names=("benign", "Benign", "x"))
    assert apart.texts == ["benign", "Benign", "x"] and not apart.inferences


def test_two_spellings_alone_are_one_class_and_so_too_few() -> None:
    with pytest.raises(DataError, match="has 1 class.*two or more"):
        read({"l": ["a", "A", "a"]})
