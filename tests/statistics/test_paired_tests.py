"""McNemar and Holm, against counts written out by hand and SciPy's binomial distribution."""

import numpy as np
import pytest
from scipy.stats import binom

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.paired_tests import adjust_holm, mcnemar_test


def test_mcnemar_counts_what_one_model_alone_has_right() -> None:
    truth = np.array([True] * 8 + [False] * 8)
    first = truth.copy()
    first[[0, 8]] = ~first[[0, 8]]  # both wrong at 0, alone wrong at 8
    second = truth.copy()
    second[[0, 1, 2, 3, 9, 10, 11]] = ~second[[0, 1, 2, 3, 9, 10, 11]]
    test = mcnemar_test(truth, first=first, second=second)
    assert (test.only_first_right, test.only_second_right) == (6, 1)
    # Both tails of 7 tosses of a coin: 2 * (1 + 7) / 128.
    assert test.p_value == pytest.approx(16 / 128)
    assert test.p_value == pytest.approx(2 * binom.cdf(1, 7, 0.5))


def test_equal_calls_do_not_differ() -> None:
    truth = np.array([True, False, True])
    test = mcnemar_test(truth, first=truth, second=truth)
    assert (test.only_first_right, test.only_second_right, test.p_value) == (0, 0, 1.0)


def test_calls_of_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="one call of each model"):
        mcnemar_test(np.array([True]), first=np.array([True]), second=np.array([True, False]))


def test_holm_is_worked_by_hand() -> None:
    # Holm 1979: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never falling.
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.6, 0.9]) == [1.0, 1.0]
    assert adjust_holm([0.02]) == [0.02]
    assert adjust_holm([]) == []
