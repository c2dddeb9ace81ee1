"""A finished run as it is: its checkpoint, thresholds and predictions, read and never written.

What decides is compared with the TEST log first: another data set is scored with exactly what
TEST was scored with, or not at all.
"""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.evaluation.evaluation_log import digest_thresholds, read_log
from medimg_baseline_cls.evaluation.operating_points import Thresholds, read_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.pipeline.steps.earlier_results import set_aside
from medimg_baseline_cls.pipeline.steps.patient_level import FOLDER, PatientLevel
from medimg_baseline_cls.pipeline.steps.session import Session, read_provenance
from medimg_baseline_cls.pipeline.steps.test_lock import read_stored_points
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import read_json, sha256_file
from medimg_baseline_cls.utils.locks import LOCK_NAME
from medimg_baseline_cls.utils.own_output import is_marked_output, mark_own

EXTERNAL = "external"
_NEEDED = (
    *("best.pt", "thresholds.json", "predictions_val.csv", "predictions_test.csv"),
    *("val_summary.json", "test_summary.json", "eval_summary.json", "split.csv"),
)
_COPIED = ("thresholds.json", "predictions_val.csv", "history.csv")
_OF_PATIENTS = ("thresholds.json", "predictions_val.csv", "val_summary.json")


@dataclass(frozen=True)
class LockedRun:
    """What decides in a finished run, and its internal results.

    Attributes:
        session: the open run.
        provenance: what was inferred from its data.
        thresholds: per image.
        patient_thresholds: per patient; None where that was not evaluated.
        parts: the predictions of VAL and TEST.
        checkpoint: stage, epoch and sha256 of the network.
        checkpoint_sha256, thresholds_sha256: as in test_log.csv.
    """

    session: Session
    provenance: dict[str, Any]
    thresholds: Thresholds
    patient_thresholds: Thresholds | None
    parts: tuple[Predictions, Predictions]
    checkpoint: dict[str, Any]
    checkpoint_sha256: str
    thresholds_sha256: str

    @property
    def positive_class(self) -> str | None:
        """Return the positive class; None where each class is evaluated for itself."""
        return self.provenance["positive_class"]

    @property
    def run_dir(self) -> Path:
        """Return the run folder."""
        return self.session.run_dir


def read_locked(session: Session) -> LockedRun:
    """Read a finished run.

    Raises:
        RunError: it was not evaluated to its end, or what decides was changed since.
    """
    run_dir = session.run_dir
    missing = next((name for name in _NEEDED if not (run_dir / name).is_file()), None)
    if missing is not None:
        raise RunError(
            f"{run_dir} has no {missing}, so it is not a finished run: "
            f"`medimg run --resume {run_dir}` does what is missing."
        )
    provenance = read_provenance(run_dir)
    stored, positive = read_stored_points(run_dir)
    digest = sha256_file(run_dir / "best.pt")
    points = digest_thresholds(stored, positive_class=positive)
    _require_unchanged(run_dir, checkpoint_sha256=digest, thresholds_sha256=points)
    task = provenance.get("task", "multiclass")
    val, test = (
        read_predictions(run_dir / f"predictions_{name}.csv", split=name, task=task)
        for name in ("val", "test")
    )
    return LockedRun(
        session=session,
        provenance=provenance,
        thresholds=stored["images"],
        patient_thresholds=stored.get("patients"),
        parts=(val, test),
        checkpoint=dict(read_json(run_dir / "eval_summary.json").get("checkpoint", {})),
        checkpoint_sha256=digest,
        thresholds_sha256=points,
    )


def _require_unchanged(run_dir: Path, **found: str) -> None:
    """Compare what decides, and the predictions, with the TEST log and with their thresholds.

    Args:
        run_dir: the run folder.
        **found: checkpoint_sha256 and thresholds_sha256.

    Raises:
        RunError: a file was changed since.
    """
    files = {"checkpoint_sha256": "best.pt", "thresholds_sha256": "thresholds.json"}
    for column, name in (
        ("predictions_test_sha256", "predictions_test.csv"),
        ("split_sha256", "split.csv"),
    ):
        files[column], found[column] = name, sha256_file(run_dir / name)
    for last in read_log(run_dir)[-1:]:
        changed = next((c for c in files if getattr(last, c) != found[c]), None)
        if changed is not None:
            raise RunError(
                f"{run_dir / files[changed]} is not what TEST was scored with, or has been edited "
                f"since: restore it, or run `medimg evaluate {run_dir}` first; nothing was scored."
            )
    for folder in (run_dir, run_dir / FOLDER):
        if (path := folder / "thresholds.json").is_file():
            read_thresholds(path, predictions_val=folder / "predictions_val.csv")


@contextmanager
def open_place(run_dir: Path, name: str, *, output_dir: Path) -> Generator[Path, None, None]:
    """Yield the folder for the results on a data set: in the run, else in the output folder.

    A new one is removed again where nothing was scored.

    Raises:
        ConfigError: there is something else at this place.
    """
    places = (run_dir / EXTERNAL / name, output_dir / EXTERNAL / f"{run_dir.name}-{name}")
    were_there = [place for place in places if place.exists()]
    place = places[0] if _is_usable(places[0]) else places[1]
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()) and not is_marked_output(place):
        raise ConfigError(f"{place} is a folder of something else: pass another --name.")
    mark_own(place)
    try:
        yield place
    except BaseException:
        if place not in were_there and not (place / "predictions_test.csv").is_file():
            shutil.rmtree(place)
            _remove_if_empty(place.parent)
        raise


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that has at most a lock; one with the log of other data sets stays."""
    if {path.name for path in folder.iterdir()} <= {LOCK_NAME}:
        shutil.rmtree(folder, ignore_errors=True)


def copy_locked(run: LockedRun, place: Path) -> None:
    """Set earlier results aside, then copy what decides, and what it was chosen on."""
    set_aside(place)
    for name in _COPIED:
        if (run.run_dir / name).is_file():
            shutil.copyfile(run.run_dir / name, place / name)
    if run.patient_thresholds is not None:
        (place / FOLDER).mkdir()
        for name in _OF_PATIENTS:
            shutil.copyfile(run.run_dir / FOLDER / name, place / FOLDER / name)


def open_patients(run: LockedRun, place: Path) -> PatientLevel | None:
    """Return the locked evaluation per patient, to be scored into a folder; None without one."""
    how = run.session.config.aggregate
    if run.patient_thresholds is None or how == "none":
        return None
    found = read_json(run.run_dir / "eval_summary.json").get("patients") or {}
    return PatientLevel(
        how=how,
        folder=place / FOLDER,
        positive_class=run.positive_class,
        val=read_predictions(
            run.run_dir / FOLDER / "predictions_val.csv", split="val", task=run.parts[0].task
        ),
        num_left_out=int(found.get("num_left_out", {}).get("val", 0)),
        thresholds=run.patient_thresholds,
    )


def _is_usable(folder: Path) -> bool:
    """Return whether a folder is there, or can be made, and files can be written into it."""
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True
