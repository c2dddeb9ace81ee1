"""The process that sends records to trackers, so that none of them can delay or change training.

It reads lines of JSON that name folders of which something is new, and answers each with a line per
tracker. A folder that is named again while it is busy is sent once. It ends when its input does.

    python -P -m medimg_baseline_cls.tracking.worker < LINES
"""

import json
import os
import re
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

_LONGEST = 150
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
                yield {"tracker": name, "error": describe_failure(error)}

    def _send_all(self, folder: Path, name: str, *, request: Request) -> str:
        record = read_record(folder, names=request.names)
        if record.parent is not None and not read_known(record.parent, name).get("id"):
            parent = read_record(record.parent, names=request.names)
            self._send_one(parent, name, request=request)
        see = self._send_one(record, name, request=request)
        damaged: list[MedimgError] = []
        for run in list_runs_of_sweep(folder):
            remember_request(run, request)
            try:
                member = read_record(run, names=request.names)
            except MedimgError as error:  # the others are sent first
                damaged.append(error)
            else:
                self._send_one(member, name, request=request)
        if damaged:
            raise damaged[0]
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


def describe_failure(error: BaseException) -> str:
    """Return why something could not be sent: one sentence of limited length, without its end.

    Libraries wrap an error several times, and quote each other: the first cause is what says it.

    >>> describe_failure(ConnectionRefusedError(111, "Connection refused"))
    'connection refused'
    """
    if isinstance(error, MedimgError):
        return str(error.args[0]).rstrip(".")
    causes = list(_list_causes(error))
    refused = next((_read_refusal(c) for c in causes if isinstance(c, OSError) and c.strerror), "")
    lines = (str(cause).strip().partition("\n")[0] for cause in causes)
    told = next((n for n in lines if " " in n), f"a library fails with {type(error).__name__}")
    first = re.split(r"[.;!] |\.$", refused or told, maxsplit=1)[0]
    text = f"{first[:1].lower()}{first[1:]}" if first[1:2].islower() else first
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rsplit(' ', 1)[0]} ..."


def _read_refusal(error: OSError) -> str:
    """Return what the machine says, and of which file."""
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


def _list_causes(error: BaseException) -> list[BaseException]:
    """Return what an error comes from, the first cause first, and itself last."""
    found, cause = list[BaseException](), error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return found[::-1]


if __name__ == "__main__":
    os.nice(15)  # training comes first
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as standard_output:
        os.dup2(2, 1)  # libraries print
        main(sys.stdin, standard_output)
