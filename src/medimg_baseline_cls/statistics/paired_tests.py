"""Tests of two models on the same images, and the correction for having several tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from medimg_baseline_cls.errors import DataError

Calls = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class McnemarTest:
    """Images that one model alone classified correctly, and the exact p of their balance."""

    only_first_right: int
    only_second_right: int
    p_value: float


def mcnemar_test(truth: Calls, *, first: Calls, second: Calls) -> McnemarTest:
    """Test whether two models call equally many images rightly, images as independent units.

    Exact: of the images that one model alone classified correctly, each is either's with
    probability one half (McNemar, Psychometrika 1947). Without such an image p is 1.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        first: whether one model called the image positive, shape (N,), bool.
        second: the same of the other model.

    Raises:
        DataError: the shapes differ.

    >>> truth = np.array([True, True, True, False])
    >>> mcnemar_test(truth, first=truth, second=~truth).p_value
    0.125
    """
    if not truth.shape == first.shape == second.shape:
        raise DataError(
            f"McNemar's test needs one call of each model per image, but the shapes are "
            f"{truth.shape}, {first.shape} and {second.shape}."
        )
    is_right, is_also = first == truth, second == truth
    only_first = int((is_right & ~is_also).sum())
    only_second = int((is_also & ~is_right).sum())
    total = only_first + only_second
    p_value = float(binomtest(only_first, total, 0.5).pvalue) if total else 1.0
    return McnemarTest(only_first, only_second, p_value)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are valid for a family of tests, in the order given.

    Holm, Scandinavian Journal of Statistics 1979: the smallest of m counts m times, the next
    m - 1 times, and none counts less than a smaller one.

    >>> adjust_holm([0.25, 0.125, 1.0])
    [0.5, 0.375, 1.0]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
