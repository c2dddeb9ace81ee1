"""Volumes become arrays of slices: windows, resampling in three directions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.pixels.volumes import (
    WINDOWS,
    find_range,
    find_steps,
    preprocess_volume,
    resampling_weights,
)
from medimg_baseline_cls.data.read import Volume
from medimg_baseline_cls.errors import BadImageError

TURN = ((2, False), (1, False), (0, False))


def volume_of(voxels: np.ndarray, full_range: tuple[float, float] | None = None) -> Volume:
    return Volume(voxels.astype(np.float32), full_range, TURN)


def draw(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, shape)


@pytest.mark.parametrize(("num_in", "num_out"), [(8, 8), (30, 8), (5, 12), (17, 16), (2, 7)])
def test_slices_are_resampled_as_torch_does_with_antialiasing(num_in: int, num_out: int) -> None:
    signal = torch.from_numpy(draw((1, 1, num_in)))[..., None].repeat(1, 1, 1, 4)
    expected = functional.interpolate(
        signal, size=(num_out, 4), mode="bilinear", align_corners=False, antialias=True
    )
    found = resampling_weights(num_in, num_out) @ signal[0, 0, :, 0].numpy()
    np.testing.assert_allclose(found, expected[0, 0, :, 0].numpy(), atol=1e-6)


def test_a_volume_that_fits_stays_as_it_is() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (5, 32, 32))
    settings = PixelSettings(image_size=32, slices=5)
    found = preprocess_volume(volume_of(stored, (0, 255)), settings, deep=False)
    np.testing.assert_array_equal(found, stored)


@pytest.mark.parametrize(("num_in", "num_out"), [(7, 4), (12, 5), (20, 30)])
def test_steps_of_voxels_crop_and_pad_around_the_middle(num_in: int, num_out: int) -> None:
    # As many slices more or less on either side; 7 - 4 is odd, so slices are between two others.
    signal = draw((1, 1, num_in))[0, 0]
    found = resampling_weights(num_in, num_out, step=1) @ signal
    places = np.arange(num_out) + (num_in - num_out) / 2
    expected = np.interp(places, np.arange(num_in), signal, left=0, right=0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("num_in", "num_out"), [(30, 8), (5, 12), (16, 16)])
def test_the_step_that_covers_all_is_as_none(num_in: int, num_out: int) -> None:
    found = resampling_weights(num_in, num_out, step=num_in / num_out)
    np.testing.assert_allclose(found, resampling_weights(num_in, num_out), atol=1e-12)


def test_downscaling_is_antialiased_within_the_box_too() -> None:
    whole = resampling_weights(60, 20)
    found = resampling_weights(60, 10, step=3)
    np.testing.assert_allclose(found, whole[5:15], atol=1e-12)
    assert ((found > 0).sum(axis=1) >= 5).all()


def draw_ball(spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    """A ball of 20 mm radius, out of the middle by 10, 5 and -8 mm."""
    axes = [
        (np.arange(n) + 0.5 - n / 2) * step - place
        for n, step, place in zip(shape, spacing, (10, 5, -8), strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return 1000 * np.clip((20.0 - np.sqrt(z**2 + y**2 + x**2)) / 4 + 0.5, 0, 1)


def test_one_body_in_other_voxels_is_the_same_array() -> None:
    settings = PixelSettings(image_size=40, slices=30, intensity="0/1000", spacing="3/2")
    shapes = {
        (1, 1, 1): (90, 80, 80),  # as large as the box
        (1.5, 2, 1): (80, 50, 90),  # larger
        (2, 1, 2): (36, 60, 36),  # smaller
    }
    first, *others = (
        preprocess_volume(volume_of(draw_ball(mm, shape)), settings, deep=False, spacing=mm) / 255
        for mm, shape in shapes.items()
    )
    # In mm: 3 per slice, 2 per pixel.
    assert (first > 0.5).sum() * 3 * 2 * 2 == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.05)
    center = [(np.indices(first.shape)[axis] * first).sum() / first.sum() for axis in range(3)]
    np.testing.assert_allclose(center, (14.5 + 10 / 3, 19.5 + 5 / 2, 19.5 - 8 / 2), atol=0.1)
    for other in others:
        assert np.abs(other - first).max() < 0.25
        assert np.abs(other - first).mean() < 0.005
    assert not others[1][:3].any() and not others[1][:, :5].any()  # black outside of the volume


def test_slices_alone_may_have_a_spacing() -> None:
    voxels, mm = draw_ball((1, 1, 1), (90, 80, 60)), (1, 1, 1)
    settings = PixelSettings(image_size=40, slices=10, intensity="0/1000")
    whole, box = (
        preprocess_volume(
            volume_of(voxels), replace(settings, spacing=spacing), deep=False, spacing=mm
        )
        for spacing in (None, "3")
    )
    middle = preprocess_volume(volume_of(voxels[30:60]), settings, deep=False)
    np.testing.assert_allclose(box[1:-1], middle[1:-1], atol=1)  # the ends see their neighbors
    assert np.abs(whole.astype(int) - box).max() > 100


def test_a_spacing_needs_one_in_the_file() -> None:
    assert find_steps(None, None) == (None, None, None)
    with pytest.raises(BadImageError, match="does not give the spacing .* leave out --spacing"):
        find_steps(None, "5")
    assert find_steps((2.5, 0.5, 1), "5") == (2, None, None)
    assert find_steps((2.5, 0.5, 1), "5/1") == (2, 2, 1)


def test_shape_and_type() -> None:
    settings = PixelSettings(image_size=32, slices=4, intensity="min_max")
    for deep, dtype in ((False, np.uint8), (True, np.uint16)):
        found = preprocess_volume(volume_of(draw((11, 40, 20))), settings, deep=deep)
        assert (found.shape, found.dtype) == ((4, 32, 32), dtype)
    padded = preprocess_volume(
        volume_of(1 + draw((4, 40, 20))),
        PixelSettings(image_size=32, slices=4, intensity="-1/0", keep_aspect=True),
        deep=False,
    )
    assert (padded[:, :, 8:24] == 255).all()
    assert (padded[:, :, :8] == 0).all()


@pytest.mark.parametrize(
    ("intensity", "expected"),
    [
        # Level and width of the usual windows, in Hounsfield units.
        ("lung", (-600 - 750, -600 + 750)),
        ("soft_tissue", (40 - 200, 40 + 200)),
        ("bone", (400 - 900, 400 + 900)),
        ("-100/250.5", (-100, 250.5)),
        ("min_max", (-1000, 999)),
    ],
)
def test_windows(intensity: str, expected: tuple[float, float]) -> None:
    voxels = np.linspace(-1000, 999, 2000).reshape(20, 10, 10)
    assert find_range(volume_of(voxels), intensity) == expected
    assert set(WINDOWS) == {"lung", "soft_tissue", "bone"}


def test_percentiles_are_those_of_the_whole_volume() -> None:
    voxels = np.linspace(0, 1000, 100_000).reshape(10, 100, 100)
    assert find_range(volume_of(voxels), "percentile") == pytest.approx((5, 995), abs=0.1)
    plain = np.full((2, 4, 4), 7.0)
    assert find_range(volume_of(plain), "percentile") == (7, 7)
    settings = PixelSettings(image_size=32, slices=2, intensity="percentile")
    assert not preprocess_volume(volume_of(plain), settings, deep=False).any()


def test_values_without_a_range_are_refused() -> None:
    with pytest.raises(BadImageError, match="from 0 to 3 of a type without a fixed range"):
        find_range(volume_of(np.arange(4.0).reshape(2, 2, 1)), "full_range")
    assert find_range(volume_of(np.zeros((2, 2, 2)), (0, 255)), "full_range") == (0, 255)


def test_images_have_the_key_of_before_there_were_volumes() -> None:
    images, volumes = PixelSettings(image_size=64), PixelSettings(image_size=64, slices=8)
    assert "slices" not in images.key()
    assert images.key() != volumes.key()
    assert (images.num_channels, volumes.num_channels) == (1, 8)
    assert "slices" not in images.to_plain()
    assert volumes.to_plain()["slices"] == 8
    assert "spacing" not in volumes.key()
    assert replace(volumes, spacing="5").key() == volumes.key() + ",spacing=5"


def test_the_picture_of_a_volume_is_its_middle_slice() -> None:
    pixels = draw((5, 3, 3)).astype(np.float32)[None]
    picture = PixelSettings(image_size=32, slices=5).picture(pixels)
    np.testing.assert_array_equal(picture, pixels[:, 2:3])
    np.testing.assert_array_equal(PixelSettings(image_size=32).picture(pixels), pixels)
