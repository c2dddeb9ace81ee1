"""Every printed figure, recomputed from the probabilities by scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.page.performance import (
    headline_estimate,
    list_rules,
    tabulate_confusion,
    tabulate_controls,
    tabulate_metrics,
    tabulate_points,
)
from medimg_baseline_cls.reporting.page.tables import Table

MULTI = ("COVID", "NORMAL", "PNEUMONIA")
BOTH = pytest.mark.parametrize(
    "class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"]
)


def cells(table: Table | None) -> list[dict[str, str]]:
    assert table is not None
    return [dict(zip(table.header, row.cells, strict=True)) for row in table.rows]


def truth_and_scores(run: Any, split: str, name: str) -> tuple[Any, Any]:
    column = run.class_names.index(name)
    return run.labels[split] == column, run.probabilities[split][:, column]


@BOTH
def test_figures_without_a_threshold_are_those_of_the_oracle(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    rows = [r for r in cells(tabulate_metrics(read_run(run.folder))) if r["AP baseline"]]
    assert len(rows) == (2 if len(class_names) == 2 else 6)
    for row in rows:
        name = row.get("Class", run.positive_class)
        truth, scores = truth_and_scores(run, row["Split"].lower(), str(name))
        assert row["AUROC"] == f"{oracle.roc_auc_score(truth, scores):.3f}"
        assert row["AP"] == f"{oracle.average_precision_score(truth, scores):.3f}"
        assert row["AP baseline"] == f"{truth.mean():.3f}"
        assert row["Brier"] == f"{np.mean((scores - truth) ** 2):.3f}"
        assert row["Log loss"] == f"{oracle.log_loss(truth, scores):.3f}"


@BOTH
def test_operating_points_are_those_of_the_oracle(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    name = class_names[-1]
    rows = cells(tabulate_points(read_run(run.folder), name))
    assert [r["Split"] for r in rows] == ["VAL", "TEST"] * 3
    assert [r["Operating point"] for r in rows if r["Operating point"]] == [
        *("Max-F1", "Target sensitivity 0.95", "Default (0.5)")
    ]
    for row in rows:
        truth, scores = truth_and_scores(run, row["Split"].lower(), name)
        call = scores >= float(row["Threshold"])
        counts = oracle.confusion_matrix(truth, call).ravel()
        assert [row[k] for k in ("TN", "FP", "FN", "TP")] == [str(n) for n in counts]
        expected = {
            "Sens.": oracle.recall_score(truth, call),
            "Spec.": oracle.recall_score(~truth, ~call),
            "PPV": oracle.precision_score(truth, call),
            "NPV": oracle.precision_score(~truth, ~call),
            "F1": oracle.f1_score(truth, call),
            "Acc.": oracle.accuracy_score(truth, call),
            "Bal. acc.": oracle.balanced_accuracy_score(truth, call),
            "MCC": oracle.matthews_corrcoef(truth, call),
        }
        assert {key: row[key] for key in expected} == {
            k: f"{v + 1e-9:.3f}" for k, v in expected.items()
        }


@BOTH
def test_matrix_is_that_of_the_oracle(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    table = tabulate_confusion(read_run(run.folder), "test")
    assert table is not None
    matrix = oracle.confusion_matrix(run.labels["test"], run.probabilities["test"].argmax(1))
    assert [row.cells for row in table.rows] == [
        (name, *(str(n) for n in line)) for name, line in zip(class_names, matrix, strict=True)
    ]


def test_headline_of_many_classes_is_their_mean(make_run: Callable[..., Any]) -> None:
    run = make_run(MULTI)
    mean = oracle.roc_auc_score(run.labels["test"], run.probabilities["test"], multi_class="ovr")
    content = read_run(run.folder)
    assert headline_estimate(content, "test", metric="auroc").value == pytest.approx(
        mean, abs=1e-12
    )
    rows = cells(tabulate_metrics(content))
    assert [r["Class"] for r in rows[-2:]] == ["Macro mean"] * 2
    assert rows[-1]["AUROC"] == f"{mean:.3f}"


def test_undefined_figure_is_a_dash_with_its_reason(make_run: Callable[..., Any]) -> None:
    run = make_run()
    summary = run.json("test_summary.json")
    block = summary["classes"]["PNEUMONIA"]
    undefined = {"value": None, "reason": "TEST holds one class only"}
    block["metrics"]["auroc"] = undefined
    block["operating_points"]["max_f1"]["npv"] = {"value": None, "reason": "no negative call"}
    run.write_json("test_summary.json", summary)
    content = read_run(run.folder)
    table = tabulate_metrics(content)
    assert table is not None
    assert cells(table)[1]["AUROC"] == "–"
    assert any("one class only" in note for note in table.notes)
    points = tabulate_points(content, "PNEUMONIA")
    assert points is not None
    assert cells(points)[1]["NPV"] == "–"
    assert points.notes[0] == "Max-F1: how max_f1 is chosen"
    assert points.notes[-1] == "NPV (TEST, Max-F1) is undefined: no negative call"


def test_chosen_operating_point_comes_first(make_run: Callable[..., Any]) -> None:
    run = make_run()
    run.write_json("config.json", run.json("config.json") | {"operating_point": "default"})
    assert list_rules(read_run(run.folder)) == ["default", "max_f1", "target_sensitivity"]


def test_matrix_of_another_size_is_left_out(make_run: Callable[..., Any]) -> None:
    run = make_run()
    run.write_json("test_summary.json", run.json("test_summary.json") | {"confusion_matrix": [[1]]})
    assert tabulate_confusion(read_run(run.folder), "test") is None


@BOTH
def test_controls_stand_beside_the_model(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    table = tabulate_controls(read_run(run.folder))
    model, trivial, border = cells(table)
    headline = run.json("eval_summary.json")["headline"]
    assert model["TEST AUROC"] == f"{headline['test']['auroc']['value']:.3f}"
    assert model["VAL AP"] == f"{headline['val']['average_precision']['value']:.3f}"
    assert (trivial["Classifier"], border["Classifier"]) == ("Trivial properties", "Outer frame")
    assert (trivial["VAL AUROC"], trivial["TEST AUROC"]) == ("0.710", "0.700")
    assert (border["VAL AUROC"], border["TEST AUROC"]) == ("0.810", "0.800")
    assert border["TEST AP"] == "–"
    assert table is not None
    assert "Outer frame: what border is, fitted on TRAIN." in table.notes


def test_run_without_controls_has_no_table_of_them(make_run: Callable[..., Any]) -> None:
    run = make_run()
    overview = run.json("eval_summary.json")
    del overview["controls"]
    run.write_json("eval_summary.json", overview)
    assert tabulate_controls(read_run(run.folder)) is None
