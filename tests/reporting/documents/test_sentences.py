"""Sentences for a manuscript: of TEST once it is scored, of means where no class is positive."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.documents.sentences import describe_data, describe_performance

MULTI = ("COVID", "NORMAL", "PNEUMONIA")


def test_data_are_counted(make_run: Callable[..., Any]) -> None:
    run = make_run()
    content = read_run(run.folder)
    text = describe_data(content)
    assert text.startswith("132 images of 66 patients")
    assert "60 TRAIN, 24 VAL, 48 TEST" in text
    assert text.endswith("1 file was rejected.")
    assert describe_data(replace(content, rejected=())).endswith("0 files were rejected.")
    assert describe_data(replace(content, split=())) == ""


def test_figures_are_those_of_scikit_learn(make_run: Callable[..., Any]) -> None:
    run = make_run()
    truth, scores = run.labels["test"] == 1, run.probabilities["test"][:, 1]
    first, *points = describe_performance(read_run(run.folder))
    assert f"AUROC was {oracle.roc_auc_score(truth, scores):.3f}" in first
    assert f"average precision was {oracle.average_precision_score(truth, scores):.2f}" in first
    assert len(points) == 3
    fixed = next(text for text in points if "Default (0.5)" in text)
    hits = int((truth & (scores >= 0.5)).sum())
    assert f"({hits}/{truth.sum()})" in fixed
    assert "at or above 0.500" in fixed


def test_chosen_operating_point_alone_or_all(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run().folder)
    every = describe_performance(content)
    assert describe_performance(content, has_all_points=False) == every[:2]
    assert "Max-F1" in every[1]


def test_means_stand_for_classes_without_a_positive_one(make_run: Callable[..., Any]) -> None:
    run = make_run(MULTI)
    sentences = describe_performance(read_run(run.folder))
    macro = run.json("test_summary.json")["macro"]["metrics"]["auroc"]["value"]
    assert len(sentences) == 1
    assert "means over the classes" in sentences[0]
    assert f"AUROC was {macro:.3f}" in sentences[0]


def test_grades_have_their_kappa(make_run: Callable[..., Any]) -> None:
    run = make_run(MULTI)
    summary = run.json("test_summary.json")
    summary["overall"] = {"quadratic_weighted_kappa": {"value": 0.8123, "interval": [0.7, 0.9]}}
    run.write_json("test_summary.json", summary)
    text = " ".join(describe_performance(read_run(run.folder)))
    assert "weighted kappa was 0.812 (95% CI 0.700, 0.900)" in text


@pytest.mark.parametrize("shown", [("val",), ()])
def test_val_stands_in_and_nothing_is_invented(
    make_run: Callable[..., Any], shown: tuple[str, ...]
) -> None:
    content = read_run(make_run().folder)
    summaries = {split: content.summaries[split] for split in shown}
    sentences = describe_performance(replace(content, summaries=summaries))
    assert bool(sentences) == bool(shown)
    assert all("TEST" not in text for text in sentences)


def test_every_sentence_begins_large_and_ends(make_run: Callable[..., Any]) -> None:
    for text in describe_performance(read_run(make_run().folder)):
        assert text[0].isupper()
        assert text.endswith(".")
        assert "  " not in text


def test_what_is_undefined_is_not_said(make_run: Callable[..., Any]) -> None:
    run = make_run()
    summary = run.json("test_summary.json")
    point = summary["classes"]["PNEUMONIA"]["operating_points"]["default"]
    point["npv"] = {"value": None, "reason": "no image is called negative"}
    run.write_json("test_summary.json", summary)
    fixed = next(t for t in describe_performance(read_run(run.folder)) if "Default (0.5)" in t)
    assert "PPV was" in fixed
    assert "NPV" not in fixed
