"""Spread over runs: against NumPy and counts added by hand; undefined is null, never NaN."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.fold_summary import (
    describe_spread,
    summarize_spread,
    tabulate_spread,
)
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.records.estimates import Spread
from medimg_baseline_cls.records.summaries import Average, SplitSummary
from medimg_baseline_cls.schema import Predictions, Threshold

CLASSES = ("NORMAL", "PNEUMONIA")


def make_summary(seed: int, *, size: int = 40, threshold: float = 0.5) -> SplitSummary:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, size)
    scores = np.clip(random.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    names = tuple(f"{seed}/{n}" for n in range(size))
    predictions = Predictions(
        split="test",
        class_names=CLASSES,
        image_ids=names,
        paths=names,
        groups=names,
        labels=labels,
        probabilities=np.stack([1 - scores, scores], axis=1),
    )
    point = Threshold(rule="max_f1", value=threshold, description="", class_name="PNEUMONIA")
    return summarize_predictions(predictions, {"PNEUMONIA": (point,)}, positive_class="PNEUMONIA")


def test_spread_is_that_of_numpy() -> None:
    summaries = [make_summary(seed) for seed in range(5)]
    block = summarize_spread(summaries).classes["PNEUMONIA"]
    for metric in ("auroc", "average_precision", "brier_score", "log_loss"):
        measured = [s.classes["PNEUMONIA"].metrics[metric].value for s in summaries]
        values = [value for value in measured if value is not None]
        found = block.metrics[metric]
        assert found.mean == pytest.approx(np.mean(values), rel=1e-12)
        assert found.sd == pytest.approx(np.std(values, ddof=1), rel=1e-12)
        ends = (found.minimum, found.maximum, found.num_defined)
        assert ends == (min(values), max(values), 5)


def test_pooled_decisions_are_made_at_each_runs_own_threshold() -> None:
    summaries = [make_summary(n, threshold=t, size=20 + n) for n, t in enumerate((0.3, 0.5, 0.7))]
    written = [summary.to_json()["classes"]["PNEUMONIA"] for summary in summaries]
    points = [block["operating_points"]["max_f1"] for block in written]
    spread = summarize_spread(summaries).to_json()["classes"]["PNEUMONIA"]
    pooled = spread["operating_points"]["max_f1"]["pooled"]
    assert {name: pooled[name] for name in ("tp", "fp", "fn", "tn")} == {
        name: points[0][name] + points[1][name] + points[2][name]
        for name in ("tp", "fp", "fn", "tn")
    }
    assert pooled["sensitivity"]["value"] == pooled["tp"] / (pooled["tp"] + pooled["fn"])
    assert pooled["specificity"]["value"] == pooled["tn"] / (pooled["tn"] + pooled["fp"])
    assert sum(pooled[name] for name in ("tp", "fp", "fn", "tn")) == 63
    assert "pooled" not in spread["metrics"]


def test_undefined_metrics_are_left_out_counted_and_never_nan() -> None:
    assert describe_spread([0.25, None, 0.75]).to_json() == {
        "mean": 0.5,
        "sd": pytest.approx(math.sqrt(0.125)),
        "min": 0.25,
        "max": 0.75,
        "num_defined": 2,
    }
    assert describe_spread([0.5]).sd is None
    nothing = describe_spread([None, None])
    assert nothing == Spread(mean=None, sd=None, minimum=None, maximum=None, num_defined=0)
    assert nothing.to_json()["reason"] == "undefined in every run"
    content = make_summary(1).to_json()
    point = content["classes"]["PNEUMONIA"]["operating_points"]["max_f1"]
    point |= {"tp": 0, "fp": 0, "ppv": {"value": None, "reason": "no image was called positive"}}
    spread = summarize_spread([SplitSummary.from_json(content)]).to_json()
    json.dumps(spread, allow_nan=False)
    pooled = spread["classes"]["PNEUMONIA"]["operating_points"]["max_f1"]["pooled"]
    assert pooled["ppv"] == {"value": None, "reason": "no image was called positive"}


def test_table_has_a_row_per_metric() -> None:
    header, rows = tabulate_spread(summarize_spread([make_summary(seed) for seed in range(3)]))
    assert header == ["class", "metric", "mean", "SD", "min", "max", "pooled"]
    assert [row[1] for row in rows] == [
        "AUROC",
        "AP",
        "sensitivity at Max-F1",
        "specificity at Max-F1",
    ]
    assert all(len(row) == len(header) for row in rows)
    assert [row[-1] == "–" for row in rows] == [True, True, False, False]


def test_runs_of_other_classes_are_refused() -> None:
    other = replace(make_summary(1), class_names=("NORMAL", "TB"))
    with pytest.raises(RunError, match="different classes"):
        summarize_spread([make_summary(0), other])


def test_a_finding_without_a_positive_val_image_in_one_run_is_spread_over_the_others(
    findings: Callable[..., Predictions],
) -> None:
    summaries: list[SplitSummary] = []
    for seed in range(3):
        val, other = findings("val", seed=seed), findings("test", seed=seed)
        if seed == 0:
            labels = val.labels.copy()
            labels[:, 1] = np.minimum(labels[:, 1], 0)
            val = replace(val, labels=labels)
        thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
        summaries.append(summarize_predictions(other, thresholds, positive_class=None))
    spread = summarize_spread(summaries)
    json.dumps(spread.to_json(), allow_nan=False)
    first, *held = [s.classes["Mass"].operating_points.get("max_f1") for s in summaries]
    assert first is None
    points = [point for point in held if point is not None]
    assert len(points) == 2
    found = spread.classes["Mass"].operating_points["max_f1"]
    values = [point.metrics["sensitivity"].value for point in points]
    assert None not in values
    assert found.metrics["sensitivity"].mean == pytest.approx(sum(v or 0 for v in values) / 2)
    assert found.metrics["sensitivity"].num_defined == 2
    assert found.pooled is not None
    assert found.pooled.tp == sum(point.tp or 0 for point in points)


def test_micro_averages_are_spread_and_their_decisions_pooled(
    findings: Callable[..., Predictions],
) -> None:
    parts = [findings("test", seed=seed) for seed in range(4)]
    summaries: list[SplitSummary] = []
    for part in parts:
        points = {
            n: (Threshold(rule="default", value=0.5, description="", class_name=n),)
            for n in part.class_names
        }
        summaries.append(summarize_predictions(part, points, positive_class=None))
    spread = summarize_spread(summaries)
    known = [
        (part.labels[part.labels >= 0], part.probabilities[part.labels >= 0]) for part in parts
    ]
    values = [oracle.roc_auc_score(truth, scores) for truth, scores in known]
    micro = spread.averages[Average.MICRO]
    assert micro.metrics["auroc"].mean == pytest.approx(np.mean(values))
    calls = sum(int(((p.probabilities >= 0.5) & (p.labels == 1)).sum()) for p in parts)
    pooled = micro.operating_points["default"].pooled
    assert pooled is not None and pooled.tp == calls
    assert "micro (all pairs)" in {row[0] for row in tabulate_spread(spread)[1]}


def test_agreement_of_grades_is_spread(draw: Callable[..., Predictions]) -> None:
    parts = [draw("test", class_names=("0", "1", "2"), seed=seed) for seed in range(4)]
    summaries = [
        summarize_predictions(replace(part, task="ordinal"), {}, positive_class=None)
        for part in parts
    ]
    spread = summarize_spread(summaries)
    assert spread.to_json()["task"] == "ordinal"
    calls = [part.probabilities.argmax(axis=1) for part in parts]
    pairs = list(zip(parts, calls, strict=True))
    kappas = [oracle.cohen_kappa_score(p.labels, c, weights="quadratic") for p, c in pairs]
    errors = [oracle.mean_absolute_error(p.labels, c) for p, c in pairs]
    found = spread.to_json()["overall"]
    assert found["quadratic_weighted_kappa"]["mean"] == pytest.approx(np.mean(kappas))
    assert found["quadratic_weighted_kappa"]["sd"] == pytest.approx(np.std(kappas, ddof=1))
    assert found["mean_grade_error"]["mean"] == pytest.approx(np.mean(errors))
    rows = [row for row in tabulate_spread(spread)[1] if row[0] == "all grades"]
    assert [row[2] for row in rows] == [f"{np.mean(kappas):.3f}", f"{np.mean(errors):.3f}"]
