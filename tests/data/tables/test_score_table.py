"""Tables of predictions of any model: what their columns are, and what is refused."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.score_columns import ScoreSettings, name_class
from medimg_baseline_cls.data.tables.score_table import ScoreTable, read_scores
from medimg_baseline_cls.errors import ConfigError, DataError, MedimgError

VAL = "id,patient,label,prob_A,prob_B\nv1,p1,A,.8,.2\nv2,p2,B,.4,.6\n"
TEST = "id,patient,label,prob_A,prob_B\nt1,p3,A,.9,.1\nt2,p4,B,.3,.7\n"
Read = Callable[..., ScoreTable]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return what writes texts as CSV files and reads them as predictions."""

    def run(test: str | bytes, val: str | None = None, **settings: Any) -> ScoreTable:
        path = tmp_path / "test.csv"
        path.write_bytes(test if isinstance(test, bytes) else test.encode())
        other = None
        if val is not None:
            other = tmp_path / "val.csv"
            other.write_text(val, encoding="utf-8")
        return read_scores(path, other, settings=ScoreSettings(**settings))

    return run


def labels_of(table: ScoreTable) -> list[str]:
    return [file.label for file in table.listing.files]


def rule(**settings: Any) -> LabelRule:
    return LabelRule(**{"columns": (), **settings})


@pytest.mark.parametrize("odd", ["Maybe", "1", "pneumonia?"])
def test_a_label_that_only_test_has_is_refused_with_its_row_and_those_of_val(
    read: Read, odd: str
) -> None:
    val = "id,label,score\nv1,NORMAL,.2\nv2,PNEUMONIA,.6\n"
    test = f"id,label,score\nt1,NORMAL,.1\nt2,{odd},.7\n"
    with pytest.raises(DataError) as caught:
        read(test, val)
    message = str(caught.value)
    assert re.search(rf"test\.csv, row 3: the label '{re.escape(odd)}' is none of the", message)
    assert re.search(r"classes of \S*val\.csv, NORMAL, PNEUMONIA: write the labels as ", message)
    assert "column" not in message


def test_labels_of_test_may_be_spelled_in_other_ways_than_those_of_val(read: Read) -> None:
    val = "id,label,score\nv1,NORMAL,.2\nv2,PNEUMONIA,.6\n"
    table = read("id,label,score\nt1,normal,.1\nt2,Pneumonia ,.7\n", val)
    assert labels_of(table) == ["NORMAL", "PNEUMONIA"] * 2


def test_the_file_with_too_many_labels_is_named(read: Read) -> None:
    val, test = "id,label,score\nv1,0,.2\n", "id,label,score\nt1,0,.1\nt2,1,.7\nt3,2,.7\n"
    with pytest.raises(DataError, match=r"test\.csv: one column of scores needs two classes"):
        read(test, val)
    with pytest.raises(DataError, match=r"val\.csv: one column of scores needs two classes"):
        read(val, test)


def test_two_files_are_val_and_test(read: Read) -> None:
    table = read(TEST, VAL)
    assert table.image_ids == ("t1", "t2", "v1", "v2")
    assert [file.folder for file in table.listing.files] == ["test", "test", "val", "val"]
    assert [file.group for file in table.listing.files] == ["p3", "p4", "p1", "p2"]
    assert labels_of(table) == ["A", "B", "A", "B"]
    assert table.listing.class_names == ("A", "B")
    assert table.probabilities.tolist() == [[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.4, 0.6]]


@pytest.mark.parametrize(
    "header",
    [
        "image_id,y_true,P(A),P(B)",
        "filename;label;A_prob;B_prob",
        "Image Index\tFinding Labels\tscore A\tscore B",
        "img_path|target|softmax_A|softmax_B",
        "id,class,A,B",
        "path,ground_truth,pred_A,pred_B",
        "study_id,dx,probability[A],probability[B]",
    ],
)
def test_columns_are_found_under_the_names_that_others_use(read: Read, header: str) -> None:
    separator = next(letter for letter in ";\t|," if letter in header)
    rows = [("x.png", "A", "0.75", "0.25"), ("y.png", "B", "0.5", "0.5")]
    table = read("\n".join([header, *(separator.join(row) for row in rows)]))
    assert table.image_ids == ("x.png", "y.png")
    assert labels_of(table) == ["A", "B"]
    assert table.probabilities.tolist() == [[0.75, 0.25], [0.5, 0.5]]


@pytest.mark.parametrize(
    "name", ["score", "y_score", "probability", "y_pred", "p", "prob_1", "P(1)"]
)
def test_one_column_of_scores_is_of_the_positive_class(read: Read, name: str) -> None:
    table = read(f"id,label,{name}\na,1,0.75\nb,0,0.125\n")
    assert (table.listing.class_names, table.positive_class) == (("0", "1"), "1")
    assert table.probabilities.tolist() == [[0.25, 0.75], [0.875, 0.125]]


def test_the_name_of_the_column_says_which_class_it_is_of(read: Read) -> None:
    text = "id,label,prob_nevus\na,nevus,0.75\nb,melanoma,0.125\n"
    assert read(text).positive_class == "nevus"
    unnamed = text.replace("prob_nevus", "score")
    with pytest.raises(ConfigError, match="of melanoma or of nevus.*--positive-class"):
        read(unnamed)
    table = read(unnamed, positive_class="melanoma")
    assert table.probabilities.tolist() == [[0.75, 0.25], [0.125, 0.875]]


def test_scores_before_a_softmax_or_a_sigmoid_are_turned_into_probabilities(read: Read) -> None:
    two = read("id,label,logit_A,logit_B\na,A,2,0\nb,B,-1,800\n", are_logits=True)
    assert two.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-15)
    assert two.probabilities[1].tolist() == [0.0, 1.0]
    one = read("id,label,score\na,1,3\nb,0,-800\n", are_logits=True)
    assert one.probabilities[:, 1].tolist() == [pytest.approx(1 / (1 + np.exp(-3))), 0.0]


def test_percentages_beside_a_val_of_probabilities_are_called_so(read: Read) -> None:
    with pytest.raises(DataError, match=r"test.csv, row 2: a score is 43\.11.*like percentages"):
        read(HEADER + "a,A,43.11,56.89\nb,B,.4,99.6\n", VAL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label,prob_A,prob_B\na,A,90,10\nb,B,30.5,69.4\n", "look like percentages: divide"),
        ("id,label,score\na,1,90\nb,0,3\n", "look like percentages: divide"),
        ("id,label,prob_A,prob_B\na,A,.9,.1\nb,B,.3,.7\n", r"all scores are in \[0, 1\]"),
        ("id,label,score\na,1,1\nb,0,.25\n", r"all scores are in \[0, 1\]"),
        ("id,Mass,Edema,p_Mass,p_Edema\na,1,1,.9,.9\nb,0,0,0,.5\n", r"are in \[0, 1\]"),
    ],
)
def test_what_is_no_logits_is_not_taken_for_them(read: Read, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^--logits is passed, but .*{message}"):
        read(text, are_logits=True)


def test_logits_may_all_be_above_zero(read: Read) -> None:
    text = "id,label,logit_A,logit_B\na,A,2,60\nb,B,1,4\n"
    assert read(text, are_logits=True).probabilities[0].tolist() == pytest.approx([0, 1])


def test_scores_that_add_up_to_one_are_not_taken_for_findings(read: Read) -> None:
    text = "id,A_label,B_label,prob_A,prob_B\nx,1,0,.9,.1\ny,0,1,.2,.8\n"
    assert read(text).listing.task == "multiclass"
    assert read(text.replace(".9,.1", ".9,.9")).listing.task == "multilabel"
    assert read(text, labels=rule(task="multilabel")).listing.task == "multilabel"


def test_findings_have_a_column_of_labels_each(read: Read) -> None:
    text = "id,Mass,Nodule,prob_Mass,prob_Nodule\nx,1,0,.9,.4\ny,-1,,.2,.8\nz,0,1,.1,.7\n"
    table = read(text)
    assert labels_of(table) == ["Mass", "?Mass|?Nodule", "Nodule"]
    uncertain = read(text, labels=rule(uncertain="positive", missing="negative"))
    assert labels_of(uncertain) == ["Mass", "Mass", "Nodule"]


@pytest.mark.parametrize("separator", [None, ";"])
def test_findings_may_be_joined_in_one_column(read: Read, separator: str | None) -> None:
    join = separator or "|"
    cells = (f"Mass{join}Nodule", "", f"Nodule{join}?Mass", "No Finding")
    rows = "".join(f'{i},"{cell}",.9,.4\n' for i, cell in enumerate(cells))
    table = read(f"id,label,prob_Mass,prob_Nodule\n{rows}", labels=rule(separator=separator))
    assert table.listing.task == "multilabel"
    assert labels_of(table) == ["Mass|Nodule", "", "Nodule|?Mass", ""]


def test_classes_are_named_by_position_where_columns_do_not_name_them(read: Read) -> None:
    text = "id,label,p0,p1\na,yes,.25,.75\nb,no,.5,.5\n"
    named = rule(class_names=("no", "yes"))
    table = read(text, labels=named, probability_columns=("p0", "p1"))
    assert (table.listing.class_names, labels_of(table)) == (("no", "yes"), ["yes", "no"])
    assert table.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5]]


def test_the_class_order_that_is_set_moves_the_scores(read: Read) -> None:
    table = read(TEST, labels=rule(class_names=("B", "A")))
    assert table.probabilities.tolist() == [[0.1, 0.9], [0.7, 0.3]]


def test_numbers_may_have_another_form(read: Read) -> None:
    comma = read('id;label;score\na;1,0;0,75\nb;0,0;"0,125"\n')
    assert comma.probabilities[:, 1].tolist() == [0.75, 0.125]
    utf16 = read(TEST.encode("utf-16"))
    assert utf16.probabilities.tolist() == [[0.9, 0.1], [0.3, 0.7]]


def test_a_patient_may_stand_for_an_image(read: Read) -> None:
    table = read("patient_id,label,score\np1,1,.5\np2,0,.25\n")
    assert table.image_ids == ("p1", "p2")
    with pytest.raises(DataError, match=r"row 2, and .*row 3, are both 'p1'.*--path-column"):
        read("patient_id,label,score\np1,1,.5\np1,0,.25\n")


def test_rows_of_train_are_left_out(read: Read) -> None:
    text = (
        "id,split,label,score\na,train,1,.5\nb,test,1,.5\nc,test,0,.1\nd,valid,0,.1\ne,val,1,.9\n"
    )
    table = read(text)
    assert table.image_ids == ("b", "c", "d", "e")
    assert any("1 of another split left out" in note for note in table.listing.notes)
    everyone = read(text, split_column="none")
    assert len(everyone.image_ids) == 5


def test_a_table_in_parquet_is_read_like_one_in_csv(tmp_path: Path, read: Read) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"id": ["a", "b"], "label": [1, 0], "score": [0.75, 0.1 + 0.2]}
    parquet.write_table(arrow.table(columns), tmp_path / "test.parquet")
    found = read_scores(tmp_path / "test.parquet", settings=ScoreSettings())
    assert found.probabilities[:, 1].tolist() == [0.75, 0.1 + 0.2]


def test_what_was_found_is_said_with_the_flag_that_changes_it(read: Read) -> None:
    said = {item.topic: item for item in read(TEST, VAL).listing.inferences}
    assert said["images"].found == "column id"
    assert said["probabilities"].flag == "--probability-columns COLUMN ..."
    chosen = read(TEST, VAL, labels=rule(columns=("label",))).listing.inferences
    assert {item.topic: item.certainty for item in chosen}["labels"] == "set"
    assert all(dataclasses.asdict(item)["reason"] for item in chosen)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("prob_No Finding", ("prob", "No Finding")),
        ("prob__a", ("prob", "_a")),
        ("y_pred_proba", ("proba", "")),
        ("NORMAL.probability", ("probability", "NORMAL")),
        ("patient", None),
        ("profile", None),
        ("spread", None),
    ],
)
def test_the_class_is_read_from_the_name_of_a_column(
    column: str, expected: tuple[str, str] | None
) -> None:
    assert name_class(column) == expected


HEADER = "id,label,prob_A,prob_B\n"
GOOD = "a,A,.9,.1\nb,B,.3,.7\n"
HOSTILE: dict[str, tuple[str, str]] = {
    "empty": ("", "is empty"),
    "header alone": (HEADER, "no rows below its header"),
    "no header": (GOOD, r"has no header: its first row contains \.9"),
    "logits": (HEADER + "a,A,2.5,-1\nb,B,.3,.7\n", r"row 2: a score is 2\.5.*--logits"),
    "percentages": (HEADER + "a,A,90,10\nb,B,30,70\n", "look like percentages; divide them by 100"),
    "percent of one class": (
        "id,label,score\na,1,90\nb,0,3\n",
        "look like percentages; divide them by 100",
    ),
    "small percentages of one class": (
        "id,label,score\na,1,9\nb,0,3\n",
        "score is 9, .*divide the scores by 100 if they are percentages, or pass --logits",
    ),
    "percent signs": (HEADER + "a,A,90%,10%\nb,B,30%,70%\n", "90%, a percentage: divide"),
    "NaN": (HEADER + "a,A,.9,.1\nb,B,nan,.7\n", r"row 3: prob_A is 'nan' \(1 of 2 rows"),
    "infinite": (HEADER + "a,A,.9,.1\nb,B,inf,.7\n", "row 3: prob_A is 'inf'"),
    "blank score": (HEADER + "a,A,.9,.1\nb,B,,.7\n", "row 3: prob_A is blank"),
    "a word": (HEADER + "a,A,.9,high\nb,B,.3,.7\n", "row 2: prob_B is 'high'"),
    "repeated image": (HEADER + GOOD + "a,A,.9,.1\n", "row 2, and .*row 4, are both 'a'"),
    "blank image": (HEADER + GOOD + ",A,.9,.1\n", "row 4: the column id is blank"),
    "one class": (HEADER + "a,A,.9,.1\nb,A,.3,.7\n", "all 2 images of TEST are of the class A"),
    "one value": ("id,label,score\na,1,.9\nb,1,.3\n", "needs two classes, but the labels are 1"),
    "not a softmax": (HEADER + "a,A,.9,.9\nb,B,.3,.7\n", r"row 2: .*add up to 1\.8, not to 1"),
    "unknown label": (HEADER + GOOD + "c,C,.5,.5\n", "row 4: the label 'C' is none of the classes"),
    "labels 0 and 1": (HEADER + "a,0,.9,.1\nb,1,.3,.7\n", "the label '0' is none of .* A, B"),
    "blank label": (HEADER + GOOD + "c,,.5,.5\n", "row 4: the label is blank"),
    "no label": ("id,prob_A,prob_B\na,.9,.1\n", "no column for the label; .*--label-columns"),
    "no scores": ("id,label,age\na,A,7\nb,B,8\n", "no column for probabilities; it has id, label"),
    "no image": ("label,score\n1,.9\n0,.1\n", "no column for the image or the patient"),
    "two of a name": ("id,label,score,score\na,1,.9,.9\n", "two columns named score"),
    "a cell too many": (HEADER + "a,A,.9,.1,.5\n", "row 2, has 5 cells where the header has 4"),
    "a row cut off": (
        HEADER + "a,A,.9\nb,B,.3,.7\n",
        "csv: row 2 ends before the column prob_B",
    ),
    "open quote": (HEADER + 'a,"A,.9,.1\n', "a quote that is not closed"),
    "a comment first": (
        "# by me\n" + HEADER + GOOD,
        "begins with a comment, '# by me'",
    ),
    "a workbook": ("PK\x03\x04xxxx", "is a workbook"),
    "no row of TEST": ("id,split,label,score\na,val,1,.9\n", "no row of the column split is test"),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_table_that_cannot_be_used_is_refused_in_one_sentence(
    read: Read, text: str, message: str
) -> None:
    with pytest.raises(MedimgError, match=message) as caught:
        read(text)
    assert len(caught.value.args) == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("val", "message"),
    [
        (VAL.replace("v1", "t1"), "are both 't1'"),
        (VAL.replace("prob_B", "prob_C"), "scores of A, C, but .* of A, B"),
        ("id,label,prob_A,prob_B,prob_C\nv1,A,1,0,0\nv2,B,0,1,0\n", "scores of A, B, C, but"),
        (VAL.replace(",B,", ",A,"), "all 2 images of VAL are of the class A"),
        (VAL.replace("p1,A", "p1,Z"), "val.csv, row 2: the label 'Z'"),
        ("", "val.csv is empty"),
    ],
)
def test_a_val_that_does_not_fit_is_refused(read: Read, val: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(TEST, val)


def test_a_file_of_both_splits_is_not_taken_for_one(read: Read) -> None:
    both = "id,split,label,score\na,val,1,.9\nb,test,0,.2\nc,test,1,.4\n"
    with pytest.raises(DataError, match="passed as --test, but its column split says val too"):
        read(both, "id,label,score\nv,1,.5\nw,0,.5\n")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path_column": "file"}, r"lacks the column\(s\) file \(--path-column\)"),
        ({"group_column": "person"}, r"lacks the column\(s\) person \(--group-column\)"),
        ({"probability_columns": ("prob_A", "prob_Z")}, r"prob_Z \(--probability-columns\)"),
        ({"subgroup_columns": ("sex",)}, r"sex \(--subgroup-columns\)"),
        *(
            (columns, f"test.csv: --{flag} {message}: name")
            for columns, flag, message in (
                (
                    {"probability_columns": ("prob_A", "prob_B", "prob_A")},
                    "probability-columns",
                    "names prob_A twice",
                ),
                (
                    {"subgroup_columns": ("prob_B",)},
                    "subgroup-columns",
                    "names prob_B, which has the probabilities",
                ),
                (
                    {"subgroup_columns": ("id", "label")},
                    "subgroup-columns",
                    "names label, which has the labels",
                ),
                ({"subgroup_columns": ("id", "id")}, "subgroup-columns", "names id twice"),
                (
                    {"labels": rule(columns=("prob_A",)), "probability_columns": ("prob_A",)},
                    "label-columns",
                    "names prob_A, which has the probabilities",
                ),
                ({"group_column": "label"}, "group-column", "names label, which has the labels"),
            )
        ),
        ({"labels": rule(class_names=("A", "B", "C"))}, "3 classes, but there are 2 columns"),
    ],
)
def test_settings_that_do_not_fit_the_table_are_refused(
    read: Read, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(TEST, **settings)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_scores(tmp_path / "none.csv", settings=ScoreSettings())


@pytest.mark.parametrize("digits", [2, 3, 17])
def test_rounded_probabilities_are_kept_as_they_are(read: Read, digits: int) -> None:
    random = np.random.default_rng(digits)
    scores = random.dirichlet(np.ones(3), size=30)
    rows: Sequence[str] = [
        f"i{n},{'ABC'[n % 3]}," + ",".join(f"{value:.{digits}f}" for value in row)
        for n, row in enumerate(scores)
    ]
    table = read("id,label,prob_A,prob_B,prob_C\n" + "\n".join(rows))
    order = [int(name[1:]) for name in table.image_ids]
    assert table.probabilities == pytest.approx(scores[order], abs=0.6 * 10**-digits)


@pytest.mark.parametrize(
    ("header", "scores"),
    [
        ("id,label,score", ("0.2", "0.7", "0.5")),
        ("id,label,prob_0,prob_1", (".8,.2", ".3,.7", ".5,.5")),
        ("id,label,prob_NORMAL,prob_PNEUMONIA", (".8,.2", ".3,.7", ".5,.5")),
    ],
)
def test_labels_are_mapped_to_classes(read: Read, header: str, scores: Sequence[str]) -> None:
    rows = [f"t{n},{label},{s}" for n, (label, s) in enumerate(zip("012", scores, strict=True))]
    text = "\n".join([header, *rows])
    table = read(text, maps={"0": "NORMAL", "1.0": "PNEUMONIA", "2": ""})
    assert labels_of(table) == ["NORMAL", "PNEUMONIA"]
    assert table.image_ids == ("t0", "t1")
    assert table.listing.class_names == ("NORMAL", "PNEUMONIA")
    np.testing.assert_allclose(table.probabilities, [[0.8, 0.2], [0.3, 0.7]])
    assert table.listing.notes[0].endswith("2 rows of test.csv, 1 left out by --map")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"maps": {"C": "A"}}, "--map C=A: the tables have no label C, but A, B"),
        ({"maps": {"A": "", "B": ""}}, "--map leaves out every image"),
        ({"maps": {"A": "X"}, "labels": rule(task="multilabel")}, "rename them in the table"),
    ],
)
def test_a_mapping_that_is_not_possible_is_refused(
    read: Read, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(MedimgError, match=words):
        read(TEST, VAL, **settings)


def test_a_blank_label_is_refused_next_to_a_mapping(read: Read) -> None:
    with pytest.raises(DataError, match="row 3: the label is blank"):
        read(TEST.replace("t2,p4,B", "t2,p4,"), VAL, maps={"A": "X"})
