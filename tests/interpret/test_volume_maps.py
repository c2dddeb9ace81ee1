"""The map of a volume: one scale for its slices, a peak, and how much each slice says."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medimg_baseline_cls.interpret.cam import compute_gradcam
from medimg_baseline_cls.interpret.volume_maps import ATTENTION, VolumeMap, spread_map


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def make_map(heats: np.ndarray, curve: list[float], measure: str = "share") -> VolumeMap:
    return VolumeMap(
        pixels=np.zeros_like(heats),
        heats=heats,
        curve=np.array(curve, dtype=np.float32),
        measure=measure,
    )


class BrightSlices(nn.Module):
    """A volume (B, K, S, S) is class 1 as far as its slices are bright, all of them alike."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.look.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = self.look(pixels.flatten(0, 1)[:, None])  # (B * K, 1, S, S)
        score = seen.flatten(1).mean(dim=1).unflatten(0, (len(pixels), -1)).mean(dim=1)
        return torch.stack([-score, score], dim=1)


def test_the_slices_of_a_volume_share_one_scale() -> None:
    pixels = torch.zeros(2, 3, 8, 8)
    pixels[0, 0, 2, 3], pixels[0, 1, 5, 5] = 0.25, 1.0  # the faint one of four times less
    pixels[1, 2, 4, 4] = 0.5  # the strongest of its volume
    targets = torch.tensor([1, 1])
    heats = compute_gradcam(BrightSlices(), pixels, targets=targets, layer="look")
    highest = heats.max(axis=(1, 2)).reshape(2, 3)
    np.testing.assert_allclose(highest, [[0.25, 1, 0], [0, 0, 1]], rtol=1e-6)
    assert heats[0, 2, 3] == highest[0, 0]


def test_evidence_against_the_class_is_not_shown() -> None:
    spread = spread_map(draw(4, 4), np.array([-1.0, 0.0, 2.0], np.float32))
    assert not spread[:2].any()
    assert spread[2].any()
    assert not spread_map(draw(4, 4), np.array([-1.0, -2.0], np.float32)).any()


def test_one_map_for_all_slices_is_weighted_in_each() -> None:
    heat = draw(4, 4)
    spread = spread_map(heat, np.array([1.0, 0.5], np.float32))
    np.testing.assert_allclose(spread, [heat, heat / 2])


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


@pytest.mark.parametrize("measure", [ATTENTION, "share"])
@pytest.mark.parametrize(
    ("curve", "is_flat"),
    [
        ([0.05] * 20, True),
        ([0.26, 0.24, 0.25, 0.25], True),  # 4 % above the mean
        ([0.28, 0.22, 0.25, 0.25], False),  # 12 %
        ([0.0, 0.0], True),
        ([-1.0, -1.0], True),
        ([-0.5, -1.5], False),
    ],
)
def test_it_is_said_that_no_slice_says_more(
    curve: list[float], is_flat: bool, measure: str
) -> None:
    view = make_map(np.zeros((len(curve), 2, 2), np.float32), curve, measure).view
    assert ("all slices count alike" in view) == is_flat
    assert view.startswith("Slice ")
    assert ("attention" in view) == (measure == ATTENTION and not is_flat)
