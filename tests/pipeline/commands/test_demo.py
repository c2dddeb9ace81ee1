"""The demo: phantoms in, and a figure for where the maps look."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls import demo
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import DataError, RunError
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.steps.session import RunResult

TINY = {"num_train": 4, "num_test": 4, "image_size": 32, "finetune_epochs": 1}
SMALL = {"num_train": 60, "num_test": 24, "image_size": 64, "finetune_epochs": 1}
ROOM = import_module("medimg_baseline_cls.pipeline.commands.demo")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunResult]:
    """The demo of a small network, with few resamples."""

    def shrink(**settings: Any) -> Config:
        return Config(**settings, arch="test_resnet", num_resamples=50)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ROOM, "Config", shrink)
        yield demo(output_dir=tmp_path_factory.mktemp("outputs"), **SMALL)


@pytest.mark.slow
def test_demo_ends_with_its_two_figures(finished: RunResult) -> None:
    content = json.loads((finished.run_dir / "demo.json").read_text(encoding="utf-8"))
    summary = json.loads((finished.run_dir / "test_summary.json").read_text(encoding="utf-8"))
    written = summary["classes"]["PNEUMONIA"]["metrics"]["average_precision"]["value"]
    assert content["test_average_precision"] == written
    assert 0 <= content["mass_inside_lesions"] <= 1
    assert 0 < content["mass_inside_lesions_uniform"] < 1
    log = (finished.run_dir / "log.txt").read_text(encoding="utf-8")
    assert "random weights" in log
    assert "times" in log
    assert (finished.run_dir / "report.html").is_file()


@pytest.mark.slow
def test_phantoms_are_drawn_once(finished: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Config) -> None:
        raise RunError("the phantoms are drawn")

    outputs = finished.run_dir.parents[1]
    (folder,) = (outputs / "phantoms").iterdir()
    monkeypatch.setattr(ROOM, "run", stop)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    with pytest.raises(RunError, match="are drawn"):
        demo(output_dir=outputs, **SMALL)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def test_a_demo_that_was_killed_after_drawing_its_phantoms_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dirs = list[Path | None]()

    def stop(config: Config) -> None:
        data_dirs.append(config.data_dir)
        raise RunError("the phantoms are drawn")

    monkeypatch.setattr(ROOM, "run", stop)
    folder = write_phantoms(
        tmp_path / "phantoms" / "4_4_32_0_0", num_train=4, num_test=4, image_size=32, seed=0
    )
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="are drawn"):
        demo(output_dir=tmp_path, **TINY)
    assert data_dirs == [folder]
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_somebody_else_are_not_taken_for_phantoms(tmp_path: Path) -> None:
    folder = tmp_path / "phantoms" / "4_4_32_0_0"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="is not empty"):
        demo(output_dir=tmp_path, **TINY)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
