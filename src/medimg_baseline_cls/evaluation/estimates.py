"""Turns truth, scores and counts into the figures that the summaries hold.

A figure is {"value": x}, or {"value": null, "reason": ...} where the images do not define it;
so that no image at all is no error here, but a block of undefined figures.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from medimg_baseline_cls.catalogue import reason_of
from medimg_baseline_cls.statistics.metrics import (
    ConfusionCounts,
    Scores,
    Truth,
    auroc_score,
    average_precision_score,
    brier_score,
    count_confusion,
    log_loss_error,
    operating_point_metrics,
)

Summary = dict[str, Any]

_METRICS = {
    "average_precision": average_precision_score,
    "auroc": auroc_score,
    "brier_score": brier_score,
    "log_loss": log_loss_error,
}


def make_figure(name: str, value: float | None) -> Summary:
    """Return a value as a figure, with the reason where there is none.

    >>> make_figure("auroc", 0.9), make_figure("npv", None)
    ({'value': 0.9}, {'value': None, 'reason': 'no image was called negative'})
    """
    return {"value": value} if value is not None else {"value": None, "reason": reason_of(name)}


def measure_scores(truth: Truth, scores: Scores) -> Summary:
    """Return prevalence, counts and threshold-free figures of some images, which may be none.

    Args:
        truth: whether the reference standard is positive, shape (n,), bool.
        scores: probabilities, shape (n,), in [0, 1].
    """
    prevalence = float(truth.mean()) if len(truth) else None
    values = {name: get(truth, scores) if len(truth) else None for name, get in _METRICS.items()}
    metrics = {name: make_figure(name, value) for name, value in values.items()}
    metrics["average_precision"]["baseline"] = prevalence
    return {
        "prevalence": prevalence,
        "num_positive": int(truth.sum()),
        "num_negative": int((~truth).sum()),
        "metrics": metrics,
    }


def count_calls(truth: Truth, scores: Scores, *, threshold: float) -> ConfusionCounts:
    """Return what `count_confusion` does; of no image, zeros."""
    if len(truth) == 0:
        return ConfusionCounts(tp=0, fp=0, fn=0, tn=0)
    return count_confusion(truth, scores, threshold=threshold)


def measure_counts(counts: ConfusionCounts) -> Summary:
    """Return the counts of an operating point and the figures that follow from them."""
    figures: Mapping[str, float | None] = operating_point_metrics(counts)
    return asdict(counts) | {name: make_figure(name, value) for name, value in figures.items()}
