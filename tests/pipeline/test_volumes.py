"""Volumes go the whole way that images go: to a report, and to the same weights when resumed."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.pipeline.conftest import ConfigMaker, resume_to_the_same

from medimg_baseline_cls import check, explain, predict, run, train
from medimg_baseline_cls.data.pixels.overlays import place_overlay
from medimg_baseline_cls.data.read import decode_volume
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.phantom.volume_folder import write_volumes

SHORT = {
    "slices": 6,
    "intensity": "lung",
    "group_regex": "none",
    "positive_class": "LESION",
    "image_size": 32,
    "head_epochs": 1,
    "finetune_epochs": 1,
    "batch_size": 8,
    "num_resamples": 50,
    "num_hard_examples": 1,
}


# Eigen-CAM of a layer with several cells is never empty, whatever a network has learned.
RUN = SHORT | {"cam_layer": "layer2"}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "volumes"
    return write_volumes(folder, num_train=24, num_test=10, num_slices=8, image_size=32)


@pytest.fixture(scope="module")
def volume_run(
    volumes: Path, tmp_path_factory: pytest.TempPathFactory, make_config: ConfigMaker
) -> Path:
    return run(make_config(volumes, tmp_path_factory.mktemp("outputs"), **RUN)).run_dir


def test_volumes_go_to_a_report(volume_run: Path, volumes: Path) -> None:
    summary = json.loads((volume_run / "test_summary.json").read_text())
    assert summary["num_images"] == 10
    config = json.loads((volume_run / "config.json").read_text())
    assert (config["slices"], config["slice_pooling"]) == (6, "attention")
    assert (volume_run / "report.html").is_file()
    explain(volume_run, method="eigencam")
    panels = list((volume_run / "eigencam").glob("F[PN]/*.png"))
    assert len(panels) == len(list((volume_run / "gradcam").glob("F[PN]/*.png"))) > 0
    for panel in panels:
        with Image.open(panel) as picture:
            assert picture.height > 700  # the planes are below the slice
        (source,) = volumes.glob(f"test/*/{panel.stem.rsplit('_', 1)[1]}.gz")
        overlay = nib.load(place_overlay(panel))
        np.testing.assert_array_equal(overlay.affine, nib.load(source).affine)
        assert overlay.shape == nib.load(source).shape


def test_a_prediction_is_explained_and_its_maps_are_removed_by_the_next(
    volume_run: Path, volumes: Path
) -> None:
    first, second = sorted(volumes.glob("test/LESION/*.nii.gz"))[:2]
    new = volume_run / "new.csv"
    for file in (first, second):
        predict(volume_run, [str(file)], output=new, explain=True, method="eigencam")
        maps = sorted(path.name for path in (volume_run / "new").glob("*.nii.gz"))
        assert len(maps) == 1
        assert file.name.partition(".")[0] in maps[0]
    assert "LESION" in new.read_text()


def test_an_interrupted_run_ends_with_the_same_weights(
    volume_run: Path, volumes: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    resume_to_the_same(volume_run, make_config(volumes, tmp_path, **RUN))


@pytest.fixture(scope="module")
def packed(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same volumes as MedMNIST packs them, black and white as the window of lungs."""
    arrays: dict[str, np.ndarray] = {}
    files = sorted(volumes.glob("t*/*/*.nii.gz"))
    parts = {"train": [f for f in files[10:] if f not in files[12::4]], "val": files[12::4]}
    parts["test"] = files[:10]
    for split, members in parts.items():
        voxels = np.stack([decode_volume(file.read_bytes()).voxels for file in members])
        unit = ((voxels + 1350) / 1500).clip(0, 1)
        arrays[f"{split}_images"] = np.rint(unit * 255).astype(np.uint8)
        labels = [[file.parent.name == "LESION"] for file in members]
        arrays[f"{split}_labels"] = np.array(labels, dtype=np.uint8)
    file = tmp_path_factory.mktemp("packed") / "nodulemnist3d.npz"
    np.savez_compressed(file, **arrays)
    return file


PACKED = SHORT | {"intensity": "full_range", "class_names": ("NORMAL", "LESION")}


def test_an_npz_of_volumes_keeps_its_split_and_ends_the_same_when_resumed(
    packed: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    whole = run(make_config(packed, tmp_path / "whole", **PACKED)).run_dir
    resume_to_the_same(whole, make_config(packed, tmp_path / "stopped", **PACKED))
    split = pd.read_csv(whole / "split.csv")
    assert set(split["path"][split["split"] == "test"]) == {f"test/{i}" for i in range(10)}
    assert (whole / "report.html").is_file()


def test_an_npz_is_refused_for_what_it_does_not_have(
    packed: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    with pytest.raises(DataError, match="volumes: pass --slices 8"):
        train(make_config(packed, tmp_path, **(PACKED | {"slices": 0})))
    with pytest.raises(DataError, match=r"^test/\d: the file does not give the spacing"):
        train(make_config(packed, tmp_path, **(PACKED | {"spacing": "5"})))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"slices": 0, "intensity": "full_range"}, "a volume or series of 32 x 32 x 8"),
        (
            {"intensity": "full_range"},
            r"^t\w+/\w+/patient\d+.nii.gz: voxels .* choose --intensity lung",
        ),
        (
            {"intensity": "3000/4000"},
            r"patient\d+.nii.gz: its voxels, from -\d+ to \d+, are all outside the window of "
            r"intensity = 3000/4000: choose .* such as -\d+/\d+, or percentile",
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
    if settings.get("slices") != 0:
        with pytest.raises(DataError, match=reason):
            check(make_config(volumes, tmp_path, **(SHORT | settings)))


@pytest.mark.parametrize(("window", "is_odd"), [("0/1", True), ("-1024/1", False)])
def test_a_window_that_hardly_fits_is_a_warning(
    window: str, is_odd: bool, volumes: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    config = make_config(volumes, tmp_path, **(SHORT | {"intensity": window}))
    said = f"are inside the window of {window}, the others become black or white"
    assert (said in json.dumps(check(config).content)) == is_odd


def test_a_network_of_ones_own_has_no_slices(
    volumes: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    with pytest.raises(ConfigError, match=r"slices = 6 is for networks that have a name"):
        train(make_config(volumes, tmp_path, **SHORT), model=net)
    assert not list(tmp_path.glob("runs/*/config.json"))


def test_neighbors_are_remembered_and_seen_again(
    volumes: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    done = run(make_config(volumes, tmp_path, **SHORT, slice_neighbors=2)).run_dir
    best = torch.load(done / "best.pt", weights_only=True)
    assert best["description"]["neighbors"] == 2
    stem = next(value for value in best["model"].values() if value.ndim == 4)
    assert stem.shape[1] == 5
    scored = pd.read_csv(done / "predictions_test.csv")
    files = [str(volumes / path) for path in scored["path"]]
    predict(done, files, output=tmp_path / "new.csv")
    new = pd.read_csv(tmp_path / "new.csv").set_index("path").loc[files]
    np.testing.assert_array_equal(new["prob_LESION"], scored["prob_LESION"])


def test_a_3d_network_goes_to_a_report_and_resumes(
    volumes: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    settings = RUN | {"arch": "monai3d:resnet10"}
    done = run(make_config(volumes, tmp_path / "whole", **settings)).run_dir
    explain(done, method="eigencam")
    panels = list((done / "eigencam").glob("F[PN]/*.png"))
    assert panels
    assert all(place_overlay(panel).is_file() for panel in panels)
    weights = resume_to_the_same(done, make_config(volumes, tmp_path / "parts", **settings))
    assert any(value.ndim == 5 for value in weights.values())
