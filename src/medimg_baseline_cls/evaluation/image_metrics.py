"""Metrics of images over all classes or findings, such as accuracy, plain and in each resample.

To add one, compute it in both functions here and give it a row in the catalogue.
"""

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.evaluation.operating_points import DEFAULT_THRESHOLD
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, Weights, weighted_mean
from medimg_baseline_cls.statistics.metrics import (
    cross_entropy_error,
    decide_classes,
    grade_values,
    log_loss_error,
    mean_grade_error,
    negative_logs,
    quadratic_weighted_kappa,
)
from medimg_baseline_cls.statistics.multilabel import exact_matches, pool_pairs


def measure_image_metrics(
    predictions: Predictions, matrix: NDArray[np.int64] | None
) -> dict[str, float | None]:
    """Return each metric; None where the images do not define it.

    Args:
        predictions: of one split.
        matrix: their confusion matrix; None for findings.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    if matrix is None:
        truth, scores = pool_pairs(labels, probabilities)
        loss = log_loss_error(truth, scores) if len(truth) else None
        _, matches = exact_matches(labels, probabilities, threshold=DEFAULT_THRESHOLD)
        share = float(matches.mean()) if len(matches) else None
        return {"log_loss": loss, "exact_match": share}
    found: dict[str, float | None] = {
        "accuracy": int(np.trace(matrix)) / len(labels),
        "log_loss": cross_entropy_error(labels, probabilities),
    }
    if predictions.has_grades:
        grades = grade_values(predictions.class_names)
        found["quadratic_weighted_kappa"] = quadratic_weighted_kappa(matrix, grades)
        found["mean_grade_error"] = mean_grade_error(matrix, grades)
    return found


def resample_image_metrics(
    part: Predictions, *, weights: Weights, positive_class: str | None
) -> dict[str, Values]:
    """Return each metric in each resample, shape (B,), but for the log loss of findings.

    Args:
        part: predictions of one split.
        weights: shape (B, N), from `draw_part`.
        positive_class: of two classes, as in the summary.
    """
    labels, probabilities = part.labels, part.probabilities
    if part.has_findings:
        known, matches = exact_matches(labels, probabilities, threshold=DEFAULT_THRESHOLD)
        return {"exact_match": weighted_mean(matches, weights[:, known])}
    positive = None if positive_class is None else part.class_names.index(positive_class)
    decided = decide_classes(probabilities, positive=positive)
    losses = negative_logs(probabilities[np.arange(len(labels)), labels])
    values = {
        "accuracy": weighted_mean(decided == labels, weights),
        "log_loss": weighted_mean(losses, weights),
    }
    if part.has_grades:
        grades = np.array(grade_values(part.class_names), dtype=np.float64)
        errors = np.abs(grades[decided] - grades[labels])
        kappas = _weighted_kappas(labels, decided, weights=weights, grades=grades)
        values |= {
            "quadratic_weighted_kappa": kappas,
            "mean_grade_error": weighted_mean(errors, weights),
        }
    return values


def _weighted_kappas(
    labels: NDArray[np.int64], decided: NDArray[np.int64], *, weights: Weights, grades: Values
) -> Values:
    """Return the quadratic weighted kappa of each resample; NaN where all is one grade.

    Args:
        labels: the grade of each image as an index, shape (N,).
        decided: the grade that was decided, shape (N,).
        weights: shape (B, N).
        grades: the value of each grade, shape (C,).
    """
    num_grades = len(grades)
    cells = np.zeros((len(labels), num_grades**2))
    cells[np.arange(len(labels)), labels * num_grades + decided] = 1.0
    matrices = (weights.astype(np.float64, order="F") @ cells).reshape(-1, num_grades, num_grades)
    distances = (grades[:, None] - grades) ** 2
    by_chance = np.einsum("bi,bj->bij", matrices.sum(axis=2), matrices.sum(axis=1))
    expected = (distances * by_chance).sum(axis=(1, 2))
    found = matrices.sum(axis=(1, 2)) * (distances * matrices).sum(axis=(1, 2))
    return np.where(expected > 0, 1 - found / np.where(expected > 0, expected, 1.0), np.nan)
