"""Make, mark and find run folders: OUTPUT_DIR/runs/<project>_<date-time>.

A run of a sweep has the date of the sweep in its project, and no second one. A folder is made once
and never reused. status.json contains the state of its run; `latest`
names the newest finished one. A path that is not a run folder is refused.
"""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.utils.files import (
    read_json,
    remove_temporaries,
    sha256_file,
    write_json,
    write_text_atomic,
)
from medimg_baseline_cls.utils.locks import find_holder, hold_folder
from medimg_baseline_cls.utils.log import SILENT, RunLog
from medimg_baseline_cls.utils.own_output import MARKER, is_marked_output, mark_own
from medimg_baseline_cls.utils.visible import quote_words

RunState = Literal["training", "interrupted", "pruned", "trained", "finished"]

LATEST = "latest"
NOTHING_BEGUN = "interrupted before training: nothing was begun; start the command again."
SELECTION = "selection.json"
"""In the run that a sweep has chosen: what it was chosen from."""
REPEAT_EXTERNAL = "run `medimg external RUN DATA` again"
_STATUS_FILE = "status.json"
_MAX_NAME = 200  # letters of the name in `latest`; a longer name is not ours
# The project of a sweep's run: which sweep it belongs to, and which of its runs it is.
_OF_SWEEP = re.compile(r"_(cv|seeds|sweep)(\d{8}-\d{6}(?:-\d+)?)_(r\d+f\d+|s\d+|t\d+)(?=[_-]|$)")
_SWEEP_FILES = ("seeds.json", "cv.json", "sweep.json")
_SETTINGS_FILE = "config.json"
_RUN_FILES = (_STATUS_FILE, _SETTINGS_FILE)
# Of these, `medimg external` writes the first before config.json.
_EXTERNAL_FILES = ("duplicates.csv", "external.json")
# A folder with one of these was trained; where its settings are missing, they were lost.
_TRAINED_FILES = ("last.pt", "best.pt", "history.csv", "test_log.csv", "eval_summary.json")


def create_run_folder(output_dir: Path, project: str, *, subfolder: str = "runs") -> Path:
    """Make and return a new run folder, named by project and local time.

    Args:
        output_dir: the folder that contains `subfolder`; made if it is missing.
        project: letters, digits, and - _ . between them.
        subfolder: the folder for folders of this kind.

    Raises:
        ConfigError: The project's name cannot be part of a folder's name, or no folder can be made
            there.
    """
    if not re.fullmatch(r"\w([\w.-]*\w)?", project):
        raise ConfigError(
            f"project={project!r} cannot name a folder: use letters, digits, and - _ . "
            "between them, such as project=chest-xray."
        )
    stem = project if is_of_sweep(project) else f"{project}_{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        run = output_dir / subfolder / (stem if number == 1 else f"{stem}-{number}")
        try:
            run.mkdir(parents=True)
            mark_own(run)
        except FileExistsError:
            continue  # another run of the same second
        except OSError as error:
            raise ConfigError(
                f"no folder can be made in {output_dir} ({error.strerror}): name another one by "
                "--output-dir."
            ) from error
        return run
    raise AssertionError("unreachable: the count never ends")


@contextmanager
def hold_run(run: Path, *, command: str, log: RunLog = SILENT) -> Generator[None, None, None]:
    """Be the only writer of a run folder while the block runs, and remove what dead ones left.

    Args:
        run: the run folder.
        command: of medimg, for the one who is refused meanwhile.
        log: is told where locks do not work.

    Raises:
        RunError: another process is the writer, or the folder is read-only.
        KeyboardInterrupt: with the command that does the rest.
    """
    try:
        with hold_folder(run, command=f"medimg {command}", log=log):
            remove_temporaries(run)
            yield
    except KeyboardInterrupt as stop:
        if not stop.args:
            stop.args = (_describe_stop(run),)
        raise


def write_status(run: Path, state: RunState) -> None:
    """Write how far a run got: "training", "interrupted", "trained" or "finished".

    One that its sweep has stopped is "pruned".
    """
    write_json(run / _STATUS_FILE, {"state": state})


def read_status(run: Path) -> RunState:
    """Return the state of a run; one in training that no process has locked is "interrupted".

    Raises:
        RunError: status.json is missing or garbled.
    """
    state: RunState = _read_status_file(run)["state"]
    return "interrupted" if state == "training" and find_holder(run) is None else state


def is_trained(run: Path) -> bool:
    """Return whether training has come to its end; where status.json is lost, best.pt tells."""
    if not (run / _STATUS_FILE).is_file():
        return (run / "best.pt").is_file()
    return read_status(run) in ("trained", "finished")


def is_judged(run: Path) -> bool:
    """Return whether a run was made by `medimg judge` from predictions: it has no network."""
    path = run / _SETTINGS_FILE
    provenance = read_json(path).get("provenance") if path.is_file() else None
    return isinstance(provenance, dict) and "judged" in provenance


def is_external(run: Path) -> bool:
    """Return whether a folder is for results of `medimg external`, finished or not."""
    return any((run / name).is_file() for name in _EXTERNAL_FILES)


def require_network(run: Path) -> None:
    """Refuse a run of judged predictions, and results on other data, where a network is needed.

    Raises:
        RunError: with the commands that work on it.
    """
    if is_judged(run):
        raise RunError(
            f"{run} was made by medimg judge from predictions, so it has no network for this "
            "command: medimg report and medimg compare work on it, and medimg judge on new "
            "predictions."
        )
    if is_external(run):
        raise RunError(
            f"{run} has results on other data, so it has no network for this command: name the "
            f"folder of the run, or {REPEAT_EXTERNAL}."
        )


def digest_checkpoint(run: Path) -> str:
    """Return the sha256 of best.pt; "" for a run without a network."""
    return "" if is_judged(run) else sha256_file(run / "best.pt")


def mark_latest(run: Path) -> None:
    """Let `latest` next to a run name it: a link, or a text file where links do not work.

    Folds of a cross-validation and trials of a sweep are not runs that a user started: `latest`
    stays as it is.
    """
    found = _OF_SWEEP.search(run.name)
    if found and found[1] in ("cv", "sweep"):
        return
    latest = run.parent / LATEST
    temporary = run.parent / f".{LATEST}.{os.getpid()}.tmp"
    try:
        temporary.symlink_to(run.name, target_is_directory=True)
        temporary.replace(latest)
    except OSError:
        temporary.unlink(missing_ok=True)
        write_text_atomic(latest, run.name + "\n")


def name_fold(project: str, *, stamp: str, repeat: int, fold: int) -> str:
    """Return the project of a fold's run, by which it is known as part of a cross-validation.

    >>> name_fold("chest", stamp="20260101-120000", repeat=0, fold=2)
    'chest_cv20260101-120000_r0f2'
    """
    return f"{project[:32]}_cv{stamp}_r{repeat}f{fold}"


def name_seed(project: str, *, stamp: str, seed: int) -> str:
    """Return the project of a run of a sweep of seeds, likewise.

    >>> name_seed("chest", stamp="20260101-120000", seed=3)
    'chest_seeds20260101-120000_s3'
    """
    return f"{project[:32]}_seeds{stamp}_s{seed}"


def name_trial(project: str, *, stamp: str, number: int) -> str:
    """Return the project of a trial of a sweep over settings, likewise.

    >>> name_trial("chest", stamp="20260101-120000", number=3)
    'chest_sweep20260101-120000_t3'
    """
    return f"{project[:32]}_sweep{stamp}_t{number}"


def is_of_sweep(name: str) -> bool:
    """Return whether a run with this name, or this project, is part of a sweep."""
    return _OF_SWEEP.search(name) is not None


def is_trial(name: str) -> bool:
    """Return whether a run with this name is a trial of a sweep over settings."""
    found = _OF_SWEEP.search(name)
    return found is not None and found[1] == "sweep"


def find_sweep_folder(run: Path) -> Path | None:
    """Return the folder of the sweep that a run belongs to; None for any other run."""
    run = run.resolve()
    found = _OF_SWEEP.search(run.name)
    if found is None:
        return None
    folders = (run.parents[1] / found[1]).glob(f"{run.name[: found.start()]}*_{found[2]}")
    return next((f for f in sorted(folders) if (f / f"{found[1]}.json").is_file()), None)


def find_run(run: str | Path, output_dir: Path) -> Path:
    """Return the run folder that the user means.

    Args:
        run: a path, the name of a folder in OUTPUT_DIR/runs, or "latest".
        output_dir: the folder with `runs`.

    Raises:
        RunError: There is none; the message names the newest ones that exist.
    """
    if not str(run).strip():
        raise RunError("the name of the run is empty: pass a run folder, or latest.")
    candidates = [Path(run), output_dir / "runs" / run]
    if str(run) == LATEST:
        candidates.reverse()
    folders = [_follow(candidate) for candidate in candidates]
    for folder in folders:
        if _is_run(folder):
            return folder
    known = [str(path) for path in list_runs(output_dir)[:3]]
    advice = (
        f"the newest {'runs are' if len(known) > 1 else 'run is'} {', '.join(known)}"
        if known
        else f"there are no runs in {(output_dir / 'runs').absolute()}; name another folder by "
        "--output-dir, or start one with medimg train"
    )
    names = [path.name for path in list_runs(output_dir)]
    near = get_close_matches(str(run), [LATEST, *names] if names else [])
    if near and not any(folder.exists() for folder in folders):
        advice = f"did you mean {near[0]}? {advice[0].upper()}{advice[1:]}"
    found = "is not a run folder"
    if any((Path(run) / name).is_file() for name in _SWEEP_FILES):
        found = "is a folder of several runs, of which this command takes one"
        if (Path(run) / "sweep_summary.json").is_file():
            best = read_json(Path(run) / "sweep_summary.json")["best"]["run"]
            advice = f"its best trial is {best}"
    elif there := next((folder for folder in folders if folder.is_dir()), None):
        if _is_trained_folder(there):
            raise RunError(
                f"config.json is missing in {there}, where a run was trained: restore it, from a "
                "backup for example; without it the run cannot be read."
            )
        if _is_unbegun(there):
            raise RunError(
                f"{run} was stopped before its settings were written, so nothing of it can be "
                "resumed: start its command again."
            )
        found += " (config.json is missing)"
    raise RunError(f"{run} {found}: {advice}.")


def list_runs(output_dir: Path) -> list[Path]:
    """Return the run folders of OUTPUT_DIR/runs, the newest first."""
    folder = output_dir / "runs"
    if not folder.is_dir():
        return []
    runs = [path for path in folder.iterdir() if not path.is_symlink() and _is_run(path)]
    return sorted(runs, key=age_key, reverse=True)


def age_key(folder: Path) -> tuple[int, str]:
    """Return what orders runs and sweeps by the time of their last step, the newest last."""
    files = [folder / name for name in (*_RUN_FILES, *_SWEEP_FILES, MARKER)]
    times = [file.stat().st_mtime_ns for file in files if file.is_file()]
    return max(times, default=0), folder.name


def newest_interrupted(output_dir: Path) -> Path | None:
    """Return the newest run that was stopped or killed in training, or None.

    One that was stopped before its settings were written cannot be resumed.
    """
    for run in list_runs(output_dir):
        if all((run / name).is_file() for name in _RUN_FILES) and read_status(run) == "interrupted":
            return run
    return None


def require_newest_begun(output_dir: Path, chosen: Path | None, *, command: str) -> None:
    """Refuse to resume an older run where the newest was stopped before its settings were written.

    Args:
        output_dir: the folder with `runs`.
        chosen: the newest incomplete run, if there is one.
        command: that resumes it, for the message.

    Raises:
        RunError: with both.
    """
    folder = output_dir / "runs"
    found = [f for f in folder.iterdir() if not f.is_symlink()] if folder.is_dir() else []
    newest = max((f for f in found if _is_run(f) or _is_unbegun(f)), key=age_key, default=None)
    if newest is None or not _is_unbegun(newest):
        return
    if chosen is not None and age_key(chosen) > age_key(newest):  # a sweep
        return
    older = ""
    if chosen is not None:
        older = f"; the newest unfinished one before it is resumed by: {command} "
        older += quote_words(str(chosen))
    raise RunError(
        f"the newest run, {newest}, was stopped before its settings were written, and nothing of "
        f"it can be resumed: start its command again, or remove the folder{older}"
    )


def _describe_stop(run: Path) -> str:
    if is_judged(run) or is_external(run):
        return "interrupted: start the command again."
    if _is_run(run):
        return f"interrupted; the rest is done by: medimg run --resume {quote_words(str(run))}"
    return NOTHING_BEGUN


def _is_unbegun(folder: Path) -> bool:
    """Return whether a folder was made for a run that was stopped before its settings were written.

    One that a living process prepares is none.
    """
    is_made = folder.parent.name == "runs" and is_marked_output(folder)
    is_empty = not (_is_run(folder) or _is_trained_folder(folder))
    is_single = is_made and is_empty and not is_of_sweep(folder.name)
    return is_single and find_holder(folder) is None


def _is_trained_folder(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TRAINED_FILES)


def _is_run(folder: Path) -> bool:
    return (folder / _SETTINGS_FILE).is_file()


def _follow(path: Path) -> Path:
    """Return where a path leads, if it is the link or the text file `latest`."""
    if path.name != LATEST:
        return path
    if path.is_symlink():
        return path.parent / path.readlink()
    if path.is_file():
        name = path.read_text(encoding="utf-8", errors="replace")[:_MAX_NAME].strip()
        return path.parent / Path(name).name
    return path


def _read_status_file(run: Path) -> dict[str, Any]:
    status = read_json(run / _STATUS_FILE)
    if status.get("state") not in get_args(RunState):
        raise RunError(
            f"{run / _STATUS_FILE} does not contain the state of a run; it was changed: restore it."
        )
    return status
