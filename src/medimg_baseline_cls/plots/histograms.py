"""Draws how the probabilities of each class are spread, with the thresholds that cut them.

Shares are of the class, so that splits of other sizes and prevalences compare; the
square-root scale keeps the few images between 0 and 1 visible.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.plots.panels import Scored, make_line, make_note, write_shared_key
from medimg_baseline_cls.plots.style import (
    INK,
    NEGATIVE,
    PAGE,
    POSITIVE,
    RULE_LINES,
    SMALL,
    drawing,
    fit,
)
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.quantities import format_threshold

_EDGES = np.linspace(0, 1, 41)
_TICKS = (0, 1, 5, 20, 50, 100)
_ROW = 0.88  # height of a full row; what is left parts it from the next one


def draw_score_histograms(splits: Sequence[Scored], path: Path) -> None:
    """Draw the probability of a class, of its own images against all others.

    A column for each split; a row for each class, or for the positive one of two.
    """
    summary = splits[0].summary
    names, positive_class = tuple(summary.classes), summary.positive_class
    height = 0.9 + max(0.45, 1.1 - 0.06 * len(names)) * len(names)
    with drawing(path, width=PAGE, height=3.4 if positive_class else height) as figure:
        panels = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
        about = "the finding" if splits[0].predictions.has_findings else "the class"
        for axes, split in zip(panels, splits, strict=True):
            _draw_rows(axes, split)
            axes.set(xlim=(-0.01, 1.01))
            axes.set_title(split.title)
            label = f"Probability of {positive_class or about}"
            axes.set_xlabel(fit(label, PAGE / len(splits) - 0.8, weight="normal"))
        if positive_class is not None:
            panels[0].set_ylabel("Share of the class (%), square-root scale")
        write_shared_key(figure, _list_keys(splits[0]))


def _draw_rows(axes: Axes, split: Scored) -> None:
    """Draw one row per class in a single panel, the first class on top; one alone has a scale."""
    classes = split.summary.classes
    is_alone = split.summary.positive_class is not None
    row = 1.0 if is_alone else _ROW
    bases = [float(len(classes) - 1 - i) for i in range(len(classes))]
    for (name, block), base in zip(classes.items(), bases, strict=True):
        _draw_stairs(axes, split.predictions, name=name, base=base, row=row)
        for rule, point in block.operating_points.items():
            if point.threshold is not None:
                where, line = (point.threshold, point.threshold), RULE_LINES.get(rule, "-.")
                ends = (base, base + row)
                axes.plot(where, ends, color=INK, linewidth=1.0, linestyle=line, zorder=4)
    if is_alone:
        axes.set_ylim(0, 1.04)
        axes.set_yticks([float(np.sqrt(t / 100)) for t in _TICKS], [str(t) for t in _TICKS])
        return
    axes.set_ylim(-0.06, len(classes))
    axes.set_yticks(bases, [fit(name, 1.5, size=SMALL, weight="normal") for name in classes])
    axes.tick_params(axis="y", length=0)
    for tick in axes.get_yticklabels():
        tick.set_verticalalignment("bottom")


def _draw_stairs(
    axes: Axes, predictions: Predictions, *, name: str, base: float, row: float
) -> None:
    """Draw the square root of the share in each bin, of the other images and of the class."""
    truth, scores = select_known(predictions, name)
    for is_in, color in ((~truth, NEGATIVE), (truth, POSITIVE)):
        counts, _ = np.histogram(scores[is_in], bins=_EDGES)
        heights = base + row * np.sqrt(counts / max(int(is_in.sum()), 1))
        axes.stairs(heights, _EDGES, baseline=base, fill=True, color=color, alpha=0.4)
        axes.stairs(heights, _EDGES, baseline=base, color=color, linewidth=1.2)


def _name_outcomes(split: Scored) -> tuple[str, str]:
    """Return what the positive and the negative images of a row are called."""
    positive_class = split.summary.positive_class
    if split.predictions.has_findings:
        return "images with the finding", "images without it"
    if positive_class is None:
        return "images of the class", "all other images"
    return positive_class, next(n for n in split.summary.class_names if n != positive_class)


def _list_keys(split: Scored) -> list[Patch | Line2D]:
    """Return the entries of the key; thresholds where they are the same in all panels."""
    own, other = (fit(name, 2.5, size=SMALL, weight="normal") for name in _name_outcomes(split))
    keys: list[Patch | Line2D] = [
        Patch(facecolor=color, alpha=0.6, edgecolor=color, label=label)
        for label, color in ((other, NEGATIVE), (own, POSITIVE))
    ]
    is_alone = split.summary.positive_class is not None
    # A finding without a positive VAL image has fewer.
    blocks = split.summary.classes.values()
    points = max((block.operating_points for block in blocks), key=len, default={})
    for rule, point in points.items():
        value = f" ≥ {format_threshold(point.threshold)}" * (is_alone and rule != "default")
        look: dict[str, Any] = {"color": INK, "linewidth": 1.0}
        line = RULE_LINES.get(rule, "-.")
        keys.append(make_line(f"{name_rule(rule)}{value}", linestyle=line, **look))
    note = "a full row is 100 % of the images (square-root scale)"
    return keys if is_alone else [*keys, make_note(note)]
