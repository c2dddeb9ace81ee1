"""The callback that has a run tracked: it tells a process of its own where there is something new.

Training never waits for a tracker: what is told is the name of a folder, written to a pipe that
drops it when it is full. A tracker that fails is one warning, since everything that it lacks is in
the run folder and can be sent later.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.tracking.memory import Request, read_request, remember_request
from medimg_baseline_cls.tracking.trackers import read_names, require_trackers
from medimg_baseline_cls.training.callbacks import Callback
from medimg_baseline_cls.training.history import EpochRow, FitResult
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.runs import find_sweep_folder
from medimg_baseline_cls.utils.visible import quote_words

_LAST_WAIT, _LAST_WAIT_WHEN_CUT = 60.0, 2.0  # seconds, when all else is done
_STEP = 0.05
_ROOT = Path(__file__).resolve().parents[2]
# MLflow would report to its makers, and retry for minutes.
_ALWAYS = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"}
_UNLESS_SET = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class Tracking(Callback):
    """Mirrors each run that it is a callback of, in MLflow or other trackers.

    Use it in a `with` block: at its end it waits, up to a minute, for what is not sent yet. Without
    one, the end of the program waits. Errors of a tracker are one warning.

    Example:
        >>> with Tracking("tensorboard") as tracking:
        ...     pass  # run(config, callbacks=[tracking])
    """

    def __init__(
        self,
        trackers: str | Sequence[str] = (),
        *,
        uri: str | None = None,
        names: bool = False,
        checkpoints: bool = False,
    ) -> None:
        """Check that the trackers can be used.

        Args:
            trackers: "mlflow", "tensorboard", "plugin:NAME", or several; none: those by which a run
                that is resumed was tracked before.
            uri: a server or store of MLflow; None takes MLFLOW_TRACKING_URI, else a local store,
                OUTPUT_DIR/mlflow/mlflow.db.
            names: also send names of files and patients, paths, and images of patients.
            checkpoints: also send best.pt.

        Raises:
            ConfigError: a tracker is unknown or its package is missing, or the address has a
                password.
        """
        found = read_names(trackers)
        require_trackers(found)
        _check_uri(uri, found)
        place = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        self._request = (
            Request(trackers=found, uri=place, names=names, checkpoints=checkpoints)
            if found
            else None
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._folders: dict[Path, None] = {}
        self._rest = b""
        self._failed: dict[tuple[str, Path], str] = {}
        self._seen: dict[str, str] = {}
        self._is_cut = self._has_warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_start(self, run_dir: Path) -> None:
        """Note in the run folder how it is tracked, and send its settings."""
        self._folders.pop(run_dir, None)  # the latest is the last one
        self._begin(run_dir)

    def on_epoch(self, row: EpochRow) -> None:
        """Send the metrics of the epoch."""
        if self._folders:
            self._tell(next(reversed(self._folders)))

    def on_results(self, folder: Path) -> None:
        """Send the estimates, the report and the other files."""
        self._begin(folder)

    def on_end(self, result: FitResult | None) -> None:
        """Wait only shortly at the end where training was interrupted."""
        self._is_cut = result is None

    def close(self, *, wait: float | None = None) -> None:
        """Send what is left, and end.

        Args:
            wait: seconds, at most; None takes a minute, or two seconds after an interruption.
        """
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        assert process.stdin is not None
        limit = wait or (_LAST_WAIT_WHEN_CUT if self._is_cut else _LAST_WAIT)
        end = time.monotonic() + limit
        try:
            for folder in self._folders:  # their states have changed since
                while not self._write(process, folder) and time.monotonic() < end:
                    self._read(process)
                    time.sleep(_STEP)
            with contextlib.suppress(OSError):
                process.stdin.close()
            while process.poll() is None and time.monotonic() < end:
                self._read(process)
                time.sleep(_STEP)
        finally:
            is_late = process.poll() is None
            if is_late:
                process.kill()
            process.wait()
            self._read(process)
            if process.stdout is not None:
                process.stdout.close()
        if is_late or process.returncode:
            slow = "did not take everything in time" if is_late else "ended too early"
            folder = next(reversed(self._folders))
            self._failed["", folder] = f"the tracker {slow}"
            self._warn(f"the tracker {slow}", folder=folder)
        elif not self._failed:
            self._say_where()

    def send(self, folders: Sequence[Path]) -> list[str]:
        """Send finished runs, however long it takes, without a warning.

        Returns:
            A sentence for each that was not taken.
        """
        self._has_warned = True
        for folder in folders:
            self._note(folder)
        self._start()
        self.close(wait=float("inf"))
        if self._failed:
            self._say_where()
        return [
            f"{tracker or 'tracking'} has not taken {folder}: {reason}."
            for (tracker, folder), reason in self._failed.items()
        ]

    def _begin(self, folder: Path) -> None:
        if self._note(folder):
            self._tell(folder)

    def _note(self, folder: Path) -> bool:
        """Note in a folder how it is tracked; return whether it is."""
        parent = find_sweep_folder(folder)
        request = self._request or read_request(folder)
        if request is None and parent is not None:
            request = read_request(parent)
        if request is not None:
            for place in filter(None, (parent, folder)):
                remember_request(place, request)
            self._folders[folder] = None
        return request is not None

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = _start_worker()
            atexit.register(self.close)
        return self._process

    def _tell(self, folder: Path) -> None:
        self._write(self._start(), folder)
        self._read(self._start())

    def _write(self, process: "subprocess.Popen[bytes]", folder: Path) -> bool:
        """Name a folder; return False where the pipe is full: it is named again at the end."""
        line = json.dumps({"folder": str(folder.resolve())}).encode() + b"\n"
        assert process.stdin is not None
        try:
            os.write(process.stdin.fileno(), line)
        except BlockingIOError:
            return False
        except OSError:
            self._warn("its process has ended", folder=folder)
        return True

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        """Take what the process has answered so far."""
        assert process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while part := os.read(process.stdout.fileno(), 65536):
                self._rest += part
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            answer: dict[str, str] = json.loads(line)
            tracker = answer["tracker"]
            named = {str(folder.resolve()): folder for folder in self._folders}
            folder = named.get(answer["folder"], Path(answer["folder"]))
            if "error" in answer:
                self._failed[tracker, folder] = answer["error"]
                self._warn(f"{tracker}: {answer['error']}", folder=folder)
            else:
                self._failed.pop((tracker, folder), None)
                self._seen[tracker] = answer["see"]

    def _warn(self, reason: str, *, folder: Path) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        command = quote_words("medimg", "track", str(folder))
        open_log(folder / "log.txt").warn(
            f"not tracked ({reason}); the results are the same, and {command} sends what is missing"
        )

    def _say_where(self) -> None:
        log = open_log(None)
        for tracker, place in self._seen.items():
            log.info(f"tracked by {tracker}{': ' * bool(place)}{place}")


def _start_worker() -> "subprocess.Popen[bytes]":
    """Start the process that sends, where Ctrl-C in the terminal does not reach it."""
    paths = [str(_ROOT), *filter(None, sys.path)]
    environment = {**_UNLESS_SET, **os.environ, **_ALWAYS, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "medimg_baseline_cls.tracking.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # not a session of its own, which Linux would give a full share of time
        env=environment,
    )
    assert process.stdin is not None and process.stdout is not None
    for pipe in (process.stdin, process.stdout):
        os.set_blocking(pipe.fileno(), False)
    return process


def _check_uri(uri: str | None, trackers: Sequence[str]) -> None:
    """Refuse an address that nothing uses, and one with a password: tracking.json would have it."""
    if uri is None:
        return
    if not set(trackers) - {"tensorboard"}:
        raise ConfigError(f"the tracking URI {uri!r} has no effect: add --track mlflow.")
    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise ConfigError(
            "the tracking URI contains a user or password, which would be stored: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )
    if uri.startswith("http") and "?" in uri:
        raise ConfigError(
            "the tracking URI contains a query (after ?), which would be stored and printed: leave "
            "it out, and set MLFLOW_TRACKING_TOKEN for a token."
        )
    if uri.partition(":///")[0].startswith("sqlite") and not uri.partition(":///")[2]:
        raise ConfigError(
            f"the tracking URI {uri} names no file, so that nothing would be kept: expected "
            "sqlite:///PATH, such as sqlite:////data/mlflow.db."
        )
