"""Which files a run folder lacks that a run in its state has, and which cannot be read.

A report is written without them; each is named in the terminal and on the page, with the command
that makes it again.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from medimg_baseline_cls.errors import MedimgError
from medimg_baseline_cls.evaluation.operating_points import read_thresholds
from medimg_baseline_cls.utils.files import read_csv, read_json
from medimg_baseline_cls.utils.runs import REPEAT_EXTERNAL, is_external, is_judged, read_status
from medimg_baseline_cls.utils.visible import quote_words

RESULTS = (
    *("thresholds.json", "predictions_val.csv", "predictions_test.csv", "mistakes.csv"),
    *("val_summary.json", "test_summary.json", "eval_summary.json"),
)
_LOG = "test_log.csv"
_PREPARED, _TRAINED = ("split.csv", "rejected.csv", "env_report.json"), ("history.csv", "best.pt")
_EVALUATED = (*RESULTS, "calibration.json", "recalibration.json", "prevalence.json", _LOG)
_OF_TRAINING = ("rejected.csv", *_TRAINED)
_OF_RUN = ("env_report.json", "best.pt", _LOG)
_OF_VAL = (
    *("thresholds.json", "predictions_val.csv", "val_summary.json", "recalibration.json"),
    *("prevalence.json",),
)
# What only some runs have; where it is there, it must be readable.
_OPTIONAL = ("timings.csv", "subgroups.json")
_COLUMNS: Mapping[str, frozenset[str]] = {
    "split.csv": frozenset({"image_id", "label", "group", "split", "sha256"}),
    "predictions_val.csv": frozenset({"image_id"}),
    "predictions_test.csv": frozenset({"image_id"}),
    "rejected.csv": frozenset({"path", "reason"}),
    "mistakes.csv": frozenset({"image_id", "kind"}),
    "history.csv": frozenset({"stage", "epoch", "val_loss"}),
    "test_log.csv": frozenset({"number", "when", "reason", "accepted"}),
}
_MAY_BE_EMPTY = ("rejected.csv", "mistakes.csv")
_KEYS = {
    **dict.fromkeys(("val_summary.json", "test_summary.json"), "classes"),
    "eval_summary.json": "headline",
}


def find_gaps(run_dir: Path) -> dict[str, str]:
    """Return a warning for each file that should be there and readable but is not, by its name."""
    try:
        state = read_status(run_dir)
    except MedimgError:  # lost or garbled: the files tell
        is_evaluated = any((run_dir / name).is_file() for name in RESULTS)
        state = "finished" if is_evaluated else "interrupted"
    expected = _PREPARED
    expected += _TRAINED if state in ("trained", "finished") else ()
    expected += _EVALUATED if state == "finished" else ()
    if is_external(run_dir):  # these are in the run that was scored
        expected = tuple(name for name in expected if name not in _OF_RUN)
    if is_judged(run_dir):  # of predictions, and perhaps without VAL
        has_val = (run_dir / "predictions_val.csv").is_file()
        never = {*_OF_TRAINING, *(() if has_val else _OF_VAL)}
        expected = tuple(name for name in expected if name not in never)
    there = [n for n in (*_EVALUATED, *_TRAINED, *_OPTIONAL) if (run_dir / n).is_file()]
    found = {name: _find_fault(run_dir / name) for name in dict.fromkeys((*expected, *there))}
    faults = {name: fault for name, fault in found.items() if fault}
    return {name: f"{name} {faults[name]}: {_advise(run_dir, name)}" for name in faults}


def describe_state(run_dir: Path) -> str | None:
    """Return what is left to be done of a run that is not finished, with the command for it."""
    try:
        state = read_status(run_dir)
    except MedimgError:
        return None
    words = {
        "training": "it is being trained now",
        "interrupted": "training was stopped before its end",
        "pruned": "its sweep stopped the training, as other trials were better",
        "trained": "it was not evaluated to the end",
    }
    if state not in words:
        return None
    if is_judged(run_dir):
        return "this run is unfinished: judging it was stopped; start its command again"
    command = quote_words("medimg", "run", "--resume", str(run_dir))
    return f"this run is unfinished: {words[state]}; the rest is done by: {command}"


def _find_fault(path: Path) -> str | None:
    """Return what is wrong with a file, as the end of a sentence."""
    if not path.is_file():
        return "is missing"
    if path.stat().st_size == 0:
        return "is empty"
    try:
        if path.suffix == ".csv":
            return _find_table_fault(path)
        if path.suffix == ".json":
            return _find_json_fault(path)
    except MedimgError:
        return "cannot be read"
    return None


def _find_table_fault(path: Path) -> str | None:
    rows, needed = read_csv(path), _COLUMNS.get(path.name, frozenset())
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        missing = needed - set(next(csv.reader(file)))
    if not rows and path.name not in _MAY_BE_EMPTY:
        return "has no rows"
    return f"lacks the column {', '.join(sorted(missing))}" if missing else None


def _find_json_fault(path: Path) -> str | None:
    content, key = read_json(path), _KEYS.get(path.name)
    if not content:
        return "is empty"
    if key is not None and not isinstance(content.get(key), Mapping):
        return f"lacks {key}"
    if path.name == "thresholds.json":
        read_thresholds(path)
    return None


def _advise(run_dir: Path, name: str) -> str:
    if is_external(run_dir):
        return REPEAT_EXTERNAL
    command = quote_words("medimg", "run", "--resume", str(run_dir))
    if name == _LOG:
        return "restore it; without it, nothing tells how often TEST has been scored"
    if name not in _EVALUATED or is_judged(run_dir):
        return "restore it; no command makes it again"
    is_there = (run_dir / name).exists()
    return f"{'delete it; ' if is_there else ''}{command} makes it again"
