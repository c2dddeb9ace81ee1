"""Other prevalences for every task: against images that are really repeated."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import (
    Resampling,
    add_intervals,
    draw_part,
    draw_parts,
)
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.pipeline.steps.prevalence import describe_prevalence
from medimg_baseline_cls.schema import ImageRecord, Predictions, Split, Task, format_findings

NAMES = ("bacteria", "normal", "virus")
TARGET = 0.9
NUM_RESAMPLES = 60
NUM_IMAGES = 60
Parts = tuple[Predictions, Predictions]
Content = dict[str, Any]


def draw_part_of(split: str, *, task: Task = "multiclass") -> Predictions:
    """Draw a fair classifier's predictions, two images to a patient; scores have ties."""
    random = np.random.default_rng([len(split), task == "multilabel"])
    labels = random.permutation(np.arange(NUM_IMAGES) % 3).astype(np.int64)
    truth = np.eye(3)[labels]
    if task == "multilabel":
        truth = (random.random((NUM_IMAGES, 3)) < (0.5, 0.4, 0.3)).astype(float)
    odds = np.exp(np.round(random.normal(size=truth.shape) + 1.5 * truth, 1))
    given = odds / (1 + odds) if task == "multilabel" else odds / odds.sum(axis=1, keepdims=True)
    if task == "multilabel":
        labels = np.where(random.random(truth.shape) < 0.2, -1, truth).astype(np.int64)
    ids = tuple(f"{split}{i}" for i in range(NUM_IMAGES))
    groups = tuple(f"{split}-{i // 2}" for i in range(NUM_IMAGES))
    return Predictions(split, NAMES, ids, ids, groups, labels, given, task)


def parts_of(task: Task) -> Parts:
    return draw_part_of("val", task=task), draw_part_of("test", task=task)


def split_of(labels: list[str], *, task: Task = "multiclass") -> Split:
    """Return a split whose TRAIN has these labels."""
    blank = ImageRecord(
        image_id="", path="", label="", group="", split="train", sha256="", width=1, height=1
    )
    names = [f"train{i}" for i in range(len(labels))]
    records = (
        replace(blank, label=label, image_id=name, path=name, group=name)
        for name, label in zip(names, labels, strict=True)
    )
    return Split(tuple(records), NAMES, task=task)


def describe(parts: Parts, split: Split, **changes: Any) -> Content:
    thresholds = choose_thresholds(parts[0], classes=NAMES, target_sensitivity=TARGET)
    config = Config(num_resamples=NUM_RESAMPLES, target_sensitivity=TARGET, **changes)
    weights = draw_parts(parts, Resampling(config.num_resamples, config.seed))
    found = describe_prevalence(config, parts, weights=weights, split=split, thresholds=thresholds)
    return found.to_json()


def known_of(part: Predictions, name: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    column = NAMES.index(name)
    if part.task != "multilabel":
        return part.labels == column, part.probabilities[:, column]
    known = part.labels[:, column] >= 0
    return part.labels[known, column] == 1, part.probabilities[known, column]


def repeat(part: Predictions, rows: NDArray[np.int64]) -> Predictions:
    """Return predictions of these rows, each an image of its own."""
    names = tuple(f"copy{i}" for i in range(len(rows)))
    return replace(
        part,
        image_ids=names,
        paths=names,
        groups=names,
        labels=part.labels[rows],
        probabilities=part.probabilities[rows],
    )


def findings_split() -> Split:
    """Return TRAIN: bacteria in 1 of 4, in 1 of 3 known; normal in 2 of 4; virus never."""
    rows = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [-1, 0, -1]]
    return split_of([format_findings(row, NAMES) for row in rows], task="multilabel")


TRAIN = split_of(["bacteria"] * 2 + ["normal"] * 7 + ["virus"])


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_each_class_stands_against_the_rest(task: Task) -> None:
    parts = parts_of(task)
    found = describe(parts, replace(TRAIN, task=task))
    assert list(found) == list(NAMES)
    for name, share in zip(NAMES, (0.2, 0.7, 0.1), strict=True):
        shares = {source: block["prevalence"] for source, block in found[name].items()}
        expected = {"train": share} | {p.split: known_of(p, name)[0].mean() for p in parts}
        assert shares == pytest.approx(expected)


def test_a_finding_is_a_share_of_the_images_where_it_is_known() -> None:
    parts = parts_of("multilabel")
    found = describe(parts, findings_split())
    for name, share in (("bacteria", 1 / 3), ("normal", 0.5)):
        assert found[name]["train"]["prevalence"] == pytest.approx(share)
    assert list(found["virus"]) == ["val", "test"]  # TRAIN has none of it
    for name in NAMES:
        for part in parts:
            truth, _ = known_of(part, name)
            assert len(truth) < NUM_IMAGES
            assert found[name][part.split]["prevalence"] == pytest.approx(truth.mean())


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_figures_are_those_of_weighted_images(task: Task) -> None:
    parts = parts_of(task)
    split = TRAIN if task == "multiclass" else findings_split()
    compared = 0
    for name, blocks in describe(parts, split, target_prevalence=0.05).items():
        truth, scores = known_of(parts[1], name)
        assert blocks["target"]["prevalence"] == 0.05
        for block in blocks.values():
            share, base = block["prevalence"], truth.mean()
            weights = np.where(truth, share / base, (1 - share) / (1 - base))
            precision = oracle.average_precision_score(truth, scores, sample_weight=weights)
            assert block["average_precision"]["value"] == pytest.approx(precision)
            assert block["average_precision"]["baseline"] == share
            for point in (block["max_f1_at_prevalence"], *block["operating_points"].values()):
                call = scores >= point["threshold"]
                for key, wanted in (("ppv", 1), ("npv", 0)):
                    if not (call == wanted).any():
                        assert point[key]["value"] is None and point[key]["reason"]
                        continue
                    expected = oracle.precision_score(
                        truth, call, pos_label=wanted, sample_weight=weights
                    )
                    assert point[key]["value"] == pytest.approx(expected)
                    compared += 1
                expected = oracle.f1_score(truth, call, sample_weight=weights)
                assert point["f1_score"]["value"] == pytest.approx(expected)
    assert compared > 50


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_intervals_are_those_of_repeated_images(task: Task) -> None:
    val, test = parts_of(task)
    split = TRAIN if task == "multiclass" else findings_split()
    resampling = Resampling(NUM_RESAMPLES, 0)
    rows = [
        [np.repeat(np.arange(NUM_IMAGES), row) for row in draw_part(part, resampling)]
        for part in (val, test)
    ]
    block = describe((val, test), split)["normal"]["test"]
    drawn: dict[str, list[float]] = {}
    for own, other in zip(*rows, strict=True):
        points = choose_thresholds(repeat(val, own), classes=["normal"], target_sensitivity=TARGET)
        truth, scores = known_of(repeat(test, other), "normal")
        share = block["prevalence"]
        weights = np.where(truth, share / truth.mean(), (1 - share) / (1 - truth.mean()))
        for point in points["normal"]:
            call = scores >= point.value
            for key, wanted in (("ppv", 1), ("npv", 0)):
                if (call == wanted).any():
                    value = oracle.precision_score(
                        truth, call, pos_label=wanted, sample_weight=weights
                    )
                    drawn.setdefault(f"{point.rule}/{key}", []).append(float(value))
    assert len(block["operating_points"]) == 3
    for rule, point in block["operating_points"].items():
        for key in ("ppv", "npv"):
            values = drawn[f"{rule}/{key}"]
            assert point[key].get("num_undefined", 0) == NUM_RESAMPLES - len(values)
            low, high = np.quantile(values, (0.025, 0.975))
            if high - low > 1e-12:
                assert point[key]["interval"] == pytest.approx([low, high], abs=1e-9)
            else:
                assert point[key]["method"].startswith("clopper_pearson")


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_rates_have_the_intervals_of_the_summary(task: Task) -> None:
    parts = parts_of(task)
    split = TRAIN if task == "multiclass" else findings_split()
    thresholds = choose_thresholds(parts[0], classes=NAMES, target_sensitivity=TARGET)
    summaries = {
        part.split: summarize_predictions(part, thresholds, positive_class=None) for part in parts
    }
    resampling = Resampling(NUM_RESAMPLES, 0)
    summary = add_intervals(summaries, parts, target_sensitivity=TARGET, resampling=resampling)
    for name, blocks in describe(parts, split).items():
        points = summary["test"].to_json()["classes"][name]["operating_points"]
        for rule, point in blocks["test"]["operating_points"].items():
            for key in ("sensitivity", "specificity"):
                wanted = {k: points[rule][key][k] for k in ("value", "interval", "method")}
                assert {k: point[key][k] for k in wanted} == wanted


def test_predictive_values_of_1_have_a_width_from_the_patients_of_both_classes() -> None:
    val, test = parts_of("multiclass")
    sure = np.full((NUM_IMAGES, 3), 0.01)
    sure[np.arange(NUM_IMAGES), test.labels] = 0.98
    found = describe((val, replace(test, probabilities=sure)), TRAIN, target_prevalence=0.05)
    truth, groups = known_of(test, "normal")[0], np.array(test.groups)
    # Of n right out of n, the lower limit at 97.5 % is 0.0125 to the power 1 / n.
    rates = [0.0125 ** (1 / len(set(groups[side].tolist()))) for side in (truth, ~truth)]
    point = found["normal"]["target"]["operating_points"]["default"]
    hits, alarms = rates[0] * 0.05, (1 - rates[1]) * 0.95
    rejections, misses = rates[1] * 0.95, (1 - rates[0]) * 0.05
    for key, low in (("ppv", hits / (hits + alarms)), ("npv", rejections / (rejections + misses))):
        assert point[key]["value"] == 1.0 and "interval_reason" not in point[key]
        assert point[key]["interval"] == pytest.approx([low, 1.0])
    assert point["sensitivity"]["method"] == "clopper_pearson"


def test_a_finding_without_a_positive_image_in_val_has_no_max_f1() -> None:
    val, test = parts_of("multilabel")
    labels = val.labels.copy()
    labels[:, 0] = np.minimum(labels[:, 0], 0)
    found = describe((replace(val, labels=labels), test), findings_split())["bacteria"]
    assert set(found) == {"train", "test"}
    truth, scores = known_of(test, "bacteria")
    for block in found.values():
        assert (
            block["max_f1_at_prevalence"]["threshold"] is None
            and block["max_f1_at_prevalence"]["reason"]
        )
        points = block["operating_points"]
        assert set(points) == {"default"}
        call = scores >= 0.5
        expected = oracle.recall_score(truth, call)
        assert points["default"]["sensitivity"]["value"] == pytest.approx(expected)
        assert points["default"]["ppv"]["interval"]


def test_a_test_of_one_class_has_no_predictive_values() -> None:
    val, test = parts_of("multiclass")
    alone = replace(test, labels=np.zeros(NUM_IMAGES, dtype=np.int64))
    for name, blocks in describe((val, alone), TRAIN).items():
        assert set(blocks) == {"train", "val"}
        for block in blocks.values():
            assert block["average_precision"]["value"] is None
            for point in block["operating_points"].values():
                for key in ("ppv", "npv", "f1_score"):
                    assert point[key]["value"] is None and point[key]["reason"]
                    assert "interval" not in point[key]
                only = "sensitivity" if name == "bacteria" else "specificity"
                assert point[only]["value"] is not None


def test_a_test_where_a_finding_is_never_known_has_thresholds_of_none() -> None:
    val, test = parts_of("multilabel")
    labels = test.labels.copy()
    labels[:, 2] = -1
    found = describe((val, replace(test, labels=labels)), findings_split())["virus"]
    assert set(found) == {"val"}
    block = found["val"]
    assert block["operating_points"] == {}
    assert block["average_precision"]["value"] is None
    assert block["max_f1_at_prevalence"]["threshold"] is None


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_rarer_disease_has_lower_ppv_higher_npv_and_a_higher_threshold(task: Task) -> None:
    split = TRAIN if task == "multiclass" else findings_split()
    shares = (0.01, 0.1, 0.4, 0.9)
    found = [
        describe(parts_of(task), split, target_prevalence=s)["normal"]["target"] for s in shares
    ]
    points = [block["operating_points"]["max_f1"] for block in found]
    ppv, npv = ([point[key]["value"] for point in points] for key in ("ppv", "npv"))
    assert ppv == sorted(ppv) and npv == sorted(npv, reverse=True)
    thresholds = [block["max_f1_at_prevalence"]["threshold"] for block in found]
    assert thresholds == sorted(thresholds, reverse=True) and thresholds[0] > thresholds[-1]
    precisions = [block["average_precision"]["value"] for block in found]
    assert precisions == sorted(precisions)
    for block in found:
        assert block["average_precision"]["value"] > block["average_precision"]["baseline"]
