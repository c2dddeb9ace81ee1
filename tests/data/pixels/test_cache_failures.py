"""What can go wrong while an array is built or used: full disks, races, errors in threads."""

import csv
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.data import file_headers as scan_module
from medimg_baseline_cls.data.file_headers import infer_color
from medimg_baseline_cls.data.image_bytes import FolderSource
from medimg_baseline_cls.data.pixels import cache as cache_module
from medimg_baseline_cls.data.pixels import cache_builds as building
from medimg_baseline_cls.data.pixels.cache import ImageCache, build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.read import Color
from medimg_baseline_cls.errors import DataError, ResourceError
from medimg_baseline_cls.utils.log import SILENT
from medimg_baseline_cls.utils.own_output import MARKER

SETTINGS = PixelSettings(image_size=8)


def make_film(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8)).astype(np.uint8)


def write_films(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [f"{seed:03d}.png" for seed in range(count)]
    for seed, path in enumerate(paths):
        Image.fromarray(make_film(seed)).save(folder / path)
    return paths


def build(tmp_path: Path, paths: list[str], *, num_workers: int = 0) -> ImageCache:
    return build_cache(
        tmp_path / "data",
        paths,
        settings=SETTINGS,
        cache_dir=tmp_path / "cache",
        num_workers=num_workers,
    )


def assert_whole(cache: ImageCache) -> None:
    for seed, fact in enumerate(cache.facts):
        np.testing.assert_array_equal(cache.pixels[fact.row, 0], make_film(seed))


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").iterdir()]


def test_rows_are_those_of_their_files_when_threads_finish_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_films(tmp_path / "data", 12)
    original, delays = cache_module.decode_image, iter([0.02, 0.0, 0.01] * 4)

    def slow(data: bytes, *, color: Color) -> object:
        time.sleep(next(delays))
        return original(data, color=color)

    monkeypatch.setattr(cache_module, "decode_image", slow)
    assert_whole(build(tmp_path, paths, num_workers=4))


def test_threads_work_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Three decoders wait for one another: with fewer threads none would ever pass.
    paths = write_films(tmp_path / "data", 6)
    meeting, original = threading.Barrier(3, timeout=20), cache_module.decode_image

    def meet(data: bytes, *, color: Color) -> object:
        meeting.wait()
        return original(data, color=color)

    monkeypatch.setattr(cache_module, "decode_image", meet)
    assert_whole(build(tmp_path, paths, num_workers=3))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unforeseen_error_reaches_the_caller_and_stops_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    paths, started = write_films(tmp_path / "data", 60), []

    def fail(data: bytes, *, color: Color) -> object:
        started.append(color)
        if len(started) > 1:
            time.sleep(0.05)  # room for the caller to cancel the others
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(cache_module, "decode_image", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        build(tmp_path, paths, num_workers=num_workers)
    assert len(started) < 30
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOSPC, "the disk is full: free some"),
        (errno.EDQUOT, "the disk quota is used up: free some"),
        (errno.EROFS, "the place is read-only: make it writable"),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, words: str
) -> None:
    paths = write_films(tmp_path / "data", 3)

    def full(*_: object) -> None:
        raise OSError(error, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=f"cache cannot be written, because {words}.*--cache-dir"):
        build(tmp_path, paths)
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    assert_whole(build(tmp_path, paths))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ESTALE])
@pytest.mark.parametrize("reading", [1, 2])
def test_a_machine_that_cannot_read_leaves_out_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reading: int
) -> None:
    paths = write_films(tmp_path / "data", 3)
    original, num_reads = Path.read_bytes, iter(range(100))

    def read(path: Path) -> bytes:
        if next(num_reads) == (1 if reading == 1 else 4):
            raise OSError(number, "as the system says it", str(path))
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(ResourceError):
        build(tmp_path, paths)
    monkeypatch.undo()
    assert_whole(build(tmp_path, paths))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_is_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    paths = write_films(tmp_path / "data", 2)

    def read(path: Path) -> bytes:
        raise OSError(number, "as the system says it", str(path))

    monkeypatch.setattr(Path, "read_bytes", read)
    errors = [fact.error for fact in build(tmp_path, paths).facts]
    assert errors == ["the file cannot be read: as the system says it"] * 2


def test_many_builders_in_one_process_end_with_one_array(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 20)
    gate, caches, errors = threading.Barrier(4), [], []

    def work() -> None:
        gate.wait()
        try:
            caches.append(build(tmp_path, paths, num_workers=2))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(caches) == 4
    for cache in caches:
        assert_whole(cache)
    assert leftovers(tmp_path) == [caches[0].path.name]


def replace_by_broken(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "pixels.npy").write_bytes(b"half an array")


def replace_by_file(folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("somebody's file")


@pytest.mark.parametrize("obstacle", [replace_by_broken, replace_by_file])
def test_what_lies_in_the_way_of_the_array_is_replaced(
    tmp_path: Path, obstacle: Callable[[Path], None]
) -> None:
    paths = write_films(tmp_path / "data", 3)
    folder = build(tmp_path, paths).path
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    obstacle(folder)
    cache = build(tmp_path, paths)
    assert not cache.was_reused and cache.path == folder
    assert_whole(cache)
    assert leftovers(tmp_path) == [folder.name]


def test_a_neighbor_that_finishes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The leftovers are listed, then looked at: in between their builder may rename them.
    paths = write_films(tmp_path / "data", 3)
    neighbor = tmp_path / "cache/.building-neighbor"
    neighbor.mkdir(parents=True)

    def finish_neighbor() -> float:
        neighbor.rename(tmp_path / "cache/8px-done")
        return time.time()

    monkeypatch.setattr(building, "time", SimpleNamespace(time=finish_neighbor))
    assert_whole(build(tmp_path, paths))
    assert sorted(leftovers(tmp_path))[-1] == "8px-done"


def test_two_builders_that_find_the_same_broken_array_do_not_stumble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, drawn = write_films(tmp_path / "data", 3), []
    folder = build(tmp_path, paths).path
    (folder / "contents.csv").unlink()

    def draw_name(count: int) -> str:
        drawn.append(count)
        if len(drawn) == 2:  # the name to move the broken array to: the other did it already
            folder.rename(tmp_path / "cache/.building-other")
        return f"name{len(drawn)}"

    monkeypatch.setattr(building, "secrets", SimpleNamespace(token_hex=draw_name))
    assert_whole(build(tmp_path, paths))
    assert len(drawn) == 2
    assert sorted(leftovers(tmp_path)) == [".building-other", folder.name]


def test_an_array_that_vanishes_at_once_is_an_error_and_not_a_wrong_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_films(tmp_path / "data", 3)
    original = cache_module._build_array

    def build_and_lose(folder: Path, *args: object, **options: object) -> None:
        original(folder, *args, **options)  # type: ignore[arg-type]
        folder.rename(folder.parent / "taken")

    monkeypatch.setattr(cache_module, "_build_array", build_and_lose)
    with pytest.raises(DataError, match="vanished while it was in use: start again"):
        build(tmp_path, paths)


def test_a_file_that_vanishes_meanwhile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_films(tmp_path / "data", 3)
    original = cache_module._plan_array

    def remove(*args: object) -> object:
        (tmp_path / "data" / paths[2]).unlink()
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(cache_module, "_plan_array", remove)
    with pytest.raises(DataError, match=r"002\.png vanished while the data set was read"):
        build(tmp_path, paths)
    assert leftovers(tmp_path) == []


def test_an_array_in_use_outlives_its_folder(tmp_path: Path) -> None:
    cache = build(tmp_path, write_films(tmp_path / "data", 4))
    for path in cache.path.iterdir():
        path.unlink()
    assert_whole(cache)


@pytest.mark.parametrize("library", ["pillow", "torch", "monai"])
def test_another_version_of_a_library_is_another_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    paths = write_films(tmp_path / "data", 2)
    first, original = build(tmp_path, paths), cache_module.version
    monkeypatch.setattr(
        cache_module, "version", lambda name: "0.0" if name == library else original(name)
    )
    second = build(tmp_path, paths)
    assert not second.was_reused and second.path != first.path


def test_the_array_is_plain_npy_and_csv_that_anyone_can_read(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 5)
    (tmp_path / "data/bad.png").write_bytes((tmp_path / "data/000.png").read_bytes()[:60])
    cache = build(tmp_path, [*paths, "bad.png"])
    assert {path.name for path in cache.path.iterdir()} == {MARKER, "pixels.npy", "contents.csv"}
    pixels = np.load(cache.path / "pixels.npy")
    np.testing.assert_array_equal(pixels, cache.pixels)
    with (cache.path / "contents.csv").open(newline="") as file:
        files = list(csv.DictReader(file))
    names = [entry["sha256"] for entry in files]
    assert names == sorted(names) and len(names) == len(pixels) == 6
    (bad,) = [row for row, entry in enumerate(files) if entry["error"]]
    assert not pixels[bad].any() and cache.facts[5].row == -1
    assert cache.facts[5].sha256 == names[bad]
    assert cache.path.name.startswith("8px-")


def write_share(folder: Path, num_colored: int, total: int) -> list[str]:
    folder.mkdir()
    paths = []
    for number in range(total):
        film = make_film(number)
        photo = np.stack([film, film // 4, film // 9], axis=2)
        Image.fromarray(photo if number < num_colored else film).save(folder / f"{number}.png")
        paths.append(f"{number}.png")
    return paths


@pytest.mark.parametrize(("num_colored", "color"), [(2, "grey"), (3, "rgb")])
def test_a_tenth_in_color_is_not_yet_a_color_data_set(
    tmp_path: Path, num_colored: int, color: str
) -> None:
    paths = write_share(tmp_path / "data", num_colored, 20)
    reason = f"{num_colored} of 20 sampled images show color"
    assert infer_color(FolderSource(tmp_path / "data"), paths) == (color, reason)


def test_a_large_data_set_is_sampled_the_same_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: dict[str, list[str]] = {"a": [], "b": []}
    sources = {name: FolderSource(tmp_path / name) for name in looked}
    paths = [f"{number}.png" for number in range(300)]

    def look(source: FolderSource, path: str) -> bool:
        looked[next(name for name in sources if sources[name] is source)].append(path)
        return True

    monkeypatch.setattr(scan_module, "_shows_color", look)
    assert infer_color(sources["a"], paths)[1] == "64 of 64 sampled images show color"
    infer_color(sources["b"], paths[::-1])
    assert looked["a"] == looked["b"] and len(set(looked["a"])) == 64
    assert np.mean([int(Path(name).stem) for name in looked["a"]]) == pytest.approx(150, abs=40)


def test_few_files_are_read_ahead_of_what_is_taken() -> None:
    read: list[int] = []
    with SILENT.progress("reading", None) as bar:
        results = cache_module._map_in_threads(read.append, range(10_000), num_workers=2, bar=bar)
        next(results)
        results.close()
    assert 1 <= len(read) <= 100
