"""A patient's probability and reference standard follow from all of his images."""

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.patient_level import (
    Aggregation,
    aggregate_predictions,
    has_groups,
)
from medimg_baseline_cls.schema import Predictions, Task


def make(
    groups: list[str], labels: object, probabilities: object, task: Task = "multiclass"
) -> Predictions:
    table = np.asarray(probabilities, dtype=np.float64)
    names = tuple("ABCDE"[: table.shape[1]])
    ids = tuple(f"i{number}" for number in range(len(groups)))
    truth = np.asarray(labels, dtype=np.int64)
    return Predictions("val", names, ids, ids, tuple(groups), truth, table, task)


def draw(seed: int, num_classes: int, *, num_images: int = 60, num_groups: int = 17) -> Predictions:
    rng = np.random.default_rng(seed)
    groups = [f"p{number}" for number in rng.integers(0, num_groups, num_images)]
    labels = rng.integers(0, num_classes, num_images)
    return make(groups, labels, rng.dirichlet(np.ones(num_classes), num_images))


@pytest.mark.parametrize("how", ["mean", "max"])
@pytest.mark.parametrize("seed", range(3))
def test_binary_probabilities_are_those_of_a_pandas_groupby(how: Aggregation, seed: int) -> None:
    images = draw(seed, 2)
    merged, num_left_out = aggregate_predictions(images, how, positive_class="B")
    frame = pd.DataFrame({"group": images.groups, "score": images.scores("B")})
    expected = frame.groupby("group")["score"].agg(how)
    assert merged.groups == tuple(expected.index)
    np.testing.assert_allclose(merged.scores("B"), expected.to_numpy(), rtol=0, atol=1e-15)
    np.testing.assert_allclose(merged.probabilities.sum(axis=1), 1, rtol=0, atol=1e-15)
    assert num_left_out == 0


@pytest.mark.parametrize("positive", ["A", "B"])
def test_one_positive_image_makes_a_patient_positive(positive: str) -> None:
    images = draw(5, 2)
    merged, _ = aggregate_predictions(images, "mean", positive_class=positive)
    held: defaultdict[str, bool] = defaultdict(bool)
    for group, is_positive in zip(images.groups, images.truth(positive), strict=True):
        held[group] |= bool(is_positive)
    assert dict(zip(merged.groups, merged.truth(positive).tolist(), strict=True)) == held


def test_a_patient_with_images_of_different_classes_is_left_out_and_counted() -> None:
    images = make(["p", "p", "q", "r"], [0, 1, 2, 2], np.full((4, 3), 1 / 3))
    merged, num_left_out = aggregate_predictions(images, "mean", positive_class=None)
    assert (merged.groups, merged.labels.tolist(), num_left_out) == (("q", "r"), [2, 2], 1)


def test_the_highest_grade_is_the_patient_s() -> None:
    images = make(["p", "p", "q"], [0, 2, 1], np.full((3, 3), 1 / 3), "ordinal")
    merged, num_left_out = aggregate_predictions(images, "max", positive_class=None)
    assert (merged.labels.tolist(), num_left_out) == ([2, 1], 0)


def test_a_finding_is_positive_in_any_image_and_negative_only_in_all() -> None:
    findings = [[1, 0, -1], [-1, 0, 0], [0, -1, -1]]
    images = make(["p", "p", "q"], findings, [[0.1, 0.2, 0.3], [0.9, 0.1, 0.5], [0.4] * 3])
    images = make(list(images.groups), findings, images.probabilities, "multilabel")
    merged, _ = aggregate_predictions(images, "max", positive_class=None)
    assert merged.labels.tolist() == [[1, 0, -1], [0, -1, -1]]
    assert merged.probabilities.tolist() == [[0.9, 0.2, 0.5], [0.4, 0.4, 0.4]]


def test_highest_probabilities_of_many_classes_still_sum_to_one() -> None:
    images = draw(7, 4)
    single = make([str(i) for i in range(60)], images.labels, images.probabilities)
    merged, _ = aggregate_predictions(single, "max", positive_class=None)
    np.testing.assert_allclose(merged.probabilities.sum(axis=1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_lone_images_stay_as_they_are_in_the_order_of_groups(how: Aggregation) -> None:
    images = draw(1, 2, num_images=9)
    groups = [f"g{number}" for number in (3, 1, 4, 0, 5, 9, 2, 6, 8)]
    alone = make(groups, images.labels, images.probabilities)
    merged, _ = aggregate_predictions(alone, how, positive_class="B")
    order = np.argsort(groups)
    np.testing.assert_array_equal(merged.scores("B"), images.scores("B")[order])
    np.testing.assert_array_equal(merged.labels, images.labels[order])
    assert not has_groups(alone) and has_groups(make(["p", "p"], [0, 0], [[1, 0], [1, 0]]))


def test_the_order_of_the_images_changes_nothing() -> None:
    images = draw(3, 2)
    order = np.random.default_rng(0).permutation(len(images.groups))
    shuffled = make(
        [images.groups[i] for i in order], images.labels[order], images.probabilities[order]
    )
    first, _ = aggregate_predictions(images, "max", positive_class="B")
    second, _ = aggregate_predictions(shuffled, "max", positive_class="B")
    assert first.groups == second.groups
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(DataError, match="choose mean or max"):
        aggregate_predictions(draw(0, 2), "median", positive_class="B")  # type: ignore[arg-type]
