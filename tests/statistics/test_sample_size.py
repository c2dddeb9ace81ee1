"""The images that an external validation needs are those of published examples."""

import numpy as np
import pytest
from scipy.stats import norm

from medimg_baseline_cls.statistics.logistic import fit_line, to_probabilities
from medimg_baseline_cls.statistics.sample_size import (
    images_for_auroc,
    images_for_ratio,
    images_for_slope,
)


def normal_logits(mean: float, *, sd: float) -> np.ndarray:
    """Return the quantiles of a normal distribution, in the place of a sample."""
    return mean + sd * norm.ppf((np.arange(200_000) + 0.5) / 200_000)


def test_the_published_example_of_heart_valves() -> None:
    # pmvalsampsize(type="b", prevalence=0.018, cstatistic=0.8, lpnormal=c(-5, 2.5), oeciwidth=1),
    # the authors' program: 905 for O/E (standard errors in steps of 0.0001), 4544 for the slope
    # (a million simulated logits), 4252 for the c-statistic.
    assert images_for_ratio(0.018, width=1) == pytest.approx(905, abs=1)
    assert images_for_slope(normal_logits(-5, sd=2.5), width=0.2) == pytest.approx(4544, rel=0.01)
    assert images_for_auroc(0.018, auroc=0.8, width=0.1) == 4252


@pytest.mark.parametrize(("prevalence", "published"), [(0.5, 384.5), (0.1, 3460.2)])
def test_the_ratio_at_a_published_standard_error(prevalence: float, published: float) -> None:
    # Section 3.1.1: a width of 0.2 is a standard error of 0.051 there, (1 - p) / (p 0.051^2).
    found = images_for_ratio(prevalence, width=2 * np.sinh(1.96 * 0.051))
    assert found == np.ceil(published)


def test_the_slope_varies_as_it_was_planned() -> None:
    random = np.random.default_rng(4)
    logits = random.normal(-1, 1.5, size=200_000)
    line, width = (0.3, 0.7), 0.6
    number = images_for_slope(logits, width=width, intercept=line[0], slope=line[1])
    assert number is not None
    slopes: list[float] = []
    for _ in range(400):
        own = random.choice(logits, number)
        outcomes = random.random(number) < to_probabilities(line[0] + line[1] * own)
        slopes.append(fit_line(own, outcomes.astype(float), weights=np.ones((1, number)))[0, 1])
    # The standard deviation of 400 draws is within 10 % of the true one (3 standard errors).
    assert 2 * 1.96 * np.std(slopes) == pytest.approx(width, rel=0.11)


@pytest.mark.parametrize(("logits", "slope"), [([1.0, 1.0], 1.0), ([-3.0, 3.0], 1e6)])
def test_a_slope_that_no_number_of_images_shows_has_none(logits: list[float], slope: float) -> None:
    assert images_for_slope(np.array(logits), width=0.2, slope=slope) is None


def test_half_the_width_needs_four_times_the_images() -> None:
    logits = normal_logits(0, sd=1)
    for needed in (
        lambda width: images_for_slope(logits, width=width),
        lambda width: images_for_auroc(0.3, auroc=0.9, width=width),
        lambda width: images_for_ratio(0.3, width=width),
    ):
        assert needed(0.01) == pytest.approx(4 * needed(0.02), rel=0.01)


@pytest.mark.parametrize("auroc", [0.6, 0.8, 0.95])
@pytest.mark.parametrize("prevalence", [0.05, 0.3, 0.5])
def test_the_auroc_is_the_smallest_number_of_newcombe(auroc: float, prevalence: float) -> None:
    def width(number: int) -> float:
        pairs = (1 - auroc) / (2 - auroc) + auroc / (1 + auroc)
        variance = auroc * (1 - auroc) * (1 + (number / 2 - 1) * pairs)
        return 2 * 1.96 * np.sqrt(variance / (number**2 * prevalence * (1 - prevalence)))

    found = images_for_auroc(prevalence, auroc=auroc, width=0.1)
    assert width(found) <= 0.1 < width(found - 1)


def test_the_ratio_varies_as_it_was_planned() -> None:
    random, prevalence, width = np.random.default_rng(1), 0.1, 0.4
    number = images_for_ratio(prevalence, width=width)
    ratios = random.binomial(number, prevalence, size=4000) / (number * prevalence)
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert high - low == pytest.approx(width, rel=0.06)


def test_the_rarer_the_disease_the_fewer_events_and_the_more_images_for_an_auroc() -> None:
    numbers = [images_for_auroc(share, auroc=0.8, width=0.1) for share in (0.01, 0.1, 0.5)]
    events = [number * share for number, share in zip(numbers, (0.01, 0.1, 0.5), strict=True)]
    assert numbers == sorted(numbers, reverse=True)
    assert events == sorted(events)
