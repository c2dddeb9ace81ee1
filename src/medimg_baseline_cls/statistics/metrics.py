"""Turns a reference standard and probabilities into the metrics of a diagnostic test.

Each function checks its arrays, counts, and reduces the counts. A metric that the data do not
define is None, never NaN and never 0; the catalogue says why. Scores that are not probabilities
are refused.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError

Truth = NDArray[np.bool_]
Scores = NDArray[np.float64]


class ThresholdCounts(NamedTuple):
    """True and false positives at each distinct score, the highest first; shape (T,) each."""

    thresholds: NDArray[np.float64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ConfusionCounts:
    """The four counts of a decision against the reference standard."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """What an epoch is judged by; None where the validation images do not define it."""

    average_precision: float | None
    auroc: float | None
    log_loss: float


def average_precision_score(truth: Truth, scores: Scores) -> float | None:
    """Return the average precision: precision weighted by the step in sensitivity.

    Undefined (None) without a positive image. Its floor, what chance reaches, is the
    prevalence. No interpolation, as in scikit-learn; images with tied scores enter together.

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        scores: probability of the positive class, shape (N,), in [0, 1].

    >>> average_precision_score(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    0.8333333333333333
    """
    _, tp, fp = count_by_threshold(truth, scores)
    if tp[-1] == 0:
        return None
    steps = np.diff(tp, prepend=0) / tp[-1]
    return float(np.sum(steps * (tp / (tp + fp))))


def auroc_score(truth: Truth, scores: Scores) -> float | None:
    """Return the area under the ROC curve, ties counting one half.

    Undefined (None) unless both classes are present. It is the probability that a positive
    image scores higher than a negative one (Hanley & McNeil, Radiology 1982).

    Args:
        truth: whether the reference standard is positive, shape (N,), bool.
        scores: probability of the positive class, shape (N,), in [0, 1].

    >>> auroc_score(np.array([True, False, True, False]), np.array([0.9, 0.6, 0.6, 0.1]))
    0.875
    """
    _, tp, fp = count_by_threshold(truth, scores)
    num_positive, num_negative = int(tp[-1]), int(fp[-1])
    if num_positive == 0 or num_negative == 0:
        return None
    # Twice the number of correctly ordered pairs is a whole number: no rounding until the end.
    tp_before = tp - np.diff(tp, prepend=0)
    doubled = int(np.sum(np.diff(fp, prepend=0) * (tp + tp_before)))
    return doubled / (2 * num_positive * num_negative)


def brier_score(truth: Truth, scores: Scores) -> float:
    """Return the mean squared difference between probability and outcome; lower is better.

    Brier, Monthly Weather Review 1950, in the one-sided form for two outcomes.

    >>> brier_score(np.array([True, False]), np.array([0.8, 0.4]))
    0.1
    """
    _check_arrays(truth, scores)
    return float(np.mean((scores - truth) ** 2))


def log_loss_error(truth: Truth, scores: Scores) -> float:
    """Return the mean negative log-likelihood of the outcome, in nats.

    Probabilities are kept a machine epsilon away from 0 and 1, as scikit-learn does, so
    that a confident mistake costs 36 and not infinity.

    >>> round(log_loss_error(np.array([True, False]), np.array([0.5, 0.5])), 6)
    0.693147
    """
    _check_arrays(truth, scores)
    return _mean_negative_log(np.where(truth, scores, 1.0 - scores))


def cross_entropy_error(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Return the mean negative log-probability of the right class, in nats.

    Args:
        labels: index of the right class, shape (N,).
        probabilities: shape (N, C), rows summing to 1.

    >>> round(cross_entropy_error(np.array([0, 1]), np.array([[1.0, 0.0], [0.5, 0.5]])), 6)
    0.346574
    """
    _check_labels(labels, probabilities)
    return _mean_negative_log(probabilities[np.arange(len(labels)), labels])


def validation_scores(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, positive: int | None
) -> ValidationScores:
    """Return the metrics by which the best epoch is chosen.

    Args:
        labels: class index of each image, shape (N,).
        probabilities: shape (N, C), rows summing to 1.
        positive: index of the positive class; None averages each class against the rest,
            over the classes for which the metric is defined.
    """
    _check_labels(labels, probabilities)
    classes = range(probabilities.shape[1]) if positive is None else (positive,)

    def average(metric: Callable[[Truth, Scores], float | None]) -> float | None:
        values = [metric(labels == k, probabilities[:, k]) for k in classes]
        defined = [value for value in values if value is not None]
        return math.fsum(defined) / len(defined) if defined else None

    return ValidationScores(
        average_precision=average(average_precision_score),
        auroc=average(auroc_score),
        log_loss=cross_entropy_error(labels, probabilities),
    )


def count_by_threshold(truth: Truth, scores: Scores) -> ThresholdCounts:
    """Count true and false positives of `score >= threshold` at every distinct score.

    >>> count_by_threshold(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
    ThresholdCounts(thresholds=array([0.9, 0.5]), tp=array([1, 2]), fp=array([0, 1]))
    """
    _check_arrays(truth, scores)
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    last_of_tie = np.flatnonzero(np.append(np.diff(descending) != 0, True))
    tp = np.cumsum(truth[order], dtype=np.int64)[last_of_tie]
    return ThresholdCounts(descending[last_of_tie], tp, last_of_tie + 1 - tp)


def count_confusion(truth: Truth, scores: Scores, *, threshold: float) -> ConfusionCounts:
    """Count right and wrong decisions, positive meaning `score >= threshold`.

    >>> count_confusion(np.array([True, False]), np.array([0.5, 0.4]), threshold=0.5)
    ConfusionCounts(tp=1, fp=0, fn=0, tn=1)
    """
    _check_arrays(truth, scores)
    call = scores >= threshold
    tp, num_called, num_positive = int((call & truth).sum()), int(call.sum()), int(truth.sum())
    fp, fn = num_called - tp, num_positive - tp
    return ConfusionCounts(tp=tp, fp=fp, fn=fn, tn=len(truth) - tp - fp - fn)


def operating_point_metrics(counts: ConfusionCounts) -> dict[str, float | None]:
    """Return the metrics of a decision; None where its denominator is zero (see the catalogue).

    >>> metrics = operating_point_metrics(ConfusionCounts(tp=8, fp=3, fn=2, tn=7))
    >>> metrics["sensitivity"], metrics["specificity"]
    (0.8, 0.7)
    """
    ratios = decision_ratios(counts.tp, fp=counts.fp, fn=counts.fn, tn=counts.tn)
    metrics = {name: _ratio(part, whole) for name, (part, whole) in ratios.items()}
    sensitivity, specificity = metrics["sensitivity"], metrics["specificity"]
    balanced: float | None = None
    if sensitivity is not None and specificity is not None:
        balanced = (sensitivity + specificity) / 2
    return metrics | {
        "balanced_accuracy": balanced,
        "mcc": _ratio(*correlation_parts(counts.tp, fp=counts.fp, fn=counts.fn, tn=counts.tn)),
    }


def decision_ratios(tp: Any, *, fp: Any, fn: Any, tn: Any) -> dict[str, tuple[Any, Any]]:
    """Return part and whole of each proportion of a decision, of numbers or of arrays.

    >>> decision_ratios(8, fp=3, fn=2, tn=7)["ppv"]
    (8, 11)
    """
    return {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1_score": (2 * tp, 2 * tp + fp + fn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
    }


def correlation_parts(tp: Any, *, fp: Any, fn: Any, tn: Any) -> tuple[Any, Any]:
    """Return numerator and denominator of Matthews' correlation, of numbers or of arrays.

    Matthews, Biochimica et Biophysica Acta 1975.

    >>> correlation_parts(1, fp=0, fn=0, tn=1)
    (1, 1.0)
    """
    square = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    # Whole numbers may be too large for an array, and are exact as they are.
    root = np.sqrt(square) if isinstance(square, np.ndarray) else math.sqrt(square)
    return tp * tn - fp * fn, root


def count_matrix(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, positive: int | None = None
) -> NDArray[np.int64]:
    """Count the reference standard (rows) against the most probable class (columns).

    Args:
        labels: class index of each image, shape (N,).
        probabilities: shape (N, C), rows summing to 1.
        positive: index of the positive one of two classes: it is called at 0.5 and above, as
            everywhere else. Without it a tie goes to the earlier class.

    >>> count_matrix(np.array([0, 1]), np.array([[0.5, 0.5], [0.2, 0.8]]), positive=1).tolist()
    [[0, 1], [0, 1]]
    """
    _check_labels(labels, probabilities)
    num_classes = probabilities.shape[1]
    decided = decide_classes(probabilities, positive=positive)
    cells = np.bincount(labels * num_classes + decided, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def decide_classes(
    probabilities: NDArray[np.float64], *, positive: int | None = None
) -> NDArray[np.int64]:
    """Return the class that each image is called, as `count_matrix` counts it; shape (N,).

    >>> decide_classes(np.array([[0.5, 0.5], [0.8, 0.2]]), positive=1).tolist()
    [1, 0]
    """
    if positive is not None and probabilities.shape[1] == 2:
        return np.where(probabilities[:, positive] >= 0.5, positive, 1 - positive)
    return np.argmax(probabilities, axis=1)


def grade_values(class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the number of each grade: as named where all rise or fall, else 0, 1, 2 ...

    >>> grade_values(["0", "1", "2", "4"]), grade_values(["none", "mild", "severe"])
    ((0, 1, 2, 4), (0, 1, 2))
    """
    if all(name.removeprefix("-").isdecimal() for name in class_names):
        values = tuple(map(int, class_names))
        if values in (tuple(sorted(set(values))), tuple(sorted(set(values), reverse=True))):
            return values
    return tuple(range(len(class_names)))


def quadratic_weighted_kappa(
    matrix: NDArray[np.int64], grades: Sequence[int] | None = None
) -> float | None:
    """Return the agreement of two gradings beyond chance, far misses weighing quadratically.

    1 is full agreement, 0 that of chance. Undefined (None) where all images and all calls are
    of one grade (Cohen, Psychological Bulletin 1968).

    Args:
        matrix: reference standard (rows) against grade called (columns), from `count_matrix`.
        grades: the number of each grade, from `grade_values`; None: 0, 1, 2 ...

    >>> quadratic_weighted_kappa(np.array([[2, 0], [0, 2]]))
    1.0
    """
    by_chance = np.outer(matrix.sum(axis=1), matrix.sum(axis=0))
    expected = _sum_distances(by_chance, grades, power=2)
    if expected == 0:
        return None
    return 1 - int(matrix.sum()) * _sum_distances(matrix, grades, power=2) / expected


def mean_grade_error(matrix: NDArray[np.int64], grades: Sequence[int] | None = None) -> float:
    """Return the mean absolute distance between reference standard and call, in grades.

    Args:
        matrix: reference standard (rows) against grade called (columns), at least one image.
        grades: the number of each grade, from `grade_values`; None: 0, 1, 2 ...

    >>> mean_grade_error(np.array([[1, 0, 1], [0, 0, 0], [0, 0, 2]]))
    0.5
    >>> mean_grade_error(np.array([[1, 0, 1], [0, 0, 0], [0, 0, 2]]), (0, 1, 4))
    1.0
    """
    return _sum_distances(matrix, grades, power=1) / int(matrix.sum())


def _sum_distances(matrix: NDArray[np.int64], grades: Sequence[int] | None, *, power: int) -> int:
    """Return the sum of a matrix weighted by the distances of its grades, exact for any numbers."""
    values = range(len(matrix)) if grades is None else grades
    return sum(
        count * abs(one - other) ** power
        for one, row in zip(values, matrix.tolist(), strict=True)
        for other, count in zip(values, row, strict=True)
    )


def _check_arrays(truth: Truth, scores: Scores) -> None:
    if truth.dtype != np.bool_ or truth.ndim != 1 or truth.shape != scores.shape:
        raise DataError(
            f"A metric needs one truth (bool) and one score per image, shape (N,), but got "
            f"{truth.dtype} {truth.shape} and {scores.dtype} {scores.shape}."
        )
    if len(scores) == 0:
        raise DataError("A metric needs at least one image.")
    _check_range(scores)


def _check_labels(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise DataError(
            f"One label per image and one probability per image and class are needed, "
            f"but the shapes are {labels.shape} and {probabilities.shape}."
        )
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise DataError(
            f"Labels must be 0 to {probabilities.shape[1] - 1}, but go from {labels.min()} to "
            f"{labels.max()}; images without a reference standard cannot be evaluated."
        )
    _check_range(probabilities)


def _check_range(scores: NDArray[np.float64]) -> None:
    # Written so that NaN fails too.
    if not ((scores >= 0) & (scores <= 1)).all():
        raise DataError(
            f"A score is a probability in [0, 1], but these go from {scores.min()} to "
            f"{scores.max()}; apply softmax to logits first."
        )


def negative_logs(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the negative log of each probability, kept a machine epsilon from 0 and 1."""
    epsilon = float(np.finfo(np.float64).eps)
    return -np.log(np.clip(probabilities, epsilon, 1 - epsilon))


def _mean_negative_log(probabilities: NDArray[np.float64]) -> float:
    return float(np.mean(negative_logs(probabilities)))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
