"""What an update gains, against values computed apart; where there is none, the reason."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss

from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.updating import describe_updating
from medimg_baseline_cls.records.updating import UpdatingSummary
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.updating import assign_folds

RESAMPLING = Resampling(200, 0)
BEFORE, AFTER = 0.5, 0.15


def point(rule: str, value: float, *, name: str = "ILL", target: float | None = None) -> Threshold:
    return Threshold(rule=rule, value=value, description="", class_name=name, target=target)


POINTS = {
    "ILL": (
        point("max_f1", 0.4),
        point("target_sensitivity", 0.3, target=0.9),
        point("default", 0.5),
    )
}


def draw(num_images: int = 4000, *, prevalence: float = AFTER, seed: int = 0) -> Predictions:
    """Draw two classes, calibrated at a prevalence of one half; two images of each patient."""
    random = np.random.default_rng(seed)
    truth = np.repeat(random.random(num_images // 2) < prevalence, 2)
    scores = 1 / (1 + np.exp(-random.normal(np.where(truth, 1.0, -1.0), np.sqrt(2.0))))
    return predictions_of(truth, scores)


def predictions_of(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Predictions:
    ids = tuple(f"{i}.png" for i in range(len(truth)))
    return Predictions(
        split="test",
        class_names=("WELL", "ILL"),
        image_ids=ids,
        paths=ids,
        groups=tuple(f"p{i // 2}" for i in range(len(truth))),
        labels=truth.astype(np.int64),
        probabilities=np.stack([1 - scores, scores], axis=1),
    )


@cache
def shifted() -> tuple[Predictions, UpdatingSummary]:
    part = draw()
    return part, describe_updating(part, POINTS, resampling=RESAMPLING)


def test_the_intercept_is_the_shift_of_the_prevalence() -> None:
    part, found = shifted()
    fitted = found.classes["ILL"].updates["intercept"].fitted["intercept"]
    share = float(part.truth("ILL").mean())
    expected = np.log(share / (1 - share)) - np.log(BEFORE / (1 - BEFORE))
    assert fitted.estimate.value == pytest.approx(expected, abs=0.1)
    assert fitted.folds == pytest.approx([expected] * 5, abs=0.1)
    bounds = fitted.estimate.bounds
    assert bounds is not None
    assert bounds[0] < fitted.estimate.value < bounds[1]


def test_the_interval_of_the_intercept_contains_the_uncertainty_of_the_prevalence() -> None:
    # With two images of each patient the logit of the prevalence alone varies by this much.
    part, found = shifted()
    bounds = found.classes["ILL"].updates["intercept"].fitted["intercept"].estimate.bounds
    share, num_patients = float(part.truth("ILL").mean()), len(set(part.groups))
    error = 1 / np.sqrt(num_patients * share * (1 - share))
    assert bounds is not None
    assert bounds[1] - bounds[0] > 0.9 * 2 * 1.96 * error


def test_an_intercept_calibrates_in_the_large_and_lowers_the_losses() -> None:
    gains = shifted()[1].classes["ILL"].updates["intercept"].metrics
    offset = gains["intercept_at_slope_1"]
    assert offset.locked.value == pytest.approx(np.log(AFTER / (1 - AFTER)), abs=0.15)
    assert offset.updated.value == pytest.approx(0, abs=0.01)
    for name in ("brier_score", "log_loss"):
        bounds = gains[name].bounds
        assert bounds is not None
        assert bounds[1] < 0


def test_the_locked_side_is_that_of_scikit_learn_and_the_change_is_the_difference() -> None:
    part, found = shifted()
    truth, scores = part.truth("ILL"), part.scores("ILL")
    update = found.classes["ILL"].updates["intercept_and_slope"]
    assert update.metrics["brier_score"].locked.value == pytest.approx(
        brier_score_loss(truth, scores)
    )
    assert update.metrics["log_loss"].locked.value == pytest.approx(log_loss(truth, scores))
    decided = found.classes["ILL"].updates["threshold"].operating_points["max_f1"]
    assert decided["sensitivity"].locked.value == pytest.approx((scores[truth] >= 0.4).mean())
    assert decided["specificity"].locked.value == pytest.approx((scores[~truth] < 0.4).mean())
    for gain in (*update.metrics.values(), *decided.values()):
        assert gain.locked.value is not None
        assert gain.updated.value is not None
        assert gain.value == pytest.approx(gain.updated.value - gain.locked.value)


def test_the_updated_side_is_that_of_fits_without_the_fold() -> None:
    part, found = shifted()
    update = found.classes["ILL"].updates["intercept_and_slope"]
    truth, scores = part.truth("ILL"), part.scores("ILL")
    folds = assign_folds(part.groups, truth, seed=RESAMPLING.seed)
    lines = np.array([update.fitted[name].folds for name in ("intercept", "slope")])[:, folds]
    updated = 1 / (1 + np.exp(-(lines[0] + lines[1] * np.log(scores / (1 - scores)))))
    assert update.metrics["log_loss"].updated.value == pytest.approx(log_loss(truth, updated))
    # A threshold that is carried along by the line of each fold decides as the locked one does.
    moved = 1 / (1 + np.exp(-(lines[0] + lines[1] * np.log(0.4 / 0.6))))
    assert ((updated >= moved) == (scores >= 0.4)).all()
    assert update.operating_points == {}


def test_a_threshold_chosen_again_reaches_its_target() -> None:
    _, found = shifted()
    update = found.classes["ILL"].updates["threshold"]
    assert set(update.fitted) == {"max_f1", "target_sensitivity"}  # 0.5 is not chosen
    assert not update.metrics
    reached = update.operating_points["target_sensitivity"]["sensitivity"].updated.value
    assert reached == pytest.approx(0.9, abs=0.03)
    assert update.fitted["target_sensitivity"].locked == 0.3
    bounds = update.fitted["target_sensitivity"].estimate.bounds
    assert bounds is not None
    assert bounds[0] <= min(update.fitted["target_sensitivity"].folds) <= bounds[1]


def test_each_image_is_decided_by_the_threshold_of_its_own_fold() -> None:
    part = draw(300, prevalence=0.4)
    truth, scores = part.truth("ILL"), part.scores("ILL")
    found = describe_updating(part, POINTS, resampling=Resampling(20, 0)).classes["ILL"]
    cuts = np.array(found.updates["threshold"].fitted["max_f1"].folds)
    called = scores >= cuts[assign_folds(part.groups, truth, seed=0)]
    gains = found.updates["threshold"].operating_points["max_f1"]
    assert gains["sensitivity"].updated.value == pytest.approx(called[truth].mean())
    assert gains["specificity"].updated.value == pytest.approx((~called[~truth]).mean())
    assert not (called == (scores >= cuts[0])).all()


def test_the_parts_that_were_fitted_on_have_their_sizes() -> None:
    part, found = shifted()
    block = found.classes["ILL"]
    assert block.sizes.num_images == 4000
    assert block.sizes.num_patients == 2000
    assert block.sizes.num_positive == part.truth("ILL").sum()
    assert sum(p.num_images for p in block.fitting_parts) == 4 * 4000
    assert all(p.num_patients == 1600 for p in block.fitting_parts)


def test_what_is_needed_depends_on_the_events() -> None:
    needed = shifted()[1].classes["ILL"].needed
    assert [(n.metric, n.width) for n in needed] == [
        *(("expected_ratio", w) for w in (0.2, 0.4)),
        *(("slope", w) for w in (0.2, 0.4)),
        *(("auroc", w) for w in (0.1, 0.2)),
    ]
    share = float(shifted()[0].truth("ILL").mean())
    for entry in needed:
        assert entry.num_images is not None
        assert entry.num_positive == np.ceil(entry.num_images * share)


def test_a_number_of_images_that_nobody_has_is_not_needed() -> None:
    # The probabilities differ by so little that the slope of their logits is about a million.
    part = draw(400, prevalence=0.5)
    truth = part.truth("ILL")
    scores = 0.5 + 1e-6 * (part.scores("ILL") - 0.5)
    found = describe_updating(predictions_of(truth, scores), POINTS, resampling=Resampling(20, 0))
    needed = {(n.metric, n.width): n for n in found.classes["ILL"].needed}
    entry = needed["slope", 0.2]
    assert (entry.num_images, entry.num_positive) == (None, None)
    assert entry.reason == "more than 10,000,000 images are needed"
    assert needed["auroc", 0.1].num_images and not needed["auroc", 0.1].reason


def test_a_slope_below_zero_has_no_sizes_even_where_the_auroc_is_above_one_half() -> None:
    truth = np.repeat(np.arange(60) < 20, 2)
    scores = np.where(truth, 0.55, 0.5)
    scores[:4] = 1e-9  # two patients with the disease who are called surely well
    found = describe_updating(predictions_of(truth, scores), POINTS, resampling=Resampling(20, 0))
    reasons = {entry.reason for entry in found.classes["ILL"].needed}
    assert reasons == {"the calibration slope on these images is not above 0"}


def test_more_classes_have_a_reason() -> None:
    part = replace(draw(60), class_names=("WELL", "ILL", "WORSE"))
    found = describe_updating(part, POINTS, resampling=RESAMPLING)
    assert "3 classes" in found.reason
    assert not found.classes


@pytest.mark.parametrize("num_ill", [0, 4, 56, 60])
def test_too_few_patients_of_a_class_have_a_reason(num_ill: int) -> None:
    truth = np.repeat(np.arange(60) < num_ill, 2)
    scores = np.random.default_rng(1).random(120)
    block = describe_updating(predictions_of(truth, scores), POINTS, resampling=RESAMPLING)
    found = block.classes["ILL"]
    fewest, what = min((num_ill, "positive"), (60 - num_ill, "negative"))
    assert found.reason.startswith(f"the number of patients with {what} images is {fewest}, but 5")
    assert not found.updates


@pytest.mark.parametrize("is_inverted", [False, True])
def test_without_a_rising_line_the_intercept_and_the_threshold_remain(is_inverted: bool) -> None:
    part = draw(400, prevalence=0.5)
    truth = part.truth("ILL")
    scores = 1 - part.scores("ILL") if is_inverted else np.where(truth, 0.9, 0.1)
    found = describe_updating(predictions_of(truth, scores), POINTS, resampling=RESAMPLING)
    updates = found.classes["ILL"].updates
    assert "no rising line" in updates["intercept_and_slope"].reason
    assert not updates["intercept"].reason
    assert not updates["threshold"].reason
    needed = found.classes["ILL"].needed
    inverted = "the AUROC on these images is not above 0.5"
    assert {entry.reason for entry in needed} == {inverted if is_inverted else ""}
    assert all((entry.num_images is None) == is_inverted for entry in needed)


def test_each_finding_is_updated_where_it_is_known() -> None:
    part = draw(1000)
    labels = np.stack([part.labels, np.where(np.arange(1000) < 600, part.labels, -1)], axis=1)
    findings = replace(
        part,
        task="multilabel",
        class_names=("ILL", "SOME"),
        labels=labels,
        probabilities=np.stack([part.scores("ILL")] * 2, axis=1),
    )
    points = {name: (point("max_f1", 0.4, name=name),) for name in findings.class_names}
    found = describe_updating(findings, points, resampling=Resampling(20, 0)).classes
    assert found["SOME"].sizes.num_images == 600
    assert found["SOME"].sizes.num_patients == 300
    assert found["ILL"].sizes.num_images == 1000
    alone = describe_updating(part, POINTS, resampling=Resampling(20, 0)).classes["ILL"]
    assert found["ILL"].updates["intercept"].fitted == alone.updates["intercept"].fitted


def test_the_sides_of_a_change_are_resampled_together() -> None:
    # The same images are judged twice, so the change varies less than either side alone.
    for name, gain in shifted()[1].classes["ILL"].updates["intercept"].metrics.items():
        widths = [
            side.bounds[1] - side.bounds[0]
            for side in (gain, gain.locked, gain.updated)
            if side.bounds is not None
        ]
        assert len(widths) == 3, name
        assert widths[0] < widths[1] + widths[2]


def test_a_class_that_nobody_has_does_not_stop_the_other() -> None:
    part = draw(400, prevalence=0.4)
    both = replace(
        part,
        task="multilabel",
        labels=np.stack([np.zeros(400, dtype=np.int64), part.labels], axis=1),
    )
    points = {name: (point("max_f1", 0.4, name=name),) for name in both.class_names}
    found = describe_updating(both, points, resampling=Resampling(20, 0)).classes
    assert found["WELL"].reason.startswith("the number of patients with positive images is 0")
    assert found["WELL"].sizes.num_images == 400
    assert found["ILL"].updates["intercept"].metrics


def test_the_same_seed_gives_the_same_result() -> None:
    part = draw(400)
    found = [describe_updating(part, POINTS, resampling=Resampling(20, seed)) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_where_nothing_has_changed_the_change_is_not_a_gain() -> None:
    found = describe_updating(draw(2000, prevalence=BEFORE, seed=3), POINTS, resampling=RESAMPLING)
    updates = found.classes["ILL"].updates
    fitted = updates["intercept_and_slope"].fitted
    assert fitted["intercept"].estimate.value == pytest.approx(0, abs=0.2)
    assert fitted["slope"].estimate.value == pytest.approx(1, abs=0.15)
    for name in ("brier_score", "log_loss"):
        change = updates["intercept_and_slope"].metrics[name]
        assert change.value == pytest.approx(0, abs=0.003)
        assert change.bounds is not None
        assert change.bounds[1] > 0


def test_images_of_one_patient_stay_together() -> None:
    part = draw(400)
    alone = replace(part, groups=part.image_ids)
    together, apart = (
        describe_updating(p, POINTS, resampling=Resampling(500, 0)).classes["ILL"]
        for p in (part, alone)
    )
    widths: list[float] = []
    for block in (together, apart):
        bounds = block.updates["intercept"].fitted["intercept"].estimate.bounds
        assert bounds is not None
        widths.append(bounds[1] - bounds[0])
    # Both images of a patient have one label: there is half of the information on the prevalence.
    assert widths[0] > 1.2 * widths[1]


def test_a_rule_of_the_default_alone_has_no_threshold_to_choose() -> None:
    points = {"ILL": (point("default", 0.5),)}
    found = describe_updating(draw(400), points, resampling=Resampling(20, 0))
    assert found.classes["ILL"].updates["threshold"].reason
    assert found.classes["ILL"].updates["intercept"].metrics
