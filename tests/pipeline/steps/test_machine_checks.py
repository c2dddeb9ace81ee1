"""The checks of the machine: each names what is wrong and what to do, and leaves nothing behind."""

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections import namedtuple

import pytest

from medimg_baseline_cls.pipeline.steps import machine_checks
from medimg_baseline_cls.pipeline.steps.machine_checks import (
    check_disk,
    check_home,
    check_loaded,
    check_locale,
    check_python,
    check_threads,
    check_versions,
    check_writable,
    describe_cache,
    find_existing,
    read_cpu_limit,
)

Usage = namedtuple("Usage", "total used free")


def list_files(folder):
    return sorted(folder.rglob("*"))


# --- versions ---


@pytest.fixture
def installed(monkeypatch):
    """Versions that pip would list; the bounds are those of a small package."""
    versions = {"torch": "2.15.0+cu132", "numpy": "2.0", "pillow": "13.0rc1"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    bounds = ["torch>=2.10", "numpy>=2.0.0", "pillow>=13", 'ruff>=9 ; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: bounds)
    return versions


def test_versions_that_fit_are_one_line(installed):
    (line,) = check_versions()
    assert line.status == "ok"
    assert "torch 2.15.0+cu132" in line.found


@pytest.mark.parametrize("version", ["1.13.1", "2.9.9", "2.9.1+cpu", "2"])
def test_an_old_version_is_an_error_with_the_command(installed, version):
    installed["torch"] = version
    _, line = check_versions()
    assert (line.name, line.status) == ("torch", "error")
    assert version in line.found and "2.10" in line.found
    assert "pip install -U 'torch>=2.10'" in line.advice


@pytest.mark.parametrize("version", ["2.10", "2.10.0", "2.11.0a0+git1", "3", "10.0"])
def test_a_version_at_or_above_the_bound_fits(installed, version):
    installed["torch"] = version
    assert len(check_versions()) == 1


def test_a_missing_package_is_an_error_and_an_extra_is_not_needed(installed):
    del installed["numpy"]
    lines = check_versions()
    assert [(line.name, line.status) for line in lines[1:]] == [("numpy", "error")]
    assert "not installed" in lines[1].found


def test_without_metadata_the_bounds_are_unknown(monkeypatch, installed):
    def fail(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", fail)
    (line,) = check_versions()
    assert line.status == "warning"


def test_the_bounds_of_this_package_fit_what_is_installed_here():
    assert [line.status for line in check_versions()] == ["ok"]


def test_two_copies_of_a_library_are_a_warning(installed):
    assert check_loaded({"torch": "2.15.0", "numpy": "2.0.0", "gone": "1"}) == []
    (line,) = check_loaded({"torch": "2.1.0", "PIL": ""})
    assert (line.name, line.status) == ("torch", "warning")


def test_an_old_python_is_an_error(monkeypatch):
    assert check_python().status == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    assert check_python().status == "error"


# --- disk and permissions ---


@pytest.mark.parametrize(
    ("free", "status"), [(77, "error"), (10**9, "error"), (2 * 10**9, "warning"), (10**11, "ok")]
)
def test_little_disk_is_named(monkeypatch, tmp_path, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    line = check_disk(tmp_path / "none" / "yet")
    assert line.status == status
    assert bool(line.advice) == (status != "ok")


def test_a_drive_without_a_size_is_not_judged(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 0))
    assert check_disk(tmp_path).status == "ok"


def test_a_folder_that_can_be_written_stays_as_it_is(tmp_path):
    line = check_writable("cache", tmp_path / "a" / "b", flag="--cache-dir")
    assert line.status == "ok"
    assert list_files(tmp_path) == []


@pytest.mark.parametrize("below", [(), ("deep", "down")])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, below):
    (tmp_path / "cache").write_text("no folder")
    line = check_writable("cache", (tmp_path / "cache").joinpath(*below), flag="--cache-dir")
    assert line.status == "error"
    assert "a file is where a folder is needed" in line.found
    assert "--cache-dir" in line.advice


@pytest.mark.parametrize(
    ("number", "said"), [(30, "read-only"), (28, "disk is full"), (13, "denied"), (122, "quota")]
)
def test_why_nothing_can_be_written_is_said(monkeypatch, tmp_path, number, said):
    def fail(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    line = check_writable("output", tmp_path, flag="--output-dir")
    assert line.status == "error"
    assert said in line.found
    assert line.advice.endswith("(--output-dir).")


def test_the_size_of_the_cache_is_that_of_its_arrays(tmp_path):
    for name, size in (("64px-a", 1000), ("224px-b", 2000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pixels.npy").write_bytes(bytes(size))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(bytes(10**5))
    assert describe_cache(tmp_path) == "has 2 arrays, 3.0 kB"
    assert describe_cache(tmp_path / "none") == "has 0 arrays, 0 bytes"


def test_the_nearest_place_that_exists_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert find_existing(tmp_path / "file" / "x") == tmp_path / "file"
    assert find_existing(tmp_path.relative_to(tmp_path) / "x" / "y") == tmp_path


# --- threads ---


@pytest.fixture
def cores(monkeypatch):
    """A machine of eight cores without a limit and without settings."""
    monkeypatch.setattr(machine_checks, "count_cores", lambda: 8)
    monkeypatch.setattr(machine_checks, "read_cpu_limit", lambda: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return monkeypatch


def test_as_many_threads_as_cores_are_fine(cores):
    assert check_threads(8).status == "ok"
    assert check_threads(None).status == "ok"


@pytest.mark.parametrize("num_threads", [1, None])
def test_one_thread_on_many_cores_is_named(cores, num_threads):
    cores.setenv("OMP_NUM_THREADS", "1")
    line = check_threads(num_threads)
    assert line.status == "warning"
    assert "OMP_NUM_THREADS=1" in line.found
    assert "OMP_NUM_THREADS=8" in line.advice


def test_one_thread_on_one_core_is_fine(cores):
    cores.setattr(machine_checks, "count_cores", lambda: 1)
    cores.setenv("OMP_NUM_THREADS", "1")
    assert check_threads(1).status == "ok"


def test_more_threads_than_the_container_may_use_are_named(cores):
    cores.setattr(machine_checks, "read_cpu_limit", lambda: 2.0)
    line = check_threads(8)
    assert line.status == "warning"
    assert "OMP_NUM_THREADS=2" in line.advice
    assert check_threads(2).status == "ok"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_container_is_read(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_cpu_limit(tmp_path) == limit


# --- locale and home ---


@pytest.fixture
def no_locale(monkeypatch):
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "utf-8")
    monkeypatch.setattr(machine_checks.locale, "getpreferredencoding", lambda _: "UTF-8")
    return monkeypatch


@pytest.mark.parametrize("value", ["C.UTF-8", "de_DE.utf8", "en_US.UTF-8"])
def test_a_locale_of_utf_8_is_fine(no_locale, value):
    no_locale.setenv("LANG", value)
    assert check_locale().status == "ok"


def test_a_container_without_a_locale_is_fine(no_locale):
    assert check_locale().status == "ok"
    no_locale.setenv("LC_CTYPE", "C.UTF-8")  # as Python sets it there
    assert check_locale().status == "ok"


@pytest.mark.parametrize("value", ["C", "POSIX", "de_DE"])
@pytest.mark.parametrize("name", ["LANG", "LC_ALL"])
def test_a_locale_of_another_encoding_is_named(no_locale, name, value):
    no_locale.setenv(name, value)
    no_locale.setenv("LC_CTYPE", "C.UTF-8")  # as Python sets it for LANG=C
    line = check_locale()
    assert line.status == "warning"
    assert f"{name}={value}" in line.found
    assert "C.UTF-8" in line.advice


def test_names_that_python_cannot_read_are_named(no_locale):
    no_locale.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    line = check_locale()
    assert line.status == "warning"
    assert "ascii for file names" in line.found


def test_a_home_that_can_be_written_is_fine(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_home().status == "ok"
    assert list_files(tmp_path) == []


def test_a_home_that_is_not_set_is_a_warning(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    line = check_home()
    assert line.status == "warning" or "written" in line.found
    assert "HOME" in line.found + line.advice


def test_a_home_that_is_not_there_or_a_file_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for name in ("gone", "file"):
        monkeypatch.setenv("HOME", str(tmp_path / name))
        line = check_home()
        assert (line.name, line.status) == ("home", "error")
        assert "HF_HOME" in line.advice


def test_a_number_without_an_account_is_an_error(monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(machine_checks.Path, "home", fail)
    assert check_home().status == "error"
