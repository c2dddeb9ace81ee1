"""The track command: run folders in, in trackers the record that live tracking gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.tracking.memory import Request, read_request
from medimg_baseline_cls.tracking.record import SWEEPS
from medimg_baseline_cls.tracking.session import Tracking
from medimg_baseline_cls.utils.runs import find_run


@dataclass(frozen=True)
class TrackResult:
    """The folders that were sent."""

    sent: tuple[Path, ...]


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
    folders = [_find(run, output_dir) for run in runs]
    for folder in folders:
        before = read_request(folder) or Request(trackers=("mlflow",))
        tracking = Tracking(
            trackers or before.trackers,
            uri=uri or (before.uri or None),
            names=names or before.names,
            checkpoints=checkpoints or before.checkpoints,
        )
        tracking.on_results(folder)
        tracking.close(wait=float("inf"))
        tracking.require_sent()
    return TrackResult(tuple(folders))


def _find(run: Path | str, output_dir: Path) -> Path:
    """Return the folder of a run or of a sweep."""
    for kind in SWEEPS:
        for folder in (Path(run), output_dir / kind / run):
            if (folder / f"{kind}.json").is_file():
                return folder
    return find_run(run, output_dir)
