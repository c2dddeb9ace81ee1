"""Recalibration of a run: fitted only on VAL, stored in recalibration.json with thresholds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medimg_baseline_cls.errors import DataError, RunError
from medimg_baseline_cls.records.probabilities import MapWarning, RecalibrationSummary
from medimg_baseline_cls.records.summaries import read_record
from medimg_baseline_cls.schema import Threshold
from medimg_baseline_cls.statistics.metrics import Scores, Truth
from medimg_baseline_cls.statistics.recalibration import (
    METHODS,
    Method,
    Recalibration,
    fit_recalibration,
)

FEWEST_IMAGES = 10


def fit_on_val(method: Method, *, split: str, truth: Truth, scores: Scores) -> Recalibration | None:
    """Fit a map as `fit_recalibration` does, but only on images of VAL.

    Raises:
        DataError: the images are not those of VAL.
    """
    if split != "val":
        raise DataError(
            f"Recalibration is fitted only on VAL, but these are images of {split.upper()}; a map "
            f"fitted on them would make their metrics too good."
        )
    return fit_recalibration(method, truth=truth, scores=scores)


def carry_thresholds(
    recalibration: Recalibration, points: Sequence[Threshold]
) -> tuple[Threshold, ...]:
    """Map thresholds so that decisions on recalibrated probabilities are the same as before.

    Raises:
        DataError: a threshold is not for plain probabilities.
    """
    for point in points:
        if point.score_space != "probability":
            raise DataError(
                f"The threshold of {point.class_name} is for {point.score_space} scores: only "
                f"thresholds of plain probabilities can be recalibrated."
            )
    values = recalibration.apply(np.array([point.value for point in points], dtype=np.float64))
    return tuple(
        replace(point, value=float(value), score_space=recalibration.method)
        for point, value in zip(points, values, strict=True)
    )


def read_recalibration(path: Path, method: str) -> dict[str, Recalibration]:
    """Read the map of one method for each class that has it from recalibration.json.

    Raises:
        RunError: the file is missing or garbled, or has no such map.
    """
    if method not in METHODS:
        raise RunError(f"{method} is not a recalibration method; choose from {', '.join(METHODS)}.")
    if not path.is_file():
        raise RunError(f"{path} is missing: run `medimg evaluate {path.parent}` first.")
    maps = {
        name: Recalibration(method, found.maps[method].parameters)
        for name, found in _read(path).classes.items()
        if method in found.maps
    }
    if not maps:
        raise RunError(
            f"{path} has no map by {method}: VAL does not define one. Leave it out, or use "
            f"{' or '.join(name for name in METHODS if name != method)}."
        )
    return maps


def warn_of_maps(truth: Truth, scores: Scores, *, name: str, other: str) -> MapWarning | None:
    """Say in one sentence that the maps of a class are hardly determined by VAL; None where not.

    If VAL is separated perfectly, Platt's line depends only on his targets, isotonic regression
    gives only 0 and 1, and the best temperature is 0 if the classes also separate at 0.5. Such
    maps may make the probabilities of other images worse.

    Args:
        truth: of VAL, shape (N,), bool, with both classes.
        scores: of VAL, shape (N,), in [0, 1].
        name: of the class.
        other: the name of the rest.

    >>> scores = np.linspace(0.3, 0.9, 40)
    >>> found = warn_of_maps(scores > 0.6, scores, name="ILL", other="WELL")
    >>> found.text.split(": ")[0]
    'VAL is separated perfectly (AUROC 1.000, 20 ILL and 20 WELL)'
    >>> found.text.split(": ")[1]
    'it does not determine a Platt or isotonic map; prefer temperature or none.'
    """
    counts = {name: int(truth.sum()), other: int((~truth).sum())}
    fewest = min(counts, key=lambda key: counts[key])
    if counts[fewest] == 0:
        return None
    methods: list[Method] = ["platt", "isotonic"]
    advice = "prefer temperature or none"
    if scores[truth].min() > scores[~truth].max():
        if scores[truth].min() > 0.5 > scores[~truth].max():
            methods, advice = list(METHODS), "leave the probabilities as they are"
        listed = " and ".join(f"{count} {key}" for key, count in counts.items())
        found = f"VAL is separated perfectly (AUROC 1.000, {listed})"
    elif counts[fewest] < FEWEST_IMAGES:
        found = f"VAL has only {counts[fewest]} {fewest}"
    else:
        return None
    named = "Platt or isotonic" if len(methods) == 2 else "temperature, Platt or isotonic"
    text = f"{found}: it does not determine a {named} map; {advice}."
    return MapWarning(methods=tuple(methods), text=text)


def read_map_warnings(path: Path, method: str) -> list[str]:
    """Return the warnings of recalibration.json about one method; none in files without them."""
    return [found.text for found in _read(path).warnings.values() if method in found.methods]


def _read(path: Path) -> RecalibrationSummary:
    return read_record(path, RecalibrationSummary.from_json)
