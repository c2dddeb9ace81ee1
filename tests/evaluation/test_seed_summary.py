"""Seeds as the unit: NumPy's spread, intervals that hold both variations, the mean network."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.aligned_models import AlignedModel
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.seed_summary import (
    average_predictions,
    summarize_seeds,
    tabulate_seeds,
)
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.records.estimates import Bounds, Spread
from medimg_baseline_cls.records.spreads import SpreadSummary
from medimg_baseline_cls.records.summaries import Average
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


def make_model(test: Predictions, name: str = "seed") -> AlignedModel:
    positive = "PNEUMONIA" if test.class_names == BINARY else None
    classes = evaluated_classes(test.class_names, positive)
    cuts = {
        c: (Threshold(rule="default", value=0.5, description="", class_name=c),) for c in classes
    }
    return AlignedModel(name, test, cuts, positive)


def draw_models(
    num_seeds: int, *, spread: float, names: tuple[str, ...] = BINARY, seed: int = 0
) -> list[AlignedModel]:
    """Draw networks that share their view of an image, and differ from one another by spread."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(80, len(names)))
    return [
        make_model(make_test(shared + spread * random.normal(size=shared.shape), names=names))
        for _ in range(num_seeds)
    ]


def summarize(models: list[AlignedModel], num_resamples: int = 400) -> SpreadSummary:
    summaries = [
        summarize_predictions(m.test, m.thresholds, positive_class=m.positive_class) for m in models
    ]
    return summarize_seeds(summaries, models, resampling=Resampling(num_resamples, 1))


def auroc_of(models: list[AlignedModel], num_resamples: int = 400) -> Spread:
    return summarize(models, num_resamples).classes["PNEUMONIA"].metrics["auroc"]


def bounds_of(spread: Spread) -> Bounds:
    assert spread.interval is not None and spread.interval.bounds is not None
    return spread.interval.bounds


def width(spread: Spread) -> float:
    low, high = bounds_of(spread)
    return high - low


def test_mean_sd_and_range_are_those_of_numpy() -> None:
    models = draw_models(4, spread=0.8)
    values = [roc_auc_score(m.test.labels == 1, m.test.scores("PNEUMONIA")) for m in models]
    found = auroc_of(models)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert (found.minimum, found.maximum) == pytest.approx((min(values), max(values)))
    low, high = bounds_of(found)
    assert low < (found.mean or 0) < high
    assert found.to_json()["method"] == "bootstrap of seeds and patients"


def test_equal_seeds_leave_the_variation_of_patients_alone() -> None:
    """Against a plain loop that draws images by class."""
    (model,) = draw_models(1, spread=0.5)
    found = auroc_of([model] * 3, 4000)
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
    assert bounds_of(found) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert found.sd == 0


def test_seeds_that_differ_widen_the_interval_by_their_variance() -> None:
    """The variance of the mean is that of patients plus SD squared over the number of seeds."""
    models = draw_models(3, spread=2.5, seed=4)
    both = auroc_of(models, 4000)
    alone = [auroc_of([model] * 3, 4000) for model in models]
    of_patients = np.mean([width(spread) for spread in alone]) / 3.92
    of_seeds = (both.sd or 0) / np.sqrt(3)
    assert of_seeds > 0.3 * of_patients  # else this would show nothing
    # The patients of a mean vary less than those of one network: the sum is an upper bound.
    assert of_seeds < width(both) / 3.92 < 1.1 * np.hypot(of_patients, of_seeds)


def test_one_seed_fewer_than_there_are_is_drawn() -> None:
    """All images of a class are of one patient, so that patients cannot vary."""
    models = [
        replace(m, test=replace(m.test, groups=tuple(map(str, m.test.labels))))
        for m in draw_models(6, spread=2.5, seed=2)
    ]
    found = auroc_of(models, 8000)
    values = [roc_auc_score(m.test.labels == 1, m.test.scores("PNEUMONIA")) for m in models]
    means = np.random.default_rng(8).choice(values, size=(20_000, 5)).mean(axis=1)
    assert means.std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(6), rel=0.02)
    low, high = np.quantile(means, [0.025, 0.975])
    assert bounds_of(found) == pytest.approx((low, high), abs=0.02 * (high - low))


def test_decisions_are_not_added_up_and_averages_have_intervals() -> None:
    content = summarize(draw_models(3, spread=0.5, names=THREE)).to_json()
    for block in (*content["classes"].values(), content["macro"]):
        assert all("pooled" not in point for point in block["operating_points"].values())
        assert block["metrics"]["auroc"]["interval"] is not None
    assert content["num_runs"] == 3


def test_the_mean_of_two_classes_has_no_interval_of_the_positive_one() -> None:
    content = summarize(draw_models(3, spread=0.5)).to_json()
    assert content["positive_class"] == "PNEUMONIA"
    assert all("interval" in found for found in content["classes"]["PNEUMONIA"]["metrics"].values())
    assert not any("interval" in found for found in content["macro"]["metrics"].values())


def as_findings(model: AlignedModel) -> AlignedModel:
    """Return a model of findings: some positive, some unknown, a threshold of each its own."""
    random = np.random.default_rng(9)
    labels = random.integers(-1, 2, size=model.test.probabilities.shape)
    test = replace(model.test, labels=labels, task="multilabel")
    cuts = {
        name: (Threshold(rule="default", value=value, description="", class_name=name),)
        for name, value in zip(THREE, (0.2, 0.3, 0.4), strict=True)
    }
    return replace(model, test=test, thresholds=cuts)


def as_grades(model: AlignedModel) -> AlignedModel:
    return replace(model, test=replace(model.test, task="ordinal"))


def list_intervals(block: Any) -> dict[str, Any]:
    """Return the intervals of a block by their path, of metrics and of operating points."""
    found: dict[str, Any] = {}
    for name, entry in block.items() if isinstance(block, dict) else ():
        if isinstance(entry, dict) and "interval" in entry:
            found[name] = entry["interval"]
        else:
            found |= {f"{name}/{k}": v for k, v in list_intervals(entry).items()}
    return found


@pytest.mark.parametrize(
    ("change", "part", "least"), [(as_findings, "micro", 12), (as_grades, "overall", 4)]
)
def test_equal_seeds_have_the_pooled_intervals_of_one_evaluation(
    change: Callable[[AlignedModel], AlignedModel], part: str, least: int
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
    expected = list_intervals(one.to_json()[part])
    found = list_intervals(summarize([model] * 3, 200).to_json()[part])
    assert set(found) == set(expected) and len(found) >= least
    for name, interval in expected.items():
        assert found[name] == pytest.approx(interval, abs=1e-12), name


def test_pooled_intervals_hold_seeds_that_differ() -> None:
    models = [as_findings(m) for m in draw_models(4, spread=3.0, names=THREE)]
    both, *alone = (
        summarize(group).averages[Average.MICRO].metrics["auroc"]
        for group in (models, *([model] * 4 for model in models))
    )
    assert len(alone) == 4
    assert (both.sd or 0) > 0
    assert both.to_json()["method"] == "bootstrap of seeds and patients"
    assert bounds_of(both) not in [bounds_of(spread) for spread in alone]
    low, high = bounds_of(both)
    assert low < (both.mean or 0) < high


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
    auroc = summary.classes["PNEUMONIA"].metrics["auroc"].value
    assert rows[0][header.index("ensemble")] == f"{auroc:.3f}"
    alone = tabulate_seeds(content, None)
    assert alone == (header[:7], [row[:7] for row in rows])


def test_seeds_of_other_images_are_refused() -> None:
    models = draw_models(2, spread=0.5)
    other = replace(models[1].test, image_ids=("x", *models[1].test.image_ids[1:]))
    with pytest.raises(RunError, match="1 of 80 TEST images are only in"):
        summarize([models[0], replace(models[1], test=other, name="seed 1")])
