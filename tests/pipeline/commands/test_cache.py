"""The image cache as a list, and its removal: never what is in use, never what is not an array."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls import list_cache, prune_cache
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.pipeline.steps.stored_arrays import (
    StoredArrayFacts,
    choose_arrays,
    list_arrays,
)
from medimg_baseline_cls.utils.files import sha256_file, write_csv, write_json
from medimg_baseline_cls.utils.locks import hold_folder

DAY = 86400.0


def settings_of(size):
    return PixelSettings(image_size=size, keep_aspect=False, intensity="full_range", color="grey")


@pytest.fixture
def output(tmp_path):
    """An output folder with two arrays in its cache: three images at 32 px, and at 64 px."""
    for i in range(3):
        pixels = np.full((8, 8), 10 * i, np.uint8)
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{i}.png")
    for size in (32, 64):
        build(tmp_path, size)
    return tmp_path / "outputs"


def build(folder, size):
    paths = [f"{i}.png" for i in range(3)]
    cache_dir = folder / "outputs" / "cache"
    return build_cache(folder / "data", paths, settings=settings_of(size), cache_dir=cache_dir).path


def make_run(output, size, *, name="run"):
    """Write what a run leaves that was trained on the images."""
    run = output / "runs" / name
    run.mkdir(parents=True)
    write_json(run / "config.json", {"data_dir": "/x/data", "image_size": size})
    sha256 = sha256_file(output.parent / "data" / "0.png")
    write_csv(run / "split.csv", ("path", "sha256"), rows=[("0.png", sha256)])
    return run


def names_in(output):
    return sorted(path.name.partition("-")[0] for path in (output / "cache").iterdir())


def age(output, size, days):
    """Let an array be as if it was last used days ago."""
    (folder,) = (output / "cache").glob(f"{size}px-*")
    then = time.time() - days * DAY
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def test_the_arrays_are_listed_with_their_data_and_size(output, capsys):
    make_run(output, 64)
    result = list_cache(output)
    by_size = {array.size_px: array for array in result.arrays}
    assert sorted(by_size) == [32, 64]
    assert {array.num_images for array in result.arrays} == {3}
    assert by_size[64].num_bytes >= 3 * 64 * 64
    assert by_size[64].data == ("/x/data",)
    assert by_size[32].data == ()
    text = capsys.readouterr().out
    assert "/x/data" in text and "unknown" in text
    assert "2 arrays" in text.splitlines()[-1]


def test_the_data_of_an_external_validation_are_named(output):
    run = make_run(output, 64)
    (run / "split.csv").rename(run / "moved.csv")
    other = run / "external" / "site-b"
    other.mkdir(parents=True)
    write_json(other / "config.json", {"manifest": "/x/b.csv", "image_size": 64})
    (run / "moved.csv").rename(other / "split.csv")
    by_size = {array.size_px: array for array in list_cache(output).arrays}
    assert by_size[64].data == ("/x/b.csv",)


def test_a_cache_that_is_not_there_is_empty(tmp_path, capsys):
    assert list_cache(tmp_path).arrays == ()
    assert prune_cache(tmp_path, remove_all=True).removed == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", [["list"], ["prune", "--all"]])
@pytest.mark.parametrize("flag", ["--cache-dir", "--output-dir"])
def test_a_folder_that_is_not_there_is_refused(output, capsys, action, flag):
    missing = output / "chache"
    assert main(["cache", *action, "--output-dir", str(output), flag, str(missing)]) == 2
    assert capsys.readouterr().err == f"medimg: there is no folder {missing}: correct {flag}.\n"
    assert names_in(output) == ["32px", "64px"]


def test_opening_an_array_counts_as_use(output):
    age(output, 32, days=40)
    assert {a.size_px for a in list_arrays(output / "cache", output_dir=output)} == {32, 64}
    assert list_cache(output).arrays[-1].size_px == 32
    build(output.parent, 32)
    assert list_cache(output).arrays[0].size_px == 32


def test_what_was_not_used_for_long_is_removed(output):
    age(output, 32, days=40)
    result = prune_cache(output, unused_days=30)
    assert [path.name[:4] for path in result.removed] == ["32px"]
    assert names_in(output) == ["64px"]


def test_a_dry_run_removes_nothing(output, capsys):
    before = sorted(output.rglob("*"))
    result = prune_cache(output, remove_all=True, dry_run=True)
    assert len(result.removed) == 2
    assert sorted(output.rglob("*")) == before
    assert "nothing was" in capsys.readouterr().out


def test_all_arrays_are_removed_and_nothing_is_left(output):
    assert len(prune_cache(output, remove_all=True).removed) == 2
    assert list((output / "cache").iterdir()) == []


def test_the_longest_unused_go_first_until_the_rest_fits(output):
    age(output, 64, days=2)
    size_32 = next(a.num_bytes for a in list_cache(output).arrays if a.size_px == 32)
    prune_cache(output, max_gb=size_32 / 1e9)
    assert names_in(output) == ["32px"]


def test_what_is_not_an_array_of_ours_stays(output, tmp_path):
    cache = output / "cache"
    (first,) = cache.glob("32px-*")
    (first / "notes.txt").write_text("mine")
    foreign = cache / f"64px-{'0' * 32}"
    foreign.mkdir()
    (foreign / "pixels.npy").write_text("not marked")
    (cache / "photos").mkdir()
    (cache / "file.txt").write_text("mine")
    (cache / f"32px-{'1' * 32}").symlink_to(tmp_path / "data", target_is_directory=True)
    before = {path for path in tmp_path.rglob("*") if "64px" not in str(path)}
    assert [path.name[:4] for path in prune_cache(output, remove_all=True).removed] == ["64px"]
    assert before <= set(tmp_path.rglob("*"))
    assert (foreign / "pixels.npy").exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")  # noqa: PTH110
def test_an_array_that_is_open_stays(output):
    (folder,) = (output / "cache").glob("32px-*")
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    assert pixels.shape[0] == 3
    assert [path.name[:4] for path in prune_cache(output, remove_all=True).removed] == ["64px"]
    del pixels


def test_an_array_that_is_locked_stays(output):
    (folder,) = (output / "cache").glob("32px-*")
    with hold_folder(folder, command="a test"):
        assert len(prune_cache(output, remove_all=True).removed) == 1
    assert names_in(output) == ["32px"]


@pytest.mark.parametrize("has_split", [True, False])
def test_the_array_of_a_run_in_training_stays(output, has_split):
    run = make_run(output, 32)
    if not has_split:  # it has not come to its split yet, and may use any array of this size
        (run / "split.csv").unlink()
    with hold_folder(run, command="medimg train"):
        (in_use,) = [a for a in list_cache(output).arrays if a.is_in_use]
        assert in_use.size_px == 32
        prune_cache(output, remove_all=True)
    assert names_in(output) == ["32px"]
    prune_cache(output, remove_all=True)
    assert names_in(output) == []


def test_broken_runs_do_not_stop_the_list(output):
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"image_size": "x"}')):
        (output / "runs" / name).mkdir(parents=True)
        (output / "runs" / name / "config.json").write_text(text)
    assert len(list_cache(output).arrays) == 2


def test_what_to_remove_has_to_be_said(output):
    with pytest.raises(ConfigError, match="nothing says what to remove"):
        prune_cache(output)
    for limits in ({"unused_days": -1}, {"max_gb": float("nan")}):
        with pytest.raises(ConfigError, match="0 or more"):
            prune_cache(output, **limits)
    assert len(list_cache(output).arrays) == 2


def facts(name, *, used, num_bytes=10, is_in_use=False):
    return StoredArrayFacts(
        folder=name,
        size_px=32,
        num_images=1,
        num_bytes=num_bytes,
        used=used,
        is_in_use=is_in_use,
    )


def test_the_choice_is_by_age_and_total():
    arrays = [
        facts("new", used=100 * DAY),
        facts("old", used=10 * DAY, is_in_use=True),
        facts("older", used=5 * DAY),
        facts("middle", used=50 * DAY),
    ]

    def chosen(**limits):
        return [array.folder for array in choose_arrays(arrays, now=100 * DAY, **limits)]

    assert chosen(takes_all=True) == ["older", "middle", "new"]
    assert chosen(unused_days=60) == ["older"]
    assert chosen(unused_days=95) == ["older"]
    assert chosen(unused_days=96) == []
    assert chosen(max_bytes=40) == []
    assert chosen(max_bytes=39) == ["older"]
    assert chosen(max_bytes=20) == ["older", "middle"]
    assert chosen(max_bytes=0) == ["older", "middle", "new"]
    assert chosen(unused_days=60, max_bytes=20) == ["older", "middle"]


def test_the_command_lists_and_prunes(output, capsys):
    flags = ["--output-dir", str(output)]
    assert main(["cache", "list", *flags, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["arrays"]) == 2
    assert main(["cache", "prune", *flags]) == 2
    assert main(["cache", "list", *flags, "--all"]) == 2
    assert main(["cache", "wipe", *flags]) == 2
    assert main(["cache", "prune", "--all", "--dry-run", *flags]) == 0
    assert len(names_in(output)) == 2
    assert main(["cache", "prune", "--all", *flags]) == 0
    assert names_in(output) == []
    place = str(output / "cache")
    assert main(["cache", "list", "--cache-dir", place]) == 0
