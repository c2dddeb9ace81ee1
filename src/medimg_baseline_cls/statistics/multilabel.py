"""Several findings per image: only pairs of image and finding that are known count.

Labels are 1, 0 or -1 (the reference standard does not say).
"""

import math

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.bootstrap import Values, Weights, weighted_scores
from medimg_baseline_cls.statistics.metrics import (
    Scores,
    Truth,
    ValidationScores,
    auroc_score,
    average_precision_score,
    log_loss_error,
)

_PAIR_CELLS = 50_000_000


def pool_pairs(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[Truth, Scores]:
    """Return truth and score of every known pair of image and finding.

    Args:
        labels: 1, 0 or -1 (unknown), shape (N, C).
        probabilities: shape (N, C).

    >>> truth, scores = pool_pairs(np.array([[1, -1], [0, 1]]), np.array([[0.9, 0.8], [0.2, 0.7]]))
    >>> truth.tolist(), scores.tolist()
    ([True, False, True], [0.9, 0.2, 0.7])
    """
    known = labels >= 0
    return labels[known] == 1, probabilities[known]


def exact_matches(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, threshold: float = 0.5
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether every known finding of an image is classified correctly.

    Args:
        labels: 1, 0 or -1 (unknown), shape (N, C).
        probabilities: shape (N, C).
        threshold: of every finding.

    Returns:
        Which images have a known finding, shape (N,), and of these, which match.

    >>> labels = np.array([[1, -1], [0, 1], [-1, -1]])
    >>> has_known, matches = exact_matches(labels, np.array([[0.9, 0.8], [0.2, 0.3], [0.1, 0.1]]))
    >>> has_known.tolist(), matches.tolist()
    ([True, True, False], [True, False])
    """
    has_known: NDArray[np.bool_] = np.any(labels >= 0, axis=1)
    is_right = (labels < 0) | ((probabilities >= threshold) == (labels == 1))
    matches: NDArray[np.bool_] = np.all(is_right, axis=1)
    return has_known, matches[has_known]


def finding_validation_scores(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> ValidationScores:
    """Return the metrics by which the best epoch is chosen.

    AP and AUROC are means over the findings for which the images define them; the log loss is
    the mean binary cross-entropy of the known pairs.

    Args:
        labels: 1, 0 or -1 (unknown), shape (N, C).
        probabilities: shape (N, C), each in [0, 1].

    Raises:
        DataError: Nothing is known of any image, or the shapes differ.
    """
    if labels.shape != probabilities.shape or not (labels >= 0).any():
        raise DataError(
            f"Findings need a known one and a probability for each, but the shapes are "
            f"{labels.shape} and {probabilities.shape}, with {(labels >= 0).sum()} known; check "
            f"the labels of the validation images."
        )
    columns = [pool_pairs(labels[:, [k]], probabilities[:, [k]]) for k in range(labels.shape[1])]
    known = [(truth, scores) for truth, scores in columns if len(truth)]
    return ValidationScores(
        average_precision=mean_of_defined([average_precision_score(*column) for column in known]),
        auroc=mean_of_defined([auroc_score(*column) for column in known]),
        log_loss=log_loss_error(*pool_pairs(labels, probabilities)),
    )


def mean_of_defined(values: list[float | None]) -> float | None:
    """Return the mean of the values that are defined; None where none is.

    >>> mean_of_defined([0.5, None, 1.0]), mean_of_defined([None])
    (0.75, None)
    """
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def weighted_pairs(
    labels: NDArray[np.int64], probabilities: Scores, *, weights: Weights
) -> dict[str, Values]:
    """Return the threshold-free metrics of all known pairs of image and finding.

    Args:
        labels: 1, 0 or -1 (unknown), shape (N, C).
        probabilities: shape (N, C).
        weights: shape (B, N); an image weighs alike in all its pairs.

    Returns:
        As `weighted_scores`; nothing where no pair is known.
    """
    truth, scores = pool_pairs(labels, probabilities)
    if len(truth) == 0:
        return {}
    images = np.nonzero(labels >= 0)[0]  # (pairs,), in the order of `pool_pairs`
    step = max(1, _PAIR_CELLS // len(truth))
    blocks = [
        weighted_scores(truth, scores, weights=weights[start : start + step][:, images])
        for start in range(0, len(weights), step)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
