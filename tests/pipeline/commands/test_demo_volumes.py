"""The demo of volumes: phantom CTs in, and a figure for which slices were looked at."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medimg_baseline_cls import demo_volumes
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import RunError

TINY = {"num_train": 24, "num_test": 10, "image_size": 32, "finetune_epochs": 1}
ROOM = import_module("medimg_baseline_cls.pipeline.commands.demo_volumes")


def test_the_demo_ends_with_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shrink(**settings: Any) -> Config:
        return Config(**{**settings, "arch": "test_resnet", "num_resamples": 50})

    monkeypatch.setattr(ROOM, "Config", shrink)
    folder = demo_volumes(output_dir=tmp_path, **TINY).run_dir
    content = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    summary = json.loads((folder / "test_summary.json").read_text(encoding="utf-8"))
    assert content["test_auroc"] == summary["classes"]["LESION"]["metrics"]["auroc"]["value"]
    assert content["num_lesions"] == 5
    masks = (tmp_path / "phantoms").glob("*/masks/test/LESION/*.nii.gz")
    shares = [np.asarray(nib.load(mask).dataobj).any(axis=(0, 1)).mean() for mask in masks]
    assert content["slice_shows_lesion_by_chance"] == pytest.approx(np.mean(shares))
    assert (content["slice_shows_lesion"] * 5).is_integer()
    assert (folder / "report.html").is_file()


def test_phantoms_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Config) -> None:
        raise RunError("the phantoms are drawn")

    monkeypatch.setattr(ROOM, "run", stop)
    times = list[dict[Path, int]]()
    for _ in range(2):
        with pytest.raises(RunError, match="are drawn"):
            demo_volumes(output_dir=tmp_path, **TINY)
        times.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")})
    assert times[0] == times[1]
    assert len(times[0]) == 24 + 10 + 12 + 5
