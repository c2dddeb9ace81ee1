"""DeLong's method, against the data of its own paper and against brute force."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.delong import delong_error, delong_interval, delong_test

# Ovarian cancer: albumin, total protein, K-G score, whether surgery helped. The 43 complete
# rows of the data of DeLong, DeLong and Clarke-Pearson (1988), as reprinted in the SAS/STAT
# User's Guide (The LOGISTIC Procedure, "Comparing Receiver Operating Characteristic Curves").
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""
# The areas, standard errors and plain 95 % intervals that the guide prints for them.
PUBLISHED = {
    "albumin": (0.7366, 0.0927, 0.5549, 0.9182),
    "kg_score": (0.7258, 0.1028, 0.5243, 0.9273),
    "total_protein": (0.6478, 0.1000, 0.4518, 0.8439),
}
# Difference from the K-G score: estimate, standard error, interval, chi-square, p.
PUBLISHED_DIFFERENCES = {
    "albumin": (0.0108, 0.0953, -0.1761, 0.1976, 0.0127, 0.9102),
    "total_protein": (-0.0780, 0.1046, -0.2830, 0.1271, 0.5554, 0.4561),
}


def ovarian_tests() -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float64]]]:
    albumin, protein, score, helped = np.array(OVARIAN.split(), dtype=np.float64).reshape(-1, 4).T
    tests = {"albumin": albumin, "total_protein": protein, "kg_score": 10 - score}
    return helped == 1, tests


def brute_placements(
    truth: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare every positive with every negative image."""
    positive, negative = scores[truth][:, None], scores[~truth][None, :]
    wins = (positive > negative) + 0.5 * (positive == negative)
    return wins.mean(axis=1), wins.mean(axis=0)


def standard_error(of_positive: NDArray[np.float64], of_negative: NDArray[np.float64]) -> float:
    parts = (of_positive, of_negative)
    return math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts))


def draw_images(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Draw a reference standard and two correlated scores, many of them tied."""
    generator = np.random.default_rng(seed)
    truth = np.r_[True, True, False, False, generator.random(60) < 0.4]
    shared = generator.normal(size=64) + truth
    first, second = (np.round(shared + generator.normal(size=64), seed % 3) for _ in range(2))
    return truth, first, second


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_area_is_as_published(name: str) -> None:
    truth, tests = ovarian_tests()
    interval = delong_interval(truth, tests[name], scale="plain")
    assert interval is not None
    found = (roc_auc_score(truth, tests[name]), delong_error(truth, tests[name]), *interval)
    assert found == pytest.approx(PUBLISHED[name], abs=6e-5)


@pytest.mark.parametrize("name", PUBLISHED_DIFFERENCES)
def test_paired_difference_is_as_published(name: str) -> None:
    truth, tests = ovarian_tests()
    test = delong_test(truth, first=tests["kg_score"], second=tests[name])
    assert test is not None and test.z is not None and test.interval is not None
    found = (test.difference, test.standard_error, *test.interval, test.z**2, test.p_value)
    assert found == pytest.approx(PUBLISHED_DIFFERENCES[name], abs=6e-5)


@pytest.mark.parametrize("seed", range(6))
def test_midranks_agree_with_comparing_every_pair(seed: int) -> None:
    truth, first, second = draw_images(seed)
    one, other = brute_placements(truth, first), brute_placements(truth, second)
    assert delong_error(truth, first) == pytest.approx(standard_error(*one), rel=1e-12)

    test = delong_test(truth, first=first, second=second)
    assert test is not None
    error = standard_error(other[0] - one[0], other[1] - one[1])
    gap = roc_auc_score(truth, second) - roc_auc_score(truth, first)
    assert (test.first, test.second) == pytest.approx(
        (roc_auc_score(truth, first), roc_auc_score(truth, second)), rel=1e-12
    )
    assert test.difference == pytest.approx(gap, abs=1e-12)
    assert test.standard_error == pytest.approx(error, rel=1e-12)
    assert test.p_value == pytest.approx(2 * norm.sf(abs(gap / error)), rel=1e-9)


def test_logit_interval_is_symmetric_in_log_odds_and_stays_inside() -> None:
    truth = np.array([True] * 6 + [False] * 6)
    scores = np.array([9, 8, 7, 6, 5, 2, 4, 3, 2.5, 1, 0, -1])  # one pair of classes crosses
    interval = delong_interval(truth, scores, level=0.99)
    error = delong_error(truth, scores)
    assert interval is not None and error is not None
    low, high = interval
    value = float(roc_auc_score(truth, scores))
    assert 0 < low < value < high < 1
    log_odds = [math.log(p / (1 - p)) for p in (low, value, high)]
    reach = norm.ppf(0.995) * error / (value * (1 - value))
    assert np.diff(log_odds) == pytest.approx([reach, reach], rel=1e-9)
    plain = delong_interval(truth, scores, level=0.99, scale="plain")
    assert plain is not None and plain[1] == 1.0


def test_scores_in_one_order_do_not_differ() -> None:
    truth, first, _ = draw_images(0)
    test = delong_test(truth, first=first, second=np.exp(first))
    assert test is not None
    assert (test.difference, test.standard_error, test.z, test.p_value) == (0, 0, None, 1)
    assert test.interval == (0, 0)


def test_order_within_a_class_does_not_matter() -> None:
    truth, first, _ = draw_images(3)
    separated = first + 100 * truth
    shuffled = -first + 200 * truth
    test = delong_test(truth, first=separated, second=shuffled)
    assert test is not None and test.p_value == 1.0


def test_the_second_model_is_measured_against_the_first() -> None:
    truth, first, second = draw_images(1)
    test, back = (
        delong_test(truth, first=first, second=second),
        delong_test(truth, first=second, second=first),
    )
    assert test is not None and back is not None
    assert back.difference == pytest.approx(-test.difference)
    assert test.p_value is not None
    assert back.p_value == pytest.approx(test.p_value)


@pytest.mark.parametrize("num_positive", [0, 1])
def test_one_image_of_a_class_has_no_standard_error(num_positive: int) -> None:
    truth = np.arange(6) < num_positive
    scores = np.linspace(0, 1, 6)
    assert delong_error(truth, scores) is None
    assert delong_interval(truth, scores) is None
    assert delong_test(truth, first=scores, second=scores) is None


def test_perfect_separation_has_no_interval() -> None:
    truth = np.array([False, False, True, True])
    assert delong_interval(truth, np.array([0.1, 0.2, 0.8, 0.9])) is None


def test_a_difference_without_a_standard_error_has_no_p() -> None:
    truth = np.array([False, False, True, True])
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    test = delong_test(truth, first=scores, second=-scores)
    assert test is not None
    assert (test.difference, test.interval, test.z, test.p_value) == (-1, None, None, None)


def test_scores_that_are_not_finite_are_refused() -> None:
    truth = np.array([False, False, True, True])
    with pytest.raises(DataError, match="1 of 4 scores"):
        delong_error(truth, np.array([0.1, np.nan, 0.8, 0.9]))
    with pytest.raises(DataError, match="one score per image"):
        delong_error(truth, np.array([0.1, 0.8, 0.9]))


def test_intervals_hold_the_true_area_as_often_as_they_say() -> None:
    generator = np.random.default_rng(4)
    true_area = float(norm.cdf(1.2 / math.sqrt(2)))
    truth = np.arange(120) < 50
    held = 0
    for _ in range(600):
        interval = delong_interval(truth, generator.normal(size=120) + 1.2 * truth)
        assert interval is not None
        held += interval[0] <= true_area <= interval[1]
    assert 0.92 <= held / 600 <= 0.98


def obuchowski_error(
    truth: NDArray[np.bool_], scores: NDArray[np.float64], groups: NDArray[np.int64]
) -> float:
    """Write out the sums of Obuchowski (1997), cluster by cluster."""
    of_positive, of_negative = brute_placements(truth, scores)
    auroc, names = of_positive.mean(), np.unique(groups)
    gaps = [
        (
            of_positive[groups[truth] == g].sum() - auroc * (groups[truth] == g).sum(),
            of_negative[groups[~truth] == g].sum() - auroc * (groups[~truth] == g).sum(),
        )
        for g in names
    ]
    m, n = truth.sum(), (~truth).sum()
    num_pos, num_neg = len(np.unique(groups[truth])), len(np.unique(groups[~truth]))
    s10 = num_pos / ((num_pos - 1) * m) * sum(a * a for a, _ in gaps)
    s01 = num_neg / ((num_neg - 1) * n) * sum(b * b for _, b in gaps)
    s11 = len(names) / (len(names) - 1) * sum(a * b for a, b in gaps)
    return math.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))


@pytest.mark.parametrize("seed", range(3))
def test_patients_as_clusters_are_as_in_obuchowski(seed: int) -> None:
    truth, scores, _ = draw_images(seed)
    groups = np.random.default_rng(seed).integers(0, 20, len(truth))
    error = delong_error(truth, scores, groups=[str(g) for g in groups])
    assert error == pytest.approx(obuchowski_error(truth, scores, groups), rel=1e-12)


def test_patients_of_one_image_each_change_nothing() -> None:
    truth, first, second = draw_images(2)
    groups = [f"p{n}" for n in range(len(truth))]
    alone, grouped = (
        delong_test(truth, first=first, second=second, groups=g) for g in (None, groups)
    )
    assert alone is not None and grouped is not None
    assert grouped.standard_error == pytest.approx(alone.standard_error, rel=1e-12)


def test_copied_images_of_a_patient_bring_no_precision() -> None:
    truth, scores, _ = draw_images(1)
    groups = [str(n) for n in range(len(truth))]
    once = delong_error(truth, scores)
    twice = delong_error(np.tile(truth, 2), np.tile(scores, 2), groups=groups * 2)
    assert once is not None
    assert twice == pytest.approx(once, rel=1e-9)
    assert delong_error(np.tile(truth, 2), np.tile(scores, 2)) != pytest.approx(once, rel=0.1)


def test_one_group_for_each_image_is_needed() -> None:
    truth, scores, _ = draw_images(1)
    with pytest.raises(DataError, match="1 groups for 64 images"):
        delong_error(truth, scores, groups=["a"])
