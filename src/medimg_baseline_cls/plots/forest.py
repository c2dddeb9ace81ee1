"""Draws the forest plot of sites: each with its interval, and what is pooled over them below.

TEST of the run is the first row, in gray and unfilled: it is not pooled. The diamond is as wide as
the interval of the mean; the line through it is the prediction interval of another site.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties

from medimg_baseline_cls.catalogue import DECISIONS, SCORES, name_rule
from medimg_baseline_cls.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    PAGE,
    POSITIVE,
    SMALL,
    drawing,
    fit,
    measure,
)
from medimg_baseline_cls.plots.subgroups import span_rows, write_instead
from medimg_baseline_cls.records.sites import PooledMetric, Site, SitesSummary, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey

MAX_ROWS = 60
_ROW_HEIGHT = 0.235  # inches
_EDGES = 0.85
_MAX_NAME, _NUMBERS = 2.1, 0.6  # inches
_NAMES = {key: m.name for known in (SCORES, DECISIONS) for key, m in known.items()}


@dataclass(frozen=True, slots=True)
class _Line:
    """A row: a site, or what is pooled over them, for one class; or a heading."""

    text: str
    class_name: str = ""
    site: Site | None = None


def draw_forest(summary: SitesSummary, path: Path) -> None:
    """Draw AUROC, sensitivity and specificity of each site, class by class.

    Args:
        summary: of the sites.
        path: the PNG.
    """
    lines = list(_list_lines(summary))
    left = len(lines) - MAX_ROWS
    if left > 0:
        lines = [*lines[:MAX_ROWS], _Line(f"{left} more rows in sites.json")]
    height = _EDGES + _ROW_HEIGHT * len(lines)
    with drawing(path, width=PAGE, height=height) as figure:
        font = FontProperties(size=SMALL, weight="bold")
        room = min(max(measure(line.text, font) for line in lines), _MAX_NAME)
        side = room + _NUMBERS
        rest = (PAGE - side) / 3
        names, *panels = figure.subplots(1, 4, sharey=True, width_ratios=(side, rest, rest, rest))
        for number, axes in enumerate(panels):
            _draw_panel(axes, lines, summary=summary, number=number)
        _write_names(names, lines, room=room)
        point = name_rule(summary.rule, summary.target_sensitivity)
        of = f"{summary.classes[0]}, decisions" if len(summary.classes) == 1 else "Decisions"
        title = f"{of} at {point}; 95 % intervals; diamond: mean; thin line: prediction interval"
        figure.suptitle(
            fit(title, PAGE - 0.3, weight="normal"), fontsize=8.0, color=INK, x=0.01, ha="left"
        )


def _list_lines(summary: SitesSummary) -> Iterator[_Line]:
    for name in summary.classes:
        if len(summary.classes) > 1:
            yield _Line(name)
        for site in summary.sites:
            yield _Line("TEST of the run" if site.is_internal else site.name, name, site)
        yield _Line("Mean", name)


def _draw_panel(axes: Axes, lines: Sequence[_Line], *, summary: SitesSummary, number: int) -> None:
    shown: list[float] = []
    for row, line in enumerate(lines):
        if not line.class_name:
            continue
        key = list(list_pooled(line.class_name, summary.rule))[number]
        axes.set_title(_NAMES[key.metric])
        if line.site is not None:
            shown += _draw_site(axes, line.site, key=key, row=row)
        else:
            top = row - len(summary.external) - 0.4
            shown += _draw_pooled(axes, summary.pooled[key], row=row, top=top)
    span_rows(axes, shown, num_rows=len(lines))


def _draw_site(axes: Axes, site: Site, *, key: MetricKey, row: int) -> list[float]:
    """Draw one site and return where it is."""
    estimate = site.look_up(key)
    if estimate.value is None:
        write_instead(axes, "undefined", row=row)
        return []
    color, face = (MUTED, "white") if site.is_internal else (BLUE, BLUE)
    bounds = estimate.bounds or ()
    if bounds:
        axes.plot(bounds, [row, row], color=color, linewidth=1.4, solid_capstyle="butt")
    axes.plot([estimate.value], [row], "s", color=color, markerfacecolor=face, markersize=4.0)
    return [estimate.value, *bounds]


def _draw_pooled(axes: Axes, pooled: PooledMetric, *, row: int, top: float) -> list[float]:
    """Draw the diamond of a mean, the line of its prediction interval, and the mean up to `top`."""
    if pooled.value is None or pooled.bounds is None or pooled.prediction is None:
        write_instead(axes, "not pooled", row=row)
        return []
    low, high = pooled.bounds
    axes.plot([pooled.value] * 2, [row, top], color=FAINT, linewidth=1.0, zorder=1)
    axes.plot(pooled.prediction, [row, row], color=INK, linewidth=1.0, solid_capstyle="butt")
    corners = (low, pooled.value, high, pooled.value)
    axes.fill(corners, (row, row - 0.3, row, row + 0.3), color=POSITIVE, linewidth=0, zorder=3)
    return [*pooled.prediction, low, high]


def _write_names(axes: Axes, lines: Sequence[_Line], *, room: float) -> None:
    """Write the sites and their numbers of images, as a table next to the panels."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.text(1.0, -0.9, "images", ha="right", va="bottom", fontsize=SMALL, color=MUTED)
    for row, line in enumerate(lines):
        is_muted = line.site is not None and line.site.is_internal
        style: dict[str, Any] = {
            "va": "center",
            "fontsize": SMALL,
            "color": MUTED if is_muted else INK,
        }
        weight = "normal" if line.site else "bold"
        text = fit(line.text, room, size=SMALL, weight=weight, num_lines=1)
        axes.text(0.0, row, text, fontweight=weight, **style)
        if line.site is not None:
            axes.text(1.0, row, f"{line.site.num_images}", ha="right", **style)
