"""A callback and a tracker, which write what they are told to a file instead of sending it.

train(config, callbacks=[JsonLines(Path("events.jsonl"))])
medimg run --track plugin:latest
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from medimg_baseline_cls import Callback
from medimg_baseline_cls.tracking.record import RunRecord
from medimg_baseline_cls.tracking.trackers import Tracker
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


class LatestRecord(Tracker):
    """Writes the latest metrics of each run next to its folder."""

    def send(self, record: RunRecord, *, known: Mapping[str, str]) -> Mapping[str, str]:
        """Replace the file; `known` has what was returned the last time, in "id" and "see"."""
        path = record.folder.with_name(f"{record.name}_metrics.json")
        path.write_text(json.dumps(dict(record.metrics)), encoding="utf-8")
        return {"id": record.name, "see": str(path)}


LATEST = LatestRecord()
