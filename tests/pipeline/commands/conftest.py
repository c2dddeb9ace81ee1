"""A callback that notes what it is told, for the sweeps of runs."""

from pathlib import Path

import pytest

from medimg_baseline_cls import Callback
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


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()
