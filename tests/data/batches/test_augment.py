"""Augmentation: each image by itself, the drawn change and no other, never a global draw."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlip, RandGaussianNoise, Resize
from numpy.typing import ArrayLike
from scipy import ndimage

from medimg_baseline_cls.data.batches.augment import (
    POLICIES,
    Changes,
    Policy,
    apply_changes,
    draw_changes,
    from_compose,
    make_augmenter,
)
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.phantom.image_folder import make_phantom


def make_films(count: int, size: int = 40, channels: int = 1) -> torch.Tensor:
    films = [make_phantom(1, i, is_positive=False, image_size=size).pixels for i in range(count)]
    pixels = torch.from_numpy(np.stack(films)).float().div(255)
    return pixels[:, None].expand(-1, channels, -1, -1).contiguous()


def leave_alone(count: int) -> Changes:
    zero, one = np.zeros(count), np.ones(count)
    values = {field.name: zero for field in fields(Changes)}
    ones = {"zoom": one, "contrast": one, "gamma": one}
    ones |= {"tone": np.ones((count, 6)), "frame": np.zeros((count, 4)), "depth": None}
    return Changes(**{**values, **ones, "flip": np.zeros(count, bool)})


def apply_one(pixels: torch.Tensor, **change: ArrayLike) -> torch.Tensor:
    count = len(pixels)
    arrays = {name: np.stack([np.asarray(value)] * count) for name, value in change.items()}
    grain = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 200))).float()
    return apply_changes(pixels, replace(leave_alone(count), **arrays), grain=grain)


@pytest.mark.parametrize("size", [40, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_gets_the_same_bits_in_any_batch(size: int, channels: int) -> None:
    augment = make_augmenter("acquisition", horizontal_flip=True, seed=5)
    assert augment is not None
    pixels, rows = make_films(9, size, channels), np.array([3, 8, 1, 40, 41, 7, 0, 2, 1000])
    together = augment(pixels, rows, "finetune", 2)
    order = np.array([4, 2, 8, 0, 1])
    shuffled = augment(pixels[order], rows[order], "finetune", 2)
    assert torch.equal(shuffled, together[order])
    for place in range(9):
        alone = augment(pixels[place : place + 1], rows[place : place + 1], "finetune", 2)
        assert torch.equal(alone[0], together[place])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    augment = make_augmenter("acquisition", horizontal_flip=False, seed=0)
    assert augment is not None
    pixels, before = make_films(6, 96), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        result = augment(pixels, np.arange(6), "finetune", 0)
        torch.set_num_threads(3)
        assert torch.equal(augment(pixels, np.arange(6), "finetune", 0), result)
    finally:
        torch.set_num_threads(before)


def test_every_part_of_the_purpose_changes_the_draw() -> None:
    pixels, rows = make_films(3), np.arange(3)

    def run(seed: int = 0, stage: str = "head", epoch: int = 1, first_row: int = 0) -> torch.Tensor:
        augment = make_augmenter("standard", horizontal_flip=False, seed=seed)
        assert augment is not None
        return augment(pixels, rows + first_row, stage, epoch)

    assert torch.equal(run(), run())
    for other in ({"seed": 1}, {"stage": "finetune"}, {"epoch": 2}, {"first_row": 9}):
        assert not torch.equal(run(), run(**other))


@pytest.mark.parametrize("policy", ["light", "standard", "acquisition"])
def test_films_stay_in_range_and_the_given_batch_stays_as_it_was(policy: str) -> None:
    augment = make_augmenter(policy, horizontal_flip=True, seed=0)
    assert augment is not None
    pixels = torch.cat([make_films(30), torch.zeros(1, 1, 40, 40), torch.ones(1, 1, 40, 40)])
    given = pixels.clone()
    result = augment(pixels, np.arange(32), "finetune", 0)
    assert torch.equal(pixels, given)
    assert result.shape == pixels.shape and result.dtype == torch.float32
    assert torch.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
    similarity = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(pixels[:30].numpy(), result[:30].numpy(), strict=True)
    ]
    assert np.median(np.abs(similarity)) > 0.5  # still the same film
    assert max(similarity) < 0.9999


def test_augmenting_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    augment = make_augmenter("standard", horizontal_flip=True, seed=0)
    compose = from_compose(Compose([RandGaussianNoise(prob=1.0)]), seed=0)
    assert augment is not None
    for one in (augment, compose):
        one(make_films(2), np.arange(2), "head", 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["light", "standard"])
def test_draws_fill_their_range_evenly(name: str) -> None:
    policy = POLICIES[name]
    changes = draw_changes(policy, np.arange(20_000), seed=0, stage="finetune", epoch=0)
    bounds = {
        "rotation": math.radians(policy.rotation),
        "shift_x": policy.shift,
        "shift_y": policy.shift,
        "brightness": policy.brightness,
    }
    for field, bound in bounds.items():
        values = getattr(changes, field)
        assert abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert abs(values.mean()) < 0.03 * bound
    for field, bound in (
        ("zoom", policy.zoom),
        ("contrast", policy.contrast),
        ("gamma", policy.gamma),
    ):
        logs = np.log(getattr(changes, field)) / math.log1p(bound)
        assert abs(logs).max() <= 1 + 1e-12 and abs(logs.mean()) < 0.02
    for field, bound in (("noise", policy.noise), ("blur", policy.blur)):
        values = getattr(changes, field)
        assert values.min() >= 0 and values.max() <= bound
        if bound:
            assert (values == 0).mean() == pytest.approx(0.5, abs=0.02)
    drawn = np.stack([changes.rotation, changes.shift_x, changes.brightness, changes.gamma])
    assert abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.03  # independent of each other


def test_flips_are_every_other_image_and_only_on_request() -> None:
    rows = np.arange(4000)
    draw = {"seed": 0, "stage": "finetune", "epoch": 0}
    assert not draw_changes(POLICIES["standard"], rows, **draw).flip.any()
    flips = draw_changes(Policy(flip=True), rows, **draw).flip
    assert flips.mean() == pytest.approx(0.5, abs=0.03)


def test_no_change_is_the_identity() -> None:
    films = make_films(3)
    assert torch.allclose(apply_one(films), films.clamp_min(1e-6), atol=2e-6)


def test_a_flip_mirrors() -> None:
    films = make_films(2)
    assert torch.allclose(apply_one(films, flip=True), films.flip(-1), atol=2e-6)


def test_a_shift_moves_right_and_down_and_leaves_black() -> None:
    films = make_films(2).clamp_min(0.1)
    moved = apply_one(films, shift_x=0.1, shift_y=0.05)  # 4 and 2 pixels of 40
    assert torch.allclose(moved[..., 2:, 4:], films[..., :-2, :-4], atol=1e-5)
    assert moved[..., :2, :].max() < 1e-5 and moved[..., :4].max() < 1e-5


@pytest.mark.parametrize("degrees", [-10.0, 7.0])
def test_a_turn_is_that_of_scipy(degrees: float) -> None:
    film = make_films(1, 64)
    turned = apply_one(film, rotation=math.radians(degrees))[0, 0].numpy()
    expected = ndimage.rotate(film[0, 0].numpy(), -degrees, reshape=False, order=1)
    inner = np.s_[14:-14, 14:-14]
    assert abs(turned[inner] - expected[inner]).max() < 1e-4


def test_a_zoom_enlarges_about_the_center() -> None:
    film = make_films(1, 64)
    enlarged = apply_one(film, zoom=1.1)[0, 0].numpy()
    center = 31.5
    expected = ndimage.affine_transform(
        film[0, 0].numpy(), np.eye(2) / 1.1, offset=center - center / 1.1, order=1
    )
    assert abs(enlarged[3:-3, 3:-3] - expected[3:-3, 3:-3]).max() < 1e-4


def test_exposure_follows_its_formulas() -> None:
    films = make_films(2)
    x = films.numpy()
    for change, expected in (
        ({"gamma": 1.2}, x**1.2),
        ({"contrast": 0.8}, (x - 0.5) * 0.8 + 0.5),
        ({"brightness": -0.07}, x - 0.07),
        ({"gamma": 0.8, "contrast": 1.2, "brightness": 0.05}, (x**0.8 - 0.5) * 1.2 + 0.55),
    ):
        result = apply_one(films, **change).numpy()
        assert abs(result - expected.clip(0, 1)).max() < 2e-5


def test_blur_is_the_binomial_kernel() -> None:
    film = make_films(1)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    blurred = ndimage.convolve(film[0, 0].numpy(), kernel, mode="nearest")
    expected = 0.6 * blurred + 0.4 * film[0, 0].numpy()
    assert abs(apply_one(film, blur=0.6)[0, 0].numpy() - expected).max() < 1e-5


def test_noise_has_the_drawn_strength_and_differs_between_places() -> None:
    grey = torch.full((2, 1, 64, 64), 0.5)
    noise = apply_one(grey, noise=0.02, grain_x=0.3, grain_y=0.6) - 0.5
    assert noise.std().item() == pytest.approx(0.02, rel=0.05)
    elsewhere = apply_one(grey, noise=0.02, grain_x=0.9, grain_y=0.1) - 0.5
    correlation = np.corrcoef(noise[0].ravel(), elsewhere[0].ravel())[0, 1]
    assert abs(correlation) < 0.05


def test_grain_is_cut_where_it_was_drawn() -> None:
    tile = torch.arange(80 * 80, dtype=torch.float32).reshape(80, 80) / 6400 - 0.5
    changes = replace(
        leave_alone(1),
        noise=np.array([0.5]),
        grain_x=np.array([0.25]),
        grain_y=np.array([0.75]),
    )
    result = apply_changes(torch.full((1, 1, 40, 40), 0.5), changes, grain=tile)
    assert torch.allclose(result[0, 0], 0.5 + 0.5 * tile[30:70, 10:50], atol=1e-6)


def test_no_policy_is_no_augmenter_but_a_flip_alone_is_one() -> None:
    assert make_augmenter("none", horizontal_flip=False, seed=0) is None
    only_flips = make_augmenter("none", horizontal_flip=True, seed=0)
    assert only_flips is not None
    films = make_films(8)
    result = only_flips(films, np.arange(8), "finetune", 0)
    mirrored = [
        torch.allclose(r, f.flip(-1), atol=2e-6) for r, f in zip(result, films, strict=True)
    ]
    kept = [torch.allclose(r, f, atol=2e-6) for r, f in zip(result, films, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert any(mirrored) and any(kept)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="none, light, standard"):
        make_augmenter("strong", horizontal_flip=False, seed=0)  # pyright: ignore[reportArgumentType]


def make_compose() -> Compose:
    return Compose([RandGaussianNoise(prob=1.0, std=0.1), RandFlip(prob=0.5, spatial_axis=1)])


def test_a_compose_treats_each_image_by_itself() -> None:
    augment = from_compose(make_compose(), seed=2)
    films, rows = make_films(6), np.array([5, 1, 9, 3, 0, 100])
    together = augment(films, rows, "finetune", 1)
    assert type(together) is torch.Tensor
    assert together.min() >= 0 and together.max() <= 1
    alone = augment(films[2:3], rows[2:3], "finetune", 1)
    assert torch.equal(alone[0], together[2])
    assert torch.equal(augment(films, rows, "finetune", 1), together)
    assert not torch.equal(augment(films, rows, "finetune", 2), together)


def test_the_given_compose_stays_as_it_was() -> None:
    compose, twin = make_compose().set_random_state(7), make_compose().set_random_state(7)
    film = make_films(1)
    from_compose(compose, seed=0)(film, np.arange(1), "head", 0)
    assert torch.equal(torch.as_tensor(compose(film[0])), torch.as_tensor(twin(film[0])))


def test_a_compose_that_changes_the_shape_is_refused() -> None:
    augment = from_compose(Compose([Resize((20, 20))]), seed=0)
    with pytest.raises(DataError, match=r"\(1, 40, 40\) into \(1, 20, 20\)"):
        augment(make_films(1), np.arange(1), "head", 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tone_curve_is_the_interpolation_of_its_knots(channels: int) -> None:
    pixels, slopes = make_films(2, channels=channels), np.array([0.5, 2.0, 1.0, 4.0, 0.25, 1.0])
    knots = np.concatenate([[0.0], np.cumsum(slopes)]) / slopes.sum()
    expected = np.interp(pixels.numpy(), np.linspace(0, 1, 7), knots)
    assert apply_one(pixels, tone=slopes).numpy() == pytest.approx(expected, abs=1e-6)
    ends = apply_one(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), tone=slopes)
    assert ends.flatten().numpy() == pytest.approx([0, 1], abs=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.4, -0.5])
def test_focus_is_a_mixture_with_the_gaussian_of_scipy(share: float) -> None:
    pixels, width = 0.25 + make_films(2) / 2, 0.025  # a deviation of one pixel of 40
    plain = pixels.numpy().astype(np.float64)
    blurred = ndimage.gaussian_filter(plain, (0, 0, 1, 1), mode="nearest", truncate=2)
    expected = np.clip(plain + share * (blurred - plain), 0, 1)
    found = apply_one(pixels, focus=share, focus_width=width).numpy()
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_frame_covers_the_edges_alone_and_by_one_gray_level() -> None:
    pixels = 0.5 + make_films(2) / 4
    found = apply_one(pixels, frame=[0.1, 0.2, 0.05, 0.0], frame_level=0.125)
    inner = (..., slice(2, 40), slice(4, 32))
    assert found[inner].numpy() == pytest.approx(pixels[inner].numpy(), abs=1e-5)
    covered = np.ones((40, 40), bool)
    covered[2:40, 4:32] = False
    assert (found[:, 0, covered] == 0.125).all()


def test_another_policy_leaves_the_earlier_draws_as_they_were() -> None:
    draw = {"seed": 1, "stage": "finetune", "epoch": 3}
    rows = np.arange(2000)
    standard = draw_changes(POLICIES["standard"], rows, **draw)
    wider = draw_changes(POLICIES["acquisition"], rows, **draw)
    for field in ("rotation", "shift_x", "zoom", "gamma", "blur"):
        assert np.array_equal(getattr(standard, field), getattr(wider, field))
    assert not standard.frame.any() and not standard.focus.any() and (standard.tone == 1).all()
    policy = POLICIES["acquisition"]
    assert 0 < wider.frame.max() <= policy.frame and wider.focus_width.max() <= policy.defocus
    assert -policy.sharpen <= wider.focus.min() < 0 < wider.focus.max() <= 1
    for used in (wider.frame.any(axis=1), wider.focus != 0, (wider.tone != 1).any(axis=1)):
        assert used.mean() == pytest.approx(policy.often, abs=0.04)
