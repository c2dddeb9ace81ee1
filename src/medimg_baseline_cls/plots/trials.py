"""Draws a sweep: the best value so far, and each setting against the value of its trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from medimg_baseline_cls.plots.panels import write_shared_key
from medimg_baseline_cls.plots.style import BLUE, MUTED, ORANGE, PAGE, drawing

_COLUMNS = 3
_HEIGHT = 2.3  # inches, of a row of panels
Trials = Sequence[Mapping[str, Any]]


def draw_trials(trials: Trials, path: Path, *, space: Mapping[str, Any], objective: str) -> None:
    """Draw the complete trials of a sweep.

    Args:
        trials: with "number", "value" and "settings"; those without a value are left out.
        path: the PNG.
        space: by setting, its values or its range; an axis of a `log` range is logarithmic.
        objective: what the value is.
    """
    complete = [trial for trial in trials if trial["value"] is not None]
    rows = -(-(1 + len(space)) // _COLUMNS)
    with drawing(path, width=PAGE, height=0.3 + _HEIGHT * rows) as figure:
        panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True).flat
        first = next(panels)
        handles = _draw_progress(first, complete)
        left = [first]
        for number, (name, entry) in enumerate(space.items(), start=1):
            axes = next(panels)
            _draw_setting(axes, complete, name=name, entry=entry)
            if number % _COLUMNS == 0:
                left.append(axes)
        for axes in left:
            axes.set_ylabel(objective)
        for axes in panels:
            axes.set_visible(False)
        write_shared_key(figure, handles)


def _draw_progress(axes: Axes, complete: Trials) -> list[Any]:
    numbers = [trial["number"] for trial in complete]
    values = [trial["value"] for trial in complete]
    best = [max(values[: i + 1]) for i in range(len(values))]
    dots = axes.plot(numbers, values, "o", color=BLUE, markersize=4, label="a complete trial")
    line = axes.step(numbers, best, where="post", color=ORANGE, label="the best so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return [*dots, *line]


def _draw_setting(axes: Axes, complete: Trials, *, name: str, entry: Any) -> None:
    values = [trial["settings"].get(name) for trial in complete]
    if isinstance(entry, Mapping):
        places: list[Any] = values
        if entry.get("log"):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
            axes.xaxis.set_major_formatter(FuncFormatter(_write_number))
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        words = [str(word) for word in entry]
        places = [words.index(str(value)) for value in values]
        axes.set_xticks(range(len(words)), words, rotation=30 if len(words) > 2 else 0)
        axes.set_xlim(-0.5, len(words) - 0.5)
    axes.plot(places, [trial["value"] for trial in complete], "o", color=BLUE, markersize=4)
    axes.set_xlabel(name, color=MUTED)


def _write_number(value: float, _: object) -> str:
    return f"{value:g}"
