"""Turn predictions of images into predictions of patients (groups): one row per group.

The probability of a patient is the mean or the maximum over the images; the reference standard
follows from that of the images. Where it does not, as for images of different classes without a
positive one, the patient is left out and counted.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Predictions

Aggregation = Literal["mean", "max"]
UNKNOWN = -1


def has_groups(predictions: Predictions) -> bool:
    """Return whether any group has several images."""
    return len(set(predictions.groups)) < len(predictions.groups)


def aggregate_predictions(
    predictions: Predictions, how: Aggregation, *, positive_class: str | None
) -> tuple[Predictions, int]:
    """Return one row per group, sorted by group, and how many groups were left out.

    The reference standard of a group: with two classes, the positive one if any image has it;
    with grades, the highest; for each finding, 1 if any image shows it, else unknown if any is
    unknown, else 0; with more classes, the one that all images have (otherwise left out).

    Args:
        predictions: of the images of one split.
        how: "mean" averages the probabilities of the images. "max" takes the highest: of the
            positive class, or of each finding; with more classes, the highest of each class,
            divided by their sum.
        positive_class: the positive one of two classes, else None.

    Raises:
        DataError: `how` is neither "mean" nor "max".

    >>> images = Predictions(
    ...     "val", ("neg", "pos"), ("a", "b"), ("a", "b"), ("p1", "p1"),
    ...     np.array([0, 1]), np.array([[0.5, 0.5], [0.25, 0.75]]),
    ... )
    >>> patients, num_left_out = aggregate_predictions(images, "mean", positive_class="pos")
    >>> patients.labels.tolist(), patients.probabilities.tolist()
    ([1], [[0.375, 0.625]])
    """
    if how not in ("mean", "max"):
        raise DataError(f"aggregate is {how!r}; choose mean or max.")
    names, codes = np.unique(np.array(predictions.groups, dtype=object), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names)))
    probabilities = _merge_probabilities(
        predictions, how, order=order, starts=starts, positive_class=positive_class
    )
    labels = _merge_labels(predictions, order=order, starts=starts, positive_class=positive_class)
    is_kept = np.ones(len(names), dtype=bool) if labels.ndim == 2 else labels != UNKNOWN
    groups = tuple(str(name) for name in names[is_kept])
    merged = Predictions(
        split=predictions.split,
        class_names=predictions.class_names,
        image_ids=groups,
        paths=("",) * len(groups),
        groups=groups,
        labels=labels[is_kept],
        probabilities=probabilities[is_kept],
        task=predictions.task,
    )
    return merged, int((~is_kept).sum())


def _merge_probabilities(
    predictions: Predictions,
    how: Aggregation,
    *,
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    positive_class: str | None,
) -> NDArray[np.float64]:
    """Return the probabilities of each group, shape (G, C)."""
    ordered = predictions.probabilities[order]
    if how == "mean":
        counts = np.diff(starts, append=len(ordered))
        # Clipped, as rounding could give a mean slightly above 1.
        return np.clip(np.add.reduceat(ordered, starts) / counts[:, None], 0.0, 1.0)
    highest = np.maximum.reduceat(ordered, starts)
    if predictions.has_findings:
        return highest
    if positive_class is not None:
        positive = predictions.class_names.index(positive_class)
        highest[:, 1 - positive] = 1.0 - highest[:, positive]
        return highest
    return highest / highest.sum(axis=1, keepdims=True)


def _merge_labels(
    predictions: Predictions,
    *,
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    positive_class: str | None,
) -> NDArray[np.int64]:
    """Return the reference standard of each group, shape (G,) or (G, C); UNKNOWN where none."""
    ordered = predictions.labels[order]
    lowest, highest = np.minimum.reduceat(ordered, starts), np.maximum.reduceat(ordered, starts)
    if predictions.has_findings:
        return np.where(highest == 1, 1, np.where(lowest == UNKNOWN, UNKNOWN, 0))
    if predictions.has_grades:
        return highest
    if positive_class is not None:
        positive = predictions.class_names.index(positive_class)
        return np.where((lowest == positive) | (highest == positive), positive, 1 - positive)
    return np.where(lowest == highest, highest, UNKNOWN)
