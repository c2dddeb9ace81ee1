"""The demo: phantoms in, and a figure for where the maps look."""

import json
from pathlib import Path

import pytest

from medimg_baseline_cls import demo

SMALL = {"num_train": 60, "num_test": 24, "image_size": 64, "finetune_epochs": 2}


@pytest.mark.slow
def test_demo_ends_with_its_two_figures(tmp_path: Path) -> None:
    result = demo(output_dir=tmp_path, **SMALL)
    content = json.loads((result.run_dir / "demo.json").read_text(encoding="utf-8"))
    summary = json.loads((result.run_dir / "test_summary.json").read_text(encoding="utf-8"))
    written = summary["classes"]["PNEUMONIA"]["metrics"]["average_precision"]["value"]
    assert content["test_average_precision"] == written
    assert 0 <= content["mass_inside_lesions"] <= 1
    assert 0 < content["mass_inside_lesions_uniform"] < 1
    log = (result.run_dir / "log.txt").read_text(encoding="utf-8")
    assert "random weights" in log
    assert "times" in log
    assert (result.run_dir / "report.html").is_file()


@pytest.mark.slow
def test_phantoms_are_drawn_once_and_again_after_a_cut(tmp_path: Path) -> None:
    demo(output_dir=tmp_path, **SMALL)
    (folder,) = (tmp_path / "phantoms").iterdir()
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*.png")}
    demo(output_dir=tmp_path, **SMALL)
    assert times == {p: p.stat().st_mtime_ns for p in folder.rglob("*.png")}
