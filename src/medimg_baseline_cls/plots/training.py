"""Draws history.csv: loss, AP and AUROC over both stages, the best epoch marked."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from medimg_baseline_cls.plots.panels import write_shared_key
from medimg_baseline_cls.plots.style import (
    DASHED,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAGE,
    PURPLE,
    drawing,
)
from medimg_baseline_cls.utils.quantities import say_score

STAGE_NAMES = {"head": "head only", "finetune": "fine-tuning"}
_LOOKS: dict[str, dict[str, Any]] = {  # by column of history.csv
    "train_loss": {"label": "TRAIN loss", "color": MUTED, "marker": "s", "linestyle": DASHED},
    "val_loss": {"label": "VAL loss", "color": ORANGE, "marker": "o"},
    "val_ap": {"label": "VAL AP", "color": GREEN, "marker": "o"},
    "val_auroc": {"label": "VAL AUROC", "color": PURPLE, "marker": "^", "linestyle": DASHED},
}

History = Sequence[Mapping[str, str | float | None]]


def draw_training_curves(history: History, path: Path) -> None:
    """Draw losses on the left, AP and AUROC of VAL on the right.

    Args:
        history: rows of history.csv (stage, epoch, train_loss, val_loss, val_ap, val_auroc);
            empty cells are gaps.
        path: the PNG, rewritten now and then.
    """
    best = find_best_epoch(history)
    with drawing(path, width=PAGE, height=3.1) as figure:
        losses, scores = figure.subplots(1, 2)
        for column, look in _LOOKS.items():
            _plot(losses if "loss" in column else scores, history, column=column, look=look)
        losses.set(ylabel="Loss")
        scores.set(ylabel="Average precision, AUROC")
        for axes in (losses, scores):
            _mark_stages(axes, history)
        losses.set_ylim(0, 1.08 * max(losses.get_ylim()[1], 0))
        if best is not None:
            _mark_best(losses, scores, history=history, best=best)
        handles = [h for axes in (losses, scores) for h in axes.get_legend_handles_labels()[0]]
        write_shared_key(figure, handles)


def find_best_epoch(history: History) -> int | None:
    """Return the position of the epoch that training chose; None where no epoch has a VAL AP.

    It has the highest VAL AP, or that of stressed VAL if there is one, ties by lower VAL loss.

    >>> find_best_epoch([{"val_ap": "0.8", "val_loss": "1"}, {"val_ap": "0.9", "val_loss": "2"}])
    1
    """
    chosen_by = "stressed_ap" if any(row.get("stressed_ap") for row in history) else "val_ap"
    ranks = [
        (-_number(row, chosen_by), _number(row, "val_loss"), i) for i, row in enumerate(history)
    ]
    known = [rank for rank in ranks if not math.isnan(rank[0])]
    return min(known)[2] if known else None


def _plot(axes: Axes, history: History, *, column: str, look: Mapping[str, Any]) -> None:
    values = [_number(row, column) for row in history]
    size = 3.5 if len(history) <= 40 else 0.0
    epochs = range(1, len(values) + 1)
    axes.plot(epochs, values, markersize=size, **look)


def _mark_stages(axes: Axes, history: History) -> None:
    """Write the stages above the curves, with a line where one ends."""
    axes.set(xlabel="Epoch, both stages counted", xlim=(0.5, max(len(history), 1) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    stages = [str(row.get("stage") or "") for row in history]
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    for start, stop in zip(starts, [*starts[1:], len(history)], strict=False):
        if start:
            axes.axvline(start + 0.5, color=MUTED, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        axes.text(
            (start + stop + 1) / 2,
            1.015,
            STAGE_NAMES.get(stages[start], stages[start]),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            color=MUTED,
        )


def _mark_best(losses: Axes, scores: Axes, *, history: History, best: int) -> None:
    for axes in (losses, scores):
        axes.axvline(best + 1, color=FAINT, linewidth=5, alpha=0.55, zorder=0.5)
    row = history[best]
    stage, score = str(row.get("stage") or ""), _number(row, "val_ap")
    scores.plot(
        [best + 1],
        [score],
        linestyle="none",
        marker="*",
        markersize=11,
        color=GREEN,
        markeredgecolor=INK,
        markeredgewidth=0.8,
        zorder=6,
        label=f"best: {STAGE_NAMES.get(stage, stage)}, epoch {row.get('epoch')}, "
        f"AP {say_score(score)}",
    )


def _number(row: Mapping[str, str | float | None], column: str) -> float:
    """Return a cell as a number; NaN, which matplotlib leaves out, where it is empty."""
    cell = row.get(column)
    return math.nan if cell is None or cell == "" else float(cell)
