"""What a run writes of calibration, prevalence and net benefit, computed again from its CSVs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn import metrics as oracle
from tests import independent

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, draw_parts
from medimg_baseline_cls.pipeline.steps.calibration import Judged, warn_of_classes
from medimg_baseline_cls.pipeline.steps.prevalence import describe_prevalence
from medimg_baseline_cls.schema import ImageRecord, Predictions, Split
from medimg_baseline_cls.statistics.recalibration import Recalibration

POSITIVE = "PNEUMONIA"


def parts_of(run: Path) -> dict[str, independent.Part]:
    return {s: independent.read_part(run, s, positive=POSITIVE) for s in ("val", "test")}


def test_the_curve_has_every_image_once_with_wilson_intervals(finished_run: Path) -> None:
    table = independent.read_rows(finished_run / "calibration_curve.csv")
    for split, part in parts_of(finished_run).items():
        own = [row for row in table if row["split"] == split]
        sizes = np.array([int(row["num_images"]) for row in own])
        positives = np.round([float(row["share"]) for row in own] * sizes).astype(int)
        assert (sizes.sum(), positives.sum()) == (len(part.truth), part.truth.sum())
        means = np.array([float(row["mean_probability"]) for row in own])
        assert (means * sizes).sum() / len(part.truth) == pytest.approx(part.scores.mean())
        for row, hits, size in zip(own, positives, sizes, strict=True):
            theirs = binomtest(int(hits), int(size)).proportion_ci(method="wilson")
            bounds = (float(row["lower"]), float(row["upper"]))
            assert bounds == pytest.approx((theirs.low, theirs.high))


def test_brier_and_log_loss_are_those_of_scikit_learn(finished_run: Path) -> None:
    found = independent.read_json(finished_run / "calibration.json")
    for split, part in parts_of(finished_run).items():
        block = found[split][POSITIVE]
        assert block["brier"]["value"] == pytest.approx(
            oracle.brier_score_loss(part.truth, part.scores)
        )
        assert block["log_loss"]["value"] == pytest.approx(
            oracle.log_loss(part.truth, part.scores, labels=[False, True])
        )


def test_recalibrated_thresholds_call_the_same_images(finished_run: Path) -> None:
    stored = independent.read_json(finished_run / "thresholds.json")["classes"][POSITIVE]
    block = independent.read_json(finished_run / "recalibration.json")["classes"][POSITIVE]
    part = parts_of(finished_run)["test"]
    logits = np.log(part.scores / (1 - part.scores))
    compared = 0
    for method in [name for name in ("temperature", "platt") if name in block]:
        line = block[method]["parameters"]
        slope = line["slope"] if method == "platt" else 1 / line["temperature"]
        scores = 1 / (1 + np.exp(-(line.get("intercept", 0.0) + slope * logits)))
        assert block[method]["score_space"] == method
        assert block[method]["test"]["brier"]["value"] == pytest.approx(
            oracle.brier_score_loss(part.truth, scores), abs=1e-6
        )
        for rule, point in block[method]["thresholds"].items():
            # A hair below, as the map is computed here in another way.
            calls = scores >= point["threshold"] - 1e-9
            assert np.array_equal(calls, part.scores >= stored[rule]["threshold"])
            compared += 1
    assert compared >= 3


def test_a_run_says_whether_val_determines_its_maps(finished_run: Path) -> None:
    warnings = independent.read_json(finished_run / "recalibration.json")["warnings"]
    val = parts_of(finished_run)["val"]
    counts = {POSITIVE: int(val.truth.sum()), "NORMAL": int((~val.truth).sum())}
    is_separated = oracle.roc_auc_score(val.truth, val.scores) == 1
    assert (POSITIVE in warnings) == (is_separated or min(counts.values()) < 10)
    for block in warnings.values():
        start = "is separated perfectly (AUROC 1.000, " if is_separated else "has only "
        assert block["text"].startswith(f"VAL {start}")
        assert str(min(counts.values())) in block["text"]
        assert {"platt", "isotonic"} <= set(block["methods"])


@pytest.mark.parametrize(
    ("names", "name", "words"),
    [(("no", "yes"), "yes", "6 no:"), (("a", "b", "c"), "b", "6 non-b:")],
)
def test_the_few_images_of_val_have_their_own_name(
    names: tuple[str, ...], name: str, words: str
) -> None:
    truth = np.arange(30) >= 6
    scores = np.random.default_rng(0).random(30)
    weights = np.ones((2, 30), dtype=np.uint16)
    judged = [Judged("val", name, truth, scores, weights)]
    ids = tuple(map(str, range(30)))
    labels = truth.astype(np.int64)
    probabilities = np.full((30, len(names)), 1 / len(names))
    part = Predictions("val", names, ids, ids, ids, labels, probabilities)
    fitted = Recalibration("temperature", {"temperature": 1.0})
    found = warn_of_classes(judged, {name: {"temperature": fitted}}, part=part)
    assert found[name].text.startswith(f"VAL has only {words}")
    assert warn_of_classes(judged, {name: {}}, part=part) == {}  # there is no map to warn of


def test_net_benefit_is_that_of_the_confusion_matrix(finished_run: Path) -> None:
    table = independent.read_rows(finished_run / "decision_curve.csv")
    for split, part in parts_of(finished_run).items():
        own = [row for row in table if row["split"] == split]
        assert len(own) == 99
        share = float(part.truth.mean())
        for row in own:
            threshold = float(row["threshold"])
            figures = independent.point_figures(part, threshold)
            odds = threshold / (1 - threshold)
            expected = (figures["tp"] - figures["fp"] * odds) / len(part.truth)
            assert float(row["net_benefit"]) == pytest.approx(expected, abs=1e-9)
            assert float(row["treat_all"]) == pytest.approx(share - (1 - share) * odds, abs=1e-9)


def test_predictive_values_follow_bayes_rule_at_each_prevalence(finished_run: Path) -> None:
    found = independent.read_json(finished_run / "prevalence.json")[POSITIVE]
    table = independent.read_rows(finished_run / "split.csv")
    labels = [row["label"] for row in table if row["split"] == "train"]
    share = labels.count(POSITIVE) / len(labels)
    assert found["train"]["prevalence"] == pytest.approx(share)
    part = parts_of(finished_run)["test"]
    assert "target" not in found
    for block in found.values():
        share = block["prevalence"]
        for point in [*block["operating_points"].values(), block["max_f1_at_prevalence"]]:
            own = independent.point_figures(part, point["threshold"])
            hits, alarms = own["sensitivity"] * share, (1 - own["specificity"]) * (1 - share)
            if hits + alarms:
                assert point["ppv"]["value"] == pytest.approx(hits / (hits + alarms))
                f1_score = 2 * hits / (hits + alarms + share)
                assert point["f1_score"]["value"] == pytest.approx(f1_score)


def test_a_declared_prevalence_is_next_to_the_others(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def draw(split: str) -> Predictions:
        labels = np.arange(60) % 2
        scores = np.clip(random.normal(0.3 + 0.4 * labels, 0.2), 0, 1)
        names = tuple(f"{split}{i}" for i in range(60))
        probabilities = np.stack([1 - scores, scores], axis=1)
        return Predictions(split, ("no", "yes"), names, names, names, labels, probabilities)

    parts = (draw("val"), draw("test"))
    blank = ImageRecord(
        image_id="", path="", label="no", group="", split="train", sha256="", width=1, height=1
    )
    labels = ["yes"] + ["no"] * 3
    split = Split(tuple(replace(blank, label=label) for label in labels), ("no", "yes"))
    thresholds = choose_thresholds(parts[0], classes=["yes"], target_sensitivity=0.9)
    config = Config(target_prevalence=0.02, num_resamples=100)
    weights = draw_parts(parts, Resampling(config.num_resamples, config.seed))
    found = describe_prevalence(config, parts, weights=weights, split=split, thresholds=thresholds)
    block = found.to_json()["yes"]
    assert {name: block[name]["prevalence"] for name in block} == pytest.approx(
        {"train": 0.25, "val": 0.5, "test": 0.5, "target": 0.02}
    )
    ppv = {name: block[name]["operating_points"]["max_f1"]["ppv"] for name in block}
    assert ppv["target"]["value"] < ppv["train"]["value"] < ppv["test"]["value"]
    assert ppv["target"]["interval"][0] < ppv["target"]["value"] < ppv["target"]["interval"][1]
    assert (
        block["target"]["max_f1_at_prevalence"]["threshold"]
        > block["val"]["max_f1_at_prevalence"]["threshold"]
    )
    own = next(point.value for point in thresholds["yes"] if point.rule == "max_f1")
    assert block["val"]["max_f1_at_prevalence"]["threshold"] == own


def test_both_figures_are_drawn(finished_run: Path) -> None:
    for name in ("calibration.png", "decision_curve.png"):
        with Image.open(finished_run / "figures" / name) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
