"""The images of a finished run: from its cache, from its files, or with the reason why not."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg_baseline_cls.pipeline.steps.run_images import MeasuredImages, measure_run
from medimg_baseline_cls.pipeline.steps.session import Session, reopen_session


@pytest.fixture
def moved(finished_run: Path, phantoms: Path, tmp_path: Path) -> Path:
    """Return a copy of the run next to a copy of its cache, with its data at a place of theirs."""
    outputs = tmp_path / "outputs"
    run = Path(shutil.copytree(finished_run, outputs / "runs" / finished_run.name))
    shutil.copytree(finished_run.parents[1] / "cache", outputs / "cache")
    data = shutil.copytree(phantoms, tmp_path / "data")
    config = (run / "config.json").read_text(encoding="utf-8")
    changed = config.replace(str(phantoms), str(data))
    assert changed != config
    (run / "config.json").write_text(changed, encoding="utf-8")
    return run


def open_run(run: Path) -> Session:
    return reopen_session(run, log_dir=run.parents[2])


def same(one: MeasuredImages, other: MeasuredImages) -> bool:
    assert one.measures is not None
    assert other.measures is not None
    names = ("digests", "hashes", "thumbs", "small", "statistics")
    return all(
        np.array_equal(getattr(one.measures, name), getattr(other.measures, name)) for name in names
    )


def test_pixels_come_from_files_or_from_the_cache_alike(moved: Path, tmp_path: Path) -> None:
    from_cache = measure_run(open_run(moved))
    shutil.rmtree(moved.parents[1] / "cache")
    from_files = measure_run(open_run(moved))
    assert same(from_cache, from_files)
    assert len(from_files.num_bytes) == len(from_files.split.records) == 102
    shutil.rmtree(tmp_path / "data")
    without_files = measure_run(open_run(moved))  # the files have filled the cache again
    assert same(without_files, from_files)
    assert without_files.num_bytes == ()
    assert without_files.reason == ""


def test_without_files_and_cache_there_is_a_reason(moved: Path, tmp_path: Path) -> None:
    shutil.rmtree(moved.parents[1] / "cache")
    shutil.rmtree(tmp_path / "data")
    found = measure_run(open_run(moved))
    assert found.measures is None
    assert "the data folder of this run" in found.reason
    assert len(found.split.records) == 102


def test_the_sizes_of_files_are_used_only_where_they_are_asked_for(moved: Path) -> None:
    found = measure_run(open_run(moved))
    with_sizes, without = (found.features(has_bytes=flag) for flag in (True, False))
    assert np.ptp(with_sizes.trivial[:, 3]) > 0
    assert np.ptp(without.trivial[:, 3]) == 0
    assert np.array_equal(with_sizes.border, without.border)
