"""Figures at another prevalence are those of images really repeated to that prevalence."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest
from sklearn import metrics as oracle

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.metrics import average_precision_score
from medimg_baseline_cls.statistics.prevalence import (
    average_precision_at,
    exact_predictive_intervals,
    f1_score_at,
    max_f1_threshold_at,
    predictive_values,
)

Images = tuple[NDArray[np.bool_], NDArray[np.float64]]


def draw(seed: int = 0) -> Images:
    """Draw 20 positive and 20 negative images, some with tied scores."""
    random = np.random.default_rng(seed)
    truth = np.arange(40) < 20
    return truth, np.round(random.random(40) * 0.7 + 0.3 * truth, 2)


def repeated(images: Images, times: int) -> Images:
    """Return the images with each negative one repeated: prevalence 1 / (1 + times)."""
    truth, scores = images
    counts = np.where(truth, 1, times)
    return np.repeat(truth, counts), np.repeat(scores, counts)


@pytest.mark.parametrize("times", [1, 3, 9])
@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_repeated_negatives(times: int, seed: int) -> None:
    images, prevalence = draw(seed), 1 / (1 + times)
    truth, scores = repeated(images, times)
    assert average_precision_at(*images, prevalence=prevalence) == pytest.approx(
        oracle.average_precision_score(truth, scores)
    )
    threshold = max_f1_threshold_at(*images, prevalence=prevalence)
    assert threshold is not None
    f1_scores = {t: oracle.f1_score(truth, scores >= t) for t in np.unique(scores)}
    best = max(f1_scores.values())
    assert threshold == max(t for t, value in f1_scores.items() if value > best - 1e-9)
    call = images[1] >= threshold
    sensitivity = oracle.recall_score(images[0], call)
    specificity = oracle.recall_score(images[0], call, pos_label=False)
    assert f1_score_at(sensitivity, specificity, prevalence=prevalence) == pytest.approx(best)
    ppv, npv = predictive_values(sensitivity, specificity, prevalence=prevalence)
    again = scores >= threshold
    assert float(ppv) == pytest.approx(oracle.precision_score(truth, again))
    assert float(npv) == pytest.approx(oracle.precision_score(~truth, ~again))


def test_the_own_prevalence_changes_nothing() -> None:
    truth, scores = draw()
    assert average_precision_at(truth, scores, prevalence=0.5) == pytest.approx(
        average_precision_score(truth, scores)
    )


def test_a_rarer_disease_never_lowers_the_max_f1_threshold() -> None:
    for seed in range(10):
        found = [max_f1_threshold_at(*draw(seed), prevalence=p) or 0.0 for p in (0.5, 0.2, 0.05)]
        assert found == sorted(found)


def test_what_is_called_by_nobody_is_undefined() -> None:
    ppv, npv = predictive_values(np.array([0.0, 1.0]), np.array([1.0, 0.0]), prevalence=0.2)
    assert np.isnan(ppv).tolist() == [True, False]
    assert np.isnan(npv).tolist() == [False, True]
    one_class = (np.ones(3, dtype=bool), np.array([0.1, 0.2, 0.3]))
    assert average_precision_at(*one_class, prevalence=0.2) is None
    assert max_f1_threshold_at(*one_class, prevalence=0.2) is None


def bayes(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Return PPV and NPV from the shares of a population."""
    hits, misses = sensitivity * prevalence, (1 - sensitivity) * prevalence
    rejections, alarms = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
    return hits / (hits + alarms), rejections / (rejections + misses)


def test_exact_predictive_intervals_are_those_of_the_limits_of_scipy() -> None:
    ends = [binomtest(k, n).proportion_ci(0.975, method="exact") for k, n in ((17, 20), (30, 30))]
    ppv, npv = exact_predictive_intervals((17 / 20, 20), (1.0, 30), prevalence=0.1)
    low, high = bayes(ends[0].low, ends[1].low, 0.1), bayes(ends[0].high, ends[1].high, 0.1)
    assert ppv == pytest.approx((low[0], high[0])) and npv == pytest.approx((low[1], high[1]))
    # A share between two whole numbers of patients is as uncertain as both.
    between = exact_predictive_intervals((0.84, 20), (1.0, 30), prevalence=0.1)
    lower = exact_predictive_intervals((16 / 20, 20), (1.0, 30), prevalence=0.1)
    assert between[1] == pytest.approx((lower[1][0], npv[1]))


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.98), (0.98, 0.8), (0.6, 0.99)])
@pytest.mark.parametrize("prevalence", [0.02, 0.5])
def test_exact_predictive_intervals_hold_the_truth_often_enough(
    sensitivity: float, specificity: float, prevalence: float
) -> None:
    num_positive, num_negative = 15, 25
    truths, held = bayes(sensitivity, specificity, prevalence), [0.0, 0.0]
    for hits in range(num_positive + 1):
        for rejections in range(num_negative + 1):
            found = exact_predictive_intervals(
                (hits / num_positive, num_positive),
                (rejections / num_negative, num_negative),
                prevalence=prevalence,
            )
            chance = binom.pmf(hits, num_positive, sensitivity)
            chance *= binom.pmf(rejections, num_negative, specificity)
            for i, (low, high) in enumerate(found):
                held[i] += chance * (low <= truths[i] <= high)
    assert min(held) >= 0.95


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_no_prevalence_is_refused(prevalence: float) -> None:
    with pytest.raises(DataError, match="share between 0 and 1"):
        predictive_values(0.9, 0.9, prevalence=prevalence)
