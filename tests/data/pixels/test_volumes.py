"""Volumes become arrays of slices: windows, resampling in three directions."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.pixels.volumes import (
    WINDOWS,
    find_range,
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


def test_values_without_a_range_are_refused_with_the_windows_there_are() -> None:
    with pytest.raises(BadImageError, match="from 0 to 3 of a type .* lung, soft_tissue, bone"):
        find_range(volume_of(np.arange(4.0).reshape(2, 2, 1)), "full_range")
    assert find_range(volume_of(np.zeros((2, 2, 2)), (0, 255)), "full_range") == (0, 255)


def test_images_have_the_key_of_before_there_were_volumes() -> None:
    images, volumes = PixelSettings(image_size=64), PixelSettings(image_size=64, slices=8)
    assert "slices" not in images.key()
    assert images.key() != volumes.key()
    assert (images.num_channels, volumes.num_channels) == (1, 8)
    assert "slices" not in images.to_plain()
    assert volumes.to_plain()["slices"] == 8


def test_the_picture_of_a_volume_is_its_middle_slice() -> None:
    pixels = draw((5, 3, 3)).astype(np.float32)[None]
    picture = PixelSettings(image_size=32, slices=5).picture(pixels)
    np.testing.assert_array_equal(picture, pixels[:, 2:3])
    np.testing.assert_array_equal(PixelSettings(image_size=32).picture(pixels), pixels)
