"""The first screen says what was trained on what, and how well it does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.page.headline import describe_weights, summarize_run
from medimg_baseline_cls.reporting.text.names import name_split, name_stage

MULTI = ("COVID", "NORMAL", "PNEUMONIA")


def test_answer_of_two_classes(make_run: Callable[..., Any]) -> None:
    run = make_run()
    answer = summarize_run(read_run(run.folder))
    truth, scores = run.labels["test"] == 1, run.probabilities["test"][:, 1]
    assert answer.project == "chest_xray"
    assert answer.lede == "resnet18, trained to tell PNEUMONIA from NORMAL."
    auroc, precision = answer.statistics
    assert (auroc.label, precision.label) == ("TEST AUROC", "TEST average precision")
    assert auroc.text == f"{oracle.roc_auc_score(truth, scores):.3f}"
    assert auroc.floor == 50
    assert precision.floor == pytest.approx(100 * truth.mean(), abs=0.01)
    assert precision.detail.startswith(f"baseline {truth.mean():.3f} (prevalence); VAL ")
    assert answer.points is not None
    first = dict(zip(answer.points.header, answer.points.rows[0].cells, strict=True))
    hits, positives = int((scores[truth] >= 0.61).sum()), int(truth.sum())
    assert first["TEST sensitivity"] == f"{hits / positives:.3f} ({hits}/{positives})"
    facts = dict(answer.facts)
    assert facts["Images"] == "60 TRAIN, 24 VAL, 48 TEST"
    assert facts["Checkpoint"].startswith("Fine-tuning, epoch 2, sha256 ")
    assert facts["Rejected files"] == "1"
    assert answer.pending == ()


def test_answer_of_three_classes(make_run: Callable[..., Any]) -> None:
    answer = summarize_run(read_run(make_run(MULTI).folder))
    assert answer.lede == "resnet18, trained to tell COVID, NORMAL and PNEUMONIA apart."
    assert [s.label for s in answer.statistics] == [
        *("TEST macro AUROC", "TEST macro average precision")
    ]
    assert answer.statistics[1].detail.startswith("baseline 0.333 (mean prevalence); VAL ")
    assert answer.points is not None
    assert [row.cells[0] for row in answer.points.rows] == list(MULTI)
    assert answer.points.notes[0].startswith("Thresholds: Max-F1")


def test_one_class_of_three_may_be_the_positive_one(make_run: Callable[..., Any]) -> None:
    run = make_run(MULTI)
    for split in ("val", "test"):
        summary = run.json(f"{split}_summary.json")
        summary["classes"] = {"COVID": summary["classes"]["COVID"]}
        run.write_json(f"{split}_summary.json", summary | {"positive_class": "COVID"})
    run.write_json("eval_summary.json", run.json("eval_summary.json") | {"positive_class": "COVID"})
    answer = summarize_run(read_run(run.folder))
    truth, scores = run.labels["test"] == 0, run.probabilities["test"][:, 0]
    assert answer.lede == "resnet18, trained to tell COVID from 2 other classes."
    assert answer.statistics[0].text == f"{oracle.roc_auc_score(truth, scores):.3f}"


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({"kind": "random", "source": None, "sha256": None}, "random (not pretrained)"),
        (
            {"kind": "hub", "source": "timm/resnet18.a1_in1k", "sha256": "c" * 64},
            "pretrained from the model hub, timm/resnet18.a1_in1k, sha256 cccccccccccc…",
        ),
        (
            {"kind": "file", "source": "/home/ada/w.safetensors", "sha256": None},
            "pretrained, w.safetensors",
        ),
    ],
)
def test_source_of_the_weights_is_named(
    make_run: Callable[..., Any], report: dict[str, Any], text: str
) -> None:
    content = read_run(make_run(stages=()).folder)
    config = {**content.config, "provenance": {"weights": report}}
    assert describe_weights(replace(content, config=config)) == text


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"pretrained": False, "weights": None}, "random (not pretrained)"),
        ({"pretrained": True, "weights": None}, "pretrained from the model hub"),
        ({"pretrained": True, "weights": "/a/b/w.pth"}, "pretrained, w.pth"),
    ],
)
def test_weights_are_told_from_the_settings_before_training(
    make_run: Callable[..., Any], config: dict[str, Any], text: str
) -> None:
    content = read_run(make_run(stages=()).folder)
    assert describe_weights(replace(content, config=config)) == text


def test_bare_settings_are_enough(make_run: Callable[..., Any]) -> None:
    content = replace(read_run(make_run(stages=()).folder), config={})
    answer = summarize_run(content)
    assert answer.statistics == ()
    assert answer.project == content.name
    assert len(answer.pending) == 2


def test_unknown_words_are_printed_as_they_are() -> None:
    assert name_rule("youden_index", None) == "Youden index"
    assert name_rule("target_sensitivity", None) == "Target sensitivity"
    assert name_stage("warmup") == "warmup"
    assert name_split("site_b") == "site_b"


def test_the_target_sensitivity_is_that_of_the_thresholds(make_run: Callable[..., Any]) -> None:
    """An edited config.json does not rename the operating points of an evaluation."""
    run = make_run()
    overview = run.json("eval_summary.json")
    for points in overview["thresholds"].values():
        points["target_sensitivity"]["target"] = 0.95
    run.write_json("eval_summary.json", overview)
    run.write_json("config.json", run.json("config.json") | {"target_sensitivity": 0.8})
    content = read_run(run.folder)
    assert content.target_sensitivity == 0.95
    answer = summarize_run(content)
    assert answer.points is not None
    named = [row.cells[0] for row in answer.points.rows]
    assert "Target sensitivity 0.95" in named and "Target sensitivity 0.8" not in named
    del overview["thresholds"]
    run.write_json("eval_summary.json", overview)
    assert read_run(run.folder).target_sensitivity == 0.8
