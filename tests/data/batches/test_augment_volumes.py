"""Augmentation of volumes: one movement in three directions, one exposure, grain of each slice."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from medimg_baseline_cls.data.batches.augment import (
    POLICIES,
    Policy,
    draw_changes,
    draw_depth_changes,
    make_augmenter,
)
from medimg_baseline_cls.data.batches.changes import Changes, DepthChanges, apply_changes

GRAIN = torch.from_numpy(np.random.default_rng(0).standard_normal((90, 90))).float()


def draw(count: int = 2, slices: int = 6, side: int = 12) -> torch.Tensor:
    return torch.rand(count, slices, side, side, generator=torch.manual_seed(0))


def make_changes(
    count: int, *, nod: float = 0.0, sway: float = 0.0, shift: float = 0.0, **changes: float | bool
) -> Changes:
    nothing = draw_changes(Policy(), np.zeros(count, np.int64), seed=0, stage="", epoch=0)
    depth = DepthChanges(*(np.full(count, value) for value in (nod, sway, shift)))
    plane = {name: np.full(count, value) for name, value in changes.items()}
    return replace(nothing, depth=depth, **plane)


@pytest.mark.parametrize("policy", ["light", "acquisition"])
def test_a_volume_gets_the_same_bits_in_any_batch(policy: str) -> None:
    augment = make_augmenter(policy, horizontal_flip=True, seed=5, moves_depth=True)
    assert augment is not None
    pixels, rows = draw(7, slices=5, side=20), np.array([3, 8, 1, 40, 0, 2, 1000])
    together = augment(pixels, rows, "finetune", 2)
    assert together.shape == pixels.shape
    assert 0 <= together.min() < together.max() <= 1
    for place in range(7):
        alone = augment(pixels[place : place + 1], rows[place : place + 1], "finetune", 2)
        assert torch.equal(alone[0], together[place])


def test_in_the_plane_a_slice_moves_as_an_image() -> None:
    pixels = draw()
    moved = {"rotation": 0.2, "zoom": 1.0, "shift_x": 0.1, "shift_y": -0.05, "flip": True}
    volumes = make_changes(2, **moved)
    expected = apply_changes(pixels, replace(volumes, depth=None), grain=GRAIN)
    found = apply_changes(pixels, volumes, grain=GRAIN)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, -2])
def test_slices_move_along_the_depth_and_black_ones_enter(steps: int) -> None:
    pixels = draw()
    found = apply_changes(pixels, make_changes(2, shift=steps / 6), grain=GRAIN)
    expected = torch.full_like(pixels, found.min().item())
    if steps > 0:
        expected[:, steps:] = pixels[:, :-steps]
    else:
        expected[:, :steps] = pixels[:, -steps:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert found.min() <= 1e-5


@pytest.mark.parametrize("angles", [(90, 0, 0), (0, 90, 0), (90, 90, 0), (90, 0, 90), (0, -90, 90)])
def test_quarter_turns_are_those_of_space(angles: tuple[int, int, int]) -> None:
    """Of a cube they move every voxel to a place of another: SciPy says to which."""
    pixels = draw(1, slices=8, side=8)
    nod, sway, rotation = map(math.radians, angles)
    found = apply_changes(
        pixels, make_changes(1, nod=nod, sway=sway, rotation=rotation), grain=GRAIN
    )
    # The places that are looked up: first turned in the plane (x, y), then about x, then about y.
    turn = Rotation.from_euler("zxy", [-rotation, nod, -sway]).as_matrix()
    z, y, x = np.meshgrid(*[np.arange(8) - 3.5] * 3, indexing="ij")
    places = np.stack([x, y, z], axis=-1) @ turn.T + 3.5
    column, row, level = np.rint(places).astype(int).transpose(3, 0, 1, 2)
    expected = pixels[0].numpy()[level, row, column]
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


def test_zoom_is_the_same_in_three_directions() -> None:
    pixels = torch.zeros(1, 12, 12, 12)
    pixels[:, 4:8, 4:8, 4:8] = 1.0
    found = apply_changes(pixels, make_changes(1, zoom=2.0), grain=GRAIN)[0] > 0.5
    for axes in ((1, 2), (0, 2), (0, 1)):
        assert found.any(dim=axes[1]).any(dim=axes[0]).sum() == 8


def test_the_grain_of_each_slice_is_another_one() -> None:
    gray = torch.full((1, 8, 40, 40), 0.5)
    noise = (apply_changes(gray, make_changes(1, noise=0.05), grain=GRAIN) - 0.5)[0]
    assert noise.std(dim=(1, 2)).numpy() == pytest.approx(0.05, rel=0.15)
    likeness = np.corrcoef(noise.flatten(1).numpy())
    assert np.abs(likeness[~np.eye(8, dtype=bool)]).max() < 0.15


def test_changes_of_depth_are_as_wide_as_those_of_the_plane() -> None:
    policy = POLICIES["standard"]
    rows = np.arange(20_000)
    found = draw_depth_changes(policy, rows, seed=3, stage="finetune", epoch=1)
    plane = draw_changes(policy, rows, seed=3, stage="finetune", epoch=1)
    for values, limit in (
        (found.nod, math.radians(policy.rotation)),
        (found.sway, math.radians(policy.rotation)),
        (found.shift, policy.shift),
    ):
        assert abs(values).max() == pytest.approx(limit, rel=1e-2)
        assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.03)  # uniform
        for other in (plane.rotation, plane.shift_x, plane.zoom):
            assert abs(np.corrcoef(values, other)[0, 1]) < 0.03
