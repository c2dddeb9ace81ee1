"""Volumes in the speed benchmark: all programs see the same phantoms and train the same parts."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medimg_baseline_cls.phantom.thorax import make_volume

pytest.importorskip("monai.networks.nets")
pytestmark = pytest.mark.filterwarnings("ignore:::monai")  # it asks for optional readers
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SHAPE = {"slices": 32, "image_size": 32}  # the least that DenseNet-121 can halve five times
CLASSES = ("LESION", "NORMAL")
COUNTS = {"train": 4, "val": 2, "test": 2}


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """Import the scripts, which find each other in their own folders."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        patch.syspath_prepend(BENCHMARKS / "jobs")
        names = ("common", "films", "harness", "monai_volumes", "run_all", "volume_speed")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def folder(scripts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = scripts.films.Counts(**COUNTS)
    return scripts.films.make_volumes(tmp_path_factory.mktemp("volumes") / "ct", counts, **SHAPE)


def test_each_patient_is_in_one_split_and_half_have_a_lesion(folder: Path) -> None:
    files = list(folder.rglob("*.nii.gz"))
    assert len({path.name for path in files}) == len(files) == sum(COUNTS.values())
    found = {
        (split, name): len(list((folder / split / name).iterdir()))
        for split in COUNTS
        for name in CLASSES
    }
    assert found == {(split, name): COUNTS[split] // 2 for split in COUNTS for name in CLASSES}


def test_monai_reads_the_voxels_that_were_drawn(
    scripts: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scripts.monai_volumes
    monkeypatch.setattr(job, "WORKERS", 0)
    paths = [path for name in CLASSES for path in (folder / "val" / name).iterdir()]
    drawn = [
        make_volume(0, int(path.name[7:11]), has_lesion=not label, num_slices=32, image_size=32)
        for label, path in enumerate(paths)
    ]
    lung = (np.stack([volume.voxels for volume in drawn]).clip(-1350, 150) + 1350) / 1500
    for arch, expected in (
        ("MILModel", np.repeat(lung[:, :, None], 3, axis=2)),  # (B, Z, 3, Y, X)
        ("DenseNet121", lung.transpose(0, 3, 2, 1)[:, None]),  # (B, 1, X, Y, Z)
    ):
        settings = scripts.common.Job(str(folder), "", arch=arch, **SHAPE)
        loader = job.load_parts(settings)["val"]
        pixels, labels = loader.collate_fn([loader.dataset[0], loader.dataset[1]])
        assert labels.tolist() == [0, 1]
        np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "num_weights"),
    [
        ("resnet18", 512 * 2 + 2),
        ("densenet121", 1024 * 2 + 2),
        ("DenseNet121", 1024 * 2 + 2),
        ("MILModel", 512 * 2048 + 2048 + 2048 + 1 + 512 * 2 + 2),  # the attention, too
    ],
)
def test_the_first_stage_trains_the_head_alone(
    scripts: SimpleNamespace, arch: str, num_weights: int
) -> None:
    source = scripts.common if arch.islower() else scripts.monai_volumes
    net = source.build_network(scripts.common.Job("", "", arch=arch))
    scripts.common.freeze_body(net, True)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == num_weights
    scripts.common.freeze_body(net, False)
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["MILModel", "DenseNet121"])
def test_a_job_ends_with_its_epochs(
    scripts: SimpleNamespace,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arch: str,
) -> None:
    result = tmp_path / "result.json"
    job = scripts.volume_speed.JOB | {"data": str(folder), "result": str(result), "arch": arch}
    (tmp_path / "job.json").write_text(json.dumps(job | SHAPE | {"batch_size": 2}))
    monkeypatch.setattr(scripts.monai_volumes, "WORKERS", 0)
    monkeypatch.setattr(sys, "argv", ["monai_volumes.py", str(tmp_path / "job.json")])
    scripts.monai_volumes.main()
    epochs = json.loads(result.read_text())["epochs"]
    assert [epoch["stage"] for epoch in epochs] == ["head", "finetune", "finetune"]
    assert all(epoch["images_per_second"] > 0 for epoch in epochs)
    assert all(0 < epoch["val_ap"] <= 1 for epoch in epochs)


def test_ratios_are_those_of_medians(scripts: SimpleNamespace) -> None:
    found = {
        name: [
            scripts.harness.Outcome(
                s, 1000.0, {"epochs": [{"images_per_second": 9}, {"images_per_second": speed}]}
            )
            for s in seconds
        ]
        for name, seconds, speed in (
            ("medimg", (120, 130, 100), 4.0),
            ("MONAI MILModel", (90, 180, 900), 2.0),
            ("MONAI MILModel, flags", (60, 60, 60), 5.0),
        )
    }
    rows, ratios = scripts.volume_speed.tabulate(found, num_volumes=200)
    assert ratios == {
        "minutes": (2.0, "<= 6"),
        "MONAI MILModel to medimg": (1.5, "> 1"),
        "MONAI MILModel, flags to medimg": (0.5, "(none set)"),
    }
    expected = ["MONAI MILModel", "180.0 (90.0-900.0)", "1.50", "2.00 (2.00-2.00)", "1,000"]
    assert rows[1] == expected
    _, ratios = scripts.volume_speed.tabulate(found, num_volumes=8)
    assert ratios["minutes"] == (2.0, "(none set)")


def test_the_page_keeps_the_answers_to_other_questions(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts.run_all, "RESULTS", tmp_path)
    known = json.loads((BENCHMARKS.parent / "docs/benchmarks/cold_start.json").read_text())
    (tmp_path / "cold_start.json").write_text(json.dumps(known))
    scripts.run_all.write_page()
    before = (tmp_path / "speed.md").read_text().splitlines()
    new = known | {"title": "Volumes", "ratios": {"minutes": {"found": 5.125, "wanted": "<= 6"}}}
    (tmp_path / "volume_speed.json").write_text(json.dumps(new))
    scripts.run_all.write_page()
    after = (tmp_path / "speed.md").read_text().splitlines()
    assert set(before) <= set(after)
    assert "| Volumes | minutes | 5.12 | <= 6 |" in after
