"""What is written reads back bit for bit, by us and by pandas."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.errors import DataError, RunError
from medimg_baseline_cls.evaluation.prediction_files import (
    collect_predictions,
    read_predictions,
    write_predictions,
)
from medimg_baseline_cls.schema import ImageRecord, Predictions, Split

MakePredictions = Callable[..., Predictions]


def make_split() -> Split:
    records = tuple(
        ImageRecord(
            image_id=f"train/A/{i}.png",
            path=f"train/A/{i}.png",
            label="A" if i % 3 else "B",
            group=f"g{i}",
            split="val" if i % 2 else "train",
            sha256=f"{i:064x}",
            width=4,
            height=4,
        )
        for i in range(10)
    )
    return Split(records, ("A", "B"))


def assert_same(left: Predictions, right: Predictions) -> None:
    assert (left.split, left.class_names) == (right.split, right.class_names)
    assert (left.image_ids, left.paths, left.groups) == (
        right.image_ids,
        right.paths,
        right.groups,
    )
    assert left.labels.tolist() == right.labels.tolist()
    assert left.probabilities.tobytes() == right.probabilities.tobytes()


def test_predictions_read_back_unchanged(tmp_path: Path, val: Predictions) -> None:
    write_predictions(tmp_path / "p.csv", val)
    assert_same(read_predictions(tmp_path / "p.csv", split="val"), val)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0, 1, allow_subnormal=True), min_size=1, max_size=8))
def test_every_float64_survives_the_file(tmp_path: Path, scores: list[float]) -> None:
    positive = np.array(scores)
    predictions = Predictions(
        split="new",
        class_names=("no, none", "yes"),
        image_ids=tuple(map(str, range(len(scores)))),
        paths=tuple(f'say "{i}"\n.png' for i in range(len(scores))),
        groups=("",) * len(scores),
        labels=np.full(len(scores), -1, dtype=np.int64),
        probabilities=np.stack([1 - positive, positive], axis=1),
    )
    write_predictions(tmp_path / "p.csv", predictions)
    again = read_predictions(tmp_path / "p.csv", split="new")
    assert_same(again, predictions)
    # The decision at the edge: the score itself is its own threshold after the round trip.
    assert (again.scores("yes") >= positive).all()


def test_pandas_reads_the_same_numbers(tmp_path: Path, val: Predictions) -> None:
    write_predictions(tmp_path / "p.csv", val)
    frame = pd.read_csv(tmp_path / "p.csv")
    assert list(frame) == ["image_id", "path", "label", "group", "prob_NORMAL", "prob_PNEUMONIA"]
    assert (frame["prob_PNEUMONIA"].to_numpy() == val.scores("PNEUMONIA")).all()
    assert frame["label"].tolist() == [val.class_names[i] for i in val.labels]


def test_collecting_puts_rows_in_the_order_of_the_split() -> None:
    split = make_split()
    rows = np.array([9, 1, 5, 3, 7])
    positive = rows / 10
    found = collect_predictions(
        split, "val", rows=rows, probabilities=np.stack([1 - positive, positive], axis=1)
    )
    assert found.image_ids == tuple(f"train/A/{i}.png" for i in (1, 3, 5, 7, 9))
    assert found.scores("B").tolist() == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert found.labels.tolist() == [0, 1, 0, 0, 1]
    assert found.groups == ("g1", "g3", "g5", "g7", "g9")


@pytest.mark.parametrize("rows", [[1, 3, 5, 7], [1, 3, 5, 7, 9, 9], [1, 3, 5, 7, 8], []])
def test_an_image_missing_twice_or_foreign_is_refused(rows: list[int]) -> None:
    with pytest.raises(DataError, match="exactly once"):
        collect_predictions(
            make_split(),
            "val",
            rows=np.array(rows, dtype=np.int64),
            probabilities=np.full((len(rows), 2), 0.5),
        )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("prob_NORMAL", "NORMAL", "columns"),
        ("group,", "groups,", "columns"),
        (",PNEUMONIA,", ",COVID,", "COVID"),
        ("val/image, 001.png", "val/image, 000.png", "twice"),
        (",0.", ",zero.", "not a number"),
        (",0.", ",7.", "outside"),
        (",0.", ",0,", "cells"),
    ],
)
def test_a_changed_file_is_refused(
    tmp_path: Path, val: Predictions, old: str, new: str, message: str
) -> None:
    write_predictions(tmp_path / "p.csv", val)
    text = (tmp_path / "p.csv").read_text()
    assert old in text
    (tmp_path / "p.csv").write_text(text.replace(old, new))
    with pytest.raises(RunError, match=message):
        read_predictions(tmp_path / "p.csv", split="val")


def test_nan_and_empty_files_are_refused(tmp_path: Path, val: Predictions) -> None:
    broken = replace(val, probabilities=np.full_like(val.probabilities, np.nan))
    write_predictions(tmp_path / "p.csv", broken)
    with pytest.raises(RunError, match="outside"):
        read_predictions(tmp_path / "p.csv", split="val")
    (tmp_path / "p.csv").write_text("image_id,path,label,group,prob_A\n")
    with pytest.raises(RunError, match="no image"):
        read_predictions(tmp_path / "p.csv", split="val")
    with pytest.raises(RunError, match="missing"):
        read_predictions(tmp_path / "absent.csv", split="val")


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_findings_read_back_as_they_were(
    tmp_path: Path, findings: MakePredictions, unknown: float
) -> None:
    val = findings("val", unknown=unknown)
    write_predictions(tmp_path / "p.csv", val)
    again = read_predictions(tmp_path / "p.csv", split="val", task="multilabel")
    assert (again.labels == val.labels).all() and again.labels.shape == (80, 3)
    assert (again.probabilities == val.probabilities).all()
    assert (again.task, again.class_names) == ("multilabel", val.class_names)


def test_findings_are_in_the_file_as_text(tmp_path: Path, findings: MakePredictions) -> None:
    val = findings("val", num_images=3)
    labels = np.array([[1, -1, 1], [0, 0, 0], [-1, 0, -1]])
    write_predictions(tmp_path / "p.csv", replace(val, labels=labels))
    text = (tmp_path / "p.csv").read_text(encoding="utf-8")
    for cell in ("Effusion|Nodule|?Mass", "?Effusion|?Nodule"):
        assert f",{cell}," in text
    with pytest.raises(RunError, match="none of its classes"):
        read_predictions(tmp_path / "p.csv", split="val")  # not one class each


@pytest.mark.parametrize("label", ["Mass|?Mass", "Nodule|Mass", "Mass|Mass", "Effusion|"])
def test_findings_that_were_changed_are_refused(
    tmp_path: Path, findings: MakePredictions, label: str
) -> None:
    path = tmp_path / "predictions_val.csv"
    write_predictions(path, findings("val"))
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = next(csv.reader([lines[1]]))
    cells[2] = label
    lines[1] = ",".join(f'"{cell}"' for cell in cells)
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RunError, match="names a finding twice or in another order"):
        read_predictions(path, split="val", task="multilabel")
