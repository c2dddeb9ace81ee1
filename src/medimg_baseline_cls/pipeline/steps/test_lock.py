"""The lock of TEST: thresholds are chosen and compared with the log before TEST is scored.

`settle_points` chooses on VAL and writes nothing; only what passed the comparison is written
by `write_points`, and only then `write_test` logs and keeps the predictions of TEST.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.evaluation_log import (
    LogEntry,
    append_entry,
    clean_reason,
    compare_points,
    digest_thresholds,
    is_completed,
    keep_stored,
    list_changes,
    note_completion,
    read_log,
    settle_change,
)
from medimg_baseline_cls.evaluation.operating_points import (
    Thresholds,
    choose_thresholds,
    read_thresholds,
    write_thresholds,
)
from medimg_baseline_cls.evaluation.prediction_files import write_logged
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes
from medimg_baseline_cls.pipeline.steps.patient_level import (
    FOLDER,
    PatientLevel,
    choose_patients,
    write_patients,
)
from medimg_baseline_cls.pipeline.steps.prepare import find_split_change
from medimg_baseline_cls.pipeline.steps.session import Session, read_provenance
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.env import describe_code
from medimg_baseline_cls.utils.files import read_json, sha256_file
from medimg_baseline_cls.utils.runs import digest_checkpoint, is_trained

_FIRST, _REPEATED = "first evaluation", "repeated"
_STOPPED = "training was stopped before its end"
_UNLOGGED = "scored again; test_log.csv was missing: earlier scores are not counted"


@dataclass(frozen=True)
class Decision:
    """What decides on images: operating points per image and per patient."""

    thresholds: Thresholds
    patients: PatientLevel | None
    positive_class: str | None


@dataclass(frozen=True)
class LockedDecision(Decision):
    """What decides on TEST, and the line to log.

    `completes` is the line of an interrupted evaluation with the same inputs, if that was the last.
    """

    entry: LogEntry
    completes: LogEntry | None = None


@dataclass(frozen=True)
class _Compared:
    """The operating points to take, how those on disk differ, and what was edited on disk."""

    levels: Mapping[str, Thresholds]
    changes: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationReason:
    """Why TEST is scored, and why a change since the last time is accepted; None: not said."""

    text: str | None = None
    accept: str | None = None


def choose_points(session: Session, val: Predictions, *, positive_class: str | None) -> Thresholds:
    """Choose the operating points of the run's settings on VAL."""
    return choose_thresholds(
        val,
        classes=evaluated_classes(val.class_names, positive_class),
        target_sensitivity=session.config.target_sensitivity,
        operating_point=session.config.operating_point,
    )


def settle_points(
    session: Session,
    val: Predictions | None,
    *,
    positive_class: str | None,
    reason: EvaluationReason,
) -> LockedDecision:
    """Choose the operating points on VAL and compare them, and all else, with the TEST log.

    Nothing is written. Without VAL there are no operating points.

    Raises:
        RunError: something has changed since TEST was last scored.
    """
    run_dir = session.run_dir
    patients: PatientLevel | None = None
    levels: Mapping[str, Thresholds] = {"images": {}}
    if val is not None:
        patients = choose_patients(session, val, positive_class=positive_class)
        levels = {"images": choose_points(session, val, positive_class=positive_class)}
    if patients is not None:
        levels = {**levels, "patients": patients.thresholds}
    entries = read_log(run_dir)
    last = entries[-1] if entries else None
    compared = _Compared(levels)
    if last is not None:
        compared = _compare_stored(run_dir, levels, last=last, positive_class=positive_class)
    levels = compared.levels
    entry = _describe_now(run_dir, number=len(entries) + 1, reason=reason)
    digest = digest_thresholds(levels, positive_class=positive_class)
    entry = replace(entry, thresholds_sha256=digest)
    # TEST was never scored: the run is compared with its training instead.
    changes = compared.edits
    if last is None:
        changes = _find_first_changes(run_dir)
    else:
        changes = (*list_changes(last, entry, points=compared.changes), *changes)
    # A killed evaluation is completed, not counted as another (decision 0021).
    is_same = not changes and not is_completed(run_dir, entries)
    completes = last if is_same and _is_accepted_by(last, reason) else None
    if completes is not None:
        entry = replace(entry, accepted=completes.accepted)
    else:
        changes = changes if is_trained(run_dir) else (_STOPPED, *changes)
        accepted = settle_change(changes, last=last, accept=reason.accept)
        entry = replace(entry, accepted=accepted)
    if patients is not None:
        patients = replace(patients, thresholds=levels["patients"])
    return LockedDecision(levels["images"], patients, positive_class, entry, completes)


def write_points(session: Session, decision: LockedDecision) -> None:
    """Write the operating points, after predictions_val.csv and before TEST is scored."""
    run_dir = session.run_dir
    write_thresholds(
        run_dir / "thresholds.json",
        decision.thresholds,
        positive_class=decision.positive_class,
        predictions_sha256=sha256_file(run_dir / "predictions_val.csv"),
        checkpoint_sha256=decision.entry.checkpoint_sha256,
    )
    write_patients(session, decision.patients)


def write_test(session: Session, decision: LockedDecision, *, test: Predictions) -> Predictions:
    """Log the evaluation, then let predictions_test.csv be seen; return what it reads back to."""
    entry, first = decision.entry, decision.completes

    def log(digest: str) -> None:
        if first is not None and first.predictions_test_sha256 == digest:
            why = None if entry.reason == _REPEATED else entry.reason
            note_completion(session.run_dir, when=entry.when, reason=why)
            session.log.info(f"evaluation {first.number} was interrupted, and is completed now")
        else:
            append_entry(session.run_dir, replace(entry, predictions_test_sha256=digest))

    return write_logged(session.run_dir / "predictions_test.csv", test, log=log)


def require_trained(run_dir: Path, reason: EvaluationReason) -> None:
    """Refuse to score a network whose training is not over, unless that is accepted.

    Raises:
        RunError: training was stopped, by status.json.
    """
    if reason.accept is None and not is_trained(run_dir):
        raise RunError(
            f"{run_dir}: {_STOPPED}. `medimg run --resume {run_dir}` completes it, or pass "
            "--accept WHY to score the network as it is (reported as a warning). Nothing was "
            "scored."
        )


def require_split(run_dir: Path, reason: EvaluationReason) -> None:
    """Refuse a first score on another split than that of training, unless that is accepted.

    Raises:
        RunError: split.csv was edited since training.
    """
    changes = _find_first_changes(run_dir)
    if changes and reason.accept is None and not read_log(run_dir):
        raise RunError(
            f"{run_dir}: this has changed since training: {changes[0]}. TEST may now contain "
            "images that the network was trained on: restore the file, start a new run, or pass "
            "--accept WHY if it is intended (reported as a warning). Nothing was scored."
        )


def _find_first_changes(run_dir: Path) -> tuple[str, ...]:
    """Return what has changed since training, where TEST was not scored yet."""
    return find_split_change(run_dir, read_provenance(run_dir))


def _describe_now(run_dir: Path, *, number: int, reason: EvaluationReason) -> LogEntry:
    """Return the line of an evaluation that is about to happen, except for its thresholds."""
    # Results without a log: it was deleted, which must stay visible.
    is_unlogged = number == 1 and (run_dir / "test_summary.json").is_file()
    default = _UNLOGGED if is_unlogged else _FIRST if number == 1 else _REPEATED
    given = default if reason.text is None else reason.text
    code, version = describe_code()
    return LogEntry(
        number=number,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        code=code,
        version=version,
        checkpoint_sha256=digest_checkpoint(run_dir),
        thresholds_sha256="",
        split_sha256=sha256_file(run_dir / "split.csv"),
        class_order=" | ".join(read_provenance(run_dir)["class_names"]),
        predictions_test_sha256="",
        reason=clean_reason(given, flag="--reason"),
        accepted="",
    )


def _is_accepted_by(last: LogEntry | None, reason: EvaluationReason) -> bool:
    """Return whether a repeat gives the same reason for a change as the log."""
    if last is None or reason.accept is None:
        return last is not None
    return last.accepted.endswith(f"Why: {clean_reason(reason.accept, flag='--accept')}")


def _compare_stored(
    run_dir: Path,
    levels: Mapping[str, Thresholds],
    *,
    last: LogEntry,
    positive_class: str | None,
) -> _Compared:
    """Compare what was chosen now with what is on disk, if that is what TEST was scored with."""
    # The file counts only if TEST was scored with it: it may have been edited since.
    stored, positive = read_stored_points(run_dir)
    if digest_thresholds(stored, positive_class=positive) == last.thresholds_sha256:
        kept = keep_stored(levels, stored)
        changes = compare_points(stored, kept)
        if positive != positive_class:
            changes = (f"the positive class was {positive}, is {positive_class}", *changes)
        return _Compared(kept, changes)
    now = digest_thresholds(levels, positive_class=positive_class)
    is_own = digest_thresholds(stored, positive_class=positive) == now  # killed before TEST
    if stored.keys() != levels.keys() or is_own:
        return _Compared(levels)
    edit = "thresholds.json was edited"
    if now == last.thresholds_sha256:
        edit += f": {', '.join(compare_points(levels, stored)) or 'its positive class'}"
    return _Compared(levels, edits=(f"{edit} (delete it to have it chosen on VAL again)",))


def read_stored_points(run_dir: Path) -> tuple[dict[str, Thresholds], str | None]:
    """Return the operating points on disk and their positive class; lost files are left out."""
    places = {"images": run_dir, "patients": run_dir / FOLDER}
    files = {level: folder / "thresholds.json" for level, folder in places.items()}
    found: dict[str, Thresholds] = {
        level: read_thresholds(path) for level, path in files.items() if path.is_file()
    }
    if "images" not in found:
        return {}, None
    return found, read_json(files["images"]).get("positive_class")
