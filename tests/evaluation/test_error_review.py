"""The dossier repeats mistakes.csv, names true neighbors, and never loses what a reader wrote."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.pairwise import cosine_distances as oracle

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.error_review import (
    Case,
    Neighbor,
    cosine_distances,
    list_odd_readings,
    rank_nearest,
    read_readings,
    write_dossier,
)
from medimg_baseline_cls.schema import Mistake

COLUMNS = ["split", "rule", "class", "kind", "rank", "image_id", "probability", "margin"]


def case_of(image_id: str, *, rule: str = "max_f1", rank: int = 1) -> Case:
    mistake = Mistake(
        split="test",
        rule=rule,
        class_name="PNEUMONIA",
        kind="FP",
        rank=rank,
        image_id=image_id,
        probability=0.875,
        margin=0.375,
    )
    near = (Neighbor("train/a.png", "NORMAL", 0.125), Neighbor("train/b.png", "PNEUMONIA", 0.25))
    return Case(
        mistake=mistake,
        label="NORMAL",
        group="p7",
        threshold=0.5,
        subgroups=("F",),
        nearest=near,
    )


def write(run_dir: Path, *cases: Case) -> pd.DataFrame:
    path = run_dir / "dossier.csv"
    write_dossier(path, cases, subgroup_names=["sex"], readings=read_readings(run_dir))
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def fill(run_dir: Path, image_id: str, **cells: str) -> None:
    path = run_dir / "dossier.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name, text in cells.items():
        table.loc[table["image_id"] == image_id, name] = text
    table.to_csv(path, index=False)


def test_distances_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(3)
    features = draw.normal(size=(40, 7)).astype(np.float32)
    queries = draw.normal(size=(5, 7)).astype(np.float32)
    features[11] = 0
    found = cosine_distances(features, queries)
    np.testing.assert_allclose(found, oracle(features.astype(float), queries.astype(float)))
    for column in found.T:
        nearest = rank_nearest(column, 3)
        assert column[nearest].tolist() == sorted(column)[:3]


def test_equal_distances_keep_the_order_of_the_images() -> None:
    assert rank_nearest(np.array([0.5, 0.25, 0.25, 0.25]), 2).tolist() == [1, 2]
    assert rank_nearest(np.array([0.5]), 3).tolist() == [0]


def test_the_columns_of_mistakes_come_first_and_the_reader_s_last(tmp_path: Path) -> None:
    table = write(tmp_path, case_of("test/x, 1.png"))
    assert list(table)[: len(COLUMNS)] == COLUMNS
    assert list(table)[-2:] == ["reader", "reader_comment"]
    row = table.iloc[0]
    assert (row["image_id"], row["group"], row["subgroup_sex"]) == ("test/x, 1.png", "p7", "F")
    assert float(row["threshold"]) + float(row["margin"]) == float(row["probability"])
    nearest = row[["nearest_2_image_id", "nearest_2_label", "nearest_2_distance"]].tolist()
    assert nearest == ["train/b.png", "PNEUMONIA", "0.25"]
    assert row["nearest_3_image_id"] == row["reader"] == ""


def test_what_a_reader_wrote_survives_a_new_dossier(tmp_path: Path) -> None:
    first, second = case_of("a"), case_of("b", rank=2)
    write(tmp_path, first, second)
    fill(tmp_path, "b", reader="label wrong", reader_comment='old film, "rotated"')
    table = write(tmp_path, case_of("c"), case_of("b", rank=2), case_of("b", rule="default"))
    assert table["reader"].tolist() == ["", "label wrong", ""]
    assert table["reader_comment"].tolist() == ["", 'old film, "rotated"', ""]
    assert table["rule"].tolist() == ["max_f1", "max_f1", "default"]


def test_a_reading_outlives_the_mistake_and_returns_with_it(tmp_path: Path) -> None:
    write(tmp_path, case_of("a"))
    fill(tmp_path, "a", reader_comment="ask the radiologist")
    for _ in range(2):
        table = write(tmp_path, case_of("b"))
        assert table["image_id"].tolist() == ["b", "a"]
        assert table["rank"].tolist() == ["1", ""]
    table = write(tmp_path, case_of("a"))
    assert table[["image_id", "rank", "reader_comment"]].to_numpy().tolist() == [
        ["a", "1", "ask the radiologist"]
    ]


def test_a_file_that_cannot_be_read_back_is_refused_and_kept(tmp_path: Path) -> None:
    write(tmp_path, case_of("a"))
    path = tmp_path / "dossier.csv"
    path.write_text(path.read_text().replace(",", ";"))
    before = path.read_bytes()
    with pytest.raises(RunError, match="save it as CSV with commas"):
        read_readings(tmp_path)
    assert path.read_bytes() == before


def test_a_mark_of_utf_8_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path, case_of("a"))
    fill(tmp_path, "a", reader="Real miss ")
    path = tmp_path / "dossier.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    readings = read_readings(tmp_path)
    assert [row["reader"] for row in readings.values()] == ["Real miss "]
    assert list_odd_readings(readings) == []


def test_odd_readings_are_named(tmp_path: Path) -> None:
    write(tmp_path, case_of("a"), case_of("b", rank=2))
    fill(tmp_path, "a", reader="who knows")
    fill(tmp_path, "b", reader="poor image")
    assert list_odd_readings(read_readings(tmp_path)) == ["a"]
