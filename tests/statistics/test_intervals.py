"""Closed-form intervals against SciPy, published figures and their own definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.intervals import clopper_pearson_interval, wilson_interval

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LEVELS = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@given(COUNTS, LEVELS)
def test_wilson_is_that_of_scipy(counts: tuple[int, int], level: float) -> None:
    theirs = binomtest(*counts).proportion_ci(level, method="wilson")
    assert wilson_interval(*counts, level=level) == pytest.approx(
        (theirs.low, theirs.high), abs=1e-12
    )


@given(COUNTS, LEVELS)
def test_clopper_pearson_is_that_of_scipy(counts: tuple[int, int], level: float) -> None:
    theirs = binomtest(*counts).proportion_ci(level, method="exact")
    assert clopper_pearson_interval(*counts, level=level) == pytest.approx(
        (theirs.low, theirs.high), abs=1e-9
    )


def test_the_intervals_are_those_that_newcombe_published() -> None:
    # Newcombe, Statistics in Medicine 1998, table I: methods 3 (Wilson) and 5 (Clopper-Pearson).
    published = {
        (81, 263): ((0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148): ((0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20): ((0.0, 0.1611), (0.0, 0.1684)),
        (1, 29): ((0.0061, 0.1718), (0.0009, 0.1776)),
    }
    for counts, (wilson, exact) in published.items():
        assert wilson_interval(*counts) == pytest.approx(wilson, abs=5e-5)
        assert clopper_pearson_interval(*counts) == pytest.approx(exact, abs=5e-5)


@pytest.mark.parametrize(("successes", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(successes: int, total: int) -> None:
    with pytest.raises(DataError, match="of n >= 1"):
        wilson_interval(successes, total)
    with pytest.raises(DataError, match="of n >= 1"):
        clopper_pearson_interval(successes, total)
