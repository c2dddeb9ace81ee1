"""Draws ROC and precision-recall curves with the operating points on them.

A panel for each class, or for the positive one of two: the curve of VAL and that of TEST, their
areas with intervals above. A curve that the images do not define is left out, and the key says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.plots.panels import Scored, drawing_panels, make_line, make_note, write_key
from medimg_baseline_cls.plots.style import FAINT, MUTED, RULE_MARKS, look_of, span_unit_square
from medimg_baseline_cls.records.summaries import OperatingPoint
from medimg_baseline_cls.statistics.metrics import count_by_threshold
from medimg_baseline_cls.utils.quantities import format_interval, format_score

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What makes a curve a ROC or a precision-recall curve."""

    trace: Callable[[NDArray[np.bool_], NDArray[np.float64]], Points | None]
    score: str
    score_name: str
    axis_metrics: tuple[str, str]
    axis_labels: tuple[str, str]

    @property
    def is_roc(self) -> bool:
        """Return whether its diagonal, and not the prevalence, is what chance reaches."""
        return self.score == "auroc"


def draw_roc(splits: Sequence[Scored], path: Path) -> None:
    """Draw sensitivity against 1 - specificity, with AUROC and the operating points."""
    kind = _Kind(
        trace=trace_roc,
        score="auroc",
        score_name="AUROC",
        axis_metrics=("specificity", "sensitivity"),
        axis_labels=("1 − specificity", "Sensitivity"),
    )
    _draw(kind, splits, path=path)


def draw_precision_recall(splits: Sequence[Scored], path: Path) -> None:
    """Draw precision (PPV) against recall (sensitivity), over the prevalence as baseline."""
    kind = _Kind(
        trace=trace_precision_recall,
        score="average_precision",
        score_name="AP",
        axis_metrics=("sensitivity", "ppv"),
        axis_labels=("Recall (sensitivity)", "Precision (PPV)"),
    )
    _draw(kind, splits, path=path)


def trace_roc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Points | None:
    """Return 1 - specificity and sensitivity from (0, 0) to (1, 1); None with one class only.

    >>> x, y = trace_roc(np.array([True, False]), np.array([0.9, 0.1])) or ([], [])
    >>> x.tolist(), y.tolist()
    ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    """
    _, tp, fp = count_by_threshold(truth, scores)
    if tp[-1] == 0 or fp[-1] == 0:
        return None
    return np.append(0.0, fp / fp[-1]), np.append(0.0, tp / tp[-1])


def trace_precision_recall(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Points | None:
    """Return recall and precision at the corners of the staircase whose area is the AP.

    None without a positive image.
    """
    _, tp, fp = count_by_threshold(truth, scores)
    if tp[-1] == 0:
        return None
    tp, fp = tp[tp > 0], fp[tp > 0]  # before the first hit there is no area
    recall, precision = tp / tp[-1], tp / (tp + fp)
    starts = np.append(0.0, recall[:-1])
    return np.stack([starts, recall], axis=1).ravel(), np.repeat(precision, 2)


def _draw(kind: _Kind, splits: Sequence[Scored], *, path: Path) -> None:
    names = tuple(splits[0].summary.classes)
    is_alone = len(names) == 1
    keys = _list_keys(kind, splits, is_alone=is_alone)
    num_keys = len(splits) + (not kind.is_roc)
    with drawing_panels(
        path, names, labels=kind.axis_labels, keys=keys, num_keys=num_keys
    ) as panels:
        for name, axes in panels.items():
            span_unit_square(axes)
            handles = [
                _draw_curve(axes, kind, split=split, name=name, is_alone=is_alone)
                for split in splits
            ]
            if kind.is_roc:
                axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
            else:
                handles.append(_draw_prevalence(axes, splits, name=name, is_alone=is_alone))
            title = name if splits[0].summary.positive_class is None else f"Positive: {name}"
            write_key(axes, title, handles=handles)


def _list_keys(kind: _Kind, splits: Sequence[Scored], *, is_alone: bool) -> list[Line2D]:
    """Return the entries that all panels share; what the panels of many only hint at is told."""
    keys: list[Line2D] = []
    if not is_alone:
        keys = [make_line(split.title, **look_of(split.summary.split)) for split in splits]
        keys += [] if kind.is_roc else [make_line("prevalence", color=MUTED, linestyle=":")]
    blocks = [block for split in splits for block in split.summary.classes.values()]
    for rule in dict.fromkeys(rule for block in blocks for rule in block.operating_points):
        mark = RULE_MARKS.get(rule, "D")
        look: dict[str, Any] = {"linestyle": "none", "color": MUTED, "markersize": 4.5}
        keys.append(make_line(name_rule(rule), marker=mark, **look))
    return keys if is_alone else [*keys, make_note(f"numbers: {kind.score_name} (95 % CI)")]


def _draw_curve(axes: Axes, kind: _Kind, *, split: Scored, name: str, is_alone: bool) -> Line2D:
    """Draw one curve with its operating points and return its entry in the key."""
    truth, scores = select_known(split.predictions, name)
    traced = kind.trace(truth, scores) if len(truth) else None
    block, look = split.summary.classes[name], look_of(split.summary.split)
    # The first operating point is drawn last, on top.
    for rule, point in reversed(list(block.operating_points.items())):
        _mark_point(axes, kind, point=point, marker=RULE_MARKS.get(rule, "D"), color=look["color"])
    label = f"{split.title}: {kind.score_name} " if is_alone else f"{split.summary.split.upper()} "
    if traced is None:
        return make_note(f"{label}undefined")
    axes.plot(*traced, zorder=4 if split.summary.split == "test" else 3, **look)
    estimate = block.metrics[kind.score]
    interval = format_interval(estimate.bounds)
    text = f" ({'95 % CI ' * is_alone}{interval})" if interval else ""
    return make_line(f"{label}{format_score(estimate.value)}{text}", **look)


def _draw_prevalence(axes: Axes, splits: Sequence[Scored], *, name: str, is_alone: bool) -> Line2D:
    """Draw what chance reaches in each split and return the entry of the key."""
    texts: list[str] = []
    for split in splits:
        prevalence = split.summary.classes[name].prevalence
        if prevalence is not None:
            own = split.summary.split
            look: dict[str, Any] = {**look_of(own), "linewidth": 1.0, "linestyle": ":"}
            axes.plot([0, 1], [prevalence, prevalence], zorder=1, **look)
            texts.append(f"{format_score(prevalence)} ({own.upper()})")
    label = "prevalence " * is_alone + ", ".join(texts)
    return make_line(label, color=MUTED, linestyle=":", linewidth=1.0)


def _mark_point(axes: Axes, kind: _Kind, *, point: OperatingPoint, marker: str, color: str) -> None:
    x, y = (point.metrics[metric].value for metric in kind.axis_metrics)
    if x is None or y is None:
        return
    axes.plot(
        [1 - x if kind.is_roc else x],
        [y],
        marker=marker,
        markersize=5,
        color=color,
        markeredgecolor="white",
        markeredgewidth=0.8,
        zorder=5,
        clip_on=False,
    )
