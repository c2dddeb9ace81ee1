"""The figures of whole images, and of all pairs of image and finding, in each resample."""

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.evaluation.findings import pool_pairs
from medimg_baseline_cls.evaluation.operating_points import DEFAULT_THRESHOLD
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, Weights, weighted_mean, weighted_scores
from medimg_baseline_cls.statistics.metrics import decide_classes, grade_values, negative_logs

_PAIR_CELLS = 50_000_000


def resample_overall(
    part: Predictions, *, weights: Weights, positive_class: str | None
) -> dict[str, Values]:
    """Return the figures under "overall" in each resample, but for the log loss of findings.

    Args:
        part: predictions of one split.
        weights: shape (B, N), from `draw_weights`.
        positive_class: of two classes, as in the summary.

    Returns:
        Shape (B,) each; NaN where undefined.
    """
    labels, probabilities = part.labels, part.probabilities
    if part.task == "multilabel":
        known = (labels >= 0).any(axis=1)
        calls = probabilities >= DEFAULT_THRESHOLD
        matches = ((labels < 0) | (calls == (labels == 1))).all(axis=1)
        return {"exact_match": weighted_mean(matches[known], weights[:, known])}
    positive = None if positive_class is None else part.class_names.index(positive_class)
    decided = decide_classes(probabilities, positive=positive)
    losses = negative_logs(probabilities[np.arange(len(labels)), labels])
    values = {
        "accuracy": weighted_mean(decided == labels, weights),
        "log_loss": weighted_mean(losses, weights),
    }
    if part.task == "ordinal":
        grades = np.array(grade_values(part.class_names), dtype=np.float64)
        values["quadratic_weighted_kappa"] = _kappas(
            labels, decided, weights=weights, grades=grades
        )
        values["mean_grade_error"] = weighted_mean(
            np.abs(grades[decided] - grades[labels]), weights
        )
    return values


def resample_pairs(part: Predictions, *, weights: Weights) -> dict[str, Values]:
    """Return the threshold-free figures of all known pairs of image and finding.

    Args:
        part: predictions of several findings.
        weights: shape (B, N), from `draw_weights`; an image weighs in all its pairs alike.
    """
    truth, scores = pool_pairs(part.labels, part.probabilities)
    if len(truth) == 0:
        return {}
    images = np.nonzero(part.labels >= 0)[0]  # (pairs,), in the order of `pool_pairs`
    step = max(1, _PAIR_CELLS // len(truth))
    blocks = [
        weighted_scores(truth, scores, weights=weights[start : start + step][:, images])
        for start in range(0, len(weights), step)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _kappas(
    labels: NDArray[np.int64], decided: NDArray[np.int64], *, weights: Weights, grades: Values
) -> Values:
    """Return the quadratic weighted kappa of each resample; NaN where all is one grade."""
    num_grades = len(grades)
    cells = np.zeros((len(labels), num_grades**2))
    cells[np.arange(len(labels)), labels * num_grades + decided] = 1.0
    matrices = (weights.astype(np.float64) @ cells).reshape(-1, num_grades, num_grades)
    distances = (grades[:, None] - grades) ** 2
    by_chance = np.einsum("bi,bj->bij", matrices.sum(axis=2), matrices.sum(axis=1))
    expected = (distances * by_chance).sum(axis=(1, 2))
    found = matrices.sum(axis=(1, 2)) * (distances * matrices).sum(axis=(1, 2))
    return np.where(expected > 0, 1 - found / np.where(expected > 0, expected, 1.0), np.nan)
