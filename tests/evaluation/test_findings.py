"""Several findings per image: each figure of the known pairs, against scikit-learn."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as oracle

from medimg_baseline_cls.errors import DataError, RunError
from medimg_baseline_cls.evaluation.eval_summary import (
    find_warnings,
    summarize_evaluation,
    tabulate_summaries,
)
from medimg_baseline_cls.evaluation.findings import finding_validation_scores
from medimg_baseline_cls.evaluation.mistakes import mine_mistakes
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions, write_predictions
from medimg_baseline_cls.evaluation.split_summary import headline, summarize_predictions
from medimg_baseline_cls.plots import draw_evaluation
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import write_json

MakePredictions = Callable[..., Predictions]
MANY = tuple(f"finding {k}" for k in range(14))
RULES = ("max_f1", "target_sensitivity", "default")


def summarize(val: Predictions, other: Predictions) -> tuple[dict[str, Any], dict[str, Any], Any]:
    thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    val_summary, summary = (
        summarize_predictions(p, thresholds, positive_class=None) for p in (val, other)
    )
    return val_summary, summary, thresholds


def known_of(predictions: Predictions, k: int) -> tuple[np.ndarray, np.ndarray]:
    known = predictions.labels[:, k] >= 0
    return predictions.labels[known, k], predictions.probabilities[known, k]


def with_column(predictions: Predictions, k: int, value: int) -> Predictions:
    labels = predictions.labels.copy()
    labels[:, k] = np.where(labels[:, k] < 0, -1, value)
    return replace(predictions, labels=labels)


def odd_splits(findings: MakePredictions) -> tuple[Predictions, Predictions]:
    """Return VAL without a positive of finding 1, and TEST of which finding 2 is never known."""
    val, other = (findings(split, class_names=MANY) for split in ("val", "test"))
    return with_column(val, 1, 0), with_column(other, 2, -1)


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_predictions_read_back_as_they_were(
    tmp_path: Path, findings: MakePredictions, unknown: float
) -> None:
    val = findings("val", unknown=unknown)
    write_predictions(tmp_path / "p.csv", val)
    again = read_predictions(tmp_path / "p.csv", split="val", task="multilabel")
    assert (again.labels == val.labels).all() and again.labels.shape == (80, 3)
    assert (again.probabilities == val.probabilities).all()
    assert (again.task, again.class_names) == ("multilabel", val.class_names)


def test_labels_stand_in_the_file_as_text(tmp_path: Path, findings: MakePredictions) -> None:
    val = findings("val", num_images=3)
    labels = np.array([[1, -1, 1], [0, 0, 0], [-1, 0, -1]])
    write_predictions(tmp_path / "p.csv", replace(val, labels=labels))
    text = (tmp_path / "p.csv").read_text(encoding="utf-8")
    for cell in ("Effusion|Nodule|?Mass", "?Effusion|?Nodule"):
        assert f",{cell}," in text
    with pytest.raises(RunError, match="none of its classes"):
        read_predictions(tmp_path / "p.csv", split="val")  # not one class each


def test_validation_scores_are_those_of_the_known_pairs(findings: MakePredictions) -> None:
    val = with_column(findings("val"), 1, 0)
    found = finding_validation_scores(val.labels, val.probabilities)
    columns = [known_of(val, k) for k in (0, 2)]
    aps = [oracle.average_precision_score(*column) for column in columns]
    assert found.average_precision == pytest.approx(np.mean(aps))
    assert found.auroc == pytest.approx(np.mean([oracle.roc_auc_score(*c) for c in columns]))
    known = val.labels >= 0
    log_loss = oracle.log_loss(val.labels[known], val.probabilities[known])
    assert found.log_loss == pytest.approx(log_loss)


def test_validation_without_a_known_pair_is_refused(findings: MakePredictions) -> None:
    val = findings("val")
    with pytest.raises(DataError, match="0 known"):
        finding_validation_scores(np.full_like(val.labels, -1), val.probabilities)


def test_findings_known_of_all_images_are_averaged_as_scikit_learn_does(
    findings: MakePredictions,
) -> None:
    val, other = (findings(split, unknown=0.0) for split in ("val", "test"))
    _, summary, thresholds = summarize(val, other)
    labels, scores = other.labels, other.probabilities
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
    assert headline(summary) == summary["macro"]["metrics"]


def test_two_findings_are_not_two_classes(findings: MakePredictions) -> None:
    val, other = (findings(s, class_names=("Mass", "Nodule")) for s in ("val", "test"))
    _, summary, thresholds = summarize(val, other)
    assert list(summary["classes"]) == list(thresholds) == ["Mass", "Nodule"]
    assert summary["positive_class"] is None and summary["confusion_matrix"] is None
    header, rows = tabulate_summaries([summary])
    assert "class" in header
    assert {row[1] for row in rows} >= {"Mass", "Nodule", "macro mean (2 of 2)"}


def test_a_single_finding_goes_through(tmp_path: Path, findings: MakePredictions) -> None:
    val, other = (findings(s, class_names=("Mass",)) for s in ("val", "test"))
    _, summary, thresholds = summarize(val, other)
    block = summary["classes"]["Mass"]
    for average in ("macro", "micro"):
        assert summary[average]["metrics"]["auroc"]["value"] == block["metrics"]["auroc"]["value"]
    draw_evaluation((val, other), tmp_path, thresholds=thresholds, positive_class=None)


def test_undefined_findings_are_null_with_a_reason_and_left_out_of_the_mean(
    tmp_path: Path, findings: MakePredictions
) -> None:
    val, other = odd_splits(findings)
    val_summary, summary, thresholds = summarize(val, other)
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


def test_images_of_which_nothing_is_known_have_no_figure(
    tmp_path: Path, findings: MakePredictions
) -> None:
    val, other = findings("val"), findings("test", unknown=1.0)
    _, summary, thresholds = summarize(val, other)
    for average in ("macro", "micro"):
        for figure in summary[average]["metrics"].values():
            assert figure["value"] is None and figure["reason"]
    assert summary["overall"]["exact_match"]["value"] is None
    assert mine_mistakes(other, thresholds, num_hard_examples=5) == ()
    write_json(tmp_path / "summary.json", summary)
    tabulate_summaries([summary])
    find_warnings(summary, summary)


def test_unknown_images_change_no_figure(tmp_path: Path, findings: MakePredictions) -> None:
    val, other = findings("val"), findings("test")
    odd = replace(
        other,
        probabilities=np.where(other.labels < 0, 1 - other.probabilities, other.probabilities),
    )
    assert summarize(val, odd)[1] == summarize(val, other)[1]
    thresholds = summarize(val, other)[2]
    for folder, drawn in (("one", other), ("other", odd)):
        (tmp_path / folder).mkdir()
        draw_evaluation((drawn,), tmp_path / folder, thresholds=thresholds, positive_class=None)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_thresholds_see_known_images_alone(findings: MakePredictions) -> None:
    val = findings("val")
    points = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    for k, name in enumerate(val.class_names):
        truth, scores = known_of(val, k)
        best = max(oracle.f1_score(truth, scores >= cut) for cut in scores)
        max_f1, target, _ = points[name]
        assert oracle.f1_score(truth, scores >= max_f1.value) == pytest.approx(best)
        assert oracle.recall_score(truth, scores >= target.value) >= 0.9
        above = scores[scores > target.value]
        assert all(oracle.recall_score(truth, scores >= cut) < 0.9 for cut in above)
        assert (max_f1.num_positive, max_f1.num_negative) == (truth.sum(), (truth == 0).sum())


def test_mistakes_are_ranked_among_known_images(findings: MakePredictions) -> None:
    val, other = findings("val"), findings("test")
    thresholds = summarize(val, other)[2]
    mistakes = mine_mistakes(other, thresholds, num_hard_examples=1000)
    for k, name in enumerate(other.class_names):
        for point in thresholds[name]:
            call = other.probabilities[:, k] >= point.value
            for kind, wrong in (("FP", call & (other.labels[:, k] == 0)),
                                ("FN", ~call & (other.labels[:, k] == 1))):  # fmt: skip
                ids = {m.image_id for m in mistakes
                       if (m.class_name, m.rule, m.kind) == (name, point.rule, kind)}  # fmt: skip
                assert ids == {other.image_ids[i] for i in np.flatnonzero(wrong)}


def test_the_overview_names_the_task_and_warns_of_findings(findings: MakePredictions) -> None:
    val, other = odd_splits(findings)
    val_summary, summary, thresholds = summarize(val, other)
    overview = summarize_evaluation(
        val_summary, summary, checkpoint={}, thresholds=thresholds, mistakes=()
    )
    assert overview["task"] == "multilabel"
    text = "\n".join(overview["warnings"])
    assert f"VAL holds no image with {MANY[1]}," in text
    swapped = replace(val, labels=np.where(val.labels < 0, -1, 1 - val.labels))
    warnings = find_warnings(summarize(swapped, other)[0])
    assert any("1 and 0 may be swapped" in warning for warning in warnings)
    assert not any("class_names" in warning for warning in warnings)


def test_the_end_table_counts_known_images(findings: MakePredictions) -> None:
    val, other = odd_splits(findings)
    summary = summarize(val, other)[1]
    header, rows = tabulate_summaries([summary])
    assert all(len(row) == len(header) for row in rows)
    first = {row[1]: row for row in rows if row[0] and row[1]}
    assert first[MANY[0]][2] == str(len(known_of(other, 0)[0]))
    assert first[MANY[2]][2:6] == ["0", "–", "–", "– (–)"]
    assert "macro mean (13 of 14)" in first
    always = with_column(val, 0, 1)  # defines the AP, but not the AUROC
    _, of_val = tabulate_summaries([summarize(always, other)[0]])
    assert "macro mean (AUROC 12, AP 13 of 14)" in [row[1] for row in of_val]
    micro = next(row for row in rows if row[1].startswith("micro"))
    assert micro[2] == str((other.labels >= 0).sum())


@pytest.mark.parametrize("label", ["Mass|?Mass", "Nodule|Mass", "Mass|Mass", "Effusion|"])
def test_labels_that_were_changed_are_refused(
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


def test_each_of_a_few_findings_has_its_matrix_of_known_images(
    tmp_path: Path, findings: MakePredictions
) -> None:
    val, other = findings("val"), findings("test")
    thresholds = summarize(val, other)[2]
    # What the network says of images where a finding is unknown changes no figure.
    moved = replace(
        other,
        probabilities=np.where(other.labels < 0, 1 - other.probabilities, other.probabilities),
    )
    drawn: list[dict[str, bytes]] = []
    for name, part in (("a", other), ("b", moved)):
        files = draw_evaluation(
            (val, part), tmp_path / name, thresholds=thresholds, positive_class=None
        )
        drawn.append({path.name: path.read_bytes() for path in files})
    assert "confusion.png" in drawn[0]
    assert drawn[0] == drawn[1]
    never = with_column(other, 0, -1)
    draw_evaluation((val, never), tmp_path / "c", thresholds=thresholds, positive_class=None)
    assert (tmp_path / "c" / "confusion.png").read_bytes() != drawn[0]["confusion.png"]


def test_figures_of_many_are_drawn_without_a_matrix(
    tmp_path: Path, findings: MakePredictions
) -> None:
    val, other = odd_splits(findings)
    thresholds = summarize(val, other)[2]
    written = draw_evaluation((val, other), tmp_path, thresholds=thresholds, positive_class=None)
    names = {"roc.png", "precision_recall.png", "score_histogram.png"}
    assert {path.name for path in written} == {p.name for p in tmp_path.glob("*.png")} == names
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 300
