"""Volumes go the whole way that images go: to a report, and to the same weights when resumed."""

import json
from pathlib import Path

import pytest
import torch
from tests.pipeline.conftest import ConfigMaker, Stopper

from medimg_baseline_cls import predict, resume_run, run, train
from medimg_baseline_cls.errors import DataError, RunInterrupted
from medimg_baseline_cls.phantom.volume_folder import write_volumes

SHORT = {
    "slices": 6,
    "intensity": "lung",
    "group_regex": "none",
    "positive_class": "NODULE",
    "image_size": 32,
    "head_epochs": 1,
    "finetune_epochs": 1,
    "batch_size": 8,
    "num_resamples": 50,
    "num_hard_examples": 1,
}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "volumes"
    return write_volumes(folder, num_train=24, num_test=10, num_slices=8, image_size=32)


@pytest.fixture(scope="module")
def volume_run(
    volumes: Path, tmp_path_factory: pytest.TempPathFactory, make_config: ConfigMaker
) -> Path:
    return run(make_config(volumes, tmp_path_factory.mktemp("outputs"), **SHORT)).run_dir


def test_volumes_go_to_a_report(volume_run: Path, volumes: Path) -> None:
    summary = json.loads((volume_run / "test_summary.json").read_text())
    assert summary["num_images"] == 10
    config = json.loads((volume_run / "config.json").read_text())
    assert (config["slices"], config["slice_pooling"]) == (6, "attention")
    assert (volume_run / "report.html").is_file()
    panels = list((volume_run / "gradcam").rglob("*.png"))
    assert panels
    file = next(volumes.glob("test/NODULE/*.nii.gz"))
    predict(volume_run, [str(file)], output=volume_run / "new.csv", explain=True)
    assert "NODULE" in (volume_run / "new.csv").read_text()


def test_an_interrupted_run_ends_with_the_same_weights(
    volume_run: Path, volumes: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    stopper = Stopper()
    with pytest.raises(RunInterrupted):
        train(make_config(volumes, tmp_path, **SHORT), callbacks=[stopper])
    resume_run(stopper.run_dir)
    ends = [
        torch.load(folder / "best.pt", weights_only=True)["model"]
        for folder in (volume_run, stopper.run_dir)
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"slices": 0, "intensity": "full_range"}, "a volume or series of 32 x 32 x 8"),
        (
            {"intensity": "full_range"},
            r"^t\w+/NO\w+/patient\d+.nii.gz: voxels .* choose --intensity lung",
        ),
    ],
)
def test_files_that_are_not_as_set_are_refused_with_what_to_do(
    settings: dict[str, object],
    reason: str,
    volumes: Path,
    tmp_path: Path,
    make_config: ConfigMaker,
) -> None:
    with pytest.raises(DataError, match=reason):
        train(make_config(volumes, tmp_path, **(SHORT | settings)))
