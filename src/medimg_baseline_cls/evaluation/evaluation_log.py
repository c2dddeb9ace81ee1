"""Keep the log of every evaluation on TEST, and refuse an evaluation after a change.

A line of test_log.csv is on disk before its predictions can be read. From one line to the next,
the checkpoint, the operating points, the split and the class order must stay the same: a change
after TEST was seen may be tuning on TEST. An evaluation that was killed after its line was
written is completed by the next one, without another line, if all of these and the predictions
are the same.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.evaluation.operating_points import Thresholds, read_thresholds
from medimg_baseline_cls.records.evaluations import EvaluationSummary
from medimg_baseline_cls.schema import Threshold
from medimg_baseline_cls.utils.faults import plain_faults
from medimg_baseline_cls.utils.files import (
    format_csv_row,
    read_csv,
    read_json,
    sync_folder,
    write_csv,
)
from medimg_baseline_cls.utils.quantities import format_threshold

LOG_NAME = "test_log.csv"
TOLERANCE = 1e-6  # of a threshold: another machine may round differently (decision 0013)
_SHORT = 12
_MAX_REASON = 500
_NUM_SHOWN = 6
_COMPLETED = "; interrupted, and completed with the same inputs at "
_LOCKED = {
    "checkpoint_sha256": "the checkpoint (best.pt)",
    "thresholds_sha256": "the operating points",
    "split_sha256": "the split (split.csv)",
    "class_order": "the class order",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """What every log of evaluations has in a row.

    Attributes:
        number: from 1.
        when: UTC, ISO 8601.
        code: revision of the source tree, or "".
        version: of the package.
        checkpoint_sha256: of best.pt.
        thresholds_sha256: from `digest_thresholds`, not of the file.
        split_sha256: of split.csv: which images, with which labels.
        class_order: the names, joined by " | ".
    """

    number: int
    when: str
    code: str
    version: str
    checkpoint_sha256: str
    thresholds_sha256: str
    split_sha256: str
    class_order: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry(LogLine):
    """One evaluation on TEST: a row of test_log.csv.

    Attributes:
        predictions_test_sha256: of the predictions.
        reason: why TEST was scored.
        accepted: what had changed since the previous entry, and why it was accepted; or "".
    """

    predictions_test_sha256: str
    reason: str
    accepted: str


_HEADER = tuple(field.name for field in fields(LogEntry))


def read_log(run_dir: Path) -> tuple[LogEntry, ...]:
    """Return the evaluations on TEST so far, the oldest first.

    Raises:
        RunError: the log was edited or cut off.
    """
    rows = read_lines(run_dir / LOG_NAME, _HEADER)
    return tuple(LogEntry(**{**row, "number": i}) for i, row in enumerate(rows, start=1))  # type: ignore[arg-type]


def read_lines(path: Path, header: Sequence[str]) -> Sequence[Mapping[str, str]]:
    """Return the rows of a log of evaluations, the oldest first; none where there is no log.

    Raises:
        RunError: the log was edited or cut off.
    """
    rows = read_csv(path) if path.is_file() else ()
    if any(tuple(row) != tuple(header) for row in rows) or not _is_in_order(rows):
        raise RunError(
            f"{path} must list the evaluations 1, 2, 3 ... with the columns {', '.join(header)}, "
            "but was cut off or edited: restore it."
        )
    return rows


def _is_in_order(rows: Sequence[Mapping[str, str]]) -> bool:
    """Return whether the rows are 1, 2, 3 ...; a number may repeat.

    Versions without a lock wrote the same number twice if two evaluations ran at once.
    """
    numbers = [row["number"] for row in rows]
    if not all(number.isdecimal() for number in numbers):
        return False
    found = list(map(int, numbers))
    return sorted(found) == found and all(1 <= n <= i for i, n in enumerate(found, start=1))


def append_entry(run_dir: Path, entry: LogEntry) -> None:
    """Add one row to test_log.csv; it is on the disk when this returns."""
    append_line(run_dir / LOG_NAME, _HEADER, cells=astuple(entry))


def append_line(path: Path, header: Sequence[str], *, cells: Sequence[object]) -> None:
    """Add one row to a log, whole or not at all; it is on the disk when this returns."""
    text = format_csv_row(cells)
    if not path.is_file():
        text = format_csv_row(header) + text
    data = text.encode("utf-8", "surrogateescape")
    with plain_faults(path):
        # Appended and synced: the line must survive a crash right after it (decision 0013).
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(handle).st_size
            if os.write(handle, data) < len(data):
                os.ftruncate(handle, size)  # half a row would make the log unreadable
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(path.parent)


def is_completed(run_dir: Path, entries: Sequence[LogEntry]) -> bool:
    """Return whether the last of these evaluations was completed."""
    path = run_dir / "eval_summary.json"
    return path.is_file() and read_json(path).get("test_evaluations", 0) >= len(entries)


def note_completion(run_dir: Path, *, when: str, reason: str | None = None) -> None:
    """Write into the last row that its evaluation was interrupted and then completed.

    Args:
        run_dir: the run folder, whose log has a row.
        when: the time of the repeat.
        reason: given for the repeat, if any.
    """
    *before, last = read_log(run_dir)
    first = last.reason.partition(_COMPLETED)[0]
    why = "" if reason is None else f" ({reason})"
    entries = (*before, replace(last, reason=f"{first}{_COMPLETED}{when}{why}"))
    write_csv(run_dir / LOG_NAME, _HEADER, rows=[astuple(entry) for entry in entries])


def list_changes(last: LogEntry, now: LogEntry, *, points: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what has changed since TEST was last scored, one phrase each.

    Hashes are those of files. The hash of operating points is not that of a file, so their values
    are shown instead.

    Args:
        last: the previous entry.
        now: the new entry.
        points: how the operating points differ, from `compare_points`; empty where that is unknown.

    >>> last = LogEntry(**{name: "" for name in LogEntry.__dataclass_fields__} | {"number": 1})
    >>> list_changes(last, replace(last, class_order="B | A"))
    ("the class order: was '', is 'B | A'",)
    """
    changes: list[str] = []
    for name, words in _LOCKED.items():
        before, after = str(getattr(last, name)), str(getattr(now, name))
        if before == after:
            continue
        if name == "thresholds_sha256":
            changes.append(f"{words}: {_join(points) or 'their earlier values are not on disk'}")
        elif name.endswith("sha256"):
            changes.append(f"{words}: its sha256 was {before[:_SHORT]}, is {after[:_SHORT]}")
        else:
            changes.append(f"{words}: was {before!r}, is {after!r}")
    return tuple(changes)


def compare_points(
    before: Mapping[str, Thresholds], after: Mapping[str, Thresholds]
) -> tuple[str, ...]:
    """Return how operating points differ: "Max-F1 of PNEUMONIA was 0.613, is 0.421".

    Args:
        before: by level, as for `digest_thresholds`.
        after: likewise.
    """
    old, new = _index_points(before), _index_points(after)
    changes: list[str] = []
    for key in dict.fromkeys((*old, *new)):
        pair = (old.get(key), new.get(key))
        if pair[0] is not None and pair[1] is not None and pair[0].value == pair[1].value:
            continue
        level, name, rule = key
        place = " per patient" if level == "patients" else ""
        was, now = _show_points(*pair)
        changes.append(f"{name_rule(rule)} of {name}{place} was {was}, is {now}")
    return tuple(changes)


def settle_change(changes: Sequence[str], *, last: LogEntry | None, accept: str | None) -> str:
    """Return the words for the column "accepted", or refuse the evaluation.

    Args:
        changes: from `list_changes`, and whether training is finished.
        last: the previous entry; None where TEST was not scored yet.
        accept: why a change is accepted; None where it is not.

    Raises:
        RunError: something has changed and the change was not accepted.
        ConfigError: a change was accepted, but nothing has changed.
    """
    if accept is not None and not changes:
        raise ConfigError(
            "--accept does nothing here: nothing has changed since TEST was last scored; "
            "leave it out."
        )
    if not changes:
        return ""
    if accept is None:
        assert last is not None, "a training that is not over is refused before"
        raise RunError(
            f"TEST was scored before ({last.when}, evaluation {last.number}), and this has changed "
            f"since: {'; '.join(changes)}. Scoring TEST again would be tuning on it: start a new "
            "run, or undo the change, or pass --accept WHY if it is intended; the report then "
            "warns of it. Nothing was scored or overwritten."
        )
    return f"{'; '.join(changes)}. Why: {clean_reason(accept, flag='--accept')}"


def clean_reason(text: str, *, flag: str) -> str:
    r"""Return a reason as one line.

    Raises:
        ConfigError: the reason is empty or too long.

    >>> clean_reason("after\nreview ", flag="--reason")
    'after review'
    """
    words = " ".join(text.split())
    if not 0 < len(words) <= _MAX_REASON:
        raise ConfigError(
            f"{flag} has {len(words)} characters: say why in 1 to {_MAX_REASON} characters."
        )
    return words


def digest_thresholds(levels: Mapping[str, Thresholds], *, positive_class: str | None) -> str:
    """Return the sha256 of the operating points: level, class, rule, value and score space.

    Args:
        levels: "images" and, where there are any, "patients" to their operating points.
        positive_class: as in thresholds.json.
    """
    content: dict[str, Any] = {
        level: {
            name: {point.rule: [point.value, point.score_space] for point in points}
            for name, points in thresholds.items()
        }
        for level, thresholds in levels.items()
    }
    text = json.dumps({"positive_class": positive_class, "levels": content}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def keep_stored(
    levels: Mapping[str, Thresholds], stored: Mapping[str, Thresholds]
) -> dict[str, Thresholds]:
    """Return the operating points, with the stored values where only the rounding differs.

    Another machine may round a probability differently in its last digits. Values that are
    within `TOLERANCE` of each other are the same operating point; the stored one is kept.

    Args:
        levels: as chosen now.
        stored: as of the last scoring of TEST.
    """
    values = {key: point.value for key, point in _index_points(stored).items()}
    kept: dict[str, Thresholds] = {}
    for level, thresholds in levels.items():
        found: dict[str, Any] = {}
        for name, points in thresholds.items():
            before = [values.get((level, name, p.rule), p.value) for p in points]
            found[name] = tuple(
                replace(point, value=value) if abs(point.value - value) <= TOLERANCE else point
                for point, value in zip(points, before, strict=True)
            )
        kept[level] = found
    return kept


def count_evaluations(run_dir: Path, summary: EvaluationSummary) -> EvaluationSummary:
    """Return the summary with the number of evaluations on TEST, and a warning of each change."""
    entries = read_log(run_dir)
    warnings = (*summary.warnings, *describe_log(entries))
    return replace(summary, test_evaluations=len(entries), warnings=warnings)


def describe_log(entries: Sequence[LogEntry]) -> tuple[str, ...]:
    """Return one warning for each evaluation that had to be accepted."""
    return tuple(
        f"TEST evaluation {entry.number} of {len(entries)} came after a change, or before training "
        f"was over: {entry.accepted}"
        for entry in entries
        if entry.accepted
    )


def require_settled(run_dir: Path) -> None:
    """Refuse to score TEST before the operating points, chosen on this VAL, are on disk.

    Raises:
        RunError: thresholds.json is missing, or was not made from predictions_val.csv.
    """
    path = run_dir / "thresholds.json"
    if not path.is_file():
        raise RunError(
            f"TEST cannot be scored yet: {path} is missing, and operating points must be chosen "
            f"on VAL first: `medimg run --resume {run_dir}` does that and the rest."
        )
    read_thresholds(path, predictions_val=run_dir / "predictions_val.csv")


def _index_points(levels: Mapping[str, Thresholds]) -> dict[tuple[str, str, str], Threshold]:
    """Return operating points by level, class and rule."""
    return {
        (level, name, point.rule): point
        for level, thresholds in levels.items()
        for name, points in thresholds.items()
        for point in points
    }


def _show_points(*pair: Threshold | None) -> list[str]:
    """Return two thresholds as different texts, with their targets if those have changed."""
    given = [point for point in pair if point is not None]
    is_close = len({format_threshold(point.value) for point in given}) < len(given)
    has_target = len({point.target for point in given}) > 1
    texts: list[str] = []
    for point in pair:
        if point is None:
            texts.append("absent")
            continue
        text = f"{point.value:.9g}" if is_close else format_threshold(point.value)
        is_told = has_target and point.target is not None
        texts.append(f"{text} (for a sensitivity of {point.target:g})" if is_told else text)
    return texts


def _join(parts: Sequence[str]) -> str:
    more = len(parts) - _NUM_SHOWN
    return ", ".join(parts[:_NUM_SHOWN]) + (f" and {more} more" if more > 0 else "")
