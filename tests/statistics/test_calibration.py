"""Calibration against scikit-learn, hand-worked tables and what the definitions imply."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from medimg_baseline_cls.statistics.bootstrap import draw_weights
from medimg_baseline_cls.statistics.calibration import (
    assign_by_mass,
    assign_by_width,
    brier_parts,
    calibration_errors,
    describe_calibration,
    reliability_bins,
)

Images = tuple[NDArray[np.bool_], NDArray[np.float64]]
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=80)


def draw(number: int = 500, *, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> Images:
    """Draw scores whose outcomes follow sigmoid(shift + slope * logit)."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=1.5, size=number)
    return random.random(number) < expit(shift + slope * logits), expit(logits)


def describe(images: Images, *, num_resamples: int = 200) -> dict[str, object]:
    truth, scores = images
    weights = draw_weights(
        [str(i) for i in range(len(truth))],
        truth.astype(np.int64),
        num_resamples=num_resamples,
        seed=0,
        purpose="test",
    )
    return describe_calibration(truth, scores, weights=weights, seed=0).to_json()


def test_bins_of_distinct_scores_are_those_of_scikit_learn() -> None:
    truth, scores = draw(200)
    share, mean = calibration_curve(truth, scores, n_bins=10, strategy="quantile")
    bins = reliability_bins(truth, scores)
    assert [b.share for b in bins] == pytest.approx(share)
    assert [b.mean_probability for b in bins] == pytest.approx(mean)


@settings(deadline=None)
@given(ROWS)
def test_bins_hold_every_image_once_and_keep_ties_together(rows: list[tuple[bool, int]]) -> None:
    truth = np.array([r[0] for r in rows])
    scores = np.array([r[1] / 20 for r in rows])
    index = assign_by_mass(scores)
    for value in np.unique(scores):
        assert len(set(index[scores == value])) == 1
    assert (np.diff(index[np.argsort(scores)]) >= 0).all()
    bins = reliability_bins(truth, scores)
    assert sum(b.num_images for b in bins) == len(rows)
    assert sum(b.num_positive for b in bins) == truth.sum()


@settings(deadline=None)
@given(ROWS)
def test_the_parts_of_the_brier_score_add_up(rows: list[tuple[bool, int]]) -> None:
    truth = np.array([r[0] for r in rows])
    scores = np.array([r[1] / 20 for r in rows])
    parts = brier_parts(truth, scores)
    assert parts["value"] == pytest.approx(brier_score_loss(truth, scores, pos_label=True))
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
    assert parts["value"] == pytest.approx(total, abs=1e-12)


def test_calibration_error_of_a_hand_worked_table() -> None:
    # Four images at 0.1 with one positive, six at 0.7 with three: (4 * 0.15 + 6 * 0.2) / 10.
    scores = np.array([0.1] * 4 + [0.7] * 6)
    truth = np.array([True, False, False, False] + [True] * 3 + [False] * 3)
    for assign in (assign_by_mass, assign_by_width):
        found = calibration_errors(truth, scores, index=assign(scores), weights=np.ones((1, 10)))
        assert found == pytest.approx([0.18])


def test_calibration_error_of_weights_is_that_of_repeated_images() -> None:
    truth, scores = draw(60)
    index = assign_by_width(scores)
    weights = np.random.default_rng(0).integers(0, 3, size=(5, 60))
    found = calibration_errors(truth, scores, index=index, weights=weights)
    for value, row in zip(found, weights, strict=True):
        again = calibration_errors(
            np.repeat(truth, row),
            np.repeat(scores, row),
            index=np.repeat(index, row),
            weights=np.ones((1, row.sum())),
        )
        assert value == pytest.approx(again[0])


def test_slope_and_intercept_are_those_that_the_outcomes_were_drawn_with() -> None:
    found = describe(draw(4000, slope=0.5, shift=0.8))
    for name, truth in (("slope", 0.5), ("intercept", 0.8)):
        figure = found[name]
        assert isinstance(figure, dict)
        low, high = figure["interval"]
        assert low < truth < high and high - low < 0.3


def test_a_calibrated_model_shows_about_the_error_that_is_expected_of_it() -> None:
    inside = 0
    for seed in range(40):
        truth, scores = draw(400, seed=seed)
        error = describe((truth, scores), num_resamples=50)["ece_equal_mass"]
        assert isinstance(error, dict)
        assert error["expected"] > 0.01
        inside += error["value"] <= error["percentile_95"]
    assert inside >= 34  # 38 of 40 on average; fewer than 34 has a chance below 0.01


def test_an_overconfident_model_shows_more() -> None:
    error = describe(draw(400, slope=0.3))["ece_equal_mass"]
    assert isinstance(error, dict) and error["value"] > error["percentile_95"]


def test_one_class_alone_has_no_slope_and_says_why() -> None:
    scores = np.linspace(0.1, 0.9, 30)
    found = describe((np.ones(30, dtype=bool), scores))
    assert found["slope"] == {"value": None, "reason": "all images are of one class"}
    separated = describe((scores > 0.5, scores))
    assert "separate the classes" in str(separated["slope"])
