"""Draws the forest plot of subgroups: each metric with its interval, the whole TEST as a line.

A subgroup with too few images keeps its row, with its number and no mark: that it exists is
part of the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, name_rule
from medimg_baseline_cls.plots.style import BLUE, FAINT, INK, MUTED, PAGE, SMALL, drawing, fit
from medimg_baseline_cls.records.estimates import UNKNOWN, Estimate
from medimg_baseline_cls.records.subgroups import Subgroup, SubgroupSummary
from medimg_baseline_cls.records.summaries import MetricKey

MAX_ROWS = 60
_ROW_HEIGHT = 0.215  # inches
_EDGES = 1.05


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of the plot: a subgroup, or a heading, which has none."""

    text: str
    subgroup: Subgroup | None = None

    @property
    def is_too_small(self) -> bool:
        """Return whether it is a subgroup without metrics."""
        return self.subgroup is not None and self.subgroup.is_too_small

    def look_up(self, key: MetricKey) -> Estimate:
        """Return one metric; `UNKNOWN` where the row has none."""
        classes = {} if self.subgroup is None else self.subgroup.classes
        found = classes.get(str(key.block))
        return UNKNOWN if found is None else found.look_up(key)


def draw_subgroups(summary: SubgroupSummary, path: Path, *, class_name: str, rule: str) -> None:
    """Draw AUROC, sensitivity and specificity of each subgroup with their intervals.

    Args:
        summary: of all subgroups.
        path: the PNG.
        class_name: the class whose metrics are drawn.
        rule: the operating point of sensitivity and specificity.
    """
    lines = _list_lines(summary)
    keys = {
        "AUROC": MetricKey(class_name, None, "auroc"),
        **{m.capitalize(): MetricKey(class_name, rule, m) for m in HEADLINE_DECISIONS},
    }
    height = _EDGES + _ROW_HEIGHT * len(lines)
    with drawing(path, width=PAGE, height=height) as figure:
        names, *panels = figure.subplots(1, 4, sharey=True, width_ratios=(1.9, 1, 1, 1))
        for axes, (name, key) in zip(panels, keys.items(), strict=True):
            _draw_panel(axes, lines, key=key)
            axes.set_title(name)
        _write_too_few(panels[0], lines)
        _write_names(names, lines)
        title = (
            f"{class_name} on {summary.split.upper()} by subgroup; "
            f"sensitivity and specificity at {name_rule(rule)}; bars are 95 % intervals"
        )
        figure.suptitle(
            fit(title, PAGE - 0.3, weight="normal"), fontsize=8.0, color=INK, x=0.01, ha="left"
        )


def _list_lines(summary: SubgroupSummary) -> list[_Line]:
    lines = [_Line("All images", summary.whole)]
    for column in summary.columns:
        lines.append(_Line(column.column))
        lines += [_Line(value, found) for value, found in column.subgroups.items()]
    left = len(lines) - MAX_ROWS
    if left > 0:
        lines = [*lines[:MAX_ROWS], _Line(f"{left} more rows in subgroups.csv")]
    return lines


def _draw_panel(axes: Axes, lines: Sequence[_Line], *, key: MetricKey) -> None:
    whole = lines[0].look_up(key).value
    if whole is not None:
        axes.axvline(whole, color=FAINT, linewidth=1.2, zorder=1)
    shown: list[float] = []
    for row, line in enumerate(lines):
        estimate = line.look_up(key)
        if estimate.value is None:
            continue
        color, marker = (INK, "D") if row == 0 else (BLUE, "s")
        bounds = estimate.bounds or ()
        shown += [estimate.value, *bounds]
        if bounds:
            axes.plot(bounds, [row, row], color=color, linewidth=1.4, solid_capstyle="butt")
        axes.plot([estimate.value], [row], marker, color=color, markersize=4.0)
    span_rows(axes, shown, num_rows=len(lines))


def _write_too_few(axes: Axes, lines: Sequence[_Line]) -> None:
    for row, line in enumerate(lines):
        if line.is_too_small:
            write_instead(axes, "too few images", row=row)


def write_instead(axes: Axes, text: str, *, row: int) -> None:
    """Write in a row why it has no mark; a vertical line does not run through the words."""
    axes.text(
        *(0.03, row, text),
        transform=axes.get_yaxis_transform(),
        fontsize=SMALL,
        va="center",
        color=MUTED,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )


def span_rows(axes: Axes, shown: Sequence[float], *, num_rows: int) -> None:
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
        color = MUTED if line.is_too_small else INK
        style: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": color}
        indent, weight = (0.05, "normal") if line.subgroup and row else (0.0, "bold")
        axes.text(
            indent,
            row,
            fit(line.text, 2.1, size=SMALL, weight=weight, num_lines=1),
            fontweight=weight,
            **style,
        )
        if line.subgroup is not None:
            axes.text(1.0, row, f"{line.subgroup.num_images}", ha="right", **style)
