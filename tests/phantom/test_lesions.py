"""Opacities: each shape looks like its name, takes air from lung alone, and is masked truly."""

import numpy as np
import pytest
from scipy import ndimage

from medimg_baseline_cls.phantom import anatomy as phantom_anatomy
from medimg_baseline_cls.phantom.anatomy import place_anatomy
from medimg_baseline_cls.phantom.chest import Chest, build_chest
from medimg_baseline_cls.phantom.lesions import NUM_DRAWS, SHAPES, Opacity, draw_opacity

SIZE = 96
# Places in the draw, by the order of the ranges.
SHAPE, SIDE, X, Y, WIDTH, HEIGHT, TILT, UPWARD, DENSITY, SPREAD, MOTTLE_X, MOTTLE_Y = range(12)

CHESTS = [
    build_chest(place_anatomy(draws), SIZE)
    for draws in np.random.default_rng(2).random((10, phantom_anatomy.NUM_DRAWS))
]


def draw(chest: Chest, shape: str, seed: int = 0, **places: float) -> Opacity:
    uniform = np.random.default_rng(seed).random(NUM_DRAWS)
    uniform[SHAPE] = (SHAPES.index(shape) + 0.5) / len(SHAPES)
    for name, value in places.items():
        uniform[globals()[name]] = value
    return draw_opacity(chest, uniform)


def test_the_draw_chooses_every_shape_equally_often() -> None:
    uniform = np.full(NUM_DRAWS, 0.5)
    chosen = []
    for value in np.linspace(0, 1, 400, endpoint=False):
        uniform[SHAPE] = value
        chosen.append(draw_opacity(CHESTS[0], uniform).shape)
    assert [chosen.count(shape) for shape in SHAPES] == [100] * 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_an_opacity_lies_in_the_lung_and_its_mask_covers_it(shape: str, seed: int) -> None:
    chest = CHESTS[seed]
    opacity = draw(chest, shape, seed)
    assert opacity.shape == shape
    assert opacity.attenuation.shape == opacity.mask.shape == (SIZE, SIZE)
    assert opacity.attenuation.dtype == np.float32 and opacity.mask.dtype == np.bool_
    assert not opacity.attenuation[chest.lung == 0].any()
    assert not opacity.mask[chest.lung < 0.42 / 4].any()
    assert opacity.mask.sum() > 20
    assert opacity.attenuation[opacity.mask].mean() > 0.05
    inside = opacity.attenuation[opacity.mask].sum() / opacity.attenuation.sum()
    assert inside > 0.6  # the mask is where a reader would draw the border


@pytest.mark.parametrize("shape", SHAPES)
def test_density_scales_the_shadow_and_leaves_its_place(shape: str) -> None:
    faint, dense = (draw(CHESTS[1], shape, DENSITY=value) for value in (0.0, 1.0))
    assert np.array_equal(faint.mask, dense.mask)
    assert dense.attenuation == pytest.approx(faint.attenuation * np.float32(0.31 / 0.20), abs=1e-6)


@pytest.mark.parametrize("shape", ["round", "lobar", "bronchogram"])
@pytest.mark.parametrize(("side", "sign"), [(0.2, -1), (0.8, 1)])
def test_one_sided_shapes_lie_on_the_drawn_side(shape: str, side: float, sign: int) -> None:
    for seed, chest in enumerate(CHESTS):
        opacity = draw(chest, shape, seed, SIDE=side, X=0.5, Y=0.5)
        assert (sign * chest.x[opacity.mask] > 0).mean() > 0.98


def test_interstitial_disease_is_on_both_sides_and_in_many_pieces() -> None:
    pieces = {"interstitial": 0.0, "lobar": 0.0}
    for seed, chest in enumerate(CHESTS):
        net, lobe = (draw(chest, shape, seed, SIDE=0.5) for shape in pieces)
        for side in (chest.x < 0, chest.x > 0):
            assert net.mask[side].mean() > 0.02
        for opacity in (net, lobe):
            shade = np.where(opacity.mask, opacity.attenuation, np.nan)
            steps = np.nanmean(np.abs(np.diff(shade, axis=0)))
            pieces[opacity.shape] += steps / np.nanmean(shade)
    assert pieces["interstitial"] > 1.5 * pieces["lobar"]


def test_interstitial_disease_keeps_to_hila_or_bases_as_drawn() -> None:
    for seed, chest in enumerate(CHESTS):
        upper, lower = (
            chest.y[draw(chest, "interstitial", seed, SPREAD=spread).mask].mean()
            for spread in (0.0, 1.0)
        )
        assert 0.05 < lower - upper < 0.26


def test_a_round_opacity_is_one_blob_about_its_drawn_place() -> None:
    for seed, chest in enumerate(CHESTS):
        opacity = draw(chest, "round", seed, X=0.6, Y=0.5, SIDE=0.9, TILT=0.5)
        parts, count = ndimage.label(opacity.mask)
        largest = np.bincount(parts.ravel())[1:].max() if count else 0
        assert largest > 0.9 * opacity.mask.sum()
        center_x, center_y = (values[opacity.mask].mean() for values in (chest.x, chest.y))
        assert center_x == pytest.approx(0.15 + 0.6 * 0.10, abs=0.06)
        assert center_y == pytest.approx(0.45, abs=0.06)


def test_size_follows_its_draw() -> None:
    for chest in CHESTS[:4]:
        small, large = (
            draw(chest, "round", X=0.6, Y=0.5, WIDTH=value, HEIGHT=value) for value in (0.0, 1.0)
        )
        assert large.mask.sum() > 1.5 * small.mask.sum()
        assert (large.mask | small.mask).sum() <= large.mask.sum() + 6


@pytest.mark.parametrize("upward", [0.1, 0.9])
def test_a_lobe_ends_sharply_at_its_fissure_and_fades_away_from_it(upward: float) -> None:
    # A flat fissure at half height: on one side of it nothing, on the other the densest part.
    for seed, chest in enumerate(CHESTS):
        opacity = draw(chest, "lobar", seed, TILT=0.5, Y=0.5, UPWARD=upward, SIDE=0.9)
        direction = 1 if upward > 0.5 else -1
        beyond = direction * (0.45 - chest.y)  # positive on the filled side
        assert not opacity.attenuation[beyond < -0.008].any()
        inner = (chest.lung > 0.7) & (chest.x > 0.05)
        near = opacity.attenuation[inner & (beyond > 0.02) & (beyond < 0.06)].mean()
        far = opacity.attenuation[inner & (beyond > 0.26)]
        assert near > 0.12
        assert far.size == 0 or far.mean() < 0.15 * near


def test_bronchi_stay_dark_in_a_consolidation() -> None:
    darker = []
    for seed, chest in enumerate(CHESTS):
        opacity = draw(chest, "bronchogram", seed, SPREAD=0.9)
        plain = draw(chest, "round", seed, SPREAD=0.9)
        assert np.array_equal(opacity.mask, plain.mask)
        core = plain.mask & (plain.attenuation > 0.1)
        share = opacity.attenuation[core] / plain.attenuation[core]
        bronchi = chest.vessels[core] > 0.3
        assert share.min() > 0.2 and share.max() < 1.16
        darker += [share[bronchi].mean() < share[~bronchi].mean()] if bronchi.any() else []
    assert len(darker) >= 8 and all(darker)


def test_a_bronchogram_is_round_or_lobar_by_its_draw() -> None:
    for spread, twin in ((0.2, "lobar"), (0.8, "round")):
        one, other = draw(CHESTS[3], "bronchogram", 7, SPREAD=spread), draw(CHESTS[3], twin, 7)
        assert np.array_equal(one.mask, other.mask)


def test_drawing_changes_nothing_of_the_chest() -> None:
    chest = CHESTS[4]
    before = [values.copy() for values in (chest.x, chest.lung, chest.vessels, chest.attenuation)]
    for shape in SHAPES:
        draw(chest, shape)
    after = (chest.x, chest.lung, chest.vessels, chest.attenuation)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
