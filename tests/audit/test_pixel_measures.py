"""Hashes, thumbnails and statistics against SciPy, Pillow and NumPy."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import laplace

from medimg_baseline_cls.audit.pixel_measures import (
    PERCENTILES,
    STATISTICS,
    frame_pixels,
    hash_thumbs,
    measure_pixels,
    shrink,
    to_gray,
)
from medimg_baseline_cls.phantom.image_folder import make_phantom


def random_pixels(count: int, side: int, *, channels: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, channels, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def bits_of(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.unpackbits(hashes.view(np.uint8), axis=1)


def test_hash_is_the_sign_of_the_cosine_transform_against_its_median() -> None:
    thumbs = np.random.default_rng(1).uniform(0, 255, (5, 32, 32)).astype(np.float32)
    low = dctn(thumbs.astype(np.float64), axes=(1, 2), norm="ortho")[:, :16, :16].reshape(5, -1)
    expected = low > np.median(low, axis=1, keepdims=True)
    np.testing.assert_array_equal(bits_of(hash_thumbs(thumbs)), expected)


def test_hash_ignores_brightness_and_contrast() -> None:
    thumbs = np.random.default_rng(2).uniform(0, 200, (3, 32, 32)).astype(np.float32)
    before, after = bits_of(hash_thumbs(thumbs)), bits_of(hash_thumbs(thumbs * 0.8 + 30))
    assert (before != after).sum(axis=1).max() <= 2


@pytest.mark.parametrize("side", [64, 224, 100, 33])
def test_shrinking_keeps_the_mean_and_a_plain_surface_plain(side: int) -> None:
    gray = random_pixels(2, side)[:, 0]
    small = shrink(gray, 28)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), gray.mean(axis=(1, 2)), rtol=1e-4)
    plain = shrink(np.full((1, side, side), 77, np.uint8), 32)
    np.testing.assert_allclose(plain, 77, rtol=1e-5)


def test_shrinking_by_a_whole_number_is_the_mean_of_blocks() -> None:
    gray = random_pixels(1, 224)[:, 0]
    blocks = gray.reshape(1, 32, 7, 32, 7).mean(axis=(2, 4))
    np.testing.assert_allclose(shrink(gray, 32), blocks, rtol=1e-5)


def test_a_frame_does_not_change_the_sharpness_inside() -> None:
    image = make_phantom(3, 0, is_positive=True, image_size=64).pixels
    framed = np.full_like(image, 255)
    framed[8:-8, 8:-8] = image[8:-8, 8:-8]
    found = measure_pixels(np.stack([image, framed])[:, None]).inner_sharpness
    expected = np.log1p(laplace(image.astype(np.float64))[9:-9, 9:-9].var())
    assert found == pytest.approx([expected, expected], rel=1e-4)


def test_gray_of_color_is_that_of_pillow() -> None:
    block = random_pixels(3, 20, channels=3)
    expected = [np.asarray(Image.fromarray(np.moveaxis(i, 0, 2)).convert("L")) for i in block]
    assert np.abs(to_gray(block).astype(int) - np.stack(expected)).max() <= 1


def test_gray_of_16_bits_is_the_upper_byte() -> None:
    block = random_pixels(1, 16)
    np.testing.assert_array_equal(to_gray(block.astype(np.uint16) * 257), block[:, 0])


def test_statistics_are_those_of_numpy_and_scipy() -> None:
    image = make_phantom(3, 0, is_positive=True, image_size=64).pixels
    found = dict(zip(STATISTICS, measure_pixels(image[None, None]).statistics[0], strict=True))
    assert found["mean"] == pytest.approx(image.mean(), rel=1e-5)
    assert found["standard deviation"] == pytest.approx(image.std(), rel=1e-5)
    for p in PERCENTILES:
        expected = np.percentile(image, p, method="inverted_cdf")
        assert found[f"percentile {p}"] == expected
    assert found["share of black"] == pytest.approx((image == 0).mean())
    assert found["share of white"] == pytest.approx((image == 255).mean())
    inner = laplace(image.astype(np.float64))[1:-1, 1:-1]
    assert found["sharpness"] == pytest.approx(np.log1p(inner.var()), rel=1e-4)
    assert found["top left corner"] == pytest.approx(image[:8, :8].mean(), rel=1e-5)
    assert found["bottom right corner"] == pytest.approx(image[-8:, -8:].mean(), rel=1e-5)


def test_border_is_the_outermost_rows_and_columns() -> None:
    image = np.zeros((1, 1, 64, 64), np.uint8)
    image[..., 2:-2, 2:-2] = 200
    found = dict(zip(STATISTICS, measure_pixels(image).statistics[0], strict=True))
    assert found["border mean"] == 0
    assert found["border deviation"] == 0


def test_only_one_gray_value_is_constant() -> None:
    pixels = np.full((3, 1, 32, 32), 9, np.uint8)
    pixels[1, 0, 5, 5] = 10
    assert measure_pixels(pixels).is_constant.tolist() == [True, False, True]


def test_digest_tells_every_pixel_apart() -> None:
    pixels = np.repeat(random_pixels(1, 32), 3, axis=0)
    pixels[2, 0, 31, 31] ^= 1
    digests = measure_pixels(pixels).digests
    assert (digests[0] == digests[1]).all()
    assert (digests[0] != digests[2]).any()


def test_chosen_rows_are_measured_in_their_order() -> None:
    pixels = random_pixels(200, 32)
    rows = np.array([199, 3, 3, 150])
    every, some = measure_pixels(pixels), measure_pixels(pixels, rows=rows)
    for name in ("digests", "hashes", "thumbs", "small", "statistics"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[rows])


def test_memory_map_is_read_as_an_array_is(tmp_path: Path) -> None:
    pixels = random_pixels(70, 32)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    np.testing.assert_array_equal(measure_pixels(mapped).hashes, measure_pixels(pixels).hashes)


def test_what_is_kept_per_image_does_not_grow_with_its_size() -> None:
    def num_bytes(side: int) -> int:
        kept = measure_pixels(random_pixels(4, side))
        return sum(getattr(kept, name).nbytes for name in kept.__slots__)

    assert num_bytes(32) == num_bytes(224) <= 4 * 2048


def test_frame_is_an_eighth_on_each_side() -> None:
    thumbs = np.zeros((1, 32, 32), np.uint8)
    thumbs[:, 4:-4, 4:-4] = 255
    frame = frame_pixels(thumbs)
    assert frame.shape == (1, 32 * 32 - 24 * 24)
    assert frame.max() == 0


def test_empty_array_is_measured_too() -> None:
    measures = measure_pixels(np.zeros((0, 1, 32, 32), np.uint8))
    assert len(measures.hashes) == 0
