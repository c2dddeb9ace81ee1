"""What the columns of other programs' tables are: found by their names, or as they are set."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.score_columns import (
    ScoreColumns,
    ScoreSettings,
    find_score_columns,
)
from medimg_baseline_cls.data.tables.table_file import Table
from medimg_baseline_cls.errors import DataError

PLACE = Path("test.csv")


def table_of(header: str, *rows: str) -> Table:
    names = header.split(",")
    cells = [row.split(",") for row in rows]
    columns = {name: [row[k] for row in cells] for k, name in enumerate(names)}
    return Table(columns, range(2, len(rows) + 2))


def find(header: str, *rows: str, **settings: object) -> ScoreColumns:
    return find_score_columns(
        table_of(header, *rows),
        ScoreSettings(**settings),
        path=PLACE,  # pyright: ignore[reportArgumentType]
    )


# What MONAI, Keras, scikit-learn, challenges and vendors write.
TABLES: dict[str, tuple[str, str, dict[str, object]]] = {
    "ours": (
        "image_id,path,label,group,prob_A,prob_B",
        "i,p,A,g,.1,.9",
        {"image": "image_id", "path": "path", "labels": ("label",), "group": "group"},
    ),
    "monai": (
        "filename,class,softmax_0,softmax_1",
        "x.nii,0,.1,.9",
        {"image": "filename", "labels": ("class",), "classes": ("0", "1")},
    ),
    "keras": (
        "file,NORMAL,PNEUMONIA,label",
        "x,.1,.9,NORMAL;x,.1,.9,PNEUMONIA",
        {"scores": ("NORMAL", "PNEUMONIA"), "labels": ("label",)},
    ),
    "scikit-learn": (
        "id,y_true,y_pred,y_score",
        "x,1,1,.9",
        {"labels": ("y_true",), "scores": ("y_score",), "classes": ("",)},
    ),
    "predicted class beside scores": (
        "id,label,prediction,prob_A,prob_B",
        "x,A,B,.1,.9",
        {"scores": ("prob_A", "prob_B")},
    ),
    "predicted label of a number": (
        "id,label,pred_label,score",
        "x,1,1,.9",
        {"scores": ("score",)},
    ),
    "chestx-ray14": (
        "Image Index,Finding Labels,Patient ID,P(Mass),P(Nodule)",
        "x,Mass,7,.1,.9",
        {"image": "Image Index", "labels": ("Finding Labels",), "group": "Patient ID"},
    ),
    "findings": (
        "Path,Mass,Nodule,Mass_pred,Nodule_pred",
        "x,1,0,.9,.1",
        {"labels": ("Mass", "Nodule"), "scores": ("Mass_pred", "Nodule_pred")},
    ),
    "findings with prefixes": (
        "Path,gt_Mass,gt_Nodule,prob_Mass,prob_Nodule",
        "x,1,0,.9,.1",
        {"labels": ("gt_Mass", "gt_Nodule"), "classes": ("Mass", "Nodule")},
    ),
    "logits beside probabilities": (
        "id,label,logit_A,logit_B,prob_A,prob_B",
        "x,A,1,2,.1,.9",
        {"scores": ("prob_A", "prob_B")},
    ),
    "patients alone": (
        "PatientID,outcome,risk_score",
        "7,1,.9",
        {"image": "PatientID", "path": "PatientID", "group": "PatientID"},
    ),
    "split": (
        "id,label,score,Data Split",
        "x,1,.9,test;y,0,.2,val",
        {"split": "Data Split"},
    ),
    "no split": (
        "id,label,score,subset",
        "x,1,.9,A",
        {"split": None},
    ),
}


@pytest.mark.parametrize(("header", "rows", "expected"), TABLES.values(), ids=TABLES)
def test_columns_are_found(header: str, rows: str, expected: dict[str, object]) -> None:
    found = find(header, *rows.split(";"))
    assert {name: getattr(found, name) for name in expected} == expected


def test_with_logits_the_columns_of_logits_are_taken() -> None:
    found = find("id,label,prob_A,prob_B,logit_A,logit_B", "x,A,.1,.9,1,2", are_logits=True)
    assert found.scores == ("logit_A", "logit_B")


SETTINGS: Sequence[tuple[dict[str, object], dict[str, object]]] = (
    ({"path_column": "Scan"}, {"image": "scan", "path": "scan"}),
    ({"labels": LabelRule(columns=("other",))}, {"labels": ("other",)}),
    ({"group_column": "site"}, {"group": "site"}),
    ({"probability_columns": ("pred_B",)}, {"scores": ("pred_B",), "classes": ("B",)}),
    ({"subgroup_columns": ("Site",)}, {"subgroups": ("site",)}),
    ({"split_column": "part"}, {"split": "part"}),
    ({"split_column": "none"}, {"split": None}),
)


@pytest.mark.parametrize(("settings", "expected"), SETTINGS)
def test_a_column_that_is_set_is_taken_in_any_spelling(
    settings: dict[str, object], expected: dict[str, object]
) -> None:
    header = "id,scan,label,other,site,part,split,prob_A,prob_B,pred_B"
    found = find(header, "i,s,A,B,1,test,test,.1,.9,.8", **settings)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("id,label,age", "x,A,7", "no column for probabilities; it has id, label, age"),
        ("id,prob_A,prob_B", "x,.1,.9", "no column for the label.*--label-columns"),
        ("label,prob_A,prob_B", "A,.1,.9", "image or the patient.*--path-column"),
        ("x.png,A,0.1,0.9", "y.png,B,0.2,0.8", r"no header: its first row contains 0\.1"),
    ],
)
def test_what_is_missing_is_named_with_its_flag(header: str, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find(header, row)


def test_reasons_tell_what_was_found_from_what_was_set() -> None:
    rows = ("id,label,prob_A,prob_B", "x,A,.1,.9")
    assert set(find(*rows).reasons.values()) == {"its name", "their names"}
    chosen = find(*rows, path_column="id", probability_columns=("prob_A", "prob_B"))
    assert chosen.reasons == {"images": "", "labels": "its name", "probabilities": ""}
