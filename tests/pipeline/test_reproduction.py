"""The same seed gives the same run, however and wherever it is made."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medimg_baseline_cls import evaluate, resume, run, train
from medimg_baseline_cls.config import Config, build_config
from medimg_baseline_cls.errors import RunError

SAME_FILES = ("history.csv", "split.csv", "predictions_val.csv", "predictions_test.csv")
ConfigMaker = Callable[..., Config]


def assert_same_run(one: Path, other: Path) -> None:
    for name in SAME_FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("best.pt", "best_head.pt"):
        first = torch.load(one / name, weights_only=True)["model"]
        second = torch.load(other / name, weights_only=True)["model"]
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name


def copy_in_other_order(source: Path, target: Path) -> Path:
    for path in sorted(source.rglob("*.png"), reverse=True):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return target


@pytest.mark.parametrize("num_workers", [0, 2])
def test_place_and_workers_change_nothing(
    num_workers: int,
    finished_run: Path,
    phantoms: Path,
    tmp_path: Path,
    make_config: ConfigMaker,
) -> None:
    copy = copy_in_other_order(phantoms, tmp_path / "elsewhere")
    other = run(make_config(copy, tmp_path / "outputs", num_workers=num_workers)).run_dir
    assert_same_run(finished_run, other)


def test_another_seed_changes_the_run(
    finished_run: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    other = train(make_config(phantoms, tmp_path, seed=1)).run_dir
    assert (finished_run / "split.csv").read_bytes() != (other / "split.csv").read_bytes()


def test_config_json_repeats_the_run(finished_run: Path, tmp_path: Path) -> None:
    config = build_config(finished_run / "config.json", output_dir=tmp_path)
    assert_same_run(finished_run, run(config).run_dir)


def start_training(phantoms: Path, outputs: Path, *, processes: int = 1) -> subprocess.Popen[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    flags = "--image-size 64 -b 16 --head-epochs 1 --epochs 2 --lr 1e-3 --val-fraction 0.25"
    command = [*launcher, "-m", "medimg_baseline_cls", "train", *flags.split(), "--no-pretrained"]
    command += ["--num-hard-examples", "3"]
    return subprocess.Popen(
        [*command, "--data-dir", str(phantoms), "--output-dir", str(outputs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_for_epochs(outputs: Path, count: int) -> Path:
    """Return the run folder once its history has so many rows."""
    for _ in range(1200):
        for path in outputs.glob("runs/*/history.csv"):
            with path.open(encoding="utf-8") as file:
                if len(list(csv.DictReader(file))) >= count:
                    return path.parent
        time.sleep(0.05)
    raise AssertionError("the run did not get so far")


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [1, 2])
def test_killed_and_resumed_run_is_the_same(
    num_epochs: int, finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    process = start_training(phantoms, tmp_path)
    run_dir = wait_for_epochs(tmp_path, num_epochs)
    process.kill()
    process.communicate()
    resumed = resume(output_dir=tmp_path)
    assert resumed.run_dir.resolve() == run_dir.resolve()
    evaluate(run_dir)
    assert_same_run(finished_run, run_dir)


@pytest.mark.slow
def test_interrupted_run_says_how_to_go_on(
    finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    process = start_training(phantoms, tmp_path)
    run_dir = wait_for_epochs(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "--resume" in output and "Traceback" not in output
    assert (run_dir / "figures" / "training.png").is_file()
    resume(run_dir)
    evaluate(run_dir)
    assert_same_run(finished_run, run_dir)


def test_finished_run_is_not_resumed_afresh(finished_run: Path) -> None:
    weights = (finished_run / "best.pt").read_bytes()
    history = (finished_run / "history.csv").read_bytes()
    with pytest.raises(RunError, match="has already finished training"):
        resume(finished_run)
    assert (finished_run / "best.pt").read_bytes() == weights
    assert (finished_run / "history.csv").read_bytes() == history


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no interrupted run"):
        resume(output_dir=tmp_path)


@pytest.mark.slow
def test_two_processes_count_every_image_once(phantoms: Path, tmp_path: Path) -> None:
    process = start_training(phantoms, tmp_path, processes=2)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    (run_dir,) = (p for p in (tmp_path / "runs").iterdir() if not p.is_symlink())
    assert (run_dir / "best.pt").is_file()
    evaluate(run_dir)
    with (run_dir / "split.csv").open(encoding="utf-8") as file:
        expected = sorted(r["image_id"] for r in csv.DictReader(file) if r["split"] == "val")
    with (run_dir / "predictions_val.csv").open(encoding="utf-8") as file:
        assert sorted(r["image_id"] for r in csv.DictReader(file)) == expected
