"""A real MLflow server on a free port, read back by its REST API alone, and small runs to send.

A tracker of another package is installed by what `pip install` would write, so that the process
that sends finds it as it would find any.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls import Config, run, run_seeds
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.tracking import session

TINY: dict[str, Any] = {
    "arch": "test_resnet",
    "image_size": 64,
    "batch_size": 16,
    "head_epochs": 1,
    "finetune_epochs": 2,
    "finetune_lr": 1e-3,
    "val_fraction": 0.25,
    "num_hard_examples": 1,
    "num_resamples": 50,
    "pretrained": False,
}
ConfigMaker = Callable[..., Config]


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Server:
    """An MLflow server, and what its REST API answers."""

    uri: str
    folder: Path

    def ask(self, path: str, **question: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}",
            data=json.dumps(question).encode() if question else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def find_runs(self, project: str) -> list[dict[str, Any]]:
        found = self.ask("experiments/search", max_results=100).get("experiments", [])
        ids = [item["experiment_id"] for item in found if item["name"] == project]
        assert len(ids) <= 1
        return self.ask("runs/search", experiment_ids=ids).get("runs", []) if ids else []

    def read_all(self, project: str) -> dict[str, dict[str, Any]]:
        """Return the runs of a project by their names."""
        ids = [found["info"]["run_id"] for found in self.find_runs(project)]
        runs = {run["name"]: run for run in map(self.read, ids)}
        assert len(runs) == len(ids)
        return runs

    def read(self, run_id: str) -> dict[str, Any]:
        """Return a run as plain values: parameters, tags, points of each metric, files."""
        run = self.ask(f"runs/get?run_id={run_id}")["run"]
        keys = [item["key"] for item in run["data"].get("metrics", [])]
        return {
            "status": run["info"]["status"],
            "name": run["info"]["run_name"],
            "params": {p["key"]: p["value"] for p in run["data"]["params"]},
            "tags": {t["key"]: t["value"] for t in run["data"]["tags"]},
            "metrics": {key: self.read_points(run_id, key) for key in keys},
            "files": self.list_files(run_id),
        }

    def read_points(self, run_id: str, key: str) -> list[tuple[int, float]]:
        key = urllib.parse.quote(key, safe="")
        found = self.ask(f"metrics/get-history?run_id={run_id}&metric_key={key}")["metrics"]
        return sorted((int(m.get("step", 0)), float(m["value"])) for m in found)

    def list_files(self, run_id: str, path: str = "") -> list[str]:
        found = self.ask(f"artifacts/list?run_id={run_id}&path={path}").get("files", [])
        nested = [self.list_files(run_id, f["path"]) for f in found if f.get("is_dir")]
        own = [f["path"] for f in found if not f.get("is_dir")]
        return sorted([*own, *(name for names in nested for name in names)])


def start_server(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # The server would start six more processes for jobs that nobody asks for.
    environment = {**os.environ, **quiet, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    store = ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    files = ["--artifacts-destination", str(folder / "files")]
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *store, *files, *place],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for_server(uri: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(1500):
        assert process.poll() is None, "the server has ended"
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=1).read()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("server"), find_port()
    uri, process = f"http://127.0.0.1:{port}", start_server(folder, port)
    try:
        wait_for_server(uri, process)
        server = Server(uri, folder)
        server.find_runs("none")  # the first answer takes seconds
        yield server
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture(scope="session", autouse=True)
def patience(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let trackers take their time, since the machine may be busy; use no key of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MEDIMG_GROUP_KEY", "a key of the tests")
        patch.setattr(session, "_LAST_WAIT", 300.0)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, num_train=48, num_test=20, image_size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def configure(data: Path) -> ConfigMaker:
    def make(output_dir: Path, **changes: object) -> Config:
        return Config(**{"data_dir": data, "output_dir": output_dir, **TINY, **changes})

    return make


@pytest.fixture(scope="session")
def finished(configure: ConfigMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing tracked; tests that send it copy it first."""
    return run(configure(tmp_path_factory.mktemp("finished"))).run_dir


@pytest.fixture(scope="session")
def swept(configure: ConfigMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two seeds that nothing tracked."""
    config = configure(tmp_path_factory.mktemp("swept"), project="chest", finetune_epochs=0)
    return run_seeds(config, [0, 1]).run_dir


PROBE = '''
"""A tracker that appends what it is sent to a file, and does what a test asks for."""

import json
import os
import time
from pathlib import Path

from medimg_baseline_cls.tracking.trackers import Tracker

HOME = Path(__file__).parent


class Probe(Tracker):
    def send(self, record, *, known):
        order = (HOME / "order.txt").read_text() if (HOME / "order.txt").is_file() else ""
        line = {
            "name": record.name,
            "state": record.state,
            "steps": [epoch.step for epoch in record.epochs],
            "metrics": dict(record.metrics),
            "files": sorted(record.artifacts),
            "known": dict(known),
            "environment": dict(os.environ),
            "group": os.getpgid(0),
            "session": os.getsid(0),
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
            "process": os.getpid(),
        }
        with (HOME / "sent.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\\n")
        if order == "fail":
            raise ConnectionError("no server\\nat this place")
        if order == "hang":
            time.sleep(3600)
        if order == "die":
            os._exit(9)
        return {"id": f"probe of {record.name}", "see": "look here"}


PROBE = Probe()
'''


@dataclass(frozen=True)
class Probe:
    """The tracker `plugin:probe`: what it was sent, and what it is to do."""

    folder: Path

    def order(self, what: str) -> None:
        (self.folder / "order.txt").write_text(what)

    @property
    def sent(self) -> list[dict[str, Any]]:
        path = self.folder / "sent.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    site = tmp_path / "site"
    info = site / "medimg_probe-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "medimg_probe.py").write_text(PROBE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: medimg-probe\nVersion: 1.0\n")
    points = "[medimg_baseline_cls.trackers]\nprobe = medimg_probe:PROBE\nwrong = json:dumps\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    yield Probe(site)
    sys.modules.pop("medimg_probe", None)


def list_warnings(folder: Path) -> list[str]:
    """Return the warnings of a run about its tracking."""
    lines = (folder / "log.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "warning: not tracked" in line]
