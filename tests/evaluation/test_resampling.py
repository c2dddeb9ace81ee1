"""Intervals of the summaries against the definition: everything done again on repeated images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from tests.conftest import draw_findings, draw_predictions, with_column

from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals, draw_part
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions, Task

TARGET = 0.9
NUM_RESAMPLES = 40
TERNARY = ("bacteria", "normal", "virus")
Summaries = dict[str, SplitSummary]


def findings_of(split: str) -> Predictions:
    """Draw three findings, a tenth of the pairs unknown, the last finding rare."""
    random = np.random.default_rng(len(split))
    drawn = draw_predictions(split, class_names=TERNARY)
    labels = (random.random(drawn.probabilities.shape) < (0.4, 0.5, 0.04)).astype(np.int64)
    logits = random.normal(size=labels.shape) + 1.5 * labels
    labels[random.random(labels.shape) < 0.1] = -1
    probabilities = np.round(1 / (1 + np.exp(-logits)), 2)
    return replace(drawn, labels=labels, probabilities=probabilities, task="multilabel")


def parts_of(task: str) -> tuple[Predictions, Predictions]:
    if task == "multilabel":
        return findings_of("val"), findings_of("test")
    names = ("NORMAL", "PNEUMONIA") if task == "binary" else TERNARY
    kind: Task = "ordinal" if task == "ordinal" else "multiclass"
    val, test = (
        replace(draw_predictions(s, class_names=names), task=kind) for s in ("val", "test")
    )
    return val, test


def positive_of(task: str) -> str | None:
    return "PNEUMONIA" if task == "binary" else None


def evaluate(val: Predictions, test: Predictions, *, positive: str | None) -> Summaries:
    """Do what an evaluation does without any interval."""
    classes = evaluated_classes(val.class_names, positive)
    thresholds = choose_thresholds(val, classes=classes, target_sensitivity=TARGET)
    return {
        part.split: summarize_predictions(part, thresholds, positive_class=positive)
        for part in (val, test)
    }


def repeat(part: Predictions, times: NDArray[np.uint16]) -> Predictions:
    """Return predictions in which each image stands as often as it was drawn."""
    rows = np.repeat(np.arange(len(part.groups)), times)
    names = tuple(f"copy{i}" for i in range(len(rows)))
    return replace(
        part,
        image_ids=names,
        paths=names,
        groups=names,
        labels=part.labels[rows],
        probabilities=part.probabilities[rows],
    )


def metrics_of(summary: SplitSummary) -> dict[str, dict[str, Any]]:
    """Return every metric of what is written of a summary, by its path."""
    found = walk(summary.to_json())
    assert len(found) >= 28  # an empty walk would compare nothing
    return found


def walk(content: Mapping[str, Any], where: str = "") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            path = f"{where}/{key}"
            found |= {path: value} if "value" in value else walk(value, path)
    return found


def is_chosen_here(split: str, path: str) -> bool:
    """Say whether a figure is at a threshold that was chosen on its own images."""
    return split == "val" and ("/max_f1/" in path or "/target_sensitivity/" in path)


def with_intervals(task: str, *, num_resamples: int = NUM_RESAMPLES) -> Summaries:
    parts = parts_of(task)
    return add_intervals(
        evaluate(*parts, positive=positive_of(task)),
        parts,
        target_sensitivity=TARGET,
        resampling=Resampling(num_resamples, 3),
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal", "multilabel"])
def test_every_interval_is_that_of_evaluations_of_repeated_images(task: str) -> None:
    val, test = parts_of(task)
    weights = {part.split: draw_part(part, Resampling(NUM_RESAMPLES, 3)) for part in (val, test)}
    repeated = [
        evaluate(repeat(val, v), repeat(test, t), positive=positive_of(task))
        for v, t in zip(weights["val"], weights["test"], strict=True)
    ]
    for split, summary in with_intervals(task).items():
        again = [metrics_of(evaluation[split]) for evaluation in repeated]
        for path, figure in metrics_of(summary).items():
            if figure["value"] is None:
                assert "interval" not in figure
                continue
            if is_chosen_here(split, path):
                continue
            drawn = [figures.get(path, {"value": None})["value"] for figures in again]
            defined = np.array([value for value in drawn if value is not None])
            assert figure.get("num_undefined", 0) == len(drawn) - len(defined), path
            if figure["method"] == "bootstrap" and figure["interval"] is not None:
                expected = np.quantile(defined, (0.025, 0.975))
                assert figure["interval"] == pytest.approx(expected, abs=1e-12), path


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal", "multilabel"])
def test_val_has_no_interval_at_a_threshold_that_was_chosen_on_it(task: str) -> None:
    summaries = with_intervals(task)
    counts = {True: 0, False: 0}
    for split, summary in summaries.items():
        for path, figure in metrics_of(summary).items():
            if figure["value"] is None:
                continue
            is_own = is_chosen_here(split, path)
            counts[is_own] += 1
            if is_own:
                others = {"method", "num_undefined", "wilson", "clopper_pearson"}
                assert figure["interval"] is None and not others & set(figure), path
                assert figure["interval_reason"].endswith("chosen on these images; see TEST")
            else:
                assert "chosen" not in figure.get("interval_reason", ""), path
    assert min(counts.values()) >= 16
    # How far the threshold itself is certain does not depend on that, and is told on both.
    name = next(iter(summaries["val"].classes))
    cuts = [s.classes[name].operating_points["max_f1"] for s in summaries.values()]
    assert cuts[0].threshold_interval == cuts[1].threshold_interval
    assert all("threshold_interval" in cut.to_json() for cut in cuts)


def test_most_figures_have_an_interval_with_the_value_inside() -> None:
    figures = metrics_of(with_intervals("binary", num_resamples=500)["test"])
    assert all(figure["interval"] for figure in figures.values())
    inside = [f["interval"][0] <= f["value"] <= f["interval"][1] for f in figures.values()]
    assert np.mean(inside) > 0.9


def test_a_test_interval_holds_the_uncertainty_of_the_threshold() -> None:
    few = draw_predictions("val", num_images=30)
    test = draw_predictions("test", num_images=2000)
    summaries = add_intervals(
        evaluate(few, test, positive="PNEUMONIA"),
        (few, test),
        target_sensitivity=TARGET,
        resampling=Resampling(500, 0),
    )
    points = summaries["test"].classes["PNEUMONIA"].operating_points
    width = {
        rule: np.ptp(point.metrics["specificity"].bounds or ()) for rule, point in points.items()
    }
    assert width["target_sensitivity"] > 1.5 * width["default"]
    low, high = points["target_sensitivity"].threshold_interval or (1.0, 0.0)
    assert low < high
    assert "threshold_interval" not in points["default"].to_json()


def test_proportions_have_the_intervals_of_scipy_beside_them() -> None:
    summary = with_intervals("binary")["test"]
    point = summary.classes["PNEUMONIA"].operating_points["default"].to_json()
    counts = {
        "sensitivity": (point["tp"], point["fn"]),
        "specificity": (point["tn"], point["fp"]),
        "ppv": (point["tp"], point["fp"]),
        "npv": (point["tn"], point["fn"]),
        "accuracy": (point["tp"] + point["tn"], point["fp"] + point["fn"]),
    }
    for metric, (hits, misses) in counts.items():
        for key, method in (("wilson", "wilson"), ("clopper_pearson", "exact")):
            theirs = binomtest(hits, hits + misses).proportion_ci(0.95, method=method)
            assert point[metric][key] == pytest.approx([theirs.low, theirs.high], abs=1e-9)


def test_a_sensitivity_without_a_miss_has_the_exact_interval_of_its_patients() -> None:
    val, test = parts_of("binary")
    sure = np.where(test.labels == 1, 0.99, 0.01)
    test = replace(test, probabilities=np.stack([1 - sure, sure], axis=1))
    summaries = add_intervals(
        evaluate(val, test, positive="PNEUMONIA"),
        (val, test),
        target_sensitivity=TARGET,
        resampling=Resampling(NUM_RESAMPLES, 0),
    )
    block = summaries["test"].classes["PNEUMONIA"]
    num_patients = len({g for g, y in zip(test.groups, test.labels, strict=True) if y == 1})
    found = block.operating_points["default"].metrics["sensitivity"].to_json()
    assert found["value"] == 1.0 and found["method"] == "clopper_pearson"
    assert found["interval"] == pytest.approx([0.025 ** (1 / num_patients), 1.0])
    auroc = block.metrics["auroc"].to_json()
    assert auroc["interval"] is None
    assert auroc["interval_reason"] == "the resamples do not vary"


def test_the_given_summaries_stay_as_they_were() -> None:
    parts = parts_of("binary")
    before = evaluate(*parts, positive="PNEUMONIA")
    add_intervals(before, parts, target_sensitivity=TARGET, resampling=Resampling(NUM_RESAMPLES, 0))
    assert before == evaluate(*parts, positive="PNEUMONIA")


def test_the_same_seed_gives_the_same_intervals() -> None:
    assert with_intervals("multilabel") == with_intervals("multilabel")


def test_pairs_in_blocks_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = with_intervals("multilabel")
    monkeypatch.setattr("medimg_baseline_cls.statistics.multilabel._PAIR_CELLS", 1000)
    one, other = whole["test"].micro, with_intervals("multilabel")["test"].micro
    assert one is not None and other is not None
    for name, estimate in other.metrics.items():
        assert estimate.bounds == pytest.approx(one.metrics[name].bounds, abs=1e-12)


def test_a_rule_of_findings_that_test_does_not_know_has_no_interval() -> None:
    # Only the last finding has a Max-F1 threshold, and TEST does not know it of any image.
    val, test = (draw_findings(split) for split in ("val", "test"))
    val = with_column(with_column(val, 0, 0), 1, 0)
    parts = val, with_column(test, 2, -1)
    found = add_intervals(
        evaluate(*parts, positive=None),
        parts,
        target_sensitivity=TARGET,
        resampling=Resampling(NUM_RESAMPLES, 0),
    )["test"]
    assert found.micro is not None
    points = found.micro.operating_points
    assert points["max_f1"].num_findings == 1 and points["max_f1"].counts() == 0
    assert all(e.value is None and e.interval is None for e in points["max_f1"].metrics.values())
    assert all(e.interval is not None for e in points["default"].metrics.values())


def test_delongs_interval_stands_beside_the_auroc() -> None:
    val, test = parts_of("binary")
    alone = replace(test, groups=test.image_ids)
    found = [
        add_intervals(
            evaluate(val, part, positive="PNEUMONIA"),
            (val, part),
            target_sensitivity=TARGET,
            resampling=Resampling(NUM_RESAMPLES, 0),
        )["test"]
        .classes["PNEUMONIA"]
        .metrics["auroc"]
        .delong
        for part in (alone, test)
    ]
    truth, scores = alone.truth("PNEUMONIA"), alone.scores("PNEUMONIA")
    wins = np.sign(scores[truth][:, None] - scores[~truth]) / 2 + 0.5
    error = np.sqrt(
        wins.mean(axis=1).var(ddof=1) / truth.sum() + wins.mean(axis=0).var(ddof=1) / (~truth).sum()
    )
    value = float(wins.mean())
    odds, reach = np.log(value / (1 - value)), 1.959963984540054 * error / (value * (1 - value))
    expected = 1 / (1 + np.exp(-np.array([odds - reach, odds + reach])))
    assert found[0] == pytest.approx(expected, abs=1e-9)
    assert found[1] != found[0]  # patients with two images each are clusters
