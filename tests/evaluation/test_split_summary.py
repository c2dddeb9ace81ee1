"""The written metrics against scikit-learn and against the independent checker."""

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds, write_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions, write_predictions
from medimg_baseline_cls.evaluation.split_summary import (
    describe_headline,
    evaluated_classes,
    summarize_predictions,
)
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import sha256_file, write_json

CHECKER = Path(__file__).resolve().parents[3] / "shared" / "tools" / "verify_run.py"
MakePredictions = Callable[..., Predictions]
TERNARY = ("bacteria", "normal", "virus")
quick = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def summarize(predictions: Predictions, val: Predictions, positive: str | None) -> SplitSummary:
    classes = evaluated_classes(val.class_names, positive)
    thresholds = choose_thresholds(val, classes=classes, target_sensitivity=0.9)
    return summarize_predictions(predictions, thresholds, positive_class=positive)


def write_run(folder: Path, val: Predictions, other: Predictions, positive: str | None) -> Any:
    """Write the files that the checker compares, from predictions read back from disk."""
    read: dict[str, Predictions] = {}
    for predictions in (val, other):
        path = folder / f"predictions_{predictions.split}.csv"
        write_predictions(path, predictions)
        read[predictions.split] = read_predictions(path, split=predictions.split)
    classes = evaluated_classes(val.class_names, positive)
    thresholds = choose_thresholds(read["val"], classes=classes, target_sensitivity=0.9)
    write_thresholds(
        folder / "thresholds.json",
        thresholds,
        positive_class=positive,
        predictions_sha256=sha256_file(folder / "predictions_val.csv"),
        checkpoint_sha256="0" * 64,
    )
    for split, predictions in read.items():
        summary = summarize_predictions(predictions, thresholds, positive_class=positive)
        write_json(folder / f"{split}_summary.json", summary.to_json())
    return json.loads((folder / "thresholds.json").read_text())


@pytest.fixture(scope="module")
def checker() -> dict[str, Any]:
    if not CHECKER.is_file():
        pytest.skip("the independent checker is not beside this checkout")
    return runpy.run_path(str(CHECKER))


@pytest.mark.parametrize("positive", ["PNEUMONIA", "NORMAL", None])
@pytest.mark.parametrize("seed", range(3))
def test_checker_finds_no_difference(
    tmp_path: Path,
    checker: dict[str, Any],
    draw: MakePredictions,
    positive: str | None,
    seed: int,
) -> None:
    names = ("NORMAL", "PNEUMONIA") if positive else TERNARY
    val, other = (draw(s, class_names=names, seed=seed) for s in ("val", "test"))
    thresholds = write_run(tmp_path, val, other, positive)
    differences: list[str] = []
    counts = [
        checker["check_split"](tmp_path, split, thresholds, differences)
        for split in ("val", "test")
    ]
    assert differences == []
    assert min(counts) == (40 if positive else 120)


@quick
@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.sampled_from((0.0, 1e-300, 1 / 3, 0.5, 1 - 2**-53, 1.0))),
        min_size=1,
        max_size=12,
    )
)
def test_checker_finds_no_difference_on_odd_splits(
    tmp_path: Path, checker: dict[str, Any], binary: MakePredictions, rows: Any
) -> None:
    truth, scores = [t for t, _ in rows], [s for _, s in rows]
    val = binary("val", truth, scores)
    other = binary("test", [not t for t in truth], scores)
    thresholds = write_run(tmp_path, val, other, "PNEUMONIA")
    differences: list[str] = []
    for split in ("val", "test"):
        checker["check_split"](tmp_path, split, thresholds, differences)
    assert differences == []


def test_checker_sees_a_wrong_metric(
    tmp_path: Path, checker: dict[str, Any], val: Predictions, held_out: Predictions
) -> None:
    thresholds = write_run(tmp_path, val, held_out, "PNEUMONIA")
    summary = json.loads((tmp_path / "test_summary.json").read_text())
    summary["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"] += 1e-6
    write_json(tmp_path / "test_summary.json", summary)
    differences: list[str] = []
    checker["check_split"](tmp_path, "test", thresholds, differences)
    assert len(differences) == 1 and "auroc" in differences[0]


def test_two_classes_show_the_positive_one_alone(val: Predictions, held_out: Predictions) -> None:
    record = summarize(held_out, val, "PNEUMONIA")
    summary = record.to_json()
    assert list(summary["classes"]) == ["PNEUMONIA"]
    block, truth = summary["classes"]["PNEUMONIA"], held_out.truth("PNEUMONIA")
    scores = held_out.scores("PNEUMONIA")
    assert block["prevalence"] == truth.mean()
    assert block["metrics"]["average_precision"]["baseline"] == truth.mean()
    assert block["metrics"]["auroc"]["value"] == pytest.approx(oracle.roc_auc_score(truth, scores))
    assert list(block["operating_points"]) == ["max_f1", "target_sensitivity", "default"]
    expected = oracle.confusion_matrix(held_out.labels, (scores >= 0.5).astype(int))
    assert summary["confusion_matrix"] == expected.tolist()
    default = block["operating_points"]["default"]
    assert [[default["tn"], default["fp"]], [default["fn"], default["tp"]]] == expected.tolist()
    assert summary["overall"]["accuracy"] == default["accuracy"]
    assert (summary["split"], summary["num_images"], summary["num_groups"]) == ("test", 80, 40)
    assert record.headline == record.classes["PNEUMONIA"].metrics
    assert describe_headline(record) == block["metrics"]


def test_many_classes_are_averaged(draw: MakePredictions) -> None:
    val, other = draw("val", class_names=TERNARY), draw("test", class_names=TERNARY, seed=2)
    record = summarize(other, val, None)
    summary = record.to_json()
    assert tuple(summary["classes"]) == TERNARY
    macro = summary["macro"]["metrics"]
    expected = oracle.roc_auc_score(other.labels, other.probabilities, multi_class="ovr")
    assert macro["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
    one_hot = np.eye(3)[other.labels]
    expected = oracle.average_precision_score(one_hot, other.probabilities, average="macro")
    assert macro["average_precision"]["value"] == pytest.approx(expected, abs=1e-12)
    assert macro["average_precision"]["baseline"] == pytest.approx(1 / 3)
    call = other.probabilities.argmax(axis=1)
    assert summary["confusion_matrix"] == oracle.confusion_matrix(other.labels, call).tolist()
    overall = summary["overall"]
    assert overall["accuracy"]["value"] == oracle.accuracy_score(other.labels, call)
    log_loss = oracle.log_loss(other.labels, other.probabilities)
    assert overall["log_loss"]["value"] == pytest.approx(log_loss, abs=1e-9)
    points = summary["macro"]["operating_points"]["max_f1"]
    mean = np.mean(
        [b["operating_points"]["max_f1"]["f1_score"]["value"] for b in summary["classes"].values()]
    )
    assert points["f1_score"]["value"] == pytest.approx(mean)
    assert "threshold" not in points and "tp" not in points
    assert record.headline == record.macro.metrics
    assert describe_headline(record) == macro


def test_one_class_only_is_null_with_a_reason(tmp_path: Path, binary: MakePredictions) -> None:
    val = binary("val", [True, False], [0.8, 0.2])
    summary = summarize(binary("test", [False, False], [0.1, 0.7]), val, "PNEUMONIA").to_json()
    metrics = summary["classes"]["PNEUMONIA"]["metrics"]
    assert metrics["auroc"] == {"value": None, "reason": "all images are of one class"}
    assert metrics["average_precision"]["value"] is None
    assert metrics["average_precision"]["baseline"] == 0.0
    assert metrics["log_loss"]["value"] is not None
    point = summary["classes"]["PNEUMONIA"]["operating_points"]["default"]
    assert point["sensitivity"] == {"value": None, "reason": "no image is positive"}
    assert summary["macro"]["metrics"]["auroc"]["value"] is None
    assert "PNEUMONIA" in summary["macro"]["metrics"]["auroc"]["reason"]
    write_json(tmp_path / "summary.json", summary)  # refuses NaN


def test_images_without_reference_standard_are_refused(val: Predictions) -> None:
    labels = val.labels.copy()
    labels[3] = -1
    with pytest.raises(DataError, match="reference standard"):
        summarize(replace(val, labels=labels), val, "PNEUMONIA")


def test_an_unknown_positive_class_is_refused() -> None:
    with pytest.raises(DataError, match="COVID is not one of the classes: A, B"):
        evaluated_classes(("A", "B"), "COVID")


def test_a_positive_class_of_many_does_not_hide_the_others(draw: MakePredictions) -> None:
    val = draw("val", class_names=TERNARY)
    assert evaluated_classes(TERNARY, "virus") == TERNARY
    summary = summarize(val, val, "virus")
    assert summary.positive_class is None
    assert summary == summarize(val, val, None)
