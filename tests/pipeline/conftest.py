"""A tiny data set of phantoms and a finished run on it, made once for all tests here."""

import os
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from medimg_baseline_cls import Callback, resume_run, run, train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import RunInterrupted
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.steps import calibration, subgroups, test_results
from medimg_baseline_cls.training.history import EpochRow

TINY = {
    "arch": "test_resnet",
    "image_size": 64,
    "batch_size": 16,
    "head_epochs": 1,
    "finetune_epochs": 2,
    "finetune_lr": 1e-3,
    "val_fraction": 0.25,
    "num_hard_examples": 3,
    "num_resamples": 200,
    "pretrained": False,
}


ConfigMaker = Callable[..., Config]


class Stopper(Callback):
    """Stops a training after its first epoch, as `kill` does, and knows its folder."""

    def on_start(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_epoch(self, row: EpochRow) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def resume_to_the_same(whole: Path, config: Config) -> dict[str, torch.Tensor]:
    """Train as the run `whole` did, but interrupted and resumed; return the weights of both."""
    stopper = Stopper()
    with pytest.raises(RunInterrupted):
        train(config, callbacks=[stopper])
    resume_run(stopper.run_dir)
    expected, found = (
        torch.load(folder / "best.pt", weights_only=True)["model"]
        for folder in (whole, stopper.run_dir)
    )
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    return found


@pytest.fixture(scope="session")
def make_config() -> ConfigMaker:
    def make(data_dir: Path, output_dir: Path, **changes: object) -> Config:
        return Config(data_dir=data_dir, output_dir=output_dir, **{**TINY, **changes})

    return make


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, num_train=72, num_test=30, image_size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def finished_run(
    phantoms: Path, tmp_path_factory: pytest.TempPathFactory, make_config: ConfigMaker
) -> Path:
    return run(make_config(phantoms, tmp_path_factory.mktemp("outputs"))).run_dir


@pytest.fixture(scope="session")
def undrawn() -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which evaluations write all but their figures, in half of the time."""

    @contextmanager
    def leave_out() -> Generator[None, None, None]:
        with pytest.MonkeyPatch.context() as patch:
            for module, name in (
                (test_results, "draw_evaluation"),
                (calibration, "draw_calibration"),
                (calibration, "draw_decision_curves"),
                (subgroups, "draw_subgroups"),
            ):
                patch.setattr(module, name, lambda *_, **__: None)
            yield

    return leave_out
