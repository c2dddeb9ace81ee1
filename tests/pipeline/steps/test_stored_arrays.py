"""Arrays of the cache: what counts as one, what is open, and a removal that can be interrupted."""

import os
import shutil
import time

import numpy as np
import pytest

from medimg_baseline_cls.data.pixels.array_file import list_contents, write_array
from medimg_baseline_cls.data.pixels.cache_builds import note_use, remove_abandoned
from medimg_baseline_cls.pipeline.steps import stored_arrays
from medimg_baseline_cls.pipeline.steps.stored_arrays import list_arrays, remove_array
from medimg_baseline_cls.utils.own_output import mark_own


@pytest.fixture
def make_array(tmp_path):
    """Write an array of two images into the cache."""

    def make(name=f"32px-{'a' * 32}", *, is_marked=True):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True)
        images = [np.full((1, 32, 32), value, np.uint8) for value in (3, 5)]
        write_array(
            folder,
            shape=(2, 1, 32, 32),
            dtype=np.dtype(np.uint8),
            contents=["0" * 64, "1" * 64],
            results=[(image, None) for image in images],
        )
        if is_marked:
            mark_own(folder)
        return folder

    return make


def find(tmp_path):
    return [a.folder.name for a in list_arrays(tmp_path / "cache", output_dir=tmp_path)]


def test_an_array_is_listed_and_one_of_before_the_markers_too(make_array, tmp_path):
    make_array()
    make_array(f"64px-{'b' * 32}", is_marked=False)
    assert len(find(tmp_path)) == 2
    assert len(list_contents(make_array(f"96px-{'c' * 32}"))) == 2


@pytest.mark.parametrize(
    "name", ["32px-abc", f"32px-{'A' * 32}", f"px-{'a' * 32}", f"x32px-{'a' * 32}", "data"]
)
def test_a_folder_with_another_name_is_none(make_array, tmp_path, name):
    make_array(name)
    assert find(tmp_path) == []


@pytest.mark.parametrize("missing", ["pixels.npy", "contents.csv"])
def test_a_folder_without_its_files_is_none(make_array, tmp_path, missing):
    (make_array() / missing).unlink()
    assert find(tmp_path) == []


@pytest.mark.parametrize("extra", ["notes.txt", "folder"])
def test_a_folder_with_anything_else_is_none_and_is_not_removed(make_array, tmp_path, extra):
    folder = make_array()
    (array,) = list_arrays(tmp_path / "cache", output_dir=tmp_path)
    (folder / extra).mkdir()  # since it was listed
    assert find(tmp_path) == []
    assert not remove_array(array)
    assert (folder / "pixels.npy").is_file()


def test_an_array_that_has_gone_meanwhile_is_no_error(make_array, tmp_path):
    folder = make_array()
    (array,) = list_arrays(tmp_path / "cache", output_dir=tmp_path)
    shutil.rmtree(folder)
    assert not remove_array(array)


def test_what_a_killed_removal_leaves_is_removed_by_the_next_use(make_array, tmp_path, monkeypatch):
    make_array()
    (array,) = list_arrays(tmp_path / "cache", output_dir=tmp_path)
    monkeypatch.setattr(stored_arrays, "remove_path", lambda _: None)
    assert not remove_array(array)
    (leftover,) = (tmp_path / "cache").iterdir()
    assert leftover.name.startswith(".building-")
    assert find(tmp_path) == []
    long_ago = time.time() - 10**6
    os.utime(leftover, (long_ago, long_ago))
    monkeypatch.setattr("medimg_baseline_cls.utils.locks._process_mark", lambda _: None)
    remove_abandoned(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_use_is_noted_where_it_can_be(make_array, tmp_path, monkeypatch):
    folder = make_array()
    for path in (*folder.iterdir(), folder):
        os.utime(path, (1000, 1000))
    assert list_arrays(tmp_path / "cache", output_dir=tmp_path)[0].used == 1000
    note_use(folder)
    assert list_arrays(tmp_path / "cache", output_dir=tmp_path)[0].used > 10**6

    def fail(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", fail)
    note_use(folder)
    note_use(tmp_path / "none")
