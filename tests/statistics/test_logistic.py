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


# Logits of a good model, of rare disease, of saturated probabilities.
MANY = {
    "plain": (0.7, -0.4, 2.0),
    "rare": (0.9, -4.0, 1.5),
    "saturated": (0.5, 0.0, 12.0),
}


def draw_many(kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    slope, intercept, spread = MANY[kind]
    random = np.random.default_rng(7)
    logits = np.clip(random.normal(scale=spread, size=20_000), *to_logits(np.array([0.0, 1.0])))
    chance = expit(slope * logits + intercept)
    return logits, (random.random(len(logits)) < chance).astype(np.float64)


def residuals(
    found: NDArray[np.float64],
    logits: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    row: NDArray[np.uint16],
) -> NDArray[np.float64]:
    """Return the gradient of the mean log-likelihood, which is 0 at its maximum."""
    gaps = row * (outcomes - expit(found[0] + found[1] * logits)) / row.sum()
    return np.array([gaps.sum(), (gaps * logits).sum() / logits.std()])


@pytest.mark.parametrize("kind", MANY)
def test_lines_of_many_images_are_the_maximum_of_the_likelihood(kind: str) -> None:
    logits, outcomes = draw_many(kind)
    random = np.random.default_rng(8)
    weights = random.multinomial(len(logits), np.full(len(logits), 1 / len(logits)), size=12)
    weights = weights.astype(np.uint16)
    weights[0] = 1 + 4 * outcomes  # far from the others: no series reaches it
    lines = fit_line(logits, outcomes, weights=weights)
    offsets = fit_offset(logits, outcomes, weights=weights)
    for row, line, offset in zip(weights, lines, offsets, strict=True):
        assert abs(residuals(line, logits, outcomes, row)).max() < 1e-7
        alone = np.array([offset, 1.0])
        assert abs(residuals(alone, logits, outcomes, row)[0]) < 1e-7


@pytest.mark.parametrize("kind", MANY)
def test_the_series_gives_what_newtons_steps_give(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, outcomes = draw_many(kind)
    weights = np.random.default_rng(9).poisson(1.0, size=(20, len(logits))).astype(np.uint16)
    series = [fit(logits, outcomes, weights=weights) for fit in (fit_line, fit_offset)]
    monkeypatch.setattr("medimg_baseline_cls.statistics.logistic._MANY_IMAGES", 10**9)
    exact = [fit(logits, outcomes, weights=weights) for fit in (fit_line, fit_offset)]
    for found, expected in zip(series, exact, strict=True):
        assert np.abs(found - expected).max() < 1e-3 * np.std(expected, axis=0).min()


def test_many_images_that_are_separated_have_no_line() -> None:
    logits = np.linspace(-3, 3, 20_000)
    ones = np.ones((2, len(logits)), dtype=np.uint16)
    assert np.isnan(fit_line(logits, (logits > 0).astype(float), weights=ones)).all()
