"""Seeds as the unit: NumPy's spread, intervals that hold both variations, the mean network."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.aligned_models import ScoredModel
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.seed_summary import (
    average_predictions,
    summarize_seeds,
    tabulate_seeds,
)
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.schema import Predictions, Threshold

BINARY, THREE = ("NORMAL", "PNEUMONIA"), ("A", "B", "C")


def make_test(
    noise: NDArray[np.float64], *, names: tuple[str, ...] = BINARY, size: int = 80
) -> Predictions:
    labels = np.arange(size) % len(names)
    logits = noise + 1.2 * np.eye(len(names))[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = tuple(f"test/{n:03d}.png" for n in range(size))
    groups = tuple(f"p{n}" for n in range(size))
    return Predictions("test", names, ids, ids, groups, labels, probabilities)


def make_model(test: Predictions, name: str = "seed") -> ScoredModel:
    positive = "PNEUMONIA" if test.class_names == BINARY else None
    classes = evaluated_classes(test.class_names, positive)
    cuts = {
        c: (Threshold(rule="default", value=0.5, description="", class_name=c),) for c in classes
    }
    return ScoredModel(name, test, cuts, positive)


def draw_models(
    num_seeds: int, *, spread: float, names: tuple[str, ...] = BINARY, seed: int = 0
) -> list[ScoredModel]:
    """Draw networks that share their view of an image, and differ from one another by spread."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(80, len(names)))
    return [
        make_model(make_test(shared + spread * random.normal(size=shared.shape), names=names))
        for _ in range(num_seeds)
    ]


def summarize(models: list[ScoredModel], num_resamples: int = 400) -> dict[str, Any]:
    summaries = [
        summarize_predictions(m.test, m.thresholds, positive_class=m.positive_class) for m in models
    ]
    return summarize_seeds(summaries, models, resampling=Resampling(num_resamples, 1))


def width(figure: dict[str, Any]) -> float:
    return figure["interval"][1] - figure["interval"][0]


def test_mean_sd_and_range_are_those_of_numpy() -> None:
    models = draw_models(4, spread=0.8)
    values = [roc_auc_score(m.test.labels == 1, m.test.scores("PNEUMONIA")) for m in models]
    found = summarize(models)["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert (found["min"], found["max"]) == pytest.approx((min(values), max(values)))
    assert found["interval"][0] < found["mean"] < found["interval"][1]
    assert found["method"] == "bootstrap of seeds and patients"


def test_equal_seeds_leave_the_variation_of_patients_alone() -> None:
    """Against a plain loop that draws images by class."""
    (model,) = draw_models(1, spread=0.5)
    found = summarize([model] * 3, 4000)["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    random = np.random.default_rng(5)
    truth, scores = model.test.labels == 1, model.test.scores("PNEUMONIA")
    values: list[float] = []
    for _ in range(2000):
        rows = np.r_[
            random.choice(np.flatnonzero(truth), truth.sum()),
            random.choice(np.flatnonzero(~truth), (~truth).sum()),
        ]
        values.append(float(roc_auc_score(truth[rows], scores[rows])))
    low, high = np.quantile(values, [0.025, 0.975])
    assert found["interval"] == pytest.approx([low, high], abs=0.1 * (high - low))
    assert found["sd"] == 0


def test_seeds_that_differ_widen_the_interval_by_their_variance() -> None:
    """The variance of the mean is that of patients plus SD squared over the number of seeds."""
    models = draw_models(3, spread=2.5, seed=4)
    both = summarize(models, 4000)["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    alone = [
        summarize([model] * 3, 4000)["classes"]["PNEUMONIA"]["metrics"]["auroc"] for model in models
    ]
    of_patients = np.mean([width(figure) for figure in alone]) / 3.92
    of_seeds = both["sd"] / np.sqrt(3)
    assert of_seeds > 0.3 * of_patients  # else this would show nothing
    # The patients of a mean vary less than those of one network: the sum is an upper bound.
    assert of_seeds < width(both) / 3.92 < 1.1 * np.hypot(of_patients, of_seeds)


def test_one_seed_fewer_than_there_are_is_drawn() -> None:
    """All images of a class are of one patient, so that patients cannot vary."""
    models = [
        replace(m, test=replace(m.test, groups=tuple(map(str, m.test.labels))))
        for m in draw_models(6, spread=2.5, seed=2)
    ]
    found = summarize(models, 8000)["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    values = [roc_auc_score(m.test.labels == 1, m.test.scores("PNEUMONIA")) for m in models]
    means = np.random.default_rng(8).choice(values, size=(20_000, 5)).mean(axis=1)
    assert means.std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(6), rel=0.02)
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["interval"] == pytest.approx([low, high], abs=0.02 * (high - low))


def test_decisions_are_not_added_up_and_averages_have_intervals() -> None:
    content = summarize(draw_models(3, spread=0.5, names=THREE))
    for block in (*content["classes"].values(), content["macro"]):
        assert all("pooled" not in point for point in block["operating_points"].values())
        assert block["metrics"]["auroc"]["interval"] is not None
    assert content["num_runs"] == 3


def as_findings(model: ScoredModel) -> ScoredModel:
    """Return a model of findings: some positive, some unknown, a threshold of each its own."""
    random = np.random.default_rng(9)
    labels = random.integers(-1, 2, size=model.test.probabilities.shape)
    test = replace(model.test, labels=labels, task="multilabel")
    cuts = {
        name: (Threshold(rule="default", value=value, description="", class_name=name),)
        for name, value in zip(THREE, (0.2, 0.3, 0.4), strict=True)
    }
    return replace(model, test=test, thresholds=cuts)


def as_grades(model: ScoredModel) -> ScoredModel:
    return replace(model, test=replace(model.test, task="ordinal"))


def figures_with_intervals(block: Any) -> dict[str, Any]:
    """Return the intervals of a block by their path, of metrics and of operating points."""
    found: dict[str, Any] = {}
    for name, entry in block.items() if isinstance(block, dict) else ():
        if isinstance(entry, dict) and "interval" in entry:
            found[name] = entry["interval"]
        else:
            found |= {f"{name}/{k}": v for k, v in figures_with_intervals(entry).items()}
    return found


@pytest.mark.parametrize(
    ("change", "part", "least"), [(as_findings, "micro", 12), (as_grades, "overall", 4)]
)
def test_equal_seeds_have_the_pooled_intervals_of_one_evaluation(
    change: Callable[[ScoredModel], ScoredModel], part: str, least: int
) -> None:
    model = change(draw_models(1, spread=0.5, names=THREE)[0])
    val = replace(model.test, split="val")
    summaries = {
        p.split: summarize_predictions(p, model.thresholds, positive_class=None)
        for p in (val, model.test)
    }
    one = add_intervals(
        summaries, (val, model.test), target_sensitivity=0.9, resampling=Resampling(200, 1)
    )["test"]
    expected = figures_with_intervals(one[part])
    found = figures_with_intervals(summarize([model] * 3, 200)[part])
    assert set(found) == set(expected) and len(found) >= least
    for name, interval in expected.items():
        assert found[name] == pytest.approx(interval, abs=1e-12), name


def test_pooled_intervals_hold_seeds_that_differ() -> None:
    models = [as_findings(m) for m in draw_models(4, spread=3.0, names=THREE)]
    both = summarize(models)["micro"]["metrics"]["auroc"]
    alone = [summarize([m] * 4)["micro"]["metrics"]["auroc"] for m in models]
    assert both["sd"] > 0 and both["method"] == "bootstrap of seeds and patients"
    assert both["interval"] not in [figure["interval"] for figure in alone]
    assert both["interval"][0] < both["mean"] < both["interval"][1]


def test_the_ensemble_is_the_mean_of_the_probabilities() -> None:
    models = draw_models(3, spread=2.0)
    joint = average_predictions([model.test for model in models])
    expected = sum(model.test.probabilities for model in models) / 3
    np.testing.assert_allclose(joint.probabilities, expected, rtol=1e-15)
    assert joint.image_ids == models[0].test.image_ids
    truth = joint.labels == 1
    single = np.mean([roc_auc_score(truth, m.test.scores("PNEUMONIA")) for m in models])
    assert roc_auc_score(truth, joint.scores("PNEUMONIA")) > single


def test_the_table_has_seeds_and_ensemble_side_by_side() -> None:
    models = draw_models(3, spread=0.5)
    content = summarize(models)
    joint = make_model(average_predictions([model.test for model in models]))
    summary = summarize_predictions(joint.test, joint.thresholds, positive_class="PNEUMONIA")
    header, rows = tabulate_seeds(content, summary)
    assert [row[1] for row in rows] == [
        "AUROC",
        "AP",
        "sensitivity at Default (0.5)",
        "specificity at Default (0.5)",
    ]
    assert all(len(row) == len(header) for row in rows)
    auroc = summary["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"]
    assert rows[0][header.index("ensemble")] == f"{auroc:.3f}"


def test_seeds_of_other_images_are_refused() -> None:
    models = draw_models(2, spread=0.5)
    other = replace(models[1].test, image_ids=("x", *models[1].test.image_ids[1:]))
    with pytest.raises(RunError, match="1 of 80 TEST images are only in"):
        summarize([models[0], replace(models[1], test=other, name="seed 1")])
