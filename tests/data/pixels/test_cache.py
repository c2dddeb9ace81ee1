"""One array per data set: every file accounted for, safe to build twice, never half there."""

import io
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.data.file_headers import infer_color
from medimg_baseline_cls.data.image_bytes import FolderSource
from medimg_baseline_cls.data.pixels import cache as cache_module
from medimg_baseline_cls.data.pixels.cache import ImageCache, build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.read import Color
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.log import SILENT

SETTINGS = PixelSettings(image_size=16)


def make_film(seed: int, *, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)


def write_films(folder: Path, count: int, *, side: int = 16) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        Image.fromarray(make_film(seed, side=side)).save(folder / f"film{seed:03d}.png")
    return [f"film{seed:03d}.png" for seed in range(count)]


def build(
    data_dir: Path,
    paths: Sequence[str],
    cache_dir: Path,
    *,
    num_workers: int = 0,
    settings: PixelSettings = SETTINGS,
) -> ImageCache:
    return build_cache(
        data_dir, paths, settings=settings, cache_dir=cache_dir, num_workers=num_workers
    )


def files_below(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def test_every_row_holds_the_pixels_of_its_file(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 9)
    cache = build(tmp_path / "data", paths, tmp_path / "cache")
    assert [fact.path for fact in cache.facts] == paths
    assert cache.pixels.shape == (9, 1, 16, 16) and cache.pixels.dtype == np.uint8
    for seed, fact in enumerate(cache.facts):
        np.testing.assert_array_equal(cache.pixels[fact.row, 0], make_film(seed))
        assert (fact.width, fact.height, fact.mode, fact.error) == (16, 16, "L", None)
    assert isinstance(cache.pixels, np.memmap)
    assert not cache.pixels.flags.writeable


def test_second_build_reuses_the_first_and_decodes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_films(tmp_path / "data", 4)
    first = build(tmp_path / "data", paths, tmp_path / "cache")
    monkeypatch.setattr(cache_module, "decode_image", None)
    second = build(tmp_path / "data", paths, tmp_path / "cache")
    assert (first.was_reused, second.was_reused) == (False, True)
    assert first.facts == second.facts and first.path == second.path
    np.testing.assert_array_equal(first.pixels, second.pixels)


def test_every_content_is_decoded_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_films(tmp_path / "data", 5)
    (tmp_path / "data/copy.png").write_bytes((tmp_path / "data/film001.png").read_bytes())
    decoded: list[bytes] = []
    original = cache_module.decode_image

    def count(data: bytes, *, color: Color) -> object:
        decoded.append(data)
        return original(data, color=color)

    monkeypatch.setattr(cache_module, "decode_image", count)
    cache = build(tmp_path / "data", [*paths, "copy.png"], tmp_path / "cache")
    assert len(decoded) == len(set(decoded)) == 5
    assert cache.facts[5].row == cache.facts[1].row


@pytest.mark.parametrize("settings", [SETTINGS, PixelSettings(image_size=24, keep_aspect=True)])
def test_bytes_do_not_depend_on_workers_order_or_place(
    tmp_path: Path, settings: PixelSettings
) -> None:
    paths = write_films(tmp_path / "here", 12, side=16)
    write_films(tmp_path / "elsewhere/deeper", 12, side=16)
    builds = [
        build(tmp_path / "here", paths, tmp_path / "c0", settings=settings),
        build(tmp_path / "here", paths[::-1], tmp_path / "c1", num_workers=2, settings=settings),
        build(
            tmp_path / "elsewhere/deeper", paths, tmp_path / "c2", num_workers=3, settings=settings
        ),
    ]
    contents = {tuple(files_content(cache.path)) for cache in builds}
    assert len(contents) == 1
    assert {fact.row for fact in builds[0].facts} == set(range(12))
    assert sorted(builds[0].facts, key=str) == sorted(builds[1].facts, key=str)


def files_content(folder: Path) -> list[tuple[str, bytes]]:
    return [(folder.name, b"")] + [(p.name, p.read_bytes()) for p in sorted(folder.iterdir())]


def test_renamed_files_find_the_same_array(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 3)
    build(tmp_path / "data", paths, tmp_path / "cache")
    for path in paths:
        (tmp_path / "data" / path).rename(tmp_path / "data" / f"z{path}")
    cache = build(tmp_path / "data", [f"z{path}" for path in paths[::-1]], tmp_path / "cache")
    assert cache.was_reused
    for seed, fact in zip((2, 1, 0), cache.facts, strict=True):
        np.testing.assert_array_equal(cache.pixels[fact.row, 0], make_film(seed))


def test_another_content_or_setting_is_another_array(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paths = write_films(data, 3)
    folders = {build(data, paths, tmp_path / "cache").path}
    folders.add(build(data, paths[:2], tmp_path / "cache").path)
    stretched = PixelSettings(image_size=16, intensity="min_max")
    folders.add(build(data, paths, tmp_path / "cache", settings=stretched).path)
    Image.fromarray(make_film(99)).save(data / paths[0])
    changed = build(data, paths, tmp_path / "cache")
    folders.add(changed.path)
    assert len(folders) == 4
    np.testing.assert_array_equal(changed.pixels[changed.facts[0].row, 0], make_film(99))


def test_one_deep_image_makes_the_array_deep(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paths = write_films(data, 2)
    values = make_film(5).astype(np.uint16) * 200 + 7
    Image.fromarray(values).save(data / "deep.png")
    cache = build(data, [*paths, "deep.png"], tmp_path / "cache")
    assert cache.pixels.dtype == np.uint16
    np.testing.assert_array_equal(cache.pixels[cache.facts[2].row, 0], values)
    np.testing.assert_array_equal(
        cache.pixels[cache.facts[0].row, 0], make_film(0) * np.uint16(257)
    )


def test_rgb_array_has_three_channels(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 2)
    chosen = PixelSettings(image_size=16, color="rgb")
    cache = build(tmp_path / "data", paths, tmp_path / "cache", settings=chosen)
    assert cache.pixels.shape == (2, 3, 16, 16)
    np.testing.assert_array_equal(cache.pixels[:, 0], cache.pixels[:, 2])


def make_bad_files(data: Path) -> dict[str, str]:
    """Write files that give no image; return a word of the reason of each."""
    file = io.BytesIO()
    Image.fromarray(make_film(50, side=64)).save(file, "JPEG")
    (data / "cut.jpeg").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    (data / "empty.png").write_bytes(b"")
    (data / "text.png").write_text("no image at all")
    (data / "folder.png").mkdir()
    (data / "loop.png").symlink_to(data / "loop.png")
    (data / "dead.png").symlink_to(data / "nowhere.png")
    os.mkfifo(data / "pipe.png")
    return {
        "cut.jpeg": "truncated",
        "empty.png": "0 bytes",
        "text.png": "not an image",
        "folder.png": "not a regular file",
        "loop.png": "broken link",
        "dead.png": "broken link",
        "pipe.png": "not a regular file",
        "missing.png": "is not there",
    }


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_files_are_accounted_for_and_cost_the_others_nothing(
    tmp_path: Path, num_workers: int
) -> None:
    data = tmp_path / "data"
    paths = write_films(data, 3)
    reasons = make_bad_files(data)
    for expected_reuse in (False, True):
        cache = build(data, [*reasons, *paths], tmp_path / "cache", num_workers=num_workers)
        assert cache.was_reused is expected_reuse
        for fact in cache.facts[: len(reasons)]:
            assert fact.error is not None and reasons[fact.path] in fact.error
            assert fact.row == -1
        for seed, fact in enumerate(cache.facts[len(reasons) :]):
            np.testing.assert_array_equal(cache.pixels[fact.row, 0], make_film(seed))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_forbidden_file_is_accounted_for(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 2)
    (tmp_path / "data" / paths[0]).chmod(0)
    cache = build(tmp_path / "data", paths, tmp_path / "cache")
    assert cache.facts[0].error is not None and "Permission denied" in cache.facts[0].error


def test_unreadable_file_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_films(tmp_path / "data", 2)
    original = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == paths[0]:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    cache = build(tmp_path / "data", paths, tmp_path / "cache")
    assert cache.facts[0].error == "the file cannot be read: Permission denied"
    assert cache.facts[1].error is None


def test_nothing_but_bad_files_gives_an_empty_array(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    cache = build(tmp_path, ["a.png"], tmp_path / "cache")
    assert cache.pixels.shape == (0, 1, 16, 16)
    assert cache.facts[0].row == -1


def test_data_folder_is_never_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paths = write_films(data, 3)
    (data / "bad.png").write_text("bad")
    before = files_below(data)
    build(data, [*paths, "bad.png"], tmp_path / "cache", num_workers=2)
    infer_color(FolderSource(data), [*paths, "bad.png"])
    assert files_below(data) == before


def test_file_that_changes_meanwhile_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    paths = write_films(data, 2)
    original = cache_module._plan_array

    def change(*args: object) -> object:
        plan = original(*args)  # type: ignore[arg-type]
        Image.fromarray(make_film(77)).save(data / paths[1])
        return plan

    monkeypatch.setattr(cache_module, "_plan_array", change)
    with pytest.raises(DataError, match=r"film001\.png changed"):
        build(data, paths, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 2)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(
        DataError, match="cache cannot be written, because a file is where .*--cache-dir"
    ):
        build(tmp_path / "data", paths, tmp_path / "cache")


def damage_cut(folder: Path) -> None:
    pixels = folder / "pixels.npy"
    pixels.write_bytes(pixels.read_bytes()[:-100])


def damage_facts(folder: Path) -> None:
    text = (folder / "contents.csv").read_text()
    (folder / "contents.csv").write_text(text[: len(text) // 2])


def damage_other(folder: Path) -> None:
    text = (folder / "contents.csv").read_text()
    (folder / "contents.csv").write_text(text.replace(text.splitlines()[1][:64], "0" * 64))


def damage_columns(folder: Path) -> None:
    text = (folder / "contents.csv").read_text()
    (folder / "contents.csv").write_text(text.replace("sha256,error", "error,sha256"))


def damage_lost(folder: Path) -> None:
    (folder / "contents.csv").unlink()


def damage_shape(folder: Path) -> None:
    np.save(folder / "pixels.npy", np.zeros((1, 1, 16, 16), np.uint8))


@pytest.mark.parametrize(
    "damage", [damage_cut, damage_facts, damage_other, damage_columns, damage_lost, damage_shape]
)
def test_damaged_array_is_built_again(tmp_path: Path, damage: object) -> None:
    paths = write_films(tmp_path / "data", 4)
    first = build(tmp_path / "data", paths, tmp_path / "cache")
    assert callable(damage)
    damage(first.path)
    second = build(tmp_path / "data", paths, tmp_path / "cache")
    assert not second.was_reused
    for seed, fact in enumerate(second.facts):
        np.testing.assert_array_equal(second.pixels[fact.row, 0], make_film(seed))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [second.path.name]


BUILDER = """
import sys
from pathlib import Path
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
data, target = Path(sys.argv[1]), Path(sys.argv[2])
paths = sorted(path.name for path in data.iterdir())
print("ready", flush=True)
sys.stdin.readline()
cache = build_cache(
    data, paths, settings=PixelSettings(image_size=16), cache_dir=target, num_workers=2
)
print(cache.path.name, int(cache.pixels.sum(dtype="int64")))
"""


def test_processes_at_once_get_one_whole_array(tmp_path: Path) -> None:
    write_films(tmp_path / "data", 200)
    expected = sum(int(make_film(seed).sum()) for seed in range(200))
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "data"), str(tmp_path / "cache")]
    pipe = subprocess.PIPE
    builders = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ.copy())
        for _ in range(3)
    ]
    for builder in builders:
        assert builder.stdout is not None and builder.stdout.readline() == "ready\n"
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.write("go\n")
        builder.stdin.flush()
    outputs = {builder.communicate(timeout=60)[0] for builder in builders}
    (folder,) = (tmp_path / "cache").iterdir()
    assert outputs == {f"{folder.name} {expected}\n"}


def test_loser_of_the_race_uses_the_winners_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_films(tmp_path / "data", 5)
    original = cache_module._move_into_place

    def lose(temporary: Path, folder: Path, *, plan: object) -> None:
        monkeypatch.setattr(cache_module, "_move_into_place", original)
        winner = build(tmp_path / "data", paths, tmp_path / "cache")
        inode = (winner.path / "pixels.npy").stat().st_ino
        original(temporary, folder, plan=plan)  # type: ignore[arg-type]
        assert (folder / "pixels.npy").stat().st_ino == inode

    monkeypatch.setattr(cache_module, "_move_into_place", lose)
    cache = build(tmp_path / "data", paths, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    np.testing.assert_array_equal(cache.pixels[cache.facts[3].row, 0], make_film(3))


KILLED = """
import sys, time
from pathlib import Path
from medimg_baseline_cls.data.pixels import cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
done = []
original = cache.decode_image
def slow(data, *, color):
    done.append(1)
    if len(done) > 10:
        print("halfway", flush=True)
        time.sleep(60)
    return original(data, color=color)
cache.decode_image = slow
data, target = Path(sys.argv[1]), Path(sys.argv[2])
paths = sorted(path.name for path in data.iterdir())
cache.build_cache(data, paths, settings=PixelSettings(image_size=16), cache_dir=target)
"""


@contextmanager
def building_halfway(folder: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Let another process build the cache of folder/data, and stop halfway."""
    command = [sys.executable, "-c", KILLED, str(folder / "data"), str(folder / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"halfway\n"
        yield process


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_build_leaves_nothing_that_looks_whole(tmp_path: Path, kind: int) -> None:
    paths = write_films(tmp_path / "data", 20)
    with building_halfway(tmp_path) as process:
        process.send_signal(kind)
    assert all(path.name.startswith(".building-") for path in (tmp_path / "cache").iterdir())
    cache = build(tmp_path / "data", paths, tmp_path / "cache")
    assert not cache.was_reused
    assert list((tmp_path / "cache").iterdir()) == [cache.path]  # what was left behind is gone
    np.testing.assert_array_equal(cache.pixels[cache.facts[19].row, 0], make_film(19))


@pytest.mark.parametrize("age", [0, 3 * 24 * 3600])
def test_what_another_builder_is_writing_stays(tmp_path: Path, age: int) -> None:
    paths = write_films(tmp_path / "data", 20)
    with building_halfway(tmp_path) as process:
        (folder,) = (tmp_path / "cache").glob(".building-*")
        os.utime(folder, (time.time() - age,) * 2)
        cache = build(tmp_path / "data", paths, tmp_path / "cache")
        assert len(list((tmp_path / "cache").glob(".building-*/pixels.npy"))) == 1
        process.kill()
    assert build(tmp_path / "data", paths, tmp_path / "cache").was_reused
    assert list((tmp_path / "cache").iterdir()) == [cache.path]


@pytest.mark.parametrize("is_alive", [False, True])
def test_what_a_builder_left_unlocked_is_known_by_its_name(tmp_path: Path, is_alive: bool) -> None:
    paths = write_films(tmp_path / "data", 2)
    code = "from medimg_baseline_cls.data.pixels.cache_builds import *; import pathlib, sys, time\n"
    code += "print(name_building_folder(pathlib.Path(sys.argv[1])), flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        if not is_alive:
            process.kill()
            process.wait()
        folder.mkdir(parents=True)
        build(tmp_path / "data", paths, tmp_path / "cache")
        process.kill()
    assert folder.exists() == is_alive


def test_leftovers_are_removed_a_day_later(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 2)
    old, young = tmp_path / "cache/.building-old", tmp_path / "cache/.building-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "pixels.npy").write_bytes(b"half")
    os.utime(old, (time.time() - 90000,) * 2)
    build(tmp_path / "data", paths, tmp_path / "cache")
    assert not old.exists() and young.exists()


def test_reading_needs_no_write_permission_in_the_cache(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 2)
    first = build(tmp_path / "data", paths, tmp_path / "cache")
    before = files_below(tmp_path / "cache")
    first.path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    build(tmp_path / "data", paths, tmp_path / "cache")
    first.path.chmod(stat.S_IRWXU)
    assert files_below(first.path) == {
        name.split("/")[1]: entry for name, entry in before.items() if "/" in name
    }


FITTING = """
import sys
from pathlib import Path
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
data = Path(sys.argv[1])
paths = sorted(path.name for path in data.iterdir())
for side, intensity in ((16, "full_range"), (15, "full_range"), (15, "min_max")):
    assert "monai" not in sys.modules
    settings = PixelSettings(image_size=side, intensity=intensity)
    build_cache(data, paths, settings=settings, cache_dir=Path(sys.argv[2]), num_workers=2)
assert "monai" in sys.modules
"""


def test_only_films_to_be_stretched_need_monai(tmp_path: Path) -> None:
    write_films(tmp_path / "data", 3)
    command = [sys.executable, "-c", FITTING, str(tmp_path / "data"), str(tmp_path / "cache")]
    subprocess.run(command, check=True, timeout=120)


def test_progress_counts_every_file(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "data", 7)
    counted: dict[str, list[int]] = {}

    class Bar:
        def __init__(self, description: str, total: int | None) -> None:
            self.steps = counted.setdefault(description, [total or 0])

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *args: object) -> None:
            pass

        def advance(self, count: float = 1) -> None:
            self.steps.append(int(count))

    for workers in (0, 2):
        counted.clear()
        build_cache(
            tmp_path / "data",
            paths,
            settings=SETTINGS,
            cache_dir=tmp_path / f"cache{workers}",
            num_workers=workers,
            log=SimpleNamespace(progress=Bar),  # type: ignore[arg-type]
        )
        assert {name: (steps[0], sum(steps[1:])) for name, steps in counted.items()} == {
            "reading files": (7, 7),
            "decoding images": (7, 7),
        }
    with SILENT.progress("nothing", 1) as bar:
        bar.advance()


def test_grey_films_stored_as_rgb_are_grey(tmp_path: Path) -> None:
    for seed in range(6):
        Image.fromarray(make_film(seed)).convert("RGB").save(tmp_path / f"{seed}.jpeg")
    paths = [f"{seed}.jpeg" for seed in range(6)]
    assert infer_color(FolderSource(tmp_path), paths) == (
        "grey",
        "0 of 6 sampled images show color",
    )


def test_photographs_are_rgb(tmp_path: Path) -> None:
    paths = write_films(tmp_path, 3)
    for seed in range(6):
        photo = np.stack([make_film(seed), make_film(seed) // 3, make_film(seed) // 5], axis=2)
        Image.fromarray(photo).save(tmp_path / f"photo{seed}.png")
    (tmp_path / "bad.png").write_text("bad")
    paths += [f"photo{seed}.png" for seed in range(6)] + ["bad.png", "missing.png"]
    assert infer_color(FolderSource(tmp_path), paths) == (
        "rgb",
        "6 of 9 sampled images show color",
    )
    assert infer_color(FolderSource(tmp_path), paths[::-1]) == infer_color(
        FolderSource(tmp_path), paths
    )


def test_color_of_nothing_is_grey(tmp_path: Path) -> None:
    assert infer_color(FolderSource(tmp_path), [])[0] == "grey"
