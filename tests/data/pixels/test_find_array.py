"""Pixels whose files are gone: found again in the cache by the sha256 of their files."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.data.pixels.cache import ImageCache, build_cache, find_array
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings

SETTINGS = PixelSettings(image_size=32, keep_aspect=False, intensity="full_range", color="grey")
NAMES = [f"{i}.png" for i in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(4)
    place = tmp_path / "data"
    place.mkdir()
    for name in NAMES:
        pixels = random.integers(0, 256, size=(40, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(place / name)
    return place


@pytest.fixture
def cache(folder: Path, tmp_path: Path) -> ImageCache:
    return build_cache(folder, NAMES, settings=SETTINGS, cache_dir=tmp_path / "cache")


def digests_of(folder: Path, names: list[str]) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def test_pixels_are_found_without_the_files(folder: Path, cache: ImageCache):
    wanted = digests_of(folder, NAMES)
    expected = np.stack([np.array(cache.pixels[fact.row]) for fact in cache.facts])
    shutil.rmtree(folder)
    found = find_array(cache.path.parent, wanted, settings=SETTINGS)
    assert found is not None
    pixels, rows = found
    assert np.array_equal(pixels[rows], expected)


def test_some_of_the_images_in_another_order_are_found(folder: Path, cache: ImageCache):
    order = [3, 0, 3]
    wanted = digests_of(folder, [NAMES[i] for i in order])
    found = find_array(cache.path.parent, wanted, settings=SETTINGS)
    assert found is not None
    expected = np.stack([np.array(cache.pixels[cache.facts[i].row]) for i in order])
    assert np.array_equal(found[0][found[1]], expected)


def test_an_array_of_other_settings_is_not_taken(folder: Path, cache: ImageCache):
    wanted = digests_of(folder, NAMES)
    for other in (
        replace(SETTINGS, keep_aspect=True),
        replace(SETTINGS, image_size=64),
        replace(SETTINGS, color="rgb"),
    ):
        assert find_array(cache.path.parent, wanted, settings=other) is None


def test_an_array_without_one_of_the_images_is_not_taken(folder: Path, cache: ImageCache):
    wanted = [*digests_of(folder, NAMES), "0" * 64]
    assert find_array(cache.path.parent, wanted, settings=SETTINGS) is None


def test_a_damaged_array_is_not_taken(folder: Path, cache: ImageCache):
    wanted = digests_of(folder, NAMES)
    path = cache.path / "pixels.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF
    path.write_bytes(bytes(data))
    assert find_array(cache.path.parent, wanted, settings=SETTINGS) is None


def test_an_array_under_another_name_is_not_taken(folder: Path, cache: ImageCache):
    wanted = digests_of(folder, NAMES)
    cache.path.rename(cache.path.with_name("32px-" + "0" * 32))
    assert find_array(cache.path.parent, wanted, settings=SETTINGS) is None


def test_contents_that_are_garbled_are_not_taken(folder: Path, cache: ImageCache):
    wanted = digests_of(folder, NAMES)
    (cache.path / "contents.csv").write_text("other\n1\n", encoding="utf-8")
    assert find_array(cache.path.parent, wanted, settings=SETTINGS) is None


def test_a_file_that_gave_no_pixels_has_none(folder: Path, tmp_path: Path):
    data = (folder / NAMES[0]).read_bytes()
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    names = [*NAMES, "cut.png"]
    cache_dir = tmp_path / "other"
    build_cache(folder, names, settings=SETTINGS, cache_dir=cache_dir)
    good, bad = digests_of(folder, NAMES), digests_of(folder, ["cut.png"])
    assert find_array(cache_dir, good, settings=SETTINGS) is not None
    assert find_array(cache_dir, [*good, *bad], settings=SETTINGS) is None


def test_a_cache_that_is_not_there_has_nothing(tmp_path: Path):
    assert find_array(tmp_path / "nope", ["0" * 64], settings=SETTINGS) is None
