"""What the page of a sweep over settings shows."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.reporting.documents.methods import describe_selection
from medimg_baseline_cls.reporting.page.metric_scales import Statistic, draw_scales
from medimg_baseline_cls.reporting.page.pictures import Figure, read_picture
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import (
    capitalize,
    count_of,
    format_score,
    format_setting,
    group_settings,
)
from medimg_baseline_cls.utils.files import read_json
from medimg_baseline_cls.utils.seals import require_sealed
from medimg_baseline_cls.utils.visible import show_all

FIGURE = "trials.png"
_NOTES = (
    "Trials are chosen on VAL; none has read an image of TEST.",
    "The best of several values on the same images is too high on average: its optimism is "
    "estimated by choosing again in resamples of the patients.",
)
_CAPTION = "Each dot is a complete trial; the line is the best value up to it."


def describe_trials(folder: Path) -> dict[str, Any]:
    """Return what the template of joint results shows of a sweep over settings."""
    require_sealed(folder)
    content = show_all(read_json(folder / "sweep_summary.json"))
    plan = show_all(read_json(folder / "sweep.json"))
    space, trials, best = plan["space"], content["trials"], content["best"]
    objective = name_objective(content["objective"])
    picture = folder / "figures" / FIGURE
    figures: list[Figure] = []
    if picture.is_file():
        figures.append(Figure(FIGURE, "Trials", _CAPTION, read_picture(picture)))
    settings = {k: v for k, v in plan["settings"].items() if k not in space}
    return {
        "kicker": "Sweep over settings",
        "title": str(plan["settings"]["project"]),
        "name": folder.resolve().name,
        "lede": (
            f"{count_of(len(trials), 'trial')}: {content['num_complete']} complete, "
            f"{content['num_pruned']} pruned, {content['num_failed']} failed. Trial "
            f"{best['number']} is {describe_selection(content)}."
        ),
        "notes": _NOTES,
        "groups": [("", list(draw_scales(tuple(_list_values(content, objective)))))],
        "warnings": [f"trial {t['number']} failed: {t['reason']}" for t in trials if t["reason"]],
        "runs_title": "Trials",
        "run_tables": [_tabulate(content, space=space, folder=folder)],
        "metric_tables": [],
        "figures": figures,
        "figures_title": "Settings and values",
        "figures_note": "",
        "differing": [],
        "settings": group_settings(settings),
        "environment": {},
    }


def name_objective(objective: str) -> str:
    """Return what a sweep maximizes, in words."""
    return "AP on stressed VAL" if objective == "stressed_val" else "AP on VAL"


def _list_values(content: Mapping[str, Any], objective: str) -> list[Statistic]:
    value, optimism = content["value"], content["optimism"]["optimism"]
    trials = [(f"trial {t['number']}", t["value"]) for t in content["trials"]]
    values = tuple((f"{name}: {format_score(v)}", v) for name, v in trials if v is not None)
    shown = [
        Statistic(
            label=f"Best {objective}",
            text=format_score(value),
            detail=f"trial {content['best']['number']}",
            estimate=Estimate(value=value),
            values=values,
        )
    ]
    if optimism is not None:
        corrected = value - optimism
        shown.append(
            Statistic(
                label="Without its optimism",
                text=format_score(corrected),
                detail=f"optimism {format_score(optimism)}",
                estimate=Estimate(value=corrected),
            )
        )
    return shown


def _tabulate(content: Mapping[str, Any], *, space: Mapping[str, Any], folder: Path) -> Table:
    rows = [
        Row(
            (
                f"Trial {trial['number']}",
                "best" if trial["number"] == content["best"]["number"] else trial["state"],
                format_score(trial["value"]),
                str(len(trial["epochs"])),
                *(_show_setting(trial["settings"].get(name)) for name in space),
            ),
            style="best" if trial["number"] == content["best"]["number"] else "",
            link=_link(trial["run"], folder),
        )
        for trial in content["trials"]
    ]
    header = ("Trial", "State", capitalize(name_objective(content["objective"])), "Epochs", *space)
    return Table(title="All trials", header=header, rows=tuple(rows), num_text=2)


def _show_setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else format_setting(value)


def _link(run: str | None, folder: Path) -> str:
    """Return where the report of a trial is, if it has one next to the sweep."""
    place = None if run is None else folder.resolve().parents[1] / "runs" / Path(run).name
    if place is None or not (place / "report.html").is_file():
        return ""
    return (Path(os.path.relpath(place, folder.resolve())) / "report.html").as_posix()
