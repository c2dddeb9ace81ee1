"""The map of a volume is made of those of its slices."""

import numpy as np
import pytest

from medimg_baseline_cls.interpret.volume_maps import ATTENTION, VolumeMap, stack_maps


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def make_map(heats: np.ndarray, curve: list[float], measure: str = "share") -> VolumeMap:
    return VolumeMap(
        pixels=np.zeros_like(heats),
        heats=heats,
        curve=np.array(curve, dtype=np.float32),
        measure=measure,
    )


def test_a_slice_counts_as_much_as_the_network_weighs_it() -> None:
    heats = draw(3, 4, 5)
    heats /= heats.max(axis=(1, 2), keepdims=True)  # as the maps of slices are
    stacked = stack_maps(heats, np.array([0.2, 0.5, 0.3], np.float32))
    assert stacked.max() == 1.0
    np.testing.assert_allclose(stacked.max(axis=(1, 2)), [0.4, 1.0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(stacked[0], heats[0] * 0.4, rtol=1e-6)


def test_evidence_against_the_class_is_not_shown() -> None:
    stacked = stack_maps(draw(3, 4, 4), np.array([-1.0, 0.0, 2.0], np.float32))
    assert not stacked[:2].any()
    assert stacked[2].max() == 1.0
    assert not stack_maps(draw(2, 4, 4), np.array([-1.0, -2.0], np.float32)).any()


def test_one_map_for_all_slices_is_weighted_in_each() -> None:
    heat = draw(1, 4, 4)
    stacked = stack_maps(heat, np.array([1.0, 0.5], np.float32))
    assert stacked.shape == (2, 4, 4)
    np.testing.assert_allclose(stacked[1], stacked[0] / 2)


@pytest.mark.parametrize("place", [(0, 0, 0), (2, 3, 1), (1, 0, 4)])
def test_the_peak_is_where_the_evidence_is_strongest(place: tuple[int, int, int]) -> None:
    heats = np.zeros((3, 4, 5), np.float32)
    heats[place] = 1.0
    assert make_map(heats, [0.1, 0.2, 0.3]).peak == place


def test_without_evidence_it_is_in_the_middle_of_the_best_slice() -> None:
    assert make_map(np.zeros((3, 4, 6), np.float32), [0.1, 0.8, 0.1]).peak == (1, 2, 3)


def test_the_attention_is_told_and_a_share_is_not() -> None:
    heats = np.zeros((2, 2, 2), np.float32)
    assert make_map(heats, [0.25, 0.75], ATTENTION).view == (
        "Slice 2 of 2 from below, attention 0.75"
    )
    assert make_map(heats, [3.0, -1.0]).view == "Slice 1 of 2 from below"


def test_of_slices_that_are_alike_the_middle_one_is_shown() -> None:
    heats = np.broadcast_to(draw(1, 4, 4), (5, 4, 4))
    found = make_map(heats, [0.2] * 5)
    assert (found.best, found.peak[0]) == (2, 2)
    assert heats[0][found.peak[1:]] == heats.max()
