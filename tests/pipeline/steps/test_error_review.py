"""The dossier of a real run: true neighbors of TRAIN, and readings that stay."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from medimg_baseline_cls import evaluate, explain, report
from medimg_baseline_cls.data.batches.loaders import to_unit_range
from medimg_baseline_cls.pipeline.steps.prepare import reopen_data
from medimg_baseline_cls.pipeline.steps.run_model import load_model
from medimg_baseline_cls.pipeline.steps.session import read_provenance, reopen_session


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "runs" / "copy")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_neighbors_are_those_of_another_search_over_all_of_train(finished_run: Path) -> None:
    session = reopen_session(finished_run)
    data = reopen_data(session, read_provenance(finished_run))
    model, _ = load_model(session, "best.pt")

    def features_of(split: str) -> np.ndarray:
        images = data.image_set(split)
        pixels = to_unit_range(images.batch(np.arange(len(images))).pixels, session.device)
        with torch.no_grad():
            return model.features(pixels).numpy()

    search = NearestNeighbors(n_neighbors=3, metric="cosine").fit(features_of("train"))
    distances, _ = search.kneighbors(features_of("test"))
    split = data.split
    position = {split.records[row].image_id: i for i, row in enumerate(split.rows("test"))}
    train = {split.records[row].image_id: split.records[row] for row in split.rows("train")}
    rows = rows_of(finished_run / "dossier.csv")
    assert rows
    for row in rows:
        expected = distances[position[row["image_id"]]]
        for i in (1, 2, 3):
            found = float(row[f"nearest_{i}_distance"])
            assert found == pytest.approx(expected[i - 1], abs=2e-3)
            assert train[row[f"nearest_{i}_image_id"]].label == row[f"nearest_{i}_label"]


def test_rows_are_those_of_mistakes(finished_run: Path) -> None:
    mistakes, dossier = (rows_of(finished_run / f"{name}.csv") for name in ("mistakes", "dossier"))
    assert [{name: row[name] for name in mistakes[0]} for row in dossier] == mistakes
    split = {row["image_id"]: row for row in rows_of(finished_run / "split.csv")}
    for row in dossier:
        record = split[row["image_id"]]
        assert (row["label"], row["group"]) == (record["label"], record["group"])


def test_readings_stay_through_all_commands_and_stand_in_the_page(copy: Path) -> None:
    table = read(copy / "dossier.csv")
    table.loc[0, ["reader", "reader_comment"]] = ["label wrong", "<i>effusion</i> seen on CT"]
    table.to_csv(copy / "dossier.csv", index=False, lineterminator="\n")
    written = (copy / "dossier.csv").read_bytes()
    evaluate(copy)
    assert (copy / "dossier.csv").read_bytes() == written
    explain(copy)
    page = Path(report(copy).summary["report"]).read_text(encoding="utf-8")
    assert (copy / "dossier.csv").read_bytes() == written
    assert "label wrong: &lt;i&gt;effusion&lt;/i&gt; seen on CT" in page
    assert "Nearest training images" in page and 'class="nearest"' in page
    names = {f"nearest_{i}_image_id" for i in (1, 2, 3)}
    wanted = set(table[sorted(names)].to_numpy().ravel())
    assert len(list((copy / "gradcam" / "nearest").glob("*.png"))) == len(wanted)
