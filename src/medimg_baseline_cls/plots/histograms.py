"""Draws how the probabilities of each class are spread, with the thresholds that cut them.

Shares are of the class, so that splits of other sizes and prevalences compare; the
square-root scale keeps the few images between 0 and 1 visible.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.split_summary import positive_of
from medimg_baseline_cls.plots.style import (
    INK,
    MUTED,
    NEGATIVE,
    POSITIVE,
    RULE_LINES,
    WIDE,
    drawing,
    shorten,
)
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.quantities import format_threshold

_EDGES = np.linspace(0, 1, 41)
_TICKS = (0, 1, 5, 20, 50, 100)
_ROW = 0.88  # height of a full row; what is left parts it from the next one
Stairs = tuple[NDArray[np.float64], str]


def draw_score_histograms(
    splits: Sequence[Predictions],
    path: Path,
    *,
    thresholds: Thresholds,
    positive_class: str | None,
) -> None:
    """Draw the probability of a class, of its own images against all others.

    Args:
        splits: predictions of VAL, TEST or both; a column each.
        path: the PNG.
        thresholds: operating points by class.
        positive_class: of two classes; None draws a row for each class.
    """
    names = splits[0].class_names
    positive_class = positive_of(names, positive_class)
    many = 0.9 + max(0.45, 1.1 - 0.06 * len(names)) * len(names)
    height = 3.7 if positive_class is not None else many
    with drawing(path, width=WIDE, height=height) as figure:
        panels = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
        for axes, predictions in zip(panels, splits, strict=True):
            if positive_class is not None:
                _draw_binary(axes, predictions, name=positive_class, thresholds=thresholds)
            else:
                _draw_rows(axes, predictions, thresholds=thresholds)
            axes.set(xlim=(-0.01, 1.01))
            axes.set_title(f"{predictions.split.upper()} ({len(predictions.labels)} images)")
            about = "the class" if positive_class is None else shorten(positive_class, 30)
            about = "the finding" if predictions.has_findings else about
            axes.set_xlabel(f"Probability of {about}")
        if positive_class is not None:
            panels[0].set_ylabel("Share of the class (%), square-root scale")
        own, other = _name_outcomes(splits[0], positive_class)
        _add_legend(figure, (own, other), positive_class=positive_class, thresholds=thresholds)


def _draw_binary(
    axes: Axes, predictions: Predictions, *, name: str, thresholds: Thresholds
) -> None:
    for heights, color in _count_bins(predictions, name):
        _draw_stairs(axes, heights, color=color, base=0.0)
    for point in thresholds.get(name, ()):
        line = RULE_LINES.get(point.rule, "-.")
        axes.axvline(point.value, color=INK, linewidth=1.2, linestyle=line, zorder=4)
    axes.set_ylim(0, 1.04)
    axes.set_yticks([float(np.sqrt(tick / 100)) for tick in _TICKS], [str(t) for t in _TICKS])


def _draw_rows(axes: Axes, predictions: Predictions, *, thresholds: Thresholds) -> None:
    """Draw one row per class in a single panel, the first class on top."""
    names = predictions.class_names
    bases = [float(len(names) - 1 - i) for i in range(len(names))]
    for name, base in zip(names, bases, strict=True):
        for heights, color in _count_bins(predictions, name):
            _draw_stairs(axes, _ROW * heights, color=color, base=base)
        for point in thresholds.get(name, ()):
            line = RULE_LINES.get(point.rule, "-.")
            where = [point.value, point.value]
            axes.plot(where, [base, base + _ROW], color=INK, linewidth=1.2, linestyle=line)
    axes.set_ylim(-0.06, len(names))
    axes.set_yticks(bases, [shorten(name, 20) for name in names])
    axes.tick_params(axis="y", length=0)
    for tick in axes.get_yticklabels():
        tick.set_verticalalignment("bottom")


def _count_bins(predictions: Predictions, name: str) -> list[Stairs]:
    """Return the square root of the share in each bin, of the other images and of the class."""
    truth, scores = select_known(predictions, name)
    stairs: list[Stairs] = []
    for is_in, color in ((~truth, NEGATIVE), (truth, POSITIVE)):
        counts, _ = np.histogram(scores[is_in], bins=_EDGES)
        stairs.append((np.sqrt(counts / max(int(is_in.sum()), 1)), color))
    return stairs


def _draw_stairs(axes: Axes, heights: NDArray[np.float64], *, color: str, base: float) -> None:
    axes.stairs(base + heights, _EDGES, baseline=base, fill=True, color=color, alpha=0.4)
    axes.stairs(base + heights, _EDGES, baseline=base, color=color, linewidth=1.2)


def _name_outcomes(predictions: Predictions, positive_class: str | None) -> tuple[str, str]:
    """Return what the positive and the negative images of a row are called."""
    if predictions.has_findings:
        return "images with the finding", "images without it"
    if positive_class is None:
        return "images of the class", "all other images"
    return positive_class, next(n for n in predictions.class_names if n != positive_class)


def _add_legend(
    figure: Figure,
    outcomes: tuple[str, str],
    *,
    positive_class: str | None,
    thresholds: Thresholds,
) -> None:
    """Write one legend for all panels below them; thresholds where they are the same in all."""
    own, other = outcomes
    handles: list[Patch | Line2D] = [
        Patch(facecolor=color, alpha=0.5, edgecolor=color, label=shorten(label, 28))
        for label, color in ((other, NEGATIVE), (own, POSITIVE))
    ]
    # A finding without a positive VAL image has fewer.
    for point in max(thresholds.values(), key=len, default=()):
        value = f" ≥ {format_threshold(point.value)}" if positive_class is not None else ""
        label = name_rule(point.rule) + ("" if point.rule == "default" else value)
        line = RULE_LINES.get(point.rule, "-.")
        handles.append(Line2D([], [], color=INK, linewidth=1.2, linestyle=line, label=label))
    if positive_class is None:
        note = "a full row is 100 % of the images (square-root scale)"
        handles.append(Line2D([], [], color=MUTED, linestyle="none", label=note))
    num_columns = 5 if positive_class is not None else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=num_columns, frameon=False)
