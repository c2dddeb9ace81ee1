"""A tracker that is not there, silent, full or stops in the middle changes no training."""

import hashlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.tracking.conftest import ConfigMaker, Server, find_port, list_warnings

from medimg_baseline_cls import Tracking, track, train
from medimg_baseline_cls.utils.files import read_json

pytestmark = pytest.mark.slow
FILES = ("best.pt", "best_head.pt", "last.pt", "history.csv", "split.csv")


def digest(folder: Path) -> dict[str, str]:
    return {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in FILES}


@pytest.fixture(scope="module")
def untracked(configure: ConfigMaker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digest(train(configure(tmp_path_factory.mktemp("untracked"))).run_dir)


@contextmanager
def closed_port(_: Path) -> Iterator[str]:
    yield f"http://127.0.0.1:{find_port()}"


@contextmanager
def black_hole(_: Path) -> Iterator[str]:
    """Yield the address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def store_in_a_file(folder: Path) -> Iterator[str]:
    (folder / "file").write_text("not a folder")
    yield f"sqlite:///{folder}/file/mlflow.db"


@contextmanager
def full_store(_: Path) -> Iterator[str]:
    yield "sqlite:////dev/full"


@contextmanager
def unknown_scheme(_: Path) -> Iterator[str]:
    yield "gopher://127.0.0.1/mlflow"


@pytest.mark.parametrize(
    "place", [closed_port, black_hole, store_in_a_file, full_store, unknown_scheme]
)
def test_weights_are_bit_identical_whatever_the_tracker_does(
    place: Callable[[Path], Iterator[str]],
    untracked: dict[str, str],
    configure: ConfigMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with place(tmp_path) as uri, Tracking("mlflow", uri=uri) as tracking:
        folder = train(configure(tmp_path / "out"), callbacks=[tracking]).run_dir
    assert digest(folder) == untracked
    assert read_json(folder / "status.json") == {"state": "trained"}
    (warning,) = list_warnings(folder)
    assert f"medimg track {folder} sends what is missing" in warning
    reason = warning.partition("not tracked (mlflow: ")[2].partition("); the results")[0]
    assert 5 < len(reason) < 160
    for raw in (
        "Traceback",
        "HTTPConnectionPool",
        "sqlalche.me",
        "Max retries",
        "Error",
        "object at",
    ):
        assert raw not in reason


def test_a_package_that_cannot_be_imported_is_one_warning(
    untracked: dict[str, str],
    configure: ConfigMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / "site" / "mlflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('built for another Python')\n")
    monkeypatch.syspath_prepend(str(broken.parent))
    with Tracking("mlflow") as tracking:
        folder = train(configure(tmp_path / "out"), callbacks=[tracking]).run_dir
    assert digest(folder) == untracked
    (warning,) = list_warnings(folder)
    assert "(mlflow: built for another Python)" in warning


def test_tracking_that_works_changes_no_weight(
    untracked: dict[str, str], configure: ConfigMaker, tmp_path: Path
) -> None:
    with Tracking("mlflow,tensorboard") as tracking:
        folder = train(configure(tmp_path / "out"), callbacks=[tracking]).run_dir
    assert digest(folder) == untracked
    assert list_warnings(folder) == []


class Forwarder:
    """Passes bytes on to a server, and breaks every connection after a number of them."""

    def __init__(self, port: int, *, limit: float) -> None:
        self._port, self._left = port, limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self) -> None:
        self._left = float("inf")

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while self._left > 0 and (data := source.recv(4096)):
                self._left -= len(data)
                target.sendall(data)


@pytest.mark.parametrize("limit", [2_500, 9_000, 40_000])
def test_a_server_that_stops_in_the_middle_gets_the_rest_later(
    server: Server, finished: Path, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")  # of a connection that is cut silently
    copy = tmp_path / "out" / "runs" / finished.name
    shutil.copytree(finished, copy)
    project = f"broken_after_{limit}"
    config = (copy / "config.json").read_text().replace('"medimg"', f'"{project}"')
    (copy / "config.json").write_text(config)
    forwarder = Forwarder(int(server.uri.rsplit(":", 1)[1]), limit=limit)
    try:
        with Tracking("mlflow", uri=f"http://127.0.0.1:{forwarder.port}") as tracking:
            tracking.on_results(copy)
        assert len(list_warnings(copy)) == 1
        forwarder.heal()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
        track([copy])
    finally:
        forwarder.close()
    found = server.read_all(project)
    complete = found[copy.name]
    assert complete["status"] == "FINISHED"
    assert "report.html" in complete["files"]
    assert all(len(set(points)) == len(points) for points in complete["metrics"].values())
