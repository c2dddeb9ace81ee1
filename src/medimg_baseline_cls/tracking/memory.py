"""tracking.json, in the folder of a run or sweep: where it is tracked, and by which name there.

With it a resumed run is one run of the tracker, and one that is sent again is updated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.reporting.content import as_mapping
from medimg_baseline_cls.utils.files import read_json, write_json

FILE = "tracking.json"
_HOMES = ("runs", "cv", "seeds", "sweep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Where and what to send.

    Attributes:
        trackers: their names.
        uri: the address of a server or store; "" for the store of the output folder.
        names: send names of files and patients, paths and images too.
        checkpoints: send best.pt too.
    """

    trackers: tuple[str, ...]
    uri: str = ""
    names: bool = False
    checkpoints: bool = False


def read_request(folder: Path) -> Request | None:
    """Return how a folder was tracked before; None where it was not."""
    content = _read(folder)
    trackers: Mapping[str, Any] = content.get("trackers", {})
    if not trackers:
        return None
    return Request(
        trackers=tuple(trackers),
        uri=next((str(known["uri"]) for known in trackers.values() if known.get("uri")), ""),
        names=content.get("names") is True,
        checkpoints=content.get("checkpoints") is True,
    )


def remember_request(folder: Path, request: Request) -> None:
    """Note in a folder how it is tracked from now on."""
    content = _read(folder)
    known = as_mapping(content.get("trackers"))
    entries = {name: _keep(known.get(name), request.uri) for name in request.trackers}
    more = {"names": request.names, "checkpoints": request.checkpoints}
    updated = {"trackers": {**known, **entries}, **more}
    if updated != content:
        write_json(folder / FILE, updated)


def read_known(folder: Path, tracker: str) -> dict[str, str]:
    """Return what a tracker has returned for a folder, with "uri"."""
    known = as_mapping(as_mapping(_read(folder).get("trackers")).get(tracker))
    return {name: str(value) for name, value in known.items()}


def write_known(folder: Path, tracker: str, *, known: Mapping[str, str]) -> None:
    """Note what a tracker has returned for a folder, where that is new."""
    if (content := _read(folder)) and read_known(folder, tracker) != known:
        trackers = {**as_mapping(content.get("trackers")), tracker: dict(known)}
        write_json(folder / FILE, {**content, "trackers": trackers})


def find_home(folder: Path) -> Path:
    """Return the output folder that a run or a sweep belongs to."""
    folder = folder.resolve()
    return folder.parents[1] if folder.parent.name in _HOMES else folder.parent


def local_store(folder: Path) -> str:
    """Return the address of the MLflow store in the output folder of a run or a sweep."""
    return f"sqlite:///{find_home(folder)}/mlflow/mlflow.db"


def _keep(known: Any, uri: str) -> dict[str, Any]:
    """Return what is known of a run at this address; nothing of one that is elsewhere."""
    found = as_mapping(known)
    return dict(found) if found.get("uri", "") == uri else {"uri": uri}


def _read(folder: Path) -> dict[str, Any]:
    content = read_json(folder / FILE) if (folder / FILE).is_file() else {}
    trackers: object = content.get("trackers", {})
    is_sound = isinstance(trackers, dict) and all(
        isinstance(known, dict) for known in cast(dict[str, object], trackers).values()
    )
    if not is_sound:
        raise RunError(
            f"{folder / FILE} was changed: trackers is not as written. Remove the file to send the "
            "run as a new one."
        )
    return content
