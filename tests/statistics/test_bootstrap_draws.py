"""What holds of any drawn resamples: sums, whole patients, and figures that only ranks decide."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medimg_baseline_cls.statistics.bootstrap import (
    choose_in_resamples,
    describe_values,
    draw_weights,
    weighted_scores,
)
from medimg_baseline_cls.statistics.metrics import count_matrix, decide_classes

ROWS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)), min_size=1, max_size=30)
Rows = list[tuple[str, int]]


def draw(rows: Rows, *, seed: int = 0, num_resamples: int = 20) -> NDArray[np.uint16]:
    groups, strata = [group for group, _ in rows], np.array([kind for _, kind in rows])
    return draw_weights(groups, strata, num_resamples=num_resamples, seed=seed, purpose="x")


def draw_scores(num_images: int, *, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    truth = np.arange(num_images) % 2 == 1
    return truth, np.round(1 / (1 + np.exp(-random.normal(size=num_images) - truth)), 2)


@settings(deadline=None)
@given(ROWS)
def test_groups_are_whole_and_as_many_as_their_stratum_holds(rows: Rows) -> None:
    weights = draw(rows)
    kinds: dict[str, set[int]] = {}
    for group, kind in rows:
        kinds.setdefault(group, set()).add(kind)
    first = {group: [g for g, _ in rows].index(group) for group in kinds}
    for place, (group, _) in enumerate(rows):
        assert (weights[:, place] == weights[:, first[group]]).all()
    for kind, size in Counter(frozenset(k) for k in kinds.values()).items():
        members = [first[group] for group in kinds if kinds[group] == set(kind)]
        assert (weights[:, members].sum(axis=1) == size).all()


@settings(deadline=None)
@given(ROWS)
def test_names_of_groups_and_order_within_them_do_not_matter(rows: Rows) -> None:
    renamed = [(f"patient {group}", kind) for group, kind in rows]
    assert np.array_equal(draw(rows), draw(renamed))
    # Groups in the same order of first sight, each one's images side by side.
    order = sorted(range(len(rows)), key=lambda i: [g for g, _ in rows].index(rows[i][0]))
    sorted_rows = [rows[i] for i in order]
    assert np.array_equal(draw(rows)[:, order], draw(sorted_rows))


@settings(deadline=None, max_examples=30)
@given(ROWS)
def test_a_group_weighs_one_on_average(rows: Rows) -> None:
    means = draw(rows, num_resamples=3000).mean(axis=0)
    # The variance of a weight is below 1: five standard errors of the mean.
    assert means == pytest.approx(np.ones(len(rows)), abs=5 / np.sqrt(3000))


def test_without_strata_findings_are_drawn_by_patients_alone() -> None:
    rows = [(f"p{i // 2}", 0) for i in range(30)]
    weights = draw(rows, num_resamples=500)
    assert (weights.sum(axis=1) == 30).all()
    labels = np.random.default_rng(0).random((30, 3)) < 0.3
    counts = weights.astype(np.int64) @ labels
    assert (counts.std(axis=0) > 0).all()  # the share of a finding is free to vary


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_auroc_and_average_precision_depend_on_ranks_alone(power: float) -> None:
    truth, scores = draw_scores(60)
    weights = draw([(str(i), int(y)) for i, y in enumerate(truth)])
    plain = weighted_scores(truth, scores, weights=weights)
    bent = weighted_scores(truth, scores**power, weights=weights)
    for name in ("auroc", "average_precision"):
        assert np.array_equal(plain[name], bent[name])
    assert not np.allclose(plain["brier_score"], bent["brier_score"])
    for rule, cuts in choose_in_resamples(truth, scores, weights=weights, target=0.9).items():
        other = choose_in_resamples(truth, scores**power, weights=weights, target=0.9)
        assert other[rule] == pytest.approx(cuts**power)


def test_scores_turned_round_turn_the_auroc_round() -> None:
    truth, scores = draw_scores(60)
    weights = draw([(str(i), int(y)) for i, y in enumerate(truth)])
    plain, turned = (
        weighted_scores(truth, s, weights=weights)["auroc"] for s in (scores, -scores + 1)
    )
    assert plain + turned == pytest.approx(np.ones(len(plain)))


def test_fewer_patients_make_a_wider_interval() -> None:
    # The same 200 images: each of its own patient, then each ten of one, alike but for noise.
    random = np.random.default_rng(0)
    truth = np.arange(200) // 10 % 2 == 1
    of_patient = np.repeat(random.normal(size=20), 10)
    logits = of_patient + 0.2 * random.normal(size=200) + truth
    scores = 1 / (1 + np.exp(-logits))
    widths: list[float] = []
    for size in (1, 10):
        rows = [(str(i // size), int(y)) for i, y in enumerate(truth)]
        values = weighted_scores(truth, scores, weights=draw(rows, num_resamples=1000))["auroc"]
        widths.append(float(np.ptp(describe_values(values).bounds)))
    assert widths[1] > 1.8 * widths[0]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_an_interval_leaves_out_as_much_as_its_level_says(level: float) -> None:
    values = np.random.default_rng(1).permutation(np.linspace(0, 1, 1001))
    low, high = describe_values(values, level=level).bounds
    assert (low, high) == pytest.approx(((1 - level) / 2, (1 + level) / 2), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=50), st.floats(0.5, 4), st.floats(-3, 3))
def test_an_interval_moves_with_its_values(drawn: list[float], factor: float, shift: float) -> None:
    values = np.array(drawn)
    wide, narrow = (describe_values(values, level=level).bounds for level in (0.95, 0.5))
    moved = describe_values(factor * values + shift).bounds
    if wide is None or moved is None:
        assert np.ptp(values) < 1e-9 or np.ptp(np.quantile(values, (0.025, 0.975))) < 1e-9
        return
    assert moved == pytest.approx(factor * np.array(wide) + shift, abs=1e-9)
    assert narrow is None or (wide[0] <= narrow[0] and narrow[1] <= wide[1])


@pytest.mark.parametrize(("num_undefined", "has_interval"), [(0, True), (50, True), (51, False)])
def test_half_of_the_resamples_must_define_a_figure(num_undefined: int, has_interval: bool) -> None:
    values = np.arange(100.0)
    values[:num_undefined] = np.nan
    found = describe_values(values)
    assert (found.bounds is not None) == has_interval
    assert found.num_undefined == num_undefined
    if found.bounds:
        expected = np.quantile(np.arange(num_undefined, 100.0), (0.025, 0.975))
        assert found.bounds == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=30), st.integers(0, 1))
def test_two_classes_are_called_as_the_matrix_counts_them(
    eighths: list[int], positive: int
) -> None:
    score = np.array(eighths) / 8
    both = np.stack([1 - score, score] if positive else [score, 1 - score], axis=1)
    called = decide_classes(both, positive=positive)
    assert np.array_equal(called == positive, score >= 0.5)
    labels = np.arange(len(score)) % 2
    matrix = count_matrix(labels, both, positive=positive)
    assert matrix.sum(axis=0).tolist() == np.bincount(called, minlength=2).tolist()


def test_of_several_classes_the_first_most_probable_is_called() -> None:
    probabilities = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7]])
    assert decide_classes(probabilities).tolist() == [0, 1, 2]
