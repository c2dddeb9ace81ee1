"""Write rows and probabilities as predictions_<split>.csv, and read them back unchanged.

Every metric can be computed again from this file alone: its probabilities are read back as the
same float64. An image that is missing or counted twice is refused.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError, RunError
from medimg_baseline_cls.schema import (
    Predictions,
    Split,
    Task,
    Threshold,
    format_findings,
    parse_findings,
)
from medimg_baseline_cls.utils.files import read_csv, sha256_file, write_csv

_FIXED_COLUMNS = ("image_id", "path", "label", "group")
_PREFIX = "prob_"


def collect_predictions(
    split: Split, name: str, *, rows: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> Predictions:
    """Join probabilities with the images of one split, in the order of split.csv.

    Args:
        split: every image of the run.
        name: "train", "val" or "test".
        rows: position of each image in `split.records`, shape (N,), in any order.
        probabilities: shape (N, C), in the same order.

    Raises:
        DataError: an image is missing, counted twice or of another split.
    """
    expected = split.rows(name)
    order = np.argsort(rows, kind="stable")
    if not np.array_equal(rows[order], expected):
        raise DataError(
            f"Each of the {len(expected)} {name.upper()} images must be predicted exactly once, "
            f"but got {len(rows)} rows, {len(np.intersect1d(rows, expected))} of them right."
        )
    records = [split.records[row] for row in expected]
    return Predictions(
        split=name,
        class_names=split.class_names,
        image_ids=tuple(record.image_id for record in records),
        paths=tuple(record.path for record in records),
        groups=tuple(record.group for record in records),
        labels=split.labels(expected),
        probabilities=probabilities[order],
        task=split.task,
    )


def select_known(
    predictions: Predictions, class_name: str
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return truth and probability of one class for the images where its truth is known.

    Returns:
        Shapes (n,), n at most N; n may be 0 for a finding.
    """
    known = predictions.known(class_name)
    return predictions.truth(class_name)[known], predictions.scores(class_name)[known]


def require_score_space(predictions: Predictions, point: Threshold) -> None:
    """Refuse a threshold of another score space, where it would mean something else.

    Raises:
        DataError: the score spaces differ.
    """
    if point.score_space != predictions.score_space:
        raise DataError(
            f"The threshold {point.rule} of {point.class_name} is for {point.score_space} scores, "
            f"but these are {predictions.score_space} scores; use thresholds of the same space."
        )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as image_id, path, label, group and one probability per class.

    An unknown class is an empty cell; findings are one text from `format_findings`.
    """
    columns = [f"{_PREFIX}{name}" for name in predictions.class_names]
    rows = zip(
        predictions.image_ids,
        predictions.paths,
        _label_texts(predictions),
        predictions.groups,
        *predictions.probabilities.T.tolist(),
        strict=True,
    )
    write_csv(path, [*_FIXED_COLUMNS, *columns], rows=rows)


def write_logged(
    path: Path, predictions: Predictions, *, log: Callable[[str], None]
) -> Predictions:
    """Log predictions, only then let them be seen; return what they read back to.

    Args:
        path: predictions_<split>.csv.
        predictions: of this split.
        log: writes their line, given the sha256 of the file; on return the line is on disk.
    """
    # Under another name until then: no result without a line (decision 0013).
    waiting = path.with_name(f".{path.name}.waiting")
    write_predictions(waiting, predictions)
    log(sha256_file(waiting))
    waiting.replace(path)
    return read_predictions(path, split=predictions.split, task=predictions.task)


def read_predictions(path: Path, *, split: str, task: Task = "multiclass") -> Predictions:
    """Read predictions, the class order from the header.

    Args:
        path: predictions_<split>.csv.
        split: what the images are: "train", "val", "test" or "new".
        task: how the labels are written, and what they mean.

    Raises:
        RunError: the file is missing or was changed.
    """
    table = read_csv(path)
    if not table:
        raise RunError(f"{path} contains no image; run `medimg evaluate` again.")
    columns = [column for column in table[0] if column not in _FIXED_COLUMNS]
    class_names = tuple(column.removeprefix(_PREFIX) for column in columns)
    if not class_names or list(table[0]) != [*_FIXED_COLUMNS, *(_PREFIX + n for n in class_names)]:
        raise RunError(
            f"{path} must have the columns {', '.join(_FIXED_COLUMNS)} and {_PREFIX}<class> for "
            f"each class, but has {', '.join(table[0])}; run `medimg evaluate` again."
        )
    image_ids = tuple(row["image_id"] for row in table)
    if len(set(image_ids)) != len(image_ids):
        raise RunError(f"{path} lists an image twice; run `medimg evaluate` again.")
    return Predictions(
        split=split,
        class_names=class_names,
        image_ids=image_ids,
        paths=tuple(row["path"] for row in table),
        groups=tuple(row["group"] for row in table),
        labels=_parse_labels(path, table, class_names=class_names, task=task),
        probabilities=_parse_probabilities(path, table, columns=columns),
        task=task,
    )


def _label_texts(predictions: Predictions) -> list[str]:
    labels = predictions.labels.tolist()
    if predictions.has_findings:
        return [format_findings(values, predictions.class_names) for values in labels]
    names = (*predictions.class_names, "")  # the last for -1
    return [names[label] for label in labels]


def _parse_labels(
    path: Path, table: list[dict[str, str]], *, class_names: tuple[str, ...], task: Task
) -> NDArray[np.int64]:
    index = {"": -1} | {name: i for i, name in enumerate(class_names)}
    texts = [row["label"] for row in table]
    try:
        if task == "multilabel":
            values = [parse_findings(text, class_names) for text in texts]
        else:
            values = [index[text] for text in texts]
    except KeyError as error:
        raise RunError(
            f"{path} has the label {error.args[0]!r}, which is none of its classes "
            f"({', '.join(class_names)}); run `medimg evaluate` again."
        ) from None
    labels = np.array(values, dtype=np.int64)
    if task == "multilabel":
        _require_canonical(path, texts, labels=labels, class_names=class_names)
    return labels


def _require_canonical(
    path: Path, texts: list[str], *, labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> None:
    """Refuse a text with two values for a finding, such as "Mass|?Mass"."""
    for text, values in zip(texts, labels.tolist(), strict=True):
        if format_findings(values, class_names) != text:
            raise RunError(
                f"{path} has the label {text!r}, which names a finding twice or in another order "
                f"than that of the columns; run `medimg evaluate` again."
            )


def _parse_probabilities(
    path: Path, table: list[dict[str, str]], *, columns: list[str]
) -> NDArray[np.float64]:
    try:
        values = np.array([[float(row[c]) for c in columns] for row in table], dtype=np.float64)
    except ValueError as error:
        raise RunError(
            f"{path} contains a probability that is not a number: restore it."
        ) from error
    if not ((values >= 0) & (values <= 1)).all():
        raise RunError(f"{path} contains a probability outside [0, 1]; it was changed afterwards.")
    return values
