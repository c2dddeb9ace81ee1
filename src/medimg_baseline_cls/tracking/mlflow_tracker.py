"""Send records to MLflow, with a client of its own: none of MLflow's global state is touched.

The same metric, step and time is one point for MLflow, so that a record which is sent again adds
nothing. Parameters cannot change there: the first value stays.
"""

import fcntl
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from medimg_baseline_cls.tracking.record import RunRecord
from medimg_baseline_cls.tracking.trackers import Tracker
from medimg_baseline_cls.utils.files import sha256_file
from medimg_baseline_cls.utils.own_output import mark_own
from medimg_baseline_cls.utils.visible import quote_words

_STATES = {"training": "RUNNING", "interrupted": "KILLED"}
_LOCAL = "sqlite:///"
_BATCH = 100  # parameters or tags of one request; metrics may be ten times as many
_LONGEST = 5000
_KEY = "run_key"
_NOTE = "mlflow.note.content"  # what pages of MLflow show as description
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # pages of training, not of chats
_Item = TypeVar("_Item")


class MlflowTracker(Tracker):
    """One run of MLflow for each record; those of a sweep are children of its run."""

    def __init__(self) -> None:
        self._clients: dict[str, MlflowClient] = {}
        self._sent: dict[str, set[tuple[str, int, float]]] = {}
        self._files: dict[tuple[str, str], str] = {}

    def send(self, record: RunRecord, *, known: Mapping[str, str]) -> Mapping[str, str]:
        """Send what is new."""
        uri = known["uri"]
        client = self._open(uri)
        run_id, experiment_id = self._find_run(client, record, known=known)
        parent = {"mlflow.parentRunId": known["parent"]} if known.get("parent") else {}
        commit = record.tags.get("git_revision")
        source = {"mlflow.source.git.commit": commit} if commit else {}
        self._log(client, run_id, record=record, tags={**record.tags, **source, **parent})
        for name, path in record.artifacts.items():
            digest = sha256_file(path)
            if self._files.get((run_id, name)) != digest:
                place = str(Path(name).parent)
                client.log_artifact(run_id, str(path), None if place == "." else place)
                self._files[run_id, name] = digest
        status = _STATES.get(record.state, "FINISHED")
        if status == "RUNNING":
            client.update_run(run_id, status=status)
        else:
            client.set_terminated(run_id, status, end_time=_milliseconds(record.end))
        return {"id": run_id, "see": _say_where(uri, experiment_id=experiment_id, run_id=run_id)}

    def _open(self, uri: str) -> MlflowClient:
        if uri not in self._clients:
            with _making_store(uri):
                self._clients[uri] = MlflowClient(tracking_uri=uri)
                self._clients[uri].search_experiments(max_results=1)
        return self._clients[uri]

    def _find_run(
        self, client: MlflowClient, record: RunRecord, *, known: Mapping[str, str]
    ) -> tuple[str, str]:
        """Return the ids of run and experiment; of a new run where the known one is gone."""
        if "id" in known and (found := _read_run(client, known["id"])):
            return found
        experiment_id = _find_experiment(client, record.project, uri=known["uri"])
        # Of this run, if a request was lost before its id was noted, or its folder is a copy.
        mark = f"tags.{_KEY} = '{record.key}'"
        found = client.search_runs([experiment_id], filter_string=mark, max_results=1)
        run = next(iter(found), None) or client.create_run(
            experiment_id,
            start_time=_milliseconds(record.start),
            tags={_KEY: record.key},
            run_name=record.name,
        )
        return run.info.run_id, experiment_id

    def _log(
        self, client: MlflowClient, run_id: str, *, record: RunRecord, tags: Mapping[str, str]
    ) -> None:
        there = client.get_run(run_id).data
        is_ours = there.tags.get(_NOTE) in (None, there.tags.get("summary"))  # else of a user
        if is_ours and "summary" in tags:
            tags = {**tags, _NOTE: tags["summary"]}
        params = [
            Param(name, value[:_LONGEST])
            for name, value in record.params.items()
            if name not in there.params
        ]
        labels = [RunTag(n, v[:_LONGEST]) for n, v in tags.items() if there.tags.get(n) != v]
        sent = self._sent.setdefault(run_id, set())
        metrics = [m for m in _list_metrics(record) if (m.key, m.step, m.value) not in sent]
        for part in _cut(params, _BATCH):
            client.log_batch(run_id, params=part)
        for part in _cut(labels, _BATCH):
            client.log_batch(run_id, tags=part)
        for part in _cut(metrics, 10 * _BATCH):
            client.log_batch(run_id, metrics=part)
            sent.update((m.key, m.step, m.value) for m in part)


def make() -> Tracker:
    """Return the tracker."""
    return MlflowTracker()


def _list_metrics(record: RunRecord) -> Iterator[Metric]:
    for epoch in record.epochs:
        for name, value in epoch.metrics.items():
            yield Metric(name, value, _milliseconds(epoch.time), epoch.step)
    for name, value in record.metrics.items():
        yield Metric(name, value, _milliseconds(record.scored), record.num_epochs)


def _read_run(client: MlflowClient, run_id: str) -> tuple[str, str] | None:
    """Return the ids of a run and of its experiment; None where it was deleted."""
    try:
        info = client.get_run(run_id).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return (run_id, info.experiment_id) if info.lifecycle_stage == "active" else None


def _find_experiment(client: MlflowClient, name: str, *, uri: str) -> str:
    """Return the id of an experiment, which is made if it is not there."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return experiment.experiment_id
    place = _artifact_folder(uri)
    where = None if place is None else f"{place.as_uri()}/{name}"
    return client.create_experiment(name, artifact_location=where, tags=_KIND)


@contextmanager
def _making_store(uri: str) -> Generator[None, None, None]:
    """Let one process at a time make or upgrade the tables of a local store."""
    if not uri.startswith(_LOCAL):
        yield
        return
    folder = _store_file(uri).parent
    if not folder.is_dir():
        folder.mkdir(parents=True)
        mark_own(folder)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _store_file(uri: str) -> Path:
    return Path(uri.removeprefix(_LOCAL)).absolute()


def _artifact_folder(uri: str) -> Path | None:
    """Return where files of runs are kept for a local store; None: the server decides."""
    return _store_file(uri).parent / "artifacts" if uri.startswith(_LOCAL) else None


def _say_where(uri: str, *, experiment_id: str, run_id: str) -> str:
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
    return quote_words("mlflow", "ui", "--backend-store-uri", uri)


def _milliseconds(seconds: float) -> int:
    return math.floor(seconds * 1000)


def _cut(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[k : k + size] for k in range(0, len(items), size))
