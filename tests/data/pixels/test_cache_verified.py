"""A damaged pixel is never used: each row has a checksum, and is decoded again where it differs."""

import csv
import io
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.data.npz import NpzSource
from medimg_baseline_cls.data.pixels import cache as cache_module
from medimg_baseline_cls.data.pixels.cache import ImageCache, build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.utils.log import open_log

NUM_IMAGES, SIDE = 9, 8


def make_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    (tmp_path / "data").mkdir()
    names = [f"{seed}.png" for seed in range(NUM_IMAGES)]
    for seed, name in enumerate(names):
        Image.fromarray(make_image(seed)).save(tmp_path / "data" / name)
    (tmp_path / "data/bad.png").write_bytes((tmp_path / "data/0.png").read_bytes()[:60])
    return [*names, "bad.png"]


def build(tmp_path: Path, paths: list[str], *, num_workers: int = 0) -> ImageCache:
    return build_cache(
        tmp_path / "data",
        paths,
        settings=PixelSettings(image_size=SIDE),
        cache_dir=tmp_path / "cache",
        num_workers=num_workers,
        log=open_log(tmp_path / "log.txt"),
    )


def assert_right(cache: ImageCache) -> None:
    for seed, fact in enumerate(cache.facts[:NUM_IMAGES]):
        np.testing.assert_array_equal(cache.pixels[fact.row, 0], make_image(seed))
    assert cache.facts[NUM_IMAGES].row == -1 and cache.facts[NUM_IMAGES].error


def flip(path: Path, *positions: int) -> None:
    data = bytearray(path.read_bytes())
    for position in positions:
        data[position] ^= 0x10
    path.write_bytes(data)


def test_the_checksum_is_the_crc32_of_pixels_and_error(tmp_path: Path, paths: list[str]) -> None:
    cache = build(tmp_path, paths)
    with (cache.path / "contents.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, pixels in zip(rows, np.load(cache.path / "pixels.npy"), strict=True):
        assert int(row["crc32"], 16) == zlib.crc32(pixels.tobytes() + row["error"].encode())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_only_damaged_images_are_decoded_again_and_the_log_says_so(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    first = build(tmp_path, paths)
    expected = {path.name: path.read_bytes() for path in first.path.iterdir()}
    good = sorted(fact.row for fact in first.facts if fact.row >= 0)
    size = SIDE * SIDE
    start = (first.path / "pixels.npy").stat().st_size - len(first.pixels) * size
    flip(first.path / "pixels.npy", start + good[2] * size, start + good[5] * size + size - 1)
    decoded, original = [], cache_module.decode_image

    def count(data: bytes, **settings: object) -> object:
        decoded.append(data)
        return original(data, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(cache_module, "decode_image", count)
    second = build(tmp_path, paths, num_workers=num_workers)
    assert_right(second)
    assert len(decoded) == 2 and not second.was_reused
    text = " ".join((tmp_path / "log.txt").read_text().split())
    assert f"is damaged: the checksums of 2 of {len(first.pixels)} images do not match" in text
    assert {path.name: path.read_bytes() for path in second.path.iterdir()} == expected
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [second.path.name]
    assert build(tmp_path, paths).was_reused and len(decoded) == 2


def test_an_inverted_array_is_decoded_again(tmp_path: Path, paths: list[str]) -> None:
    file = build(tmp_path, paths).path / "pixels.npy"
    data = file.read_bytes()
    file.write_bytes(data[:256] + bytes(255 - value for value in data[256:]))
    assert_right(build(tmp_path, paths))


@pytest.mark.parametrize("name", ["pixels.npy", "contents.csv"])
@pytest.mark.parametrize("seed", range(20))
def test_after_any_flipped_bit_the_pixels_are_right(
    tmp_path: Path, paths: list[str], name: str, seed: int
) -> None:
    draw, file = random.Random(seed), build(tmp_path, paths).path / name
    data = bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)
    assert_right(build(tmp_path, paths))


def make_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


FOREIGN: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("hello"),
    "empty": lambda path: path.write_bytes(b""),
    "an archive": lambda path: path.write_bytes(make_npz()),
    "objects": lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
    "another order": lambda path: np.save(path, np.asfortranarray(np.load(path))),
    "a broken header": lambda path: path.write_bytes(
        path.read_bytes().replace(b"'descr'", b"'\x00escr'")
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_in_place_of_the_array_is_replaced(
    tmp_path: Path, paths: list[str], name: str
) -> None:
    file = build(tmp_path, paths).path / "pixels.npy"
    FOREIGN[name](file)
    assert_right(build(tmp_path, paths))
    text = " ".join((tmp_path / "log.txt").read_text().split())
    assert "is damaged: all images are decoded again" in text


def test_an_array_without_checksums_is_made_again(tmp_path: Path, paths: list[str]) -> None:
    table = build(tmp_path, paths).path / "contents.csv"
    lines = table.read_text().splitlines()
    table.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    assert_right(build(tmp_path, paths))
    assert build(tmp_path, paths).was_reused


def test_a_damaged_array_out_of_an_npz_file_is_unpacked_again(tmp_path: Path) -> None:
    images = np.stack([make_image(seed) for seed in range(3)])
    arrays = {f"{split}_images": images for split in ("train", "val", "test")}
    np.savez(tmp_path / "a.npz", **arrays)
    before = NpzSource(tmp_path / "a.npz", tmp_path / "cache").read("train/1")
    (file,) = (tmp_path / "cache").rglob("train_images.npy")
    flip(file, file.stat().st_size - SIDE * SIDE - 5)
    assert NpzSource(tmp_path / "a.npz", tmp_path / "cache").read("train/1") == before
    np.testing.assert_array_equal(np.load(file), images)
