"""The track command: run folders in, in trackers the record that live tracking gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.tracking.memory import Request, read_request
from medimg_baseline_cls.tracking.record import SWEEPS
from medimg_baseline_cls.tracking.session import Tracking
from medimg_baseline_cls.tracking.trackers import read_names
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.runs import find_run

_NUM_SHOWN = 10


@dataclass(frozen=True)
class TrackResult:
    """The folders that were sent."""

    sent: tuple[Path, ...]


@ending_plainly(is_resumable=False)
def track(
    runs: Sequence[Path | str],
    trackers: str | Sequence[str] = (),
    *,
    uri: str | None = None,
    names: bool = False,
    checkpoints: bool = False,
    output_dir: Path = Path("outputs"),
) -> TrackResult:
    """Send runs to trackers: finished ones, old ones, or what a tracker has missed.

    A run that is there already is updated.

    Args:
        runs: run folders, "latest", or folders of cross-validations and sweeps of seeds, which are
            sent with their runs.
        trackers: as in `Tracking`; none: those by which a run was tracked, else MLflow.
        uri: a server or store of MLflow, as in `Tracking`.
        names: also send names of files and patients, paths, and images of patients.
        checkpoints: also send best.pt.
        output_dir: where runs are looked for.

    Returns:
        The folders that were sent.

    Raises:
        RunError: a folder is not a run, or a tracker has not taken it.
        ConfigError: a tracker is unknown, or its package is missing.
    """
    if not runs:
        raise ConfigError("track got no run: name a run folder, or latest.")
    folders = list(dict.fromkeys(_find(run, output_dir) for run in runs))
    requests: dict[Request, list[Path]] = {}
    for folder in folders:
        before = read_request(folder) or Request(trackers=("mlflow",))
        request = Request(
            trackers=read_names(trackers) or before.trackers,
            uri=uri or before.uri,
            names=names or before.names,
            checkpoints=checkpoints or before.checkpoints,
        )
        requests.setdefault(request, []).append(folder)
    refused: list[str] = []
    for request, members in requests.items():
        refused += Tracking(
            request.trackers,
            uri=request.uri or None,
            names=request.names,
            checkpoints=request.checkpoints,
        ).send(members)
    if refused:
        more = [f"... and {len(refused) - _NUM_SHOWN} more"] * (len(refused) > _NUM_SHOWN)
        first = [f"not all of the {len(folders)} runs were sent:"] * (len(folders) > 1)
        raise RunError(*first, *refused[:_NUM_SHOWN], *more)
    if len(folders) > 1:
        open_log(None).info(f"{len(folders)} runs were sent")
    return TrackResult(tuple(folders))


def _find(run: Path | str, output_dir: Path) -> Path:
    """Return the folder of a run or of a sweep."""
    for kind in SWEEPS:
        for folder in (Path(run), output_dir / kind / run):
            if (folder / f"{kind}.json").is_file():
                return folder
    return find_run(run, output_dir)
