"""Turns predictions and thresholds into val_summary.json and test_summary.json.

Two classes: the figures of the positive class. More: each class against the rest, and
their macro averages. One class per image: the confusion matrix too, and for grades what
their order adds. Several findings per image: each on the images where it is known, with
macro and micro averages. A figure is {"value": x}, or {"value": null, "reason": ...} where
the images do not define it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.estimates import (
    Summary,
    count_calls,
    make_figure,
    measure_counts,
    measure_scores,
)
from medimg_baseline_cls.evaluation.findings import average_findings, measure_overall, pool_findings
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import require_score_space, select_known
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.metrics import (
    count_matrix,
    cross_entropy_error,
    grade_values,
    mean_grade_error,
    quadratic_weighted_kappa,
)


def evaluated_classes(class_names: Sequence[str], positive_class: str | None) -> tuple[str, ...]:
    """Return the classes that have figures of their own.

    >>> evaluated_classes(["NORMAL", "PNEUMONIA"], "PNEUMONIA")
    ('PNEUMONIA',)
    >>> evaluated_classes(["A", "B", "C"], None)
    ('A', 'B', 'C')
    """
    positive = positive_of(class_names, positive_class)
    return tuple(class_names) if positive is None else (positive,)


def positive_of(class_names: Sequence[str], positive_class: str | None) -> str | None:
    """Return the positive one of two classes; None for more: each stands against the rest.

    Raises:
        DataError: It is not one of the classes.
    """
    if positive_class is not None and positive_class not in class_names:
        raise DataError(f"{positive_class} is not one of the classes: {', '.join(class_names)}.")
    return positive_class if len(class_names) == 2 else None


def summarize_predictions(
    predictions: Predictions, thresholds: Thresholds, *, positive_class: str | None
) -> Summary:
    """Compute every figure of one split, at thresholds that are given.

    Args:
        predictions: of VAL or TEST, each image with its reference standard.
        thresholds: operating points by class, from `choose_thresholds`.
        positive_class: of two classes; None, or more classes, evaluates each against the rest.

    Returns:
        The content of <split>_summary.json.

    Raises:
        DataError: An image has no reference standard, or there is no image.
    """
    names = predictions.class_names
    facts: Summary = {
        "split": predictions.split,
        "num_images": len(predictions.labels),
        "num_groups": len(set(predictions.groups)),
        "class_names": list(names),
    }
    if predictions.task != "multiclass":
        facts["task"] = predictions.task
    if predictions.task == "multilabel":
        return facts | _summarize_findings(predictions, thresholds)
    return facts | _summarize_classes(
        predictions, thresholds, positive_class=positive_of(names, positive_class)
    )


def headline(summary: Mapping[str, Any]) -> Summary:
    """Return the threshold-free figures of a split: of the positive class, or the averages."""
    positive = summary["positive_class"]
    source = summary["macro"] if positive is None else summary["classes"][positive]
    return dict(source["metrics"])


def _summarize_classes(
    predictions: Predictions, thresholds: Thresholds, *, positive_class: str | None
) -> Summary:
    """Return the figures where each image has one class."""
    names, labels = predictions.class_names, predictions.labels
    classes = evaluated_classes(names, positive_class)
    positive = None if positive_class is None else names.index(positive_class)
    matrix = count_matrix(labels, predictions.probabilities, positive=positive)
    blocks = {
        name: _summarize_class(predictions, name, points=thresholds.get(name, ()))
        for name in classes
    }
    every_class = blocks
    if len(classes) < len(names):
        every_class = {name: _summarize_class(predictions, name, points=()) for name in names}
    overall: Summary = {
        "accuracy": {"value": int(np.trace(matrix)) / len(labels)},
        "log_loss": {"value": cross_entropy_error(labels, predictions.probabilities)},
    }
    if predictions.task == "ordinal":
        grades = grade_values(names)
        kappa = quadratic_weighted_kappa(matrix, grades)
        overall["quadratic_weighted_kappa"] = make_figure("quadratic_weighted_kappa", kappa)
        overall["mean_grade_error"] = {"value": mean_grade_error(matrix, grades)}
    return {
        "positive_class": positive_class,
        "classes": blocks,
        "macro": _average_blocks(every_class),
        "overall": overall,
        "confusion_matrix": matrix.tolist(),
    }


def _summarize_findings(predictions: Predictions, thresholds: Thresholds) -> Summary:
    """Return the figures where each image has any number of findings."""
    blocks: dict[str, Summary] = {}
    for name in predictions.class_names:
        block = _summarize_class(predictions, name, points=thresholds.get(name, ()))
        blocks[name] = block | {"num_unknown": int((~predictions.known(name)).sum())}
    return {
        "positive_class": None,
        "classes": blocks,
        "macro": average_findings(blocks),
        "micro": pool_findings(predictions, thresholds),
        "overall": measure_overall(predictions),
        "confusion_matrix": None,
    }


def _summarize_class(
    predictions: Predictions, name: str, *, points: Sequence[Threshold]
) -> Summary:
    truth, scores = select_known(predictions, name)
    cuts: Summary = {}
    for point in points:
        require_score_space(predictions, point)
        counts = count_calls(truth, scores, threshold=point.value)
        cuts[point.rule] = {"threshold": point.value} | measure_counts(counts)
    return measure_scores(truth, scores) | {"operating_points": cuts}


def _average_blocks(blocks: Mapping[str, Summary]) -> Summary:
    """Return the plain means over classes; undefined as soon as one class's figure is."""
    baseline = math.fsum(block["prevalence"] for block in blocks.values()) / len(blocks)
    metrics = _average_figures({name: block["metrics"] for name, block in blocks.items()})
    metrics["average_precision"]["baseline"] = baseline
    first = next(iter(blocks.values()))["operating_points"]
    shared = [r for r in first if all(r in b["operating_points"] for b in blocks.values())]
    points = {
        rule: _average_figures({n: b["operating_points"][rule] for n, b in blocks.items()})
        for rule in shared
    }
    return {"metrics": metrics, "operating_points": points}


def _average_figures(figures: Mapping[str, Summary]) -> Summary:
    """Return the mean of each {"value": ...} entry over classes."""
    averages: Summary = {}
    for key, example in next(iter(figures.values())).items():
        if not isinstance(example, dict):
            continue
        values = {name: entry[key]["value"] for name, entry in figures.items()}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            averages[key] = {"value": None, "reason": f"undefined for {', '.join(missing)}"}
        else:
            averages[key] = {"value": math.fsum(values.values()) / len(values)}
    return averages
