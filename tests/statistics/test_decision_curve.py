"""Net benefit against its definition, a hand-worked table and its limits."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from medimg_baseline_cls.statistics.bootstrap import draw_weights
from medimg_baseline_cls.statistics.decision_curve import (
    THRESHOLDS,
    draw_decision_curve,
    net_benefits,
)


def draw() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.random(150) < 0.3
    return truth, np.round(np.clip(random.normal(0.35 + 0.3 * truth, 0.2), 0, 1), 2)


def test_net_benefit_of_a_hand_worked_table() -> None:
    # Ten images, at t = 0.2: 3 true and 4 false positives; 3/10 - 4/10 * 0.25 = 0.2.
    truth = np.array([True] * 4 + [False] * 6)
    scores = np.array([0.9, 0.5, 0.2, 0.1, 0.8, 0.3, 0.25, 0.2, 0.1, 0.0])
    assert net_benefits(truth, scores, thresholds=np.array([0.2])) == pytest.approx([0.2])


def test_net_benefit_is_that_of_the_confusion_matrix() -> None:
    truth, scores = draw()
    for threshold, value in zip(
        THRESHOLDS, net_benefits(truth, scores, thresholds=THRESHOLDS), strict=True
    ):
        _, fp, _, tp = confusion_matrix(truth, scores >= threshold).ravel()
        odds = threshold / (1 - threshold)
        assert value == pytest.approx((tp - fp * odds) / len(truth))


def test_a_low_threshold_calls_all_and_a_perfect_model_keeps_the_prevalence() -> None:
    truth, scores = draw()
    everyone = net_benefits(truth, np.ones_like(scores), thresholds=THRESHOLDS)
    weights = draw_weights(
        [str(i) for i in range(150)], truth.astype(np.int64), num_resamples=99, seed=0, purpose="x"
    )
    curve = draw_decision_curve(truth, scores, weights=weights)
    assert curve.treat_all == pytest.approx(everyone)
    perfect = net_benefits(truth, truth.astype(np.float64), thresholds=THRESHOLDS)
    assert perfect == pytest.approx(truth.mean())
    assert (curve.lower <= curve.upper).all()
    inside = (curve.lower <= curve.net_benefit) & (curve.net_benefit <= curve.upper)
    assert inside.mean() > 0.95


def test_bounds_are_quantiles_of_repeated_images() -> None:
    truth, scores = draw()
    groups = [str(i // 2) for i in range(150)]
    weights = draw_weights(groups, truth.astype(np.int64), num_resamples=60, seed=0, purpose="x")
    curve = draw_decision_curve(truth, scores, weights=weights)
    again = [
        net_benefits(np.repeat(truth, row), np.repeat(scores, row), thresholds=THRESHOLDS)
        for row in weights
    ]
    assert curve.lower == pytest.approx(np.quantile(again, 0.025, axis=0))
    assert curve.upper == pytest.approx(np.quantile(again, 0.975, axis=0))
