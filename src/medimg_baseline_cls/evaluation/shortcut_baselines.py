"""Turn the scores of control classifiers on VAL and TEST into metrics next to the model's.

A control does not see the anatomy: only trivial properties of the image, or its outer frame. A
model that does not clearly beat both has learned little, and `warn_of_controls` warns of it.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.split_summary import (
    SCORE_METRICS,
    evaluated_classes,
    make_estimate,
)
from medimg_baseline_cls.records.estimates import Bounds, Estimate
from medimg_baseline_cls.records.evaluations import ShortcutBaseline
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.metrics import Truth
from medimg_baseline_cls.statistics.multilabel import mean_of_defined
from medimg_baseline_cls.utils.quantities import format_interval, say_score

CHANCE = 0.5
CLEAR_MARGIN = 0.02  # in AUROC, which differs by about 0.01 between seeds
_METRICS = ("average_precision", "auroc")


def summarize_control(
    name: str,
    *,
    description: str,
    predictions: Sequence[Predictions],
    positive_class: str | None,
) -> ShortcutBaseline:
    """Return the metrics of one control.

    Args:
        name: "trivial" or "border".
        description: in words.
        predictions: of VAL and TEST, by the control fitted on TRAIN.
        positive_class: of two classes; None averages each class against the rest.
    """
    metrics: dict[str, dict[str, Estimate]] = {}
    for part in predictions:
        classes = evaluated_classes(part.class_names, positive_class)
        metrics[part.split] = {m: _average(part, classes, metric=m) for m in _METRICS}
    return ShortcutBaseline(name=name, description=description, metrics=metrics)


def warn_of_controls(
    test: Mapping[str, Estimate], controls: Sequence[ShortcutBaseline]
) -> Iterator[str]:
    """Yield a sentence for each control that the model does not clearly beat on TEST.

    Of a model that is not above chance, one sentence says that.

    Args:
        test: the headline metrics of the model on TEST.
        controls: from `summarize_control`.
    """
    own = test["auroc"].value
    if own is None:
        return
    if fault := _compare_with_chance(own, test["auroc"].bounds):
        yield f"The model's AUROC on TEST, {say_score(own)}{fault}"
        return
    for control in controls:
        reached = control.metrics["test"]["auroc"].value
        if reached is not None and own <= reached + CLEAR_MARGIN:
            yield (
                f"The model's AUROC on TEST, {say_score(own)}, does not clearly beat the "
                f"{say_score(reached)} of a {control.description}: it may "
                "have learned little more than that."
            )


def _compare_with_chance(auroc: float, bounds: Bounds | None) -> str:
    """Return how an AUROC is not above 0.5, as the end of a sentence; "" if it is."""
    shown = f" (95 % CI {format_interval(bounds)})" if bounds else ""
    low, high = bounds or (auroc, auroc)
    if bounds and high < CHANCE:
        return (
            f"{shown}, is below chance ({CHANCE}): the classes are ranked the wrong way round; "
            "check the labels, class_names and positive_class."
        )
    if low <= CHANCE:
        return (
            f"{shown}, is not clearly above chance ({CHANCE}): TEST does not show that it has "
            "learned anything."
        )
    return ""


def describe_controls(controls: Sequence[ShortcutBaseline]) -> str:
    """Return one line with the AUROC of the controls on TEST.

    >>> reached = {"test": {"auroc": Estimate(value=0.9)}}
    >>> describe_controls([ShortcutBaseline(name="border", description="", metrics=reached)])
    'controls that the model must beat, AUROC on TEST: border 0.900'
    """
    values = [(control.name, control.metrics["test"]["auroc"].value) for control in controls]
    shown = ", ".join(f"{name} {say_score(v)}" for name, v in values)
    return f"controls that the model must beat, AUROC on TEST: {shown}"


def _average(part: Predictions, classes: Sequence[str], *, metric: str) -> Estimate:
    """Return the mean of a metric over the same classes as the model's headline.

    For findings, those for which the images define it; for classes, all or none. A control
    without scores for one of them has no mean to compare.
    """
    values: list[float | None] = []
    for name in classes:
        truth, scores = select_known(part, name)
        if part.has_findings and not _is_defined(metric, truth):
            continue
        has_scores = len(scores) > 0 and bool(np.isfinite(scores).all())
        value = SCORE_METRICS[metric](truth, scores) if has_scores else None
        if value is None:
            return make_estimate(metric, None)
        values.append(value)
    mean = mean_of_defined(values)
    return Estimate(value=mean, reason="" if values else "undefined for every finding")


def _is_defined(metric: str, truth: Truth) -> bool:
    """Return whether the images define a metric, for any scores."""
    return len(truth) > 0 and SCORE_METRICS[metric](truth, np.zeros(len(truth))) is not None
