"""Pick the most confident wrong decisions on a split: mistakes.csv, the input of Grad-CAM.

Most confident means farthest from the threshold on the wrong side. Ranks start at 1 for
each class, operating point and kind; ties are ordered by image_id, so that the list depends
only on the predictions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import require_score_space
from medimg_baseline_cls.schema import Mistake, Predictions, Threshold
from medimg_baseline_cls.utils.files import read_csv, write_csv
from medimg_baseline_cls.utils.parsing import explain_parse_error

MISTAKE_COLUMNS = ("split", "rule", "class", "kind", "rank", "image_id", "probability", "margin")


def mine_mistakes(
    predictions: Predictions, thresholds: Thresholds, *, num_hard_examples: int
) -> tuple[Mistake, ...]:
    """Return the most confident false positives and false negatives of each operating point.

    Args:
        predictions: usually of TEST, each image with its reference standard.
        thresholds: operating points by class, from `choose_thresholds`.
        num_hard_examples: how many of each kind at most, 0 or more.

    Raises:
        ConfigError: the number is negative.
    """
    if num_hard_examples < 0:
        raise ConfigError(f"num_hard_examples is {num_hard_examples}; expected 0 or more.")
    return tuple(
        mistake
        for points in thresholds.values()
        for point in points
        for kind in ("FP", "FN")
        for mistake in _rank(predictions, point, kind=kind, limit=num_hard_examples)
    )


def write_mistakes(path: Path, mistakes: tuple[Mistake, ...]) -> None:
    """Write mistakes.csv, one row per mistake."""
    write_csv(path, MISTAKE_COLUMNS, rows=map(mistake_cells, mistakes))


def mistake_cells(m: Mistake) -> tuple[object, ...]:
    """Return a mistake as the cells of `MISTAKE_COLUMNS`."""
    return (m.split, m.rule, m.class_name, m.kind, m.rank, m.image_id, m.probability, m.margin)


def read_mistakes(path: Path) -> tuple[Mistake, ...]:
    """Read mistakes.csv.

    Raises:
        RunError: the file is missing or was edited.
    """
    try:
        return tuple(_parse(row) for row in read_csv(path))
    except (KeyError, ValueError) as error:
        raise RunError(
            f"{path} is not as it was written ({explain_parse_error(error)}): restore it, or run "
            "`medimg evaluate` again."
        ) from error


def _rank(
    predictions: Predictions, point: Threshold, *, kind: Literal["FP", "FN"], limit: int
) -> Iterator[Mistake]:
    require_score_space(predictions, point)
    truth, scores = predictions.truth(point.class_name), predictions.scores(point.class_name)
    call = scores >= point.value
    is_wrong = (call & ~truth) if kind == "FP" else (~call & truth)
    is_wrong &= predictions.known(point.class_name)
    sign = -1 if kind == "FP" else 1
    ids = predictions.image_ids
    wrong = sorted(np.flatnonzero(is_wrong).tolist(), key=lambda i: (sign * scores[i], ids[i]))
    for rank, i in enumerate(wrong[:limit], start=1):
        yield Mistake(
            split=predictions.split,
            rule=point.rule,
            class_name=point.class_name,
            kind=kind,
            rank=rank,
            image_id=ids[i],
            probability=float(scores[i]),
            margin=abs(float(scores[i]) - point.value),
        )


def _parse(row: dict[str, str]) -> Mistake:
    return Mistake(
        split=row["split"],
        rule=row["rule"],
        class_name=row["class"],
        kind=_parse_kind(row["kind"]),
        rank=int(row["rank"]),
        image_id=row["image_id"],
        probability=float(row["probability"]),
        margin=float(row["margin"]),
    )


def _parse_kind(text: str) -> Literal["FP", "FN"]:
    if text == "FP" or text == "FN":
        return text
    raise ValueError(f"the kind {text!r} is neither FP nor FN")
