"""The process that sends records to trackers, so that none of them can delay or change training.

It reads lines of JSON that name folders of which something is new, and answers each with a line per
tracker. A folder that is named again while it is busy is sent once. It ends when its input does.

    python -P -m medimg_baseline_cls.tracking.worker < LINES
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from medimg_baseline_cls.errors import MedimgError
from medimg_baseline_cls.tracking.artifacts import list_artifacts
from medimg_baseline_cls.tracking.memory import (
    Request,
    local_store,
    read_known,
    read_request,
    remember_request,
    write_known,
)
from medimg_baseline_cls.tracking.record import RunRecord, list_runs_of_sweep, read_record
from medimg_baseline_cls.tracking.trackers import Tracker, make_tracker

_LONGEST = 300
_WATCHED = ("*.json", "*.csv", "*.html", "figures/*.png", "patients/*.json", "ensemble/*.json")


class _Inbox:
    """The folders of which something is new, in their order, each once."""

    def __init__(self, lines: TextIO) -> None:
        self._lines, self._waiting = lines, dict[str, None]()
        self._changed, self._is_closed = threading.Condition(), False
        threading.Thread(target=self._read, daemon=True).start()

    def __iter__(self) -> Iterator[Path]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                folder = next(iter(self._waiting))
                del self._waiting[folder]
            yield Path(folder)

    def _read(self) -> None:
        for line in self._lines:
            with self._changed:
                self._waiting[str(json.loads(line)["folder"])] = None
                self._changed.notify()
        with self._changed:
            self._is_closed = True
            self._changed.notify()


class Sender:
    """Sends folders to trackers, and remembers what it has sent."""

    def __init__(self) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._done: dict[tuple[str, Path], object] = {}

    def send(self, folder: Path) -> Iterator[dict[str, str]]:
        """Send what is new of a run, after the sweep it belongs to, or of a sweep and its runs.

        Yields:
            For each tracker its name, and "see", what shows the run there, or "error".
        """
        if (request := read_request(folder)) is None:
            return
        for name in request.trackers:
            try:
                yield {"tracker": name, "see": self._send_all(folder, name, request=request)}
            except Exception as error:  # a tracker and its libraries raise anything
                yield {"tracker": name, "error": _describe(error)}

    def _send_all(self, folder: Path, name: str, *, request: Request) -> str:
        record = read_record(folder, names=request.names)
        if record.parent is not None and not read_known(record.parent, name).get("id"):
            parent = read_record(record.parent, names=request.names)
            self._send_one(parent, name, request=request)
        see = self._send_one(record, name, request=request)
        for run in list_runs_of_sweep(folder):
            remember_request(run, request)
            self._send_one(read_record(run, names=request.names), name, request=request)
        return see

    def _send_one(self, record: RunRecord, name: str, *, request: Request) -> str:
        folder = record.folder
        known = read_known(folder, name)
        mark = record.state, _fingerprint(folder)
        if self._done.get((name, folder)) == mark:
            return known.get("see", "")
        if name not in self._trackers:
            self._trackers[name] = make_tracker(name)
        given = {**known, "uri": known.get("uri") or local_store(folder)}
        if record.parent is not None:
            given["parent"] = read_known(record.parent, name).get("id", "")
        with TemporaryDirectory(prefix="medimg-") as scratch:
            artifacts = list_artifacts(
                folder,
                scratch=Path(scratch),
                names=request.names,
                checkpoints=request.checkpoints,
            )
            found = self._trackers[name].send(replace(record, artifacts=artifacts), known=given)
        write_known(folder, name, known={**found, "uri": known.get("uri", "")})
        self._done[name, folder] = mark
        return found.get("see", "")


def main(lines: TextIO, answers: TextIO) -> None:
    """Send folders until there are no more lines."""
    sender = Sender()
    for folder in _Inbox(lines):
        for answer in sender.send(folder):
            answers.write(json.dumps({"folder": str(folder), **answer}) + "\n")
            answers.flush()


def _fingerprint(folder: Path) -> object:
    """Return what changes when a file changes that is sent."""
    paths = sorted(path for pattern in _WATCHED for path in folder.glob(pattern))
    found = [(str(path), path.stat()) for path in paths if path.name != "tracking.json"]
    return tuple((name, facts.st_mtime_ns, facts.st_size) for name, facts in found)


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_LONGEST]
    return text if isinstance(error, MedimgError) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    os.nice(5)  # training comes first
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as standard_output:
        os.dup2(2, 1)  # libraries print
        main(sys.stdin, standard_output)
