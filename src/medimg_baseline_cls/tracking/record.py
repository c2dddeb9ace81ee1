"""What trackers are sent of a run: parameters, epochs, metrics, tags, from its folder alone.

So a run that is tracked while it trains, and one that is sent afterwards, give the same record.
The folder of a cross-validation or of a sweep of seeds has a record too, the parent of its runs.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from medimg_baseline_cls.config import Config, show_value
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.reporting.content import as_mapping
from medimg_baseline_cls.tracking.metrics import (
    describe_main,
    list_spreads,
    list_summaries,
    list_summary,
    list_thresholds,
    list_trials,
)
from medimg_baseline_cls.training.history import EpochRow, read_history
from medimg_baseline_cls.utils.files import read_csv, read_json
from medimg_baseline_cls.utils.own_output import MARKER
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.runs import RunState, find_sweep_folder, read_status
from medimg_baseline_cls.utils.seals import require_sealed
from medimg_baseline_cls.utils.texts import read_number

Kind = Literal["run", "cv", "seeds", "sweep"]
SWEEPS: Final = ("cv", "seeds", "sweep")
PATH_SETTINGS = tuple(item.name for item in fields(Config) if "Path" in str(item.type))
"""The settings that are places on this computer; they are sent with `names` alone."""
_INFERRED = ("task", "positive_class", "class_names", "color", "val_strategy", "batchnorm")
_MEASURED = ("train_loss", "val_loss", "val_ap", "val_auroc", "stressed_ap", "lr")
_TIMED = ("seconds", "images_per_second")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPoint:
    """The metrics after one epoch.

    Attributes:
        step: epochs so far, over all stages, from 1.
        stage: its name.
        time: when it ended, in seconds since 1970, from the start of the run and timings.csv.
        metrics: by name, such as "epoch/val_ap".
    """

    step: int
    stage: str
    time: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """All that a tracker is sent of a run, or of a sweep as the parent of its runs.

    Attributes:
        name: of the folder.
        kind: "run", or what kind of sweep it is.
        project: the setting of the run, or of the sweep that it belongs to.
        folder: where it is; trackers write into it what they keep next to the run.
        parent: the folder of the sweep that the run belongs to.
        state: how far it got.
        start, scored, end: when it was started, when TEST was scored, and when the last file was
            written, in seconds since 1970.
        params: settings, and with "inferred." in front what was concluded from the data.
        tags: where data, code and weights come from.
        epochs: in their order.
        metrics: thresholds and estimates, such as "test/auroc" and "test/auroc_lower".
        artifacts: files by the path that they have in the tracker.
    """

    name: str
    kind: Kind
    project: str
    folder: Path
    parent: Path | None = None
    state: RunState
    start: float
    scored: float
    end: float
    params: Mapping[str, str]
    tags: Mapping[str, str]
    epochs: Sequence[EpochPoint] = ()
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    artifacts: Mapping[str, Path] = field(default_factory=dict[str, Path])

    @property
    def key(self) -> str:
        """Return what identifies the run wherever its folder is: name, start and settings."""
        text = f"{self.name} {self.start} {sorted(self.params.items())}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def num_epochs(self) -> int:
        """Return how many epochs there are: the step of the estimates."""
        return len(self.epochs)


def read_record(folder: Path, *, names: bool = False) -> RunRecord:
    """Return the record of a run folder, or of the folder of a sweep; without artifacts.

    Args:
        folder: as `medimg run`, `medimg cv` or `medimg run --seeds` made it, finished or not.
        names: also send settings that are paths.

    Raises:
        RunError: it is not such a folder, or a file in it is missing, garbled or was edited.
    """
    with parsing(lambda _: RunError(f"a file in {folder} is not as it was written: restore it.")):
        require_sealed(folder, is_complete=True)
        for kind in SWEEPS:
            if (folder / f"{kind}.json").is_file():
                return _summarize(_read_sweep(folder, kind, names=names))
        return _summarize(_read_run(folder, names=names))


def _summarize(record: RunRecord) -> RunRecord:
    """Return the record with its main values in words, in the tag "summary"."""
    text = "; ".join(filter(None, (record.tags.get("trial"), describe_main(record.metrics))))
    return replace(record, tags={**record.tags, "summary": text}) if text else record


def _read_run(folder: Path, *, names: bool) -> RunRecord:
    if not (folder / "config.json").is_file():
        raise RunError(
            f"{folder} is not a run folder (config.json is missing), nor that of a sweep of seeds "
            "or a cross-validation: pass one of these."
        )
    config = read_json(folder / "config.json")
    environment = _read(folder / "env_report.json")
    parent = find_sweep_folder(folder)
    start = _read_time(environment.get("created")) or _modified(folder / "config.json")
    rule = str(config.get("operating_point", "max_f1"))
    state = read_status(folder) if (folder / "status.json").is_file() else "finished"
    return RunRecord(
        name=folder.resolve().name,
        kind="run",
        project=str(_read_plan(parent).get("project") or config.get("project") or "medimg"),
        folder=folder,
        parent=parent,
        state=state,
        start=start,
        scored=_read_scoring(folder),
        end=max(_modified(folder / name) for name in ("status.json", "config.json", "report.html")),
        params=_list_params(config, names=names),
        tags=_list_tags(folder, config=config, environment=environment),
        epochs=tuple(_read_epochs(folder, start=start, is_over=state in ("trained", "finished"))),
        metrics={**list_thresholds(folder), **list_summaries(folder, rule=rule)},
    )


def list_runs_of_sweep(folder: Path) -> list[Path]:
    """Return the run folders of a sweep that are there, in their order; none of a single run."""
    runs: list[Path] = []
    for kind in SWEEPS:
        for entry in _read(folder / f"{kind}.json").get("runs", ()):
            path = Path(str(entry.get("run") or ""))
            # First next to the sweep: all results may be a copy.
            places = (folder.resolve().parents[1] / "runs" / path.name, path)
            runs += [place for place in places if (place / "config.json").is_file()][:1]
    return runs


def _read_sweep(folder: Path, kind: Kind, *, names: bool) -> RunRecord:
    plan = read_json(folder / f"{kind}.json")
    settings, summary = as_mapping(plan.get("settings")), _read(folder / f"{kind}_summary.json")
    rule, runs = str(settings.get("operating_point", "max_f1")), list_runs_of_sweep(folder)
    own = {
        name: value
        for name, value in plan.items()
        if name not in ("runs", "settings", "provenance")
    }
    if kind == "seeds":
        own["seed"] = [entry["seed"] for entry in plan["runs"]]
    if kind == "sweep":
        metrics = list_trials(summary)
    else:
        metrics = list_spreads(summary, rule=rule) if summary else {}
    if summary and (folder / "ensemble" / "test_summary.json").is_file():
        path = folder / "ensemble" / "test_summary.json"
        metrics |= list_summary(path, rule=rule, prefix="ensemble")
    first = _read(runs[0] / "config.json") if runs else {}
    environment = _read(runs[0] / "env_report.json") if runs else {}
    tags = _list_tags(runs[0], config=first, environment=environment) if runs else {}
    of_one_run = ("run_id", "stages", "best_epoch", "split_sha256", "checkpoint_sha256")
    kept = {name: value for name, value in tags.items() if name not in of_one_run}
    return RunRecord(
        name=folder.resolve().name,
        kind=kind,
        project=str(settings.get("project") or "medimg"),
        folder=folder,
        state="finished" if summary else "training",
        start=_modified(folder / MARKER) or _modified(folder / f"{kind}.json"),
        scored=_modified(folder / f"{kind}_summary.json"),
        end=_modified(folder / f"{kind}_summary.json"),
        params=_list_params({**settings, **own}, names=names),
        tags={**kept, "run_id": folder.resolve().name, "kind": kind},
        metrics=metrics,
    )


def _list_params(config: Mapping[str, Any], *, names: bool) -> dict[str, str]:
    hidden = () if names else PATH_SETTINGS
    settings = {n: v for n, v in config.items() if n not in (*hidden, "provenance")}
    inferred = as_mapping(config.get("provenance"))
    found = {f"inferred.{name}": inferred[name] for name in _INFERRED if name in inferred}
    return {name: show_value(value) for name, value in (settings | found).items()}


def _list_tags(
    folder: Path, *, config: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, str]:
    provenance, history = as_mapping(config.get("provenance")), read_history(folder)
    checkpoint = as_mapping(_read(folder / "eval_summary.json").get("checkpoint"))
    rows = [] if history is None else history.rows
    best, limit = None if history is None else history.best(), config.get("limit")
    found = {
        "run_id": folder.resolve().name,
        "kind": "run",
        "trial": f"a trial with {limit} images at most (--limit)" if limit else "",
        "version": as_mapping(environment.get("packages")).get("medimg-baseline-cls"),
        "git_revision": as_mapping(environment.get("git")).get("revision"),
        "git_is_modified": as_mapping(environment.get("git")).get("is_modified"),
        "data_fingerprint": _digest_images(folder / "split.csv"),
        "split_sha256": provenance.get("split_sha256"),
        "weights_sha256": as_mapping(provenance.get("weights")).get("sha256"),
        "checkpoint_sha256": checkpoint.get("sha256"),
        "stages": _describe_stages(rows),
        "best_epoch": "" if best is None else f"{best.stage}, epoch {best.epoch}",
    }
    shown = {name: str(value) for name, value in found.items() if value not in (None, "")}
    return {
        name: text.lower() if text in ("True", "False") else text for name, text in shown.items()
    }


def _digest_images(split: Path) -> str:
    """Return one sha256 for the pixels of all images, whatever their names and their split."""
    digests = sorted(row.get("sha256", "") for row in read_csv(split)) if split.is_file() else []
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if any(digests) else ""


def _describe_stages(rows: Sequence[EpochRow]) -> str:
    """Return which steps belong to which stage, such as "head: 1 to 3, finetune: 4 to 9"."""
    steps: dict[str, list[int]] = {}
    for step, row in enumerate(rows, start=1):
        steps.setdefault(row.stage, []).append(step)
    return ", ".join(f"{name}: {found[0]} to {found[-1]}" for name, found in steps.items())


def _read_epochs(folder: Path, *, start: float, is_over: bool) -> Iterator[EpochPoint]:
    """Yield the epochs; refuse a history that lacks some of those that were timed."""
    path = folder / "timings.csv"
    # Read first: each epoch is written here first.
    timings = {(r["stage"], r["epoch"]): r for r in (read_csv(path) if path.is_file() else ())}
    history = read_history(folder)
    rows, time = [] if history is None else history.rows, start
    lost = timings.keys() - {(row.stage, str(row.epoch)) for row in rows}
    if len(lost) > 1 - is_over:
        raise RunError(
            f"{folder / 'history.csv'} lacks {say_count(len(lost), 'epochs')} of timings.csv: it "
            "was cut off or edited; restore it."
        )
    for step, row in enumerate(rows, start=1):
        timing = timings.get((row.stage, str(row.epoch)), {})
        values = {name: getattr(row, name) for name in _MEASURED}
        values |= {name: read_number(timing.get(name, "")) for name in _TIMED}
        time += values["seconds"] or 0.0
        known = {f"epoch/{name}": value for name, value in values.items() if value is not None}
        yield EpochPoint(step=step, stage=row.stage, time=time, metrics=known)


def _read_scoring(folder: Path) -> float:
    """Return when TEST was scored last; a file that is written again does not change it."""
    path = folder / "test_log.csv"
    rows = read_csv(path) if path.is_file() else []
    logged = _read_time(rows[-1].get("when")) if rows else None
    return logged or _modified(folder / "thresholds.json")


def _read_plan(sweep: Path | None) -> Mapping[str, Any]:
    """Return the settings of a sweep; none without one."""
    if sweep is None:
        return {}
    plans = (_read(sweep / f"{kind}.json") for kind in SWEEPS)
    return next((as_mapping(plan.get("settings")) for plan in plans if plan), {})


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _read_time(text: Any) -> float | None:
    is_time = re.match(r"\d{4}-\d\d-\d\dT", str(text)) is not None
    return datetime.fromisoformat(str(text)).timestamp() if is_time else None


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else 0.0
