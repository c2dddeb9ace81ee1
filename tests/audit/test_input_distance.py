"""Distances from the training images: near for their like, far for others, patients left out."""

import numpy as np
import pytest

from medimg_baseline_cls.audit.input_distance import measure_distances
from medimg_baseline_cls.audit.shortcut_classifiers import ControlFeatures


def draw(count: int, *, seed: int, shift: float = 0.0, every: int = 1) -> ControlFeatures:
    random = np.random.default_rng(seed)
    trivial = random.normal(shift, 1, (count, 6)).astype(np.float32)
    border = random.normal(0, 1, (count, 8)).astype(np.float32)
    groups = np.array([f"p{i // every}" for i in range(count)])
    return ControlFeatures(trivial, border, groups)


def test_one_percent_of_images_alike_is_far_and_nearly_all_of_others() -> None:
    train = draw(2000, seed=0)
    alike = measure_distances(train, draw(2000, seed=1))
    others = measure_distances(train, draw(300, seed=2, shift=4.0))
    assert alike is not None and others is not None
    assert (alike > 1).mean() == pytest.approx(0.01, abs=0.01)
    assert (others > 1).mean() > 0.95
    assert np.median(alike) < 1


def test_the_limit_is_not_set_by_images_of_the_same_patient() -> None:
    once = draw(400, seed=3)
    copies = ControlFeatures(
        np.repeat(once.trivial, 6, axis=0),
        np.repeat(once.border, 6, axis=0),
        np.repeat(once.groups, 6),
    )
    others = draw(400, seed=4)
    distances = measure_distances(copies, others)
    assert distances is not None
    assert (distances > 1).mean() < 0.05  # were copies neighbors, the limit would be 0


def test_the_scale_of_a_property_and_constants_have_no_effect() -> None:
    train, others = draw(300, seed=5), draw(50, seed=6)

    def rescale(side: ControlFeatures) -> ControlFeatures:
        trivial = np.hstack([side.trivial * 1000 + 7, np.full((len(side.trivial), 1), 3.0)])
        return ControlFeatures(trivial.astype(np.float32), side.border, side.groups)

    plain, changed = (
        measure_distances(train, others),
        measure_distances(*map(rescale, (train, others))),
    )
    assert plain is not None and changed == pytest.approx(plain, rel=1e-3)


def test_few_training_images_have_no_distances() -> None:
    assert measure_distances(draw(49, seed=0), draw(5, seed=1)) is None


def test_an_image_in_the_middle_is_nearer_than_one_at_the_edge() -> None:
    train = draw(500, seed=7)
    others = ControlFeatures(
        np.stack([np.zeros(6), np.full(6, 2.5), np.full(6, 9.0)]).astype(np.float32),
        np.zeros((3, 8), np.float32),
        np.array(["a", "b", "c"]),
    )
    distances = measure_distances(train, others)
    assert distances is not None and list(distances) == sorted(distances)
