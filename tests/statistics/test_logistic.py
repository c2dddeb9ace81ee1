"""Newton's lines against scikit-learn's, of weighted and of really repeated images."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from medimg_baseline_cls.statistics.logistic import CLIP, fit_line, fit_offset, to_logits


def draw(seed: int, number: int = 120) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2, size=number)
    return logits, (random.random(number) < expit(0.7 * logits - 0.4)).astype(np.float64)


def line_of_scikit_learn(
    logits: NDArray[np.float64], outcomes: NDArray[np.float64]
) -> tuple[float, float]:
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=2000, solver="newton-cholesky")
    model.fit(logits[:, None], outcomes)
    return float(np.ravel(model.intercept_)[0]), float(np.ravel(model.coef_)[0])


@pytest.mark.parametrize("seed", range(5))
def test_the_line_of_each_resample_is_that_of_scikit_learn(seed: int) -> None:
    logits, outcomes = draw(seed)
    weights = np.random.default_rng(seed).integers(0, 4, size=(6, len(logits))).astype(np.uint16)
    for row, found in zip(weights, fit_line(logits, outcomes, weights=weights), strict=True):
        expected = line_of_scikit_learn(np.repeat(logits, row), np.repeat(outcomes, row))
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_offset_makes_the_mean_probability_the_share(seed: int) -> None:
    logits, outcomes = draw(seed)
    found = fit_offset(logits, outcomes, weights=np.ones((1, len(logits))))[0]

    def excess(offset: float) -> float:
        return float(np.mean(expit(offset + logits) - outcomes))

    expected = brentq(excess, -20, 20)
    assert found == pytest.approx(expected, abs=1e-8)


def test_separated_classes_and_one_class_have_no_line() -> None:
    logits = np.linspace(-3, 3, 20)
    ones = np.ones((1, 20))
    assert np.isnan(fit_line(logits, (logits > 0).astype(float), weights=ones)).all()
    assert np.isnan(fit_line(logits, np.ones(20), weights=ones)).all()
    assert np.isnan(fit_offset(logits, np.ones(20), weights=ones)).all()


def test_one_hopeless_resample_does_not_spoil_the_others() -> None:
    logits, outcomes = draw(1)
    weights = np.ones((3, len(logits)))
    weights[1] = outcomes  # positive images alone
    found = fit_line(logits, outcomes, weights=weights)
    assert np.isnan(found[1]).all()
    assert found[0] == pytest.approx(line_of_scikit_learn(logits, outcomes), abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-12)


def test_certain_probabilities_have_finite_logits() -> None:
    assert to_logits(np.array([0.0, 1.0])) == pytest.approx(
        np.log(CLIP / (1 - CLIP)) * np.array([1, -1])
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("center", "spread"), [(0.0, 0.02), (2.0, 0.03), (-3.0, 0.3), (1.0, 6.0)])
def test_narrow_and_wide_logits_far_from_zero_have_the_line_of_scikit_learn(
    seed: int, center: float, spread: float
) -> None:
    """An undertrained network gives scores that hardly differ: the slope is then steep."""
    random = np.random.default_rng(seed)
    place = random.normal(size=80)
    outcomes = (random.random(80) < expit(1.5 * place)).astype(np.float64)
    intercept, slope = line_of_scikit_learn(place, outcomes)
    found = fit_line(center + spread * place, outcomes, weights=np.ones((1, 80)))[0]
    assert found[1] == pytest.approx(slope / spread, rel=1e-4)
    assert found[0] == pytest.approx(intercept - slope * center / spread, rel=1e-3, abs=1e-3)


def test_equal_logits_have_no_line() -> None:
    outcomes = np.arange(20) % 2.0
    assert np.isnan(fit_line(np.full(20, 0.3), outcomes, weights=np.ones((2, 20)))).all()
