"""Turns several findings per image into figures over all of them: macro, micro, overall.

Only pairs of image and finding where the reference standard says yes or no count. Macro
figures average the findings that define them, and say how many those are; micro figures
pool the pairs. Refuses images of which nothing is known.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.estimates import (
    Summary,
    count_calls,
    make_figure,
    measure_counts,
    measure_scores,
)
from medimg_baseline_cls.evaluation.operating_points import DEFAULT_THRESHOLD, Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.metrics import (
    ConfusionCounts,
    Scores,
    Truth,
    ValidationScores,
    auroc_score,
    average_precision_score,
    log_loss_error,
)


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


def finding_validation_scores(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> ValidationScores:
    """Return the figures by which the best epoch is chosen.

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
        average_precision=_mean([average_precision_score(*column) for column in known]),
        auroc=_mean([auroc_score(*column) for column in known]),
        log_loss=log_loss_error(*pool_pairs(labels, probabilities)),
    )


def average_findings(blocks: Mapping[str, Summary]) -> Summary:
    """Return the macro averages over the findings that define each figure.

    Args:
        blocks: the "classes" of a summary.

    Returns:
        "metrics" and, by rule, "operating_points"; each figure with "num_defined".
    """
    metrics = _average_defined([block["metrics"] for block in blocks.values()])
    # The floor of this mean is that of the findings in it.
    metrics["average_precision"]["baseline"] = _mean(
        [b["prevalence"] for b in blocks.values() if b["num_positive"]]
    )
    points: dict[str, list[Summary]] = {}
    for block in blocks.values():
        for rule, point in block["operating_points"].items():
            points.setdefault(rule, []).append(point)
    averages = {rule: _average_defined(found) for rule, found in points.items()}
    return {"metrics": metrics, "operating_points": averages}


def pool_findings(predictions: Predictions, thresholds: Thresholds) -> Summary:
    """Return the micro averages: the figures of all known pairs together.

    At an operating point each finding is cut at its own threshold; "num_findings" says how
    many have one by this rule.
    """
    block = measure_scores(*pool_pairs(predictions.labels, predictions.probabilities))
    block["num_unknown"] = int((predictions.labels < 0).sum())
    counts: dict[str, list[ConfusionCounts]] = {}
    for name, points in thresholds.items():
        truth, scores = select_known(predictions, name)
        for point in points:
            found = count_calls(truth, scores, threshold=point.value)
            counts.setdefault(point.rule, []).append(found)
    block["operating_points"] = {
        rule: {"num_findings": len(found)} | measure_counts(_add_up(found))
        for rule, found in counts.items()
    }
    return block


def measure_overall(predictions: Predictions) -> Summary:
    """Return the figures of whole images: log loss of all pairs, and exact matches at 0.5.

    An image matches where every finding that is known of it is called rightly.
    """
    labels = predictions.labels
    truth, scores = pool_pairs(labels, predictions.probabilities)
    has_known = (labels >= 0).any(axis=1)
    is_right = (labels < 0) | ((predictions.probabilities >= DEFAULT_THRESHOLD) == (labels == 1))
    matches = is_right.all(axis=1)[has_known]
    return {
        "log_loss": make_figure("log_loss", log_loss_error(truth, scores) if len(truth) else None),
        "exact_match": make_figure("accuracy", float(matches.mean()) if len(matches) else None),
        "num_known_pairs": len(truth),
    }


def _average_defined(entries: list[Summary]) -> Summary:
    averages: Summary = {}
    for key, example in entries[0].items():
        if not isinstance(example, dict):
            continue
        values = [entry[key]["value"] for entry in entries]
        mean = _mean(values)
        reason = {} if mean is not None else {"reason": "undefined for every finding"}
        num_defined = sum(value is not None for value in values)
        averages[key] = {"value": mean, **reason, "num_defined": num_defined}
    return averages


def _add_up(counts: list[ConfusionCounts]) -> ConfusionCounts:
    return ConfusionCounts(
        tp=sum(c.tp for c in counts),
        fp=sum(c.fp for c in counts),
        fn=sum(c.fn for c in counts),
        tn=sum(c.tn for c in counts),
    )


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
