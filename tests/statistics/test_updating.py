"""An update recovers what was planted, and no image is judged by a fit on its own patient."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

from medimg_baseline_cls.statistics.bootstrap import describe_values, draw_weights
from medimg_baseline_cls.statistics.logistic import to_logits, to_probabilities
from medimg_baseline_cls.statistics.threshold_rules import CRITERIA
from medimg_baseline_cls.statistics.updating import (
    UPDATES,
    assign_folds,
    cross_choose,
    cross_update,
    fit_update,
)

Images = tuple[NDArray[np.bool_], NDArray[np.float64]]


def draw(prevalence: float, *, num_images: int, trained_at: float = 0.5, seed: int = 0) -> Images:
    """Draw logits of equal variance in both classes, calibrated at another prevalence.

    By Bayes' rule the log odds of such an image are its log likelihood ratio plus the logit of
    the prevalence.
    """
    random = np.random.default_rng(seed)
    truth = random.random(num_images) < prevalence
    ratios = random.normal(np.where(truth, 1.0, -1.0), np.sqrt(2.0))
    return truth, to_probabilities(ratios + float(to_logits(np.array([trained_at]))[0]))


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.1), (0.2, 0.6), (0.05, 0.3)])
def test_an_intercept_recovers_a_shift_of_the_prevalence(before: float, after: float) -> None:
    truth, scores = draw(after, num_images=20_000, trained_at=before)
    expected = np.log(after / (1 - after)) - np.log(before / (1 - before))
    folds = assign_folds([f"p{i}" for i in range(len(truth))], truth, seed=1)
    crossed = cross_update("intercept", truth=truth, scores=scores, folds=folds)
    assert crossed.lines[:, 0] == pytest.approx(expected, abs=0.1)
    assert (crossed.lines[:, 1] == 1).all()
    assert crossed.scores.mean() == pytest.approx(truth.mean(), abs=1e-3)


def test_a_line_is_that_of_scikit_learn() -> None:
    truth, scores = draw(0.3, num_images=3000)
    tilted = to_probabilities(0.7 + 2.5 * to_logits(scores))
    intercept, slope = fit_update("intercept_and_slope", truth=truth, scores=tilted)[0]
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    oracle.fit(to_logits(tilted)[:, None], truth)
    assert slope == pytest.approx(oracle.coef_[0, 0], abs=1e-5)
    assert intercept == pytest.approx(oracle.intercept_[0], abs=1e-5)


def test_an_intercept_makes_the_mean_probability_the_prevalence() -> None:
    truth, scores = draw(0.3, num_images=500)
    logits = to_logits(scores)
    expected = brentq(lambda a: to_probabilities(a + logits).mean() - truth.mean(), -9, 9)
    found = fit_update("intercept", truth=truth, scores=scores)[0]
    assert found.tolist() == pytest.approx([expected, 1.0], abs=1e-6)


def test_weights_count_an_image_as_often_as_they_say() -> None:
    truth, scores = draw(0.3, num_images=200)
    counts = np.random.default_rng(0).integers(0, 4, size=200)
    for update in UPDATES:
        weighted = fit_update(update, truth=truth, scores=scores, weights=counts[None, :])
        repeated = fit_update(
            update, truth=np.repeat(truth, counts), scores=np.repeat(scores, counts)
        )
        assert weighted == pytest.approx(repeated, abs=1e-6)


def test_the_interval_of_an_intercept_contains_the_true_one() -> None:
    expected, hits = np.log(0.15 / 0.85), 0
    patients, no_strata = [f"p{i}" for i in range(400)], np.zeros(400, dtype=np.int64)
    for seed in range(100):
        truth, scores = draw(0.15, num_images=400, seed=seed)
        weights = draw_weights(patients, no_strata, num_resamples=200, seed=seed, purpose="test")
        drawn = fit_update("intercept", truth=truth, scores=scores, weights=weights)[:, 0]
        bounds = describe_values(drawn).bounds
        assert bounds is not None
        hits += bounds[0] <= expected <= bounds[1]
    # Of 100 intervals that contain it with a probability of 0.95, at least 88 do (p > 0.99).
    assert hits >= 88


@pytest.mark.parametrize("update", UPDATES)
def test_an_image_is_updated_without_its_own_patient(update: str) -> None:
    truth, scores = draw(0.4, num_images=200)
    folds = assign_folds([f"p{i // 2}" for i in range(200)], truth, seed=3)
    before = cross_update(update, truth=truth, scores=scores, folds=folds)  # type: ignore[arg-type]
    changed = np.where(folds == 2, ~truth, truth)
    after = cross_update(update, truth=changed, scores=scores, folds=folds)  # type: ignore[arg-type]
    same = before.scores == after.scores
    assert same[folds == 2].all()
    assert not same[folds != 2].any()


def test_a_threshold_is_chosen_without_its_own_patients() -> None:
    truth, scores = draw(0.4, num_images=200)
    folds = assign_folds([f"p{i}" for i in range(200)], truth, seed=3)
    cuts = cross_choose(
        CRITERIA["target_sensitivity"], truth=truth, scores=scores, folds=folds, target=0.9
    )
    for fold, cut in enumerate(cuts):
        others = scores[truth & (folds != fold)]
        # The greatest score that keeps nine of ten positive images at or above it.
        assert cut == np.sort(others)[::-1][int(np.ceil(0.9 * len(others))) - 1]


def test_whole_patients_are_dealt_evenly() -> None:
    random = np.random.default_rng(5)
    patients = random.integers(0, 90, size=400)
    is_ill = random.random(90) < 0.2
    truth = is_ill[patients] & (random.random(400) < 0.7)
    folds = assign_folds([f"p{i}" for i in patients], truth, seed=0)
    assert all(len(set(folds[patients == p])) == 1 for p in set(patients))
    for is_positive in (True, False):
        has = [p for p in set(patients) if truth[patients == p].any() == is_positive]
        counts = np.bincount([folds[patients == p][0] for p in has], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_folds_do_not_depend_on_the_names_of_patients() -> None:
    truth = np.arange(60) % 3 == 0
    folds = [assign_folds([f"{name}{i}" for i in range(60)], truth, seed=2) for name in "ab"]
    assert folds[0].tolist() == folds[1].tolist()
    assert folds[0].tolist() != assign_folds([f"a{i}" for i in range(60)], truth, seed=4).tolist()


@pytest.mark.parametrize("truth", [np.ones(4, bool), np.zeros(4, bool), np.ones(0, bool)])
def test_one_class_alone_has_no_update(truth: NDArray[np.bool_]) -> None:
    scores = np.linspace(0.2, 0.6, len(truth))
    for update in UPDATES:
        assert np.isnan(fit_update(update, truth=truth, scores=scores)).all()


def test_inverted_scores_are_not_increasing() -> None:
    truth, scores = draw(0.5, num_images=300)
    folds = np.arange(300) % 5
    for update, expected in (("intercept", True), ("intercept_and_slope", False)):
        crossed = cross_update(update, truth=truth, scores=1 - scores, folds=folds)  # type: ignore[arg-type]
        assert crossed.is_increasing is expected
