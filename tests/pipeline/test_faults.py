"""A disk that fills up, memory that runs out: one sentence, nothing lost, and a way to the end."""

import errno
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from medimg_baseline_cls import evaluate, resume, train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import MedimgError, ResourceError
from medimg_baseline_cls.pipeline.commands import train as training_module
from medimg_baseline_cls.utils import space
from medimg_baseline_cls.utils.files import read_csv
from medimg_baseline_cls.utils.runs import is_trained, read_status

ConfigMaker = Callable[..., Config]
SMALL = {"arch": "test_resnet", "finetune_epochs": 1, "num_resamples": 50, "num_workers": 0}


class Disk:
    """Counts what is synced to the disk, and is full after `room` files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_files, self.room = 0, 10**9
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self.sync)

    def sync(self, handle: int) -> None:
        self.num_files += 1
        if self.num_files > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(handle)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture(scope="module")
def whole(
    phantoms: Path, tmp_path_factory: pytest.TempPathFactory, make_config: ConfigMaker
) -> tuple[Path, int]:
    """Return an undisturbed run, and how often it synced."""
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        config = make_config(phantoms, tmp_path_factory.mktemp("whole"), **SMALL)
        return train(config).run_dir, disk.num_files


def require_whole_files(run: Path) -> None:
    """Read every file of a run folder; what is half written cannot be read."""
    for path in (path for path in run.rglob("*") if path.is_file()):
        assert path.suffix != ".tmp"
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".csv":
            read_csv(path)
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)


def read_weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "best.pt", weights_only=True)["model"]


@pytest.mark.parametrize("number", range(4))
def test_training_on_a_disk_that_fills_up_ends_the_same_after_all(
    whole: tuple[Path, int],
    disk: Disk,
    phantoms: Path,
    tmp_path: Path,
    make_config: ConfigMaker,
    number: int,
) -> None:
    undisturbed, num_files = whole
    # Spread over the whole training, from the pixel cache to the last epoch.
    step = num_files / 4
    disk.room = int(number * step + random.Random(number).uniform(0, step - 1))
    config = make_config(phantoms, tmp_path, **SMALL)
    with pytest.raises(MedimgError, match="cannot be written") as caught:
        train(config)
    runs = list((tmp_path / "runs").glob("medimg_*"))
    for run in runs:
        require_whole_files(run)
    disk.room = 10**9
    if runs:
        assert isinstance(caught.value, ResourceError)
        assert str(caught.value).endswith(f"continue with: medimg run --resume {runs[0]}")
        assert not is_trained(runs[0])
        again = resume(runs[0]).run_dir
    else:
        again = train(config).run_dir
    ours, theirs = read_weights(again), read_weights(undisturbed)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_an_evaluation_on_a_full_disk_can_be_repeated(whole: tuple[Path, int], disk: Disk) -> None:
    run = whole[0]
    disk.room = 0
    with pytest.raises(ResourceError, match="the disk is full.*, then repeat the command"):
        evaluate(run)
    require_whole_files(run)
    disk.room = 10**9
    evaluate(run)
    assert len(read_csv(run / "test_log.csv")) == 1


def test_memory_that_runs_out_while_features_are_computed_is_one_sentence(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"
            " memory: you tried to allocate 603979776 bytes."
        )

    monkeypatch.setattr(training_module, "fit", exhaust)
    with pytest.raises(ResourceError, match="there is not enough memory: close other programs"):
        train(make_config(phantoms, tmp_path, **SMALL))
    (run,) = (tmp_path / "runs").glob("medimg_*")
    assert read_status(run) == "interrupted"


@pytest.mark.parametrize("changes", [{}, {"head_epochs": 0, "ema_decay": 0.9}])
def test_what_a_run_needs_is_estimated_before_it_begins(
    phantoms: Path,
    tmp_path: Path,
    make_config: ConfigMaker,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, float],
) -> None:
    # A larger network, of which the tensors are nearly everything that a checkpoint contains.
    config = make_config(phantoms, tmp_path, **{**SMALL, **changes, "arch": "resnet18"})
    run = train(config).run_dir
    written = sum((run / n).stat().st_size for n in ("best.pt", "last.pt", "last.pt"))
    if (run / "best_head.pt").exists():
        written += (run / "best_head.pt").stat().st_size
    said = capsys.readouterr().out
    (line,) = re.findall(r"disk: at least .* needed \(pixels .*, checkpoints (\S+) MB\)", said)
    assert float(line) * 1e6 == pytest.approx(written, rel=0.02)


def test_a_run_for_which_there_is_no_room_is_not_begun(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SimpleNamespace(total=10**9, free=10**5)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: small)
    with pytest.raises(ResourceError, match="100 kB of free disk space, but at least") as error:
        train(make_config(phantoms, tmp_path, **SMALL))
    assert str(error.value).endswith("then repeat the command.")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
