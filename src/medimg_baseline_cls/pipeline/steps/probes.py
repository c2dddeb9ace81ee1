"""Run the probes of `medimg doctor` in processes of their own, and read what each has found.

A library that raises, crashes its process or hangs is the finding of one probe; what was to come
after it in its process is not known. No library is loaded here.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MODULE = "medimg_baseline_cls.pipeline.steps.probe_child"
_LATE = "it does not end within"
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe has found, or why it failed; `seconds` it took."""

    found: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str = ""
    seconds: float = 0.0

    @property
    def is_late(self) -> bool:
        """Return whether the probe did not come to its end in time."""
        return self.error.startswith(_LATE)


def run_probes(
    groups: Iterable[str], request: Mapping[str, Any], *, seconds: float
) -> dict[str, Probed]:
    """Run groups of probes at the same time, and return what each probe has found, by its name.

    Args:
        groups: of `probe_child.list_probes`.
        request: the paths to look at.
        seconds: after which a process is stopped.
    """
    deadline = time.monotonic() + seconds
    processes = {group: _start(group, request) for group in groups}
    results: dict[str, Probed] = {}
    try:
        for group, process in processes.items():
            text, end = _read(process, deadline=deadline, seconds=seconds)
            found = {f"process {group}": Probed(error=end), **read_lines(text, end=end)}
            # What two processes load is of interest where it fails.
            results |= {k: v for k, v in found.items() if k not in results or v.error}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    return results


def _start(group: str, request: Mapping[str, Any]) -> "subprocess.Popen[str]":
    paths = [path for path in (os.environ.get("PYTHONPATH"), str(_ROOT)) if path]
    quiet = {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDA_CACHE_DISABLE": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", _MODULE, group, json.dumps(request)],
        env={**os.environ, **quiet},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _read(process: "subprocess.Popen[str]", *, deadline: float, seconds: float) -> tuple[str, str]:
    """Return what a process has written, and how it ended, as a clause."""
    try:
        text, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        return text, _describe_end(process.returncode)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        return text, f"{_LATE} {seconds:g} s"


def read_lines(text: str, *, end: str) -> dict[str, Probed]:
    """Return what the lines of a process say; a probe without an end failed as the process did.

    >>> read_lines('{"name": "a", "begin": true}', end="it hangs")
    {'a': Probed(found={}, error='it hangs', seconds=0.0)}
    """
    results: dict[str, Probed] = {}
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue  # cut off
        if content.get("begin"):
            results[content["name"]] = Probed(error=end)
        else:
            results[content["name"]] = Probed(
                content.get("found", {}), content.get("error", ""), content["seconds"]
            )
    return results


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code}"
    try:
        return f"its process crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"its process crashed (signal {-code})"
