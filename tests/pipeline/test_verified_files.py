"""Every command verifies the checkpoints and the split of a run before it uses them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medimg_baseline_cls import evaluate, report, resume, train
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import MedimgError, RunError
from medimg_baseline_cls.utils.files import read_csv, sha256_file
from medimg_baseline_cls.utils.runs import write_status

RESULTS = ("test_log.csv", "thresholds.json", "predictions_test.csv", "test_summary.json")


@pytest.fixture(scope="module")
def trained_run(
    phantoms: Path, tmp_path_factory: pytest.TempPathFactory, make_config: Callable[..., Config]
) -> Path:
    changes = {"arch": "test_resnet", "finetune_epochs": 1, "num_resamples": 50}
    return train(make_config(phantoms, tmp_path_factory.mktemp("trained"), **changes)).run_dir


@pytest.fixture
def copy(trained_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained_run, tmp_path / "runs" / "copy")


def flip_a_weight(path: Path) -> None:
    data = bytearray(path.read_bytes())
    weights = torch.load(path, weights_only=True)["model"]["fc.weight"]
    data[data.index(weights.numpy().tobytes()) + 3] ^= 0x40
    path.write_bytes(data)


def change_provenance(run_dir: Path, **changes: object) -> None:
    settings = json.loads((run_dir / "config.json").read_text())
    settings["provenance"] |= changes
    (run_dir / "config.json").write_text(json.dumps(settings))


def move_train_images_to_test(run_dir: Path) -> None:
    text = (run_dir / "split.csv").read_text()
    (run_dir / "split.csv").write_text(text.replace(",train,", ",test,", 1))


def swap_labels(run_dir: Path) -> None:
    lines = (run_dir / "split.csv").read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if ",test," in line and ",NORMAL," in line)
    lines[at] = lines[at].replace(",NORMAL,", ",PNEUMONIA,")
    (run_dir / "split.csv").write_text("".join(lines))


def swap_checkpoints(run_dir: Path) -> None:
    shutil.copy(run_dir / "last.pt", run_dir / "best.pt")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "best.pt flipped": (lambda run: flip_a_weight(run / "best.pt"), r"best\.pt .* it is damaged"),
    "head flipped": (lambda run: flip_a_weight(run / "best_head.pt"), r"best_head\.pt .*damaged"),
    "last.pt as best.pt": (swap_checkpoints, r"best\.pt is a checkpoint of another kind"),
    "best_head.pt as a folder": (
        lambda run: ((run / "best_head.pt").unlink(), (run / "best_head.pt").mkdir()),
        r"best_head\.pt is not a readable checkpoint: it is a folder",
    ),
    "a split with TRAIN in TEST": (move_train_images_to_test, r"changed since training: the split"),
    "a split with other labels": (swap_labels, r"changed since training: the split"),
    "another positive class": (
        lambda run: change_provenance(run, positive_class="NORMAL"),
        "positive_class = PNEUMONIA, but config.json has NORMAL",
    ),
    "another split of config.json": (
        lambda run: change_provenance(run, split_sha256="0" * 64),
        r"changed since training: the split",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_was_changed_after_training_is_refused_before_test_is_scored(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, pattern = DAMAGE[name]
    change(copy)
    with pytest.raises(MedimgError, match=pattern) as refusal:
        evaluate(copy)
    assert "\n" not in str(refusal.value) and "weights_only" not in str(refusal.value)
    assert not any((copy / result).exists() for result in RESULTS)
    assert main(["evaluate", str(copy)]) == 2
    assert "Traceback" not in "".join(capsys.readouterr())


def test_an_edited_split_may_be_accepted_and_stays_in_sight(copy: Path) -> None:
    swap_labels(copy)
    warnings = evaluate(copy, accept="a label was wrong").summary["warnings"]
    (row,) = read_csv(copy / "test_log.csv")
    assert "in training, is" in row["accepted"] and "a label was wrong" in row["accepted"]
    assert any("a label was wrong" in text for text in warnings)
    report(copy)
    assert "a label was wrong" in (copy / "report.html").read_text()


def test_the_split_of_training_is_known_to_checkpoint_and_settings(trained_run: Path) -> None:
    digest = sha256_file(trained_run / "split.csv")
    provenance = json.loads((trained_run / "config.json").read_text())["provenance"]
    assert provenance["split_sha256"] == digest
    for name in ("best.pt", "best_head.pt"):
        assert torch.load(trained_run / name, weights_only=True)["split_sha256"] == digest


def test_a_run_of_an_earlier_version_is_evaluated(copy: Path) -> None:
    for name in ("best.pt", "best_head.pt"):
        content = torch.load(copy / name, weights_only=True)
        del content["split_sha256"]
        torch.save(content, copy / name)
    settings = json.loads((copy / "config.json").read_text())
    del settings["provenance"]["split_sha256"]
    (copy / "config.json").write_text(json.dumps(settings))
    evaluate(copy)
    assert (copy / "test_summary.json").is_file()


def test_a_checkpoint_of_a_run_with_another_split_is_refused(copy: Path) -> None:
    content = torch.load(copy / "best.pt", weights_only=True)
    torch.save({**content, "split_sha256": "0" * 64}, copy / "best.pt")
    with pytest.raises(RunError, match="was trained with split_sha256 = 000"):
        evaluate(copy, accept="anything")


def test_a_run_whose_split_was_edited_is_not_resumed(copy: Path) -> None:
    write_status(copy, "interrupted")
    move_train_images_to_test(copy)
    with pytest.raises(RunError, match="cannot be resumed, since this has changed: the split"):
        resume(copy)
