"""The first screen says what was trained on what, and how well it does."""

import csv
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.reporting.content import KINDS, read_run
from medimg_baseline_cls.reporting.page.headline import describe_weights, summarize_run
from medimg_baseline_cls.reporting.page.metric_scales import Scale, Statistic, draw_scales
from medimg_baseline_cls.reporting.page.performance import tabulate_points
from medimg_baseline_cls.reporting.page.pictures import list_errors
from medimg_baseline_cls.reporting.page.report_page import render_report
from medimg_baseline_cls.reporting.text.names import name_split, name_stage

MULTI = ("COVID", "NORMAL", "PNEUMONIA")


def test_answer_of_two_classes(make_run: Callable[..., Any]) -> None:
    run = make_run()
    answer = summarize_run(read_run(run.folder))
    truth, scores = run.labels["test"] == 1, run.probabilities["test"][:, 1]
    assert answer.project == "chest_xray"
    assert answer.lede == "resnet18, trained to distinguish PNEUMONIA from NORMAL."
    groups = [f"{n} images of {n // 2} patients" for n in (60, 48)]
    assert answer.sentence == f"{answer.lede[:-1]} on {groups[0]}; tested on {groups[1]}."
    auroc, precision = answer.scores
    assert (auroc.label, precision.label) == ("TEST AUROC", "TEST average precision")
    assert auroc.text == f"{oracle.roc_auc_score(truth, scores):.3f}"
    assert auroc.floor == 0.5
    assert precision.floor == pytest.approx(truth.mean())
    assert precision.detail.startswith(f"chance {truth.mean():.3f} (prevalence); VAL ")
    sensitivity, specificity = answer.rates
    hits, positives = int((scores[truth] >= 0.61).sum()), int(truth.sum())
    assert sensitivity.text == f"{hits / positives:.3f}"
    assert sensitivity.detail.startswith(f"{hits} of {positives} PNEUMONIA images; VAL ")
    assert specificity.text == f"{(scores[~truth] < 0.61).mean():.3f}"
    assert answer.point == "Operating point: Max-F1, threshold 0.610, chosen on VAL"
    assert answer.classes is None and answer.matrix is None
    facts = dict(answer.facts)
    assert facts["Images"] == "60 TRAIN, 24 VAL, 48 TEST"
    assert facts["Checkpoint"] == "Fine-tuning, epoch 2"
    assert facts["Rejected files"] == "1"
    assert answer.pending == ()


def test_the_reason_is_where_the_interval_would_be(make_run: Callable[..., Any]) -> None:
    run = make_run()
    content = run.json("test_summary.json")
    auroc = content["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    auroc |= {"value": 1.0, "interval": None, "interval_reason": "the resamples do not vary"}
    run.write_json("test_summary.json", content)
    detail = summarize_run(read_run(run.folder)).scores[0].detail
    assert detail.startswith("no 95 % CI: the resamples do not vary; VAL ")


def test_images_of_other_data_follow_a_comma(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run().folder)
    other = replace(content, split=tuple(r for r in content.split if r["split"] == "test"))
    answer = summarize_run(other)
    assert answer.sentence == f"{answer.lede[:-1]}, tested on 48 images of 24 patients."


def test_answer_of_three_classes(make_run: Callable[..., Any]) -> None:
    answer = summarize_run(read_run(make_run(MULTI).folder))
    assert answer.lede == "resnet18, trained to distinguish COVID, NORMAL and PNEUMONIA."
    assert [s.label for s in answer.scores] == [
        *("TEST macro AUROC", "TEST macro average precision")
    ]
    assert answer.rates == () and answer.matrix is not None
    assert answer.scores[1].detail.startswith("chance 0.333 (mean prevalence); VAL ")
    assert answer.classes is not None
    assert [row.cells[0] for row in answer.classes.rows] == list(MULTI)
    assert answer.classes.notes[0].startswith("Thresholds: Max-F1")


def test_one_class_of_three_may_be_the_positive_one(make_run: Callable[..., Any]) -> None:
    run = make_run(MULTI)
    for split in ("val", "test"):
        summary = run.json(f"{split}_summary.json")
        summary["classes"] = {"COVID": summary["classes"]["COVID"]}
        run.write_json(f"{split}_summary.json", summary | {"positive_class": "COVID"})
    run.write_json("eval_summary.json", run.json("eval_summary.json") | {"positive_class": "COVID"})
    answer = summarize_run(read_run(run.folder))
    truth, scores = run.labels["test"] == 0, run.probabilities["test"][:, 0]
    assert answer.lede == "resnet18, trained to distinguish COVID from 2 other classes."
    assert answer.scores[0].text == f"{oracle.roc_auc_score(truth, scores):.3f}"


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
    assert answer.scores == ()
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
    table = tabulate_points(content, "PNEUMONIA")
    assert table is not None
    named = [row.cells[0] for row in table.rows]
    assert "Target sensitivity 0.95" in named and "Target sensitivity 0.8" not in named
    del overview["thresholds"]
    run.write_json("eval_summary.json", overview)
    assert read_run(run.folder).target_sensitivity == 0.8


def estimate(value: float, *bounds: float) -> Estimate:
    interval = Interval(bounds=(bounds[0], bounds[1])) if bounds else None
    return Estimate(value=value, interval=interval)


def scale_of(item: Estimate, floor: float | None = None, *beside: Estimate) -> Scale:
    blank = Statistic(label="", text="", detail="", estimate=item, floor=floor)
    drawn = draw_scales([blank, *(replace(blank, estimate=e, floor=None) for e in beside)])
    assert drawn[0].scale is not None
    return drawn[0].scale


def test_an_interval_is_drawn_where_it_is() -> None:
    scale = scale_of(estimate(0.9, 0.75, 1.0), 0.5)
    assert (scale.point, scale.interval, scale.floor) == (80, (50, 100), 0)
    assert [tick.text for tick in scale.ticks] == ["0.5 = chance", "1"]
    # One metric below 0.5 stretches the scales of all.
    scale = scale_of(estimate(0.9, 0.75, 1.0), 0.5, estimate(0.3))
    assert (scale.point, scale.interval, scale.floor) == (90, (75, 100), 50)
    assert [(tick.position, tick.text) for tick in scale.ticks] == [
        *((0, "0"), (100, "1"), (50, "chance"))
    ]


@pytest.mark.parametrize("floor", [0.0, 0.02, 0.1, 0.5, 0.9, 0.98, 1.0])
def test_words_under_a_scale_do_not_overlap(floor: float) -> None:
    ticks = sorted(scale_of(estimate(0.4), floor).ticks, key=lambda tick: tick.position)
    assert "chance" in "".join(tick.text for tick in ticks)
    for left, right in pairwise(ticks):
        assert right.position - left.position >= 24


def test_a_scale_stays_within_its_ends_and_an_undefined_metric_has_none() -> None:
    scale = scale_of(estimate(-0.2, -0.4, 0.1), 0.0)
    assert (scale.point, scale.interval) == (0, (0, 10))
    (item,) = draw_scales([Statistic(label="", text="", detail="", estimate=Estimate(value=None))])
    assert item.scale is None


def test_three_mistakes_lead_to_the_gallery(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run().folder)
    galleries = [list_errors(content, kind) for kind in KINDS]
    answer = summarize_run(content, galleries)
    chosen = [error.anchor for error in answer.mistakes]
    assert chosen == ["FN-1", "FP-1", "FN-2"]
    assert all("Max-F1" in error.rules for error in answer.mistakes)
    point = content.summaries["test"].classes["PNEUMONIA"].operating_points["max_f1"]
    assert answer.heading == f"3 of {(point.fp or 0) + (point.fn or 0)} mistakes at Max-F1"
    page = render_report(content)
    assert all(f'<a href="#{anchor}">' in page for anchor in chosen)


def test_an_image_that_is_right_at_the_operating_point_is_not_shown_first(
    make_run: Callable[..., Any],
) -> None:
    run = make_run()
    with (run.folder / "mistakes.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    others = [row for row in rows if row[header.index("rule")] != "max_f1"]
    run.write_csv("mistakes.csv", header, others)
    content = read_run(run.folder)
    galleries = [list_errors(content, kind) for kind in KINDS]
    assert any(gallery.shown for gallery in galleries)
    assert summarize_run(content, galleries).mistakes == ()
