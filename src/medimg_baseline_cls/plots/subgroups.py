"""Draws the forest plot of subgroups: each metric with its interval, the whole TEST as a line.

A subgroup with too few images keeps its row, with its number and no mark: that it exists is
part of the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.plots.style import BLUE, FAINT, INK, MUTED, PAGE, SMALL, drawing, fit

MAX_ROWS = 60
_ROW_HEIGHT = 0.215  # inches
_EDGES = 1.05


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of the plot: a heading (no block) or a subgroup."""

    text: str
    block: Mapping[str, Any] | None


def draw_subgroups(content: Mapping[str, Any], path: Path, *, class_name: str, rule: str) -> None:
    """Draw AUROC, sensitivity and specificity of each subgroup with their intervals.

    Args:
        content: of subgroups.json.
        path: the PNG.
        class_name: the class whose metrics are drawn.
        rule: the operating point of sensitivity and specificity.
    """
    lines = _list_lines(content)
    height = _EDGES + _ROW_HEIGHT * len(lines)
    with drawing(path, width=PAGE, height=height) as figure:
        names, *panels = figure.subplots(1, 4, sharey=True, width_ratios=(1.9, 1, 1, 1))
        for axes, metric in zip(panels, ("auroc", "sensitivity", "specificity"), strict=True):
            _draw_panel(axes, lines, class_name=class_name, rule=rule, metric=metric)
        _write_names(names, lines)
        title = (
            f"{class_name} on {content['split'].upper()} by subgroup; "
            f"sensitivity and specificity at {name_rule(rule)}; bars are 95 % intervals"
        )
        figure.suptitle(
            fit(title, PAGE - 0.3, weight="normal"), fontsize=8.0, color=INK, x=0.01, ha="left"
        )


def _list_lines(content: Mapping[str, Any]) -> list[_Line]:
    lines = [_Line("All images", content["all"])]
    for column in content["columns"]:
        lines.append(_Line(str(column["column"]), None))
        lines += [_Line(v, block) for v, block in column["subgroups"].items()]
    left = len(lines) - MAX_ROWS
    if left > 0:
        lines = [*lines[:MAX_ROWS], _Line(f"{left} more rows in subgroups.csv", None)]
    return lines


def _draw_panel(
    axes: Axes, lines: Sequence[_Line], *, class_name: str, rule: str, metric: str
) -> None:
    whole = _find_figure(lines[0], class_name=class_name, rule=rule, metric=metric)
    if whole.get("value") is not None:
        axes.axvline(whole["value"], color=FAINT, linewidth=1.2, zorder=1)
    if metric == "auroc":
        _write_too_few(axes, lines)
    shown: list[float] = []
    for row, line in enumerate(lines):
        figure = _find_figure(line, class_name=class_name, rule=rule, metric=metric)
        value, interval = figure.get("value"), figure.get("interval")
        if value is None:
            continue
        is_whole = row == 0
        color = INK if is_whole else BLUE
        shown += [value, *(interval or ())]
        if interval:
            axes.plot(interval, [row, row], color=color, linewidth=1.4, solid_capstyle="butt")
        marker = "D" if is_whole else "s"
        axes.plot([value], [row], marker, color=color, markersize=4.0)
    axes.set_title({"auroc": "AUROC"}.get(metric, metric.capitalize()))
    _span(axes, shown, num_rows=len(lines))


def _write_too_few(axes: Axes, lines: Sequence[_Line]) -> None:
    for row, line in enumerate(lines):
        if line.block is not None and line.block["is_too_small"]:
            axes.text(
                *(0.03, row, "too few images"),
                transform=axes.get_yaxis_transform(),
                fontsize=SMALL,
                va="center",
                color=MUTED,
                # The line of the whole TEST must not run through the words.
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )


def _span(axes: Axes, shown: Sequence[float], *, num_rows: int) -> None:
    """Show the part of [0, 1] that has all marks, the first row on top."""
    low = min([*shown, 0.9])
    low = max(0.0, (int(low * 10) - (low * 10 % 1 < 0.15)) / 10)
    axes.set_xlim(low - 0.02 * (1 - low), 1 + 0.02 * (1 - low))
    axes.set_ylim(num_rows - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)


def _write_names(axes: Axes, lines: Sequence[_Line]) -> None:
    """Write the subgroups and their numbers of images, as a table next to the panels."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.text(1.0, -0.9, "images", ha="right", va="bottom", fontsize=SMALL, color=MUTED)
    for row, line in enumerate(lines):
        is_heading = line.block is None
        is_small = line.block is not None and bool(line.block["is_too_small"])
        style: dict[str, Any] = {"va": "center", "fontsize": SMALL}
        style |= {"color": MUTED if is_small else INK}
        indent = 0.0 if is_heading or row == 0 else 0.05
        weight = "bold" if is_heading or row == 0 else "normal"
        axes.text(
            indent,
            row,
            fit(line.text, 2.1, size=SMALL, weight=weight, num_lines=1),
            fontweight=weight,
            **style,
        )
        if line.block is not None:
            axes.text(1.0, row, f"{line.block['num_images']}", ha="right", **style)


def _find_figure(line: _Line, *, class_name: str, rule: str, metric: str) -> Mapping[str, Any]:
    if line.block is None or class_name not in line.block["classes"]:
        return {}
    found = line.block["classes"][class_name]
    source = found["metrics"] if metric == "auroc" else found["operating_points"].get(rule, {})
    return source.get(metric, {})
