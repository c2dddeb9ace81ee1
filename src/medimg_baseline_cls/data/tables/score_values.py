"""Turn cells of scores into probabilities: numbers, softmax or sigmoid of logits, or a refusal.

Other values are refused with their row and with what they look like: percentages, logits, missing
values, classes that do not add up to 1.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.texts import clean_text, read_number

Where = Callable[[int], str]
"""The place of a row, for messages."""

SUM_TOLERANCE = 0.02  # of rounded probabilities
_PERCENT_TOLERANCE = 2.0


def read_numbers(cells: Sequence[str], column: str, *, where: Where) -> NDArray[np.float64]:
    """Return the numbers of a column, shape (n,).

    Raises:
        DataError: A cell is not a finite number.
    """
    try:
        values = np.array([float(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        values = np.array([_read_cell(cell) for cell in cells], dtype=np.float64)
    odd = np.flatnonzero(~np.isfinite(values))
    if len(odd) == 0:
        return values
    row = int(odd[0])
    cell = clean_text(cells[row])
    if cell.endswith("%"):
        raise DataError(
            f"{where(row)}: {column} is {cell}, a percentage: divide the scores by 100, without "
            "the sign."
        )
    found = repr(cell) if cell else "blank"
    raise DataError(
        f"{where(row)}: {column} is {found} ({len(odd)} of {len(cells)} rows have no finite number "
        "there): give each image its scores, or take these rows out."
    )


def to_probabilities(
    scores: NDArray[np.float64], *, are_logits: bool, are_exclusive: bool, where: Where
) -> NDArray[np.float64]:
    """Return probabilities; a lone column stays one.

    Args:
        scores: shape (n, C).
        are_logits: a softmax, or a sigmoid of each, is still to be applied.
        are_exclusive: an image has one of the classes: the scores of several add up to 1.
        where: the place of a row.

    Raises:
        DataError: They are not probabilities; the text says what they look like.
    """
    add_up = are_exclusive and scores.shape[1] > 1
    outside = np.flatnonzero(((scores < 0) | (scores > 1)).any(axis=1))
    if are_logits:
        _require_logits(scores, outside, add_up=add_up)
        return _softmax(scores) if add_up else _sigmoid(scores)
    if len(outside):
        _refuse_outside(scores, outside, add_up=add_up, where=where)
    if add_up:
        sums = scores.sum(axis=1)
        odd = np.flatnonzero(abs(sums - 1) > SUM_TOLERANCE)
        if len(odd):
            raise DataError(
                f"{where(int(odd[0]))}: the probabilities of the classes add up to "
                f"{sums[odd[0]]:.4g}, not to 1 ({len(odd)} of {len(sums)} rows): pass --task "
                "multilabel if an image may have several findings, or --logits before a softmax."
            )
    return scores


def look_exclusive(scores: NDArray[np.float64]) -> bool:
    """Return whether scores add up to 1 in each row, as those of a softmax do."""
    return bool((abs(scores.sum(axis=1) - 1) <= SUM_TOLERANCE).all())


def _read_cell(cell: str) -> float:
    number = read_number(cell.strip())
    return float("nan") if number is None else number


def _look_like_percentages(
    scores: NDArray[np.float64], outside: NDArray[np.intp], *, add_up: bool
) -> bool:
    """Return whether the rows outside [0, 1] look so; those of another file may be inside."""
    rows = scores[outside]
    if len(rows) == 0 or scores.min() < 0 or rows.max() > 100:
        return False
    is_whole = abs(rows.sum(axis=1) - 100) <= _PERCENT_TOLERANCE
    return bool(is_whole.all() if add_up else rows.max() > 20)


def _require_logits(
    scores: NDArray[np.float64], outside: NDArray[np.intp], *, add_up: bool
) -> None:
    """Refuse probabilities and percentages that are passed as logits.

    Raises:
        DataError: All scores are in [0, 1], or look like percentages.
    """
    if len(outside) == 0:
        raise DataError(
            "--logits is passed, but all scores are in [0, 1], as probabilities are: pass them "
            "without --logits."
        )
    if _look_like_percentages(scores, outside, add_up=add_up):
        raise DataError(
            "--logits is passed, but the scores look like percentages: divide them by 100, and "
            "pass them without --logits."
        )


def _refuse_outside(
    scores: NDArray[np.float64], outside: NDArray[np.intp], *, add_up: bool, where: Where
) -> None:
    """Say what scores outside [0, 1] look like.

    Raises:
        DataError: Always.
    """
    row = int(outside[0])
    odd = float(next(value for value in scores[row] if not 0 <= value <= 1))
    found = f"{where(row)}: a score is {odd:.6g}, which is not in [0, 1]"
    if _look_like_percentages(scores, outside, add_up=add_up):
        raise DataError(f"{found}: the scores look like percentages; divide them by 100.")
    if not add_up and scores.min() >= 0 and scores.max() <= 100:
        raise DataError(
            f"{found}: divide the scores by 100 if they are percentages, or pass --logits if they "
            "are logits, the input of a sigmoid."
        )
    raise DataError(
        f"{found}: pass --logits if they are logits, the input of a softmax or sigmoid; else give "
        "probabilities."
    )


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
