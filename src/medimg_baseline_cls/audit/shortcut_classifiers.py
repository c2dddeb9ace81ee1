"""Fit control classifiers on trivial properties of the images: what a model must beat.

Two logistic regressions on standardized features: on all trivial properties together
(size, file size, brightness, sharpness, corners), and on only the outer 12.5 % frame of a
thumbnail, where there is no organ. A model that does not clearly beat them has learned
little. scikit-learn is imported only when something is fitted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.pixel_measures import STATISTICS, Measures, frame_pixels
from medimg_baseline_cls.schema import ImageRecord
from medimg_baseline_cls.utils.seed import derive_key

CONTROLS: dict[str, str] = {
    "trivial": "logistic regression on trivial properties (size, brightness, sharpness, corners)",
    "border": "logistic regression on the outer 12.5 % frame of a 32 px thumbnail",
}
FILE_PROPERTIES = ("width", "height", "aspect", "file bytes")
PROPERTIES = (*FILE_PROPERTIES, *STATISTICS)
NUM_FOLDS = 5
MIN_PER_CLASS = 10
_INVERSE_PENALTY = 0.1
_MAX_STEPS = 200

Truth = NDArray[np.bool_]
Scores = NDArray[np.float64]
Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ControlFeatures:
    """What the controls see of N images.

    Attributes:
        trivial: the columns of PROPERTIES, shape (N, 22).
        border: the frame of the thumbnails, shape (N, pixels of the frame).
        groups: the patient of each, shape (N,).
    """

    trivial: Features
    border: Features
    groups: NDArray[np.str_]

    def pick(self, positions: NDArray[np.int64] | Truth) -> "ControlFeatures":
        """Return some of the images."""
        return ControlFeatures(
            self.trivial[positions], self.border[positions], self.groups[positions]
        )

    def of(self, control: str) -> Features:
        """Return the features of one control, "trivial" or "border"."""
        return self.trivial if control == "trivial" else self.border


def gather_features(
    records: Sequence[ImageRecord],
    measures: Measures,
    *,
    rows: NDArray[np.int64],
    num_bytes: Sequence[int] = (),
) -> ControlFeatures:
    """Return what the controls see of some images.

    Args:
        records: the images.
        measures: of the pixel array.
        rows: the row of each record in it, shape (N,).
        num_bytes: size of each file; empty where there are no files.
    """
    sizes = np.array([(r.width, r.height) for r in records], np.float32).reshape(-1, 2)
    sizes = np.maximum(sizes, 1)
    counts = np.array(num_bytes or [0] * len(records), np.float32)
    own = np.column_stack([np.log(sizes), np.log(sizes[:, 0] / sizes[:, 1]), np.log1p(counts)])
    return ControlFeatures(
        trivial=np.concatenate([own, measures.statistics[rows]], axis=1).astype(np.float32),
        border=frame_pixels(measures.thumbs[rows]),
        groups=np.array([record.group for record in records], dtype=np.str_),
    )


def fit_controls(
    train: ControlFeatures,
    labels: NDArray[np.int64],
    *,
    others: Mapping[str, ControlFeatures],
    num_classes: int,
) -> dict[str, dict[str, Scores]]:
    """Fit both controls on TRAIN and score the other splits with them.

    Args:
        train: of the images of TRAIN.
        labels: class index of each, shape (N,); or 1, 0, -1 (unknown) per finding, (N, C).
        others: by name of the split, such as "val" and "test".
        num_classes: C.

    Returns:
        Control ("trivial", "border") to split to probabilities, shape (n, C), each class
        against the rest; NaN for a class that TRAIN does not define.
    """
    # With two classes, one column is enough: the other is its complement.
    is_binary = num_classes == 2 and labels.ndim == 1
    scores: dict[str, dict[str, Scores]] = {}
    for control in CONTROLS:
        parts = {name: part.of(control) for name, part in others.items()}
        tables = {n: np.full((len(part), num_classes), np.nan) for n, part in parts.items()}
        for index in range(1 if is_binary else 0, num_classes):
            truth, known = truth_of(labels, index)
            if min(truth[known].sum(), (~truth[known]).sum()) == 0:
                continue
            found = fit_scores(train.of(control)[known], truth[known], others=parts)
            for name, column in found.items():
                tables[name][:, index] = column
        if is_binary:
            for table in tables.values():
                table[:, 0] = 1 - table[:, 1]
        scores[control] = tables
    return scores


def truth_of(labels: NDArray[np.int64], index: int) -> tuple[Truth, Truth]:
    """Return (whether positive, whether known) of each image for one class."""
    if labels.ndim == 2:
        return labels[:, index] == 1, labels[:, index] >= 0
    return labels == index, labels >= 0


def fit_scores(
    features: Features, truth: Truth, *, others: Mapping[str, Features]
) -> dict[str, Scores]:
    """Fit a standardized logistic regression and return its probabilities of other images.

    Args:
        features: shape (N, F).
        truth: shape (N,), both values present.
        others: by name, shape (n, F) each.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    center, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1)
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_MAX_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # good enough for a control
        model.fit((features - center) / spread, truth)
    return {
        name: model.predict_proba((part - center) / spread)[:, 1].astype(np.float64)
        for name, part in others.items()
        if len(part)
    } | {name: np.empty(0) for name, part in others.items() if not len(part)}


def cross_validate(features: Features, truth: Truth, *, folds: NDArray[np.int64]) -> Scores:
    """Return the probability of each image by a classifier that was fitted without its fold.

    NaN where the other folds have only one class.
    """
    scores = np.full(len(truth), np.nan)
    for fold in np.unique(folds):
        inside = folds == fold
        if 0 < truth[~inside].sum() < (~inside).sum():
            others = {"fold": features[inside]}
            scores[inside] = fit_scores(features[~inside], truth[~inside], others=others)["fold"]
    return scores


def direct_property(
    values: NDArray[np.float32], truth: Truth, *, folds: NDArray[np.int64]
) -> Scores:
    """Return a property, in each fold with the sign that separates the classes in the others."""
    scores = np.zeros(len(truth))
    for fold in np.unique(folds):
        inside = folds == fold
        auroc = score_auroc(truth[~inside], values[~inside])
        scores[inside] = values[inside] * (-1 if auroc is not None and auroc < 0.5 else 1)
    return scores


def assign_folds(
    groups: Sequence[str] | NDArray[np.str_], truth: Truth, *, num_folds: int = NUM_FOLDS
) -> NDArray[np.int64]:
    """Assign each image to a fold: whole groups, both classes spread evenly.

    In the order of a hash of its name, each group goes to the fold with the fewest images of
    its class.
    """
    counts: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for name, positive in zip(map(str, groups), truth.tolist(), strict=True):
        counts[name][positive] += 1
    held = np.zeros((num_folds, 2), np.int64)
    fold_of: dict[str, int] = {}
    for name in sorted(counts, key=_draw_key):
        own = np.array([counts[name][False], counts[name][True]])
        main = int(own[1] >= own[0])
        fold = int(np.lexsort((held.sum(axis=1), held[:, main]))[0])
        held[fold] += own
        fold_of[name] = fold
    return np.array([fold_of[str(name)] for name in groups], dtype=np.int64)


def score_auroc(truth: Truth, scores: Scores | NDArray[np.float32]) -> float | None:
    """Return the area under the ROC curve, ties counting one half; None if undefined.

    By the ranks of the positives (Mann-Whitney U); images without a score are left out.

    >>> score_auroc(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
    0.75
    """
    from scipy.stats import rankdata

    has_score = np.isfinite(scores)
    truth, scores = truth[has_score], scores[has_score]
    positive, negative = int(truth.sum()), int((~truth).sum())
    if positive == 0 or negative == 0:
        return None
    ranks = float(rankdata(scores)[truth].sum())
    return (ranks - positive * (positive + 1) / 2) / (positive * negative)


def _draw_key(name: str) -> tuple[int, str]:
    return derive_key(0, "audit", name), name
