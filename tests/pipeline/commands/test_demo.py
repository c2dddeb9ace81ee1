"""The demo: phantoms in, and a figure for where the maps look."""

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from medimg_baseline_cls import demo
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.pipeline.steps.session import RunResult

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
