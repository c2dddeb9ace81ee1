"""Turns what control classifiers say of VAL and TEST into figures beside the model's.

A control sees no organ: trivial properties of the image, or its outer frame alone. A model
that does not clearly beat both has learnt little; `warn_of_controls` then says so.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medimg_baseline_cls.catalogue import reason_of
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.split_summary import Summary, evaluated_classes
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.metrics import (
    Scores,
    Truth,
    auroc_score,
    average_precision_score,
)
from medimg_baseline_cls.utils.quantities import say_score

CLEAR_MARGIN = 0.02
_METRICS: dict[str, Callable[[Truth, Scores], float | None]] = {
    "average_precision": average_precision_score,
    "auroc": auroc_score,
}


def summarize_control(
    name: str,
    *,
    description: str,
    predictions: Sequence[Predictions],
    positive_class: str | None,
) -> Summary:
    """Return the figures of one control.

    Args:
        name: "trivial" or "border".
        description: what it is, in words.
        predictions: of VAL and TEST, by the control that was fitted on TRAIN.
        positive_class: of two classes; None averages each class against the rest.

    Returns:
        {"name", "description", "val": {"auroc", "average_precision"}, "test": {...}}, each
        figure {"value": x} or {"value": null, "reason": ...}.
    """
    content: Summary = {"name": name, "description": description}
    for part in predictions:
        classes = evaluated_classes(part.class_names, positive_class)
        content[part.split] = {m: _average(part, classes, metric=m) for m in _METRICS}
    return content


def warn_of_controls(
    test: Mapping[str, Any], controls: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield a sentence for each control that the model does not clearly beat on TEST.

    Args:
        test: the headline figures of the model on TEST.
        controls: from `summarize_control`.
    """
    own = test["auroc"]["value"]
    for control in controls:
        reached = control["test"]["auroc"]["value"]
        if own is not None and reached is not None and own <= reached + CLEAR_MARGIN:
            yield (
                f"The model's AUROC on TEST, {say_score(own)}, does not clearly beat the "
                f"{say_score(reached)} of a {control['description']}: it may "
                "have learnt little more than that."
            )


def describe_controls(controls: Sequence[Mapping[str, Any]]) -> str:
    """Return one line with the figures of the controls on TEST.

    >>> describe_controls([{"name": "border", "test": {"auroc": {"value": 0.9}}}])
    'controls that the model must beat, AUROC on TEST: border 0.900'
    """
    values = [(control["name"], control["test"]["auroc"]["value"]) for control in controls]
    shown = ", ".join(f"{name} {say_score(v)}" for name, v in values)
    return f"controls that the model must beat, AUROC on TEST: {shown}"


def _average(part: Predictions, classes: Sequence[str], *, metric: str) -> Summary:
    """Return a figure averaged over the classes that the model's headline is averaged over.

    Those are the findings for which the images define it; of classes all or none. A control
    that says nothing of one of them has no mean to compare.
    """
    values: list[float] = []
    for name in classes:
        truth, scores = select_known(part, name)
        if part.task == "multilabel" and not _is_defined(metric, truth):
            continue
        has_scores = len(scores) > 0 and bool(np.isfinite(scores).all())
        value = _METRICS[metric](truth, scores) if has_scores else None
        if value is None:
            return {"value": None, "reason": reason_of(metric)}
        values.append(value)
    if not values:
        return {"value": None, "reason": "undefined for every finding"}
    return {"value": math.fsum(values) / len(values)}


def _is_defined(metric: str, truth: Truth) -> bool:
    """Return whether the images define a figure, whatever the scores are."""
    return len(truth) > 0 and _METRICS[metric](truth, np.zeros(len(truth))) is not None
