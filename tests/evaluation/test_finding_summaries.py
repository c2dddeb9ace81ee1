"""Several findings per image: each metric of the known pairs, against scikit-learn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle
from tests.conftest import MANY, draw_odd_findings, flip_unknown, known_of

from medimg_baseline_cls.evaluation.eval_summary import find_warnings, tabulate_summaries
from medimg_baseline_cls.evaluation.mistakes import mine_mistakes
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import write_json

MakePredictions = Callable[..., Predictions]
RULES = ("max_f1", "target_sensitivity", "default")


def summarize(val: Predictions, other: Predictions) -> tuple[SplitSummary, SplitSummary, Any]:
    thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    val_summary, summary = (
        summarize_predictions(p, thresholds, positive_class=None) for p in (val, other)
    )
    return val_summary, summary, thresholds


def test_findings_known_of_all_images_are_averaged_as_scikit_learn_does(
    findings: MakePredictions,
) -> None:
    val, other = (findings(split, unknown=0.0) for split in ("val", "test"))
    _, record, thresholds = summarize(val, other)
    labels, scores, summary = other.labels, other.probabilities, record.to_json()
    for average in ("macro", "micro"):
        metrics = summary[average]["metrics"]
        expected = oracle.average_precision_score(labels, scores, average=average)
        assert metrics["average_precision"]["value"] == pytest.approx(expected, abs=1e-12)
        expected = oracle.roc_auc_score(labels, scores, average=average)
        assert metrics["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
        for rule in RULES:
            cuts = [next(t.value for t in ts if t.rule == rule) for ts in thresholds.values()]
            call = (scores >= cuts).astype(int)
            point = summary[average]["operating_points"][rule]
            expected = oracle.f1_score(labels, call, average=average)
            assert point["f1_score"]["value"] == pytest.approx(expected, abs=1e-12)
            expected = oracle.recall_score(labels, call, average=average)
            assert point["sensitivity"]["value"] == pytest.approx(expected, abs=1e-12)
    exact = oracle.accuracy_score(labels, (scores >= 0.5).astype(int))
    assert summary["overall"]["exact_match"]["value"] == pytest.approx(exact)
    assert record.headline == record.macro.metrics


def test_two_findings_are_not_two_classes(findings: MakePredictions) -> None:
    val, other = (findings(s, class_names=("Mass", "Nodule")) for s in ("val", "test"))
    _, summary, thresholds = summarize(val, other)
    assert list(summary.classes) == list(thresholds) == ["Mass", "Nodule"]
    assert summary.positive_class is None and summary.confusion_matrix is None
    header, rows = tabulate_summaries([summary])
    assert "class" in header
    assert {row[1] for row in rows} >= {"Mass", "Nodule", "macro mean (2 of 2)"}


def test_a_single_finding_is_its_own_average(findings: MakePredictions) -> None:
    val, other = (findings(s, class_names=("Mass",)) for s in ("val", "test"))
    summary = summarize(val, other)[1]
    expected = summary.classes["Mass"].metrics["auroc"].value
    assert expected == pytest.approx(oracle.roc_auc_score(*known_of(other, 0)))
    assert summary.micro is not None
    for block in (summary.macro, summary.micro):
        assert block.metrics["auroc"].value == expected


def test_undefined_findings_are_null_with_a_reason_and_left_out_of_the_mean(
    tmp_path: Path,
) -> None:
    val, other = draw_odd_findings()
    of_val, of_test, thresholds = summarize(val, other)
    val_summary, summary = of_val.to_json(), of_test.to_json()
    assert [point.rule for point in thresholds[MANY[1]]] == ["default"]
    block = summary["classes"][MANY[2]]
    assert (block["num_positive"], block["num_negative"], block["num_unknown"]) == (0, 0, 80)
    assert block["prevalence"] is None
    for figure in block["metrics"].values():
        assert figure["value"] is None and figure["reason"]
    for name, figure in block["operating_points"]["default"].items():
        assert (
            figure == 0.5
            if name == "threshold"
            else not isinstance(figure, dict) or (figure["value"] is None and figure["reason"])
        )
    macro = summary["macro"]["metrics"]["auroc"]
    defined = [oracle.roc_auc_score(*known_of(other, k)) for k in range(14) if k != 2]
    assert macro == {"value": pytest.approx(np.mean(defined)), "num_defined": 13}
    baseline = np.mean([known_of(other, k)[0].mean() for k in range(14) if k != 2])
    assert summary["macro"]["metrics"]["average_precision"]["baseline"] == pytest.approx(baseline)
    average_precision = val_summary["macro"]["metrics"]["average_precision"]
    assert average_precision["num_defined"] == 13
    baseline = np.mean([known_of(val, k)[0].mean() for k in range(14) if k != 1])
    assert average_precision["baseline"] == pytest.approx(baseline)
    points = summary["micro"]["operating_points"]
    assert points["max_f1"]["num_findings"] == 13
    assert points["default"]["num_findings"] == 14
    write_json(tmp_path / "summary.json", summary)  # refuses NaN


def test_images_of_which_nothing_is_known_have_no_metric(
    tmp_path: Path, findings: MakePredictions
) -> None:
    val, other = findings("val"), findings("test", unknown=1.0)
    _, record, thresholds = summarize(val, other)
    summary = record.to_json()
    for average in ("macro", "micro"):
        for figure in summary[average]["metrics"].values():
            assert figure["value"] is None and figure["reason"]
    assert summary["overall"]["exact_match"]["value"] is None
    assert mine_mistakes(other, thresholds, num_hard_examples=5) == ()
    write_json(tmp_path / "summary.json", summary)
    tabulate_summaries([record])
    find_warnings(record, record)


def test_unknown_images_change_no_metric(findings: MakePredictions) -> None:
    val, other = findings("val"), findings("test")
    odd = flip_unknown(other)
    assert (odd.probabilities != other.probabilities).any()
    assert summarize(val, odd)[1] == summarize(val, other)[1]
