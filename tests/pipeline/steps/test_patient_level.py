"""Figures per patient: recomputed from the files of the images, thresholds from VAL alone."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls import evaluate, report
from medimg_baseline_cls.config import build_config, config_to_dict
from medimg_baseline_cls.utils.files import sha256_file, write_json

POSITIVE = "PNEUMONIA"
SCORE = f"prob_{POSITIVE}"


def read(path: Path) -> dict[str, object]:
    return json.loads(path.read_text(encoding="utf-8"))


def patients_of(run: Path, split: str, how: str) -> pd.DataFrame:
    """What pandas makes of the predictions of the images."""
    frame = pd.read_csv(run / f"predictions_{split}.csv", dtype={"label": str})
    frame["truth"] = frame["label"] == POSITIVE
    return frame.groupby("group").agg({SCORE: how, "truth": "max"}).sort_index()


@pytest.fixture(scope="module")
def run_by_max(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run once more, evaluated with another setting."""
    copy = tmp_path_factory.mktemp("copies") / "by_max"
    shutil.copytree(finished_run, copy)
    # A first evaluation: whether the operating points differ from the mean's is up to the network.
    for name in ("test_log.csv", "thresholds.json"):
        (copy / name).unlink()
    shutil.rmtree(copy / "patients")
    settings = read(copy / "config.json")
    config = replace(build_config(copy / "config.json"), aggregate="max")
    write_json(copy / "config.json", settings | config_to_dict(config))
    return evaluate(copy).run_dir


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("how", ["mean", "max"])
def test_every_figure_per_patient_follows_from_the_images(
    finished_run: Path, run_by_max: Path, split: str, how: str
) -> None:
    run = finished_run if how == "mean" else run_by_max
    expected = patients_of(run, split, how)
    written = pd.read_csv(run / "patients" / f"predictions_{split}.csv").set_index("image_id")
    assert list(written.index) == list(expected.index)
    assert written[SCORE].to_numpy() == pytest.approx(expected[SCORE].to_numpy(), abs=1e-12)
    summary = read(run / "patients" / f"{split}_summary.json")
    block = summary["classes"][POSITIVE]
    truth, score = expected["truth"].astype(bool), written[SCORE]
    metrics = {name: entry["value"] for name, entry in block["metrics"].items()}
    assert metrics["auroc"] == pytest.approx(oracle.roc_auc_score(truth, score), abs=1e-12)
    assert metrics["average_precision"] == pytest.approx(
        oracle.average_precision_score(truth, score), abs=1e-12
    )
    for rule, point in block["operating_points"].items():
        tn, fp, fn, tp = oracle.confusion_matrix(truth, score >= point["threshold"]).ravel()
        assert [point[key] for key in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp], rule
    overview = read(run / "eval_summary.json")["patients"]
    assert overview["aggregation"] == how
    assert overview["num_patients"][split] == len(expected)
    assert overview["num_left_out"] == {"val": 0, "test": 0}
    assert overview["headline"][split]["auroc"]["value"] == metrics["auroc"]


def test_thresholds_of_patients_stem_from_patients_of_val(finished_run: Path) -> None:
    folder = finished_run / "patients"
    thresholds = read(folder / "thresholds.json")
    assert thresholds["predictions_val_sha256"] == sha256_file(folder / "predictions_val.csv")
    assert thresholds["chosen_on"] == "val"
    val = pd.read_csv(folder / "predictions_val.csv")
    chosen = thresholds["classes"][POSITIVE]["max_f1"]["threshold"]
    assert chosen in set(val[SCORE])
    for split in ("val", "test"):
        points = read(folder / f"{split}_summary.json")["classes"][POSITIVE]["operating_points"]
        assert points["max_f1"]["threshold"] == chosen


def test_the_page_shows_them_and_without_them_says_nothing(
    finished_run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    page = Path(report(copy).summary["report"]).read_text(encoding="utf-8")
    assert "Per patient" in page and "is the mean probability of the patient" in page
    settings = read(copy / "config.json")
    write_json(copy / "config.json", settings | {"aggregate": "none"})
    result = evaluate(copy, accept="figures per image alone")
    assert not (copy / "patients").exists()
    assert "patients" not in result.summary
    assert "Per patient" not in Path(report(copy).summary["report"]).read_text(encoding="utf-8")
