"""The same seed gives the same run, however and wherever it is made."""

import csv
import os
import shutil
import signal
import subprocess
import sys
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


# Sends itself a signal instead of writing the files of one epoch.
STOPPED = """
import os, sys
signal, left = map(int, sys.argv[1:3])
def watch(event, args):
    global left
    if event == "os.rename" and str(args[1]).endswith("last.pt"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal)
sys.addaudithook(watch)
from medimg_baseline_cls.cli import main
sys.exit(main(sys.argv[3:]))
"""


def train_in(
    phantoms: Path, outputs: Path, launcher: list[str]
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Return how `medimg train` ended in a process of its own, and its run folder."""
    flags = "--image-size 64 -b 16 --head-epochs 1 --epochs 2 --lr 1e-3 --val-fraction 0.25"
    flags += " --arch test_resnet --no-pretrained --num-hard-examples 3 --num-resamples 50"
    done = subprocess.run(
        [*launcher, "train", *flags.split(), "--data-dir", phantoms, "--output-dir", outputs],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    (run_dir,) = (path for path in (outputs / "runs").iterdir() if not path.is_symlink())
    return done, run_dir


def stop_by(number: signal.Signals, *, after: int) -> list[str]:
    return [sys.executable, "-c", STOPPED, f"{number.value}", f"{after}"]


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [1, 2])
def test_killed_and_resumed_run_is_the_same(
    num_epochs: int, finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    killed, run_dir = train_in(phantoms, tmp_path, stop_by(signal.SIGKILL, after=num_epochs))
    assert killed.returncode == -signal.SIGKILL, killed.stdout
    assert len((run_dir / "history.csv").read_text(encoding="utf-8").split()) == 1 + num_epochs
    resumed = resume(output_dir=tmp_path)
    assert resumed.run_dir.resolve() == run_dir.resolve()
    evaluate(run_dir)
    assert_same_run(finished_run, run_dir)


@pytest.mark.slow
def test_interrupted_run_says_how_to_go_on(
    finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    stopped, run_dir = train_in(phantoms, tmp_path, stop_by(signal.SIGINT, after=1))
    assert stopped.returncode == 130, stopped.stdout
    assert "--resume" in stopped.stdout and "Traceback" not in stopped.stdout
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
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    launcher += ["-m", "medimg_baseline_cls"]
    done, run_dir = train_in(phantoms, tmp_path, launcher)
    assert done.returncode == 0, done.stdout
    assert (run_dir / "best.pt").is_file()
    evaluate(run_dir)
    with (run_dir / "split.csv").open(encoding="utf-8") as file:
        expected = sorted(r["image_id"] for r in csv.DictReader(file) if r["split"] == "val")
    with (run_dir / "predictions_val.csv").open(encoding="utf-8") as file:
        assert sorted(r["image_id"] for r in csv.DictReader(file)) == expected
