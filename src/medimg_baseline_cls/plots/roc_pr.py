"""Draws ROC and precision-recall curves with the operating points on them.

Two classes: VAL and TEST in one panel. More, or findings: a panel for each split with one
curve per class. A curve that the images do not define is left out, and the legend says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.split_summary import positive_of
from medimg_baseline_cls.plots.style import (
    CLASS_COLORS,
    CLASS_LINES,
    FAINT,
    MUTED,
    RULE_MARKS,
    SPLIT_COLORS,
    SPLIT_LINES,
    SQUARE,
    WIDE,
    drawing,
    number_text,
    shorten,
    span_unit_square,
)
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.metrics import (
    auroc_score,
    average_precision_score,
    count_by_threshold,
    count_confusion,
    operating_point_metrics,
)
from medimg_baseline_cls.utils.quantities import say_score

_MAX_INSIDE = 6  # classes whose legend fits into the panel
_MAX_MARKED = 4  # classes whose operating points do not hide each other
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What makes a curve a ROC or a precision-recall curve."""

    trace: Callable[[NDArray[np.bool_], NDArray[np.float64]], Points | None]
    score: Callable[[NDArray[np.bool_], NDArray[np.float64]], float | None]
    score_name: str
    axis_metrics: tuple[str, str]
    axis_labels: tuple[str, str]
    legend_place: Literal["lower left", "lower right"]


def draw_roc(
    splits: Sequence[Predictions],
    path: Path,
    *,
    thresholds: Thresholds,
    positive_class: str | None,
) -> None:
    """Draw sensitivity against 1 - specificity, with AUROC and the operating points.

    Args:
        splits: predictions of VAL, TEST or both.
        path: the PNG.
        thresholds: operating points by class.
        positive_class: of two classes; None draws each class against the rest.
    """
    kind = _Kind(
        trace=trace_roc,
        score=auroc_score,
        score_name="AUROC",
        axis_metrics=("specificity", "sensitivity"),
        axis_labels=("1 − specificity", "Sensitivity"),
        legend_place="lower right",
    )
    _draw(kind, splits, path=path, thresholds=thresholds, positive_class=positive_class)


def draw_precision_recall(
    splits: Sequence[Predictions],
    path: Path,
    *,
    thresholds: Thresholds,
    positive_class: str | None,
) -> None:
    """Draw precision (PPV) against recall (sensitivity), over the prevalence as baseline.

    Args:
        splits: predictions of VAL, TEST or both.
        path: the PNG.
        thresholds: operating points by class.
        positive_class: of two classes; None draws each class against the rest.
    """
    kind = _Kind(
        trace=trace_precision_recall,
        score=average_precision_score,
        score_name="AP",
        axis_metrics=("sensitivity", "ppv"),
        axis_labels=("Recall (sensitivity)", "Precision (PPV)"),
        legend_place="lower left",
    )
    _draw(kind, splits, path=path, thresholds=thresholds, positive_class=positive_class)


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


def _draw(
    kind: _Kind,
    splits: Sequence[Predictions],
    *,
    path: Path,
    thresholds: Thresholds,
    positive_class: str | None,
) -> None:
    positive_class = positive_of(splits[0].class_names, positive_class)
    if positive_class is not None:
        with drawing(path, width=SQUARE, height=SQUARE) as figure:
            _draw_binary(figure, kind, splits=splits, name=positive_class, thresholds=thresholds)
        return
    num_classes = len(splits[0].class_names)
    height = 0.3 + 0.09 * num_classes if num_classes > _MAX_INSIDE else 0.0  # of the legend
    with drawing(path, width=WIDE, height=SQUARE + height) as figure:
        ratios = [SQUARE, height] if height else [SQUARE]
        grid = figure.subplots(len(ratios), len(splits), squeeze=False, height_ratios=ratios)
        for column, predictions in zip(grid.T, splits, strict=True):
            handles = _draw_classes(column[0], kind, predictions=predictions, thresholds=thresholds)
            if height:
                column[1].set_axis_off()
                column[1].legend(handles=handles, loc="upper center", ncols=2)
            else:
                column[0].legend(handles=handles, loc=kind.legend_place, borderaxespad=0.8)
        grid[0, 0].set_ylabel(kind.axis_labels[1])


def _draw_binary(
    figure: Figure,
    kind: _Kind,
    *,
    splits: Sequence[Predictions],
    name: str,
    thresholds: Thresholds,
) -> None:
    axes = figure.subplots()
    span_unit_square(axes)
    axes.set(xlabel=kind.axis_labels[0], ylabel=kind.axis_labels[1])
    axes.set_title(f"Positive: {shorten(name, 40)}", fontweight="normal")
    handles: list[Line2D] = []
    for predictions in splits:
        look: dict[str, Any] = {
            "color": SPLIT_COLORS.get(predictions.split, MUTED),
            "linestyle": SPLIT_LINES.get(predictions.split, "-"),
        }
        label = f"{predictions.split.upper()} ({len(predictions.labels)} images)"
        handles.append(
            _draw_curve(axes, kind, predictions=predictions, name=name, label=label, look=look)
        )
        if kind.score_name == "AP":
            prevalence = float(predictions.truth(name).mean())
            handles.append(
                _draw_baseline(axes, prevalence, color=look["color"], split=predictions.split)
            )
    if kind.score_name == "AUROC":
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
    points = thresholds.get(name, ())
    for predictions in splits:
        color = SPLIT_COLORS.get(predictions.split, MUTED)
        for point in reversed(points):  # so that the first one lies on top
            _mark_point(axes, kind, predictions=predictions, point=point, color=color)
    handles += _rule_handles(points)
    axes.legend(handles=handles, loc=kind.legend_place, borderaxespad=0.8)


def _draw_classes(
    axes: Axes, kind: _Kind, *, predictions: Predictions, thresholds: Thresholds
) -> list[Line2D]:
    """Draw one curve per class and return what the legend has to name."""
    span_unit_square(axes)
    axes.set(xlabel=kind.axis_labels[0])
    axes.set_title(f"{predictions.split.upper()} ({len(predictions.labels)} images)")
    handles: list[Line2D] = []
    num_classes = len(predictions.class_names)
    for i, name in enumerate(predictions.class_names):
        color = CLASS_COLORS[i % len(CLASS_COLORS)]
        line = CLASS_LINES[(i + i // len(CLASS_COLORS)) % len(CLASS_LINES)]
        look: dict[str, Any] = {"color": color, "linestyle": line}
        label = shorten(name, 20)
        handles.append(
            _draw_curve(axes, kind, predictions=predictions, name=name, label=label, look=look)
        )
        truth, _ = select_known(predictions, name)
        if kind.score_name == "AP" and len(truth):
            prevalence = float(truth.mean())
            axes.plot([0, 1], [prevalence, prevalence], color=color, linewidth=0.8, linestyle=":")
        for point in thresholds.get(name, ()) if num_classes <= _MAX_MARKED else ():
            _mark_point(axes, kind, predictions=predictions, point=point, color=color)
    if kind.score_name == "AUROC":
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
    else:
        handles.append(
            Line2D([], [], color=MUTED, linewidth=0.8, linestyle=":", label="prevalence")
        )
    if num_classes <= _MAX_MARKED:
        handles += _rule_handles(max(thresholds.values(), key=len, default=()))
    return handles


def _draw_curve(
    axes: Axes,
    kind: _Kind,
    *,
    predictions: Predictions,
    name: str,
    label: str,
    look: dict[str, Any],
) -> Line2D:
    """Draw one curve and return its entry for the legend."""
    truth, scores = select_known(predictions, name)
    traced = kind.trace(truth, scores) if len(truth) else None
    if traced is None:
        return Line2D([], [], color="none", label=f"{label}: undefined")
    text = f"{label}, {kind.score_name} {number_text(kind.score(truth, scores))}"
    axes.plot(*traced, zorder=3, **look)
    return Line2D([], [], label=text, **look)


def _draw_baseline(axes: Axes, prevalence: float, *, color: str, split: str) -> Line2D:
    look: dict[str, Any] = {"color": color, "linewidth": 1.0, "linestyle": ":"}
    axes.plot([0, 1], [prevalence, prevalence], zorder=1, **look)
    return Line2D([], [], label=f"{split.upper()} prevalence {say_score(prevalence)}", **look)


def _mark_point(
    axes: Axes, kind: _Kind, *, predictions: Predictions, point: Threshold, color: str
) -> None:
    truth, scores = select_known(predictions, point.class_name)
    if len(truth) == 0:
        return
    counts = count_confusion(truth, scores, threshold=point.value)
    figures = operating_point_metrics(counts)
    x, y = (figures[metric] for metric in kind.axis_metrics)
    if x is None or y is None:
        return
    x = 1 - x if kind.score_name == "AUROC" else x
    axes.plot(
        [x],
        [y],
        marker=RULE_MARKS.get(point.rule, "D"),
        markersize=7,
        color=color,
        markeredgecolor="white",
        markeredgewidth=1.1,
        zorder=5,
        clip_on=False,
    )


def _rule_handles(points: Sequence[Threshold]) -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=RULE_MARKS.get(point.rule, "D"),
            color=MUTED,
            markersize=6,
            label=name_rule(point.rule),
        )
        for point in points
    ]
