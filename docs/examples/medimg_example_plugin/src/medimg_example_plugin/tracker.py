"""A callback: one line of JSON for each event, as a tracker would send it somewhere.

train(config, callbacks=[JsonLines(Path("events.jsonl"))])
"""

import json
from dataclasses import asdict
from pathlib import Path

from medimg_baseline_cls import Callback
from medimg_baseline_cls.training.callbacks import Turn
from medimg_baseline_cls.training.history import EpochRow, FitResult


class JsonLines(Callback):
    """Appends what it is told to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_run(self, turn: Turn) -> None:
        """Write which run of a cross-validation or a sweep comes next."""
        self._write("run", **asdict(turn))

    def on_start(self, run_dir: Path) -> None:
        """Write which run it is."""
        self._write("start", run_dir=str(run_dir))

    def on_epoch(self, row: EpochRow) -> None:
        """Write the row of history.csv."""
        self._write("epoch", **asdict(row))

    def on_end(self, result: FitResult | None) -> None:
        """Write how it ended."""
        self._write("end", **({} if result is None else asdict(result)))

    def _write(self, event: str, **values: object) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **values}) + "\n")
