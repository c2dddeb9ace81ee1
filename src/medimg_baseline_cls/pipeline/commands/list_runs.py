"""The runs command: a table of what is in an output folder, the newest first.

Runs, seed sweeps and cross-validations, judged predictions among the runs; results on other data
are listed with their run. Only small files of each folder are read. A folder that is broken, or
is not a run, is a line that says so.
"""

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from medimg_baseline_cls.config import PRESETS
from medimg_baseline_cls.errors import ConfigError, MedimgError
from medimg_baseline_cls.evaluation.evaluation_log import read_log
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_json, write_csv
from medimg_baseline_cls.utils.log import RunLog, format_table, open_log
from medimg_baseline_cls.utils.quantities import format_interval, format_score, say_count
from medimg_baseline_cls.utils.runs import age_key, is_judged, read_status
from medimg_baseline_cls.utils.screen import current_screen
from medimg_baseline_cls.utils.spreadsheet_cells import guard_cell

STDOUT = "-"
_SWEEPS = {"seeds": "seeds", "cv": "cross-validation", "sweep": "sweep"}
_BROKEN = "unreadable"
_SCORES = ("auroc", "average_precision")
_STATES = {"trained": "trained, not evaluated", "finished": "evaluated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run, a sweep, or a folder that is neither.

    Attributes:
        name: of the folder.
        kind: "run", "judged", "seeds", "cross-validation" or "sweep"; "" where it cannot be told.
        status: "training", "interrupted", "trained", "finished", "incomplete" or "unreadable".
        changed: when a step of it last ended, local time.
        data: the name of its data folder or table.
        task, model, preset, seed: its settings; "preset" is the recipe that they equal.
        auroc, average_precision: of TEST, with the ends of the intervals; of a sweep the means.
        test_looks: how often TEST was scored, by test_log.csv.
        external: results on other data: name and AUROC.
        note: what is wrong.
    """

    name: str
    kind: str = ""
    status: str = _BROKEN
    changed: str = ""
    data: str = ""
    task: str = ""
    model: str = ""
    preset: str = ""
    seed: int | None = None
    auroc: float | None = None
    auroc_low: float | None = None
    auroc_high: float | None = None
    average_precision: float | None = None
    average_precision_low: float | None = None
    average_precision_high: float | None = None
    test_looks: int | None = None
    external: str = ""
    note: str = ""


@dataclass(frozen=True)
class RunsResult:
    """The rows of the table, the newest first."""

    runs: tuple[RunRow, ...]


@ending_plainly(is_resumable=False)
def list_runs(output_dir: str | Path = "outputs", *, csv: str | Path | None = None) -> RunsResult:
    """List the runs and sweeps of an output folder, and print them as a table.

    Args:
        output_dir: the folder with runs/, seeds/, cv/ and sweep/.
        csv: a file to write the table to; "-" writes it to standard output instead of the table.

    Raises:
        ConfigError: there is no such folder; or the file exists and is not such a table.
    """
    if not Path(output_dir).is_dir():
        raise ConfigError(
            f"there is no folder {output_dir}: name the one with runs/ by --output-dir, or start a "
            "run: medimg run --data-dir DIR"
        )
    rows = RunsResult(tuple(_read_rows(Path(output_dir))))
    log = open_log(None)
    if str(csv) == STDOUT:
        if not current_screen().is_for_machines:
            sys.stdout.write(_format_csv(rows.runs))
        return rows
    if not rows.runs:
        log.info(f"there are no runs in {output_dir}; to start one: medimg run --data-dir DIR")
    else:
        _print_rows(log, rows.runs)
    if csv is not None:
        write_table(Path(csv), rows.runs)
        log.info(f"table: {csv}")
    return rows


def write_table(file: Path, rows: Sequence[RunRow]) -> None:
    """Write the rows as CSV; a file that is not such a table is not overwritten.

    Raises:
        ConfigError: it is another file.
    """
    header = [field.name for field in fields(RunRow)]
    if file.exists():
        is_ours = False
        if file.is_file():
            with file.open(encoding="utf-8", errors="replace") as opened:
                is_ours = opened.readline().strip() == ",".join(header)
        if not is_ours:
            raise ConfigError(f"{file} exists and is not a table of runs: pass another --csv FILE.")
    write_csv(file, header, rows=map(_list_cells, rows))


def _format_csv(rows: Sequence[RunRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(RunRow)])
    writer.writerows(map(_list_cells, rows))
    return text.getvalue()


def _list_cells(row: RunRow) -> list[object]:
    return [guard_cell(cell) for cell in asdict(row).values()]


def _read_rows(output_dir: Path) -> Iterator[RunRow]:
    places = [output_dir / name for name in ("runs", *_SWEEPS)]
    folders = [
        folder
        for place in places
        if place.is_dir()
        for folder in place.iterdir()
        if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith(".")
    ]
    for folder in sorted(folders, key=age_key, reverse=True):
        row = RunRow(name=folder.name, changed=_format_time(folder))
        try:
            if folder.parent.name in _SWEEPS:
                yield _read_sweep(folder, row)
            else:
                yield _read_run(folder, row)
        except (MedimgError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            yield replace(row, note=lines[0])


def _read_run(folder: Path, row: RunRow) -> RunRow:
    if not (folder / "config.json").is_file():
        return replace(row, note="not a run: config.json is missing")
    config = read_json(folder / "config.json")
    judged = is_judged(folder)
    row = replace(_add_settings(row, config), kind="judged" if judged else "run")
    if judged:
        row = replace(row, model="", preset="", seed=None)
    notes: list[str] = []
    try:
        row = replace(row, status=read_status(folder), test_looks=len(read_log(folder)))
    except MedimgError as error:
        notes.append(str(error))
    if (folder / "eval_summary.json").is_file():
        summary = read_json(folder / "eval_summary.json")
        row = _add_scores(row, summary.get("headline", {}).get("test") or {}, key="value")
    return replace(row, external=_list_external(folder), note="; ".join(notes))


def _read_sweep(folder: Path, row: RunRow) -> RunRow:
    """Return the row of a sweep: means over its runs, or what a sweep over settings chose."""
    kind = folder.parent.name
    plan = read_json(folder / f"{kind}.json")
    row = _add_settings(replace(row, kind=_SWEEPS[kind]), plan.get("settings", {}))
    entries = cast(Sequence[Mapping[str, Any]], plan.get("runs", ()))
    if kind == "seeds":
        seeds = ", ".join(str(entry.get("seed")) for entry in entries)
        row = replace(row, seed=None, note=f"seeds {seeds}")
    elif kind == "sweep":
        row = replace(row, note=say_count(len(entries), "trials"))
    else:
        row = replace(row, note=say_count(len(entries), "folds"))
    summary_file = folder / f"{kind}_summary.json"
    if not summary_file.is_file():
        return replace(row, status="incomplete")
    summary = read_json(summary_file)
    if kind == "sweep":  # its trials are chosen on VAL; TEST is that of the best run alone
        best = f"best {Path(summary['best']['run']).name}, VAL AP {format_score(summary['value'])}"
        return replace(row, status="finished", note=f"{row.note}: {best}")
    of_class = summary.get("classes", {}).get(summary.get("positive_class"))
    metrics = (of_class or summary.get("macro", {})).get("metrics", {})
    row = _add_scores(row, metrics, key="mean")
    return replace(row, status="finished", external=_list_external(folder))


def _add_settings(row: RunRow, settings: Mapping[str, Any]) -> RunRow:
    source = settings.get("manifest") or settings.get("data_dir") or ""
    provenance = settings.get("provenance") or {}
    usual = PRESETS["baseline"]
    recipes = [
        name
        for name, values in PRESETS.items()
        if all(settings.get(key, usual.get(key)) == value for key, value in values.items())
    ]
    return replace(
        row,
        data=Path(str(source)).name,
        task=str(provenance.get("task") or settings.get("task") or ""),
        model=str(settings.get("arch") or ""),
        preset=recipes[0] if recipes else "",
        seed=settings.get("seed"),
    )


def _add_scores(row: RunRow, metrics: Mapping[str, Any], *, key: str) -> RunRow:
    found: dict[str, Any] = {}
    for name in _SCORES:
        metric: Mapping[str, Any] = metrics.get(name) or {}
        low, high = metric.get("interval") or (None, None)
        found |= {name: metric.get(key), f"{name}_low": low, f"{name}_high": high}
    return replace(row, **found)


def _list_external(folder: Path) -> str:
    """Return the results on other data, each with its AUROC where it has one."""
    texts: list[str] = []
    for place in sorted((folder / "external").glob("*/")):
        file = place / "eval_summary.json"
        if not file.is_file():
            continue
        try:
            metrics = read_json(file).get("headline", {}).get("test") or {}
            value = (metrics.get("auroc") or {}).get("value")
        except (MedimgError, AttributeError):
            value = None
        texts.append(f"{place.name} {format_score(value)}")
    return ", ".join(texts)


def _format_time(folder: Path) -> str:
    nanoseconds = age_key(folder)[0]
    return f"{datetime.fromtimestamp(nanoseconds / 1e9):%Y-%m-%d %H:%M}" if nanoseconds else ""


def _print_rows(log: RunLog, rows: Sequence[RunRow]) -> None:
    """Print a table, or where the terminal is too narrow for it, two lines for each row."""
    header = ("run", "status", "data", "model", "seed", "TEST AUROC", "TEST AP", "looks", "notes")
    cells = [_describe(row) for row in rows]
    lines = format_table(header, cells)
    if log.width is None or max(map(len, lines)) <= log.width:
        log.table("", header=header, rows=cells)
        return
    for row, (name, status, data, model, seed, auroc, precision, looks, notes) in zip(
        rows, cells, strict=True
    ):
        log.write(f"{name}  {status}", "bold")
        settings = [text for text in (data, model, f"seed {seed}" if seed else "") if text]
        scores = [f"AUROC {auroc}" if auroc else "", f"AP {precision}" if precision else ""]
        scores.append(f"TEST scored {looks} x" if row.test_looks else "")
        for texts in (settings, [text for text in scores if text], [notes] if notes else []):
            if texts:
                log.info(f"    {', '.join(texts)}")


def _describe(row: RunRow) -> tuple[str, ...]:
    """Return the cells of a row as they are printed."""
    model = f"{row.model} ({row.preset})" if row.model and row.preset else row.model
    notes = [f"on other data: {row.external}" if row.external else "", row.note]
    is_run = row.kind in ("run", "judged", "")
    status = _STATES.get(row.status, row.status) if is_run else row.status
    return (
        row.name,
        status if row.kind in ("run", "") else f"{row.kind}, {status}",
        row.data,
        model,
        "" if row.seed is None else str(row.seed),
        _show(row.auroc, row.auroc_low, row.auroc_high),
        _show(row.average_precision, row.average_precision_low, row.average_precision_high),
        "" if row.test_looks is None else str(row.test_looks),
        "; ".join(note for note in notes if note),
    )


def _show(value: float | None, *bounds: float | None) -> str:
    if value is None:
        return ""
    low, high = bounds
    interval = "" if low is None or high is None else format_interval((low, high))
    return f"{format_score(value)} ({interval})" if interval else format_score(value)
