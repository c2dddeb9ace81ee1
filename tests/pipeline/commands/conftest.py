"""A finished sweep of seeds and a cross-validation, and what a callback was told of each."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medimg_baseline_cls import Callback, cross_validate, run_seeds
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.training.callbacks import Turn
from medimg_baseline_cls.training.history import FitResult


class Listener(Callback):
    """Notes which run comes next, and when each has started and ended."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_run(self, turn: Turn) -> None:
        self.told.append(f"{turn.number} of {turn.total}")

    def on_start(self, run_dir: Path) -> None:
        self.told.append("start")

    def on_end(self, result: FitResult | None) -> None:
        self.told.append("end" if result is not None else "failed")


ConfigMaker = Callable[..., Config]
Told = tuple[RunResult, Listener]
SMALL = {"head_epochs": 0, "finetune_epochs": 1}
SEEDS = {**SMALL, "num_hard_examples": 1, "num_resamples": 60}
FOLDS = {**SMALL, "num_hard_examples": 0, "num_folds": 2}


# Runs that are compared with these are trained without a callback.
@pytest.fixture(scope="session")
def finished_seeds(
    phantoms: Path, make_config: ConfigMaker, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    config, listener = make_config(phantoms, tmp_path_factory.mktemp("seeds"), **SEEDS), Listener()
    return run_seeds(config, (3, 1), callbacks=[listener]), listener


@pytest.fixture(scope="session")
def finished_folds(
    phantoms: Path, make_config: ConfigMaker, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    config, listener = make_config(phantoms, tmp_path_factory.mktemp("folds"), **FOLDS), Listener()
    return cross_validate(config, callbacks=[listener]), listener
