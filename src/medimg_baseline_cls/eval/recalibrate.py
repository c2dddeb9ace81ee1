"""Maps probabilities to better calibrated ones, fitted on VAL; carries thresholds through.

Of one class against the rest. Every map is strictly increasing, so that an image called
positive stays so: AUROC, AP and all decisions are those of before; Brier score, log loss and
calibration change. A map belongs to its score space, and so do its thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from medimg_baseline_cls.errors import DataError, RunError
from medimg_baseline_cls.eval.logistic import fit_line, to_logits, to_probabilities
from medimg_baseline_cls.eval.metrics import Scores, Truth, log_loss_error
from medimg_baseline_cls.schema import Threshold
from medimg_baseline_cls.utils.files import read_json

Method = Literal["temperature", "platt", "isotonic"]
METHODS: tuple[Method, ...] = ("temperature", "platt", "isotonic")
FEWEST_IMAGES = 10
_TEMPERATURES = (0.05, 20.0)
_SLANT = 1e-6  # of the probability itself, mixed into isotonic steps


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A strictly increasing map of probabilities.

    Attributes:
        method: also the name of the score space that it maps to.
        parameters: of "temperature" its value; of "platt" "intercept" and "slope" on the logit;
            of "isotonic" the corners "x" and "y" of a broken line.
    """

    method: Method
    parameters: Mapping[str, Any]

    def apply(self, scores: Scores) -> Scores:
        """Return the recalibrated probabilities, shape (N,)."""
        if self.method == "isotonic":
            stairs = np.interp(scores, self.parameters["x"], self.parameters["y"])
            return (1 - _SLANT) * stairs + _SLANT * scores
        if self.method == "temperature":
            return to_probabilities(to_logits(scores) / self.parameters["temperature"])
        slope, intercept = self.parameters["slope"], self.parameters["intercept"]
        return to_probabilities(intercept + slope * to_logits(scores))

    def carry(self, points: Sequence[Threshold]) -> tuple[Threshold, ...]:
        """Return thresholds that decide on recalibrated probabilities as before.

        Raises:
            DataError: A threshold is not of plain probabilities.
        """
        for point in points:
            if point.score_space != "probability":
                raise DataError(
                    f"The threshold of {point.class_name} is of {point.score_space} scores: only "
                    f"thresholds of plain probabilities can be recalibrated."
                )
        values = self.apply(np.array([point.value for point in points], dtype=np.float64))
        return tuple(
            replace(point, value=float(value), score_space=self.method)
            for point, value in zip(points, values, strict=True)
        )


def read_recalibration(path: Path, method: str) -> dict[str, Recalibration]:
    """Return one map of each class that has it, as recalibration.json holds them.

    Raises:
        RunError: The file is missing or garbled, or holds no such map.
    """
    if method not in METHODS:
        raise RunError(f"{method} is no recalibration; there are {', '.join(METHODS)}.")
    if not path.is_file():
        raise RunError(f"{path} is missing: run `medimg evaluate {path.parent}` first.")
    try:
        classes: Mapping[str, Any] = read_json(path)["classes"]
        maps = {
            name: Recalibration(method, block[method]["parameters"])
            for name, block in classes.items()
            if method in block
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is not as it was written: restore it, or run `medimg evaluate` again."
        ) from error
    if not maps:
        raise RunError(
            f"{path} holds no map by {method}: VAL did not define one. Leave it out, or take "
            f"{' or '.join(name for name in METHODS if name != method)}."
        )
    return maps


def warn_of_maps(
    truth: Truth, scores: Scores, *, name: str, other: str
) -> dict[str, str | list[Method]] | None:
    """Say in one sentence that the maps of a class are hardly determined by VAL; None where not.

    Where VAL is separated perfectly, Platt's line depends on his targets alone, isotonic regression
    knows 0 and 1 only, and the best temperature is 0 if the classes also part at 0.5. Such maps
    may make the probabilities of other images worse.

    Args:
        truth: of VAL, shape (N,), bool, with both classes.
        scores: of VAL, shape (N,), in [0, 1].
        name: of the class.
        other: of all else.

    Returns:
        "methods", the maps that it is about, and "text".

    >>> scores = np.linspace(0.3, 0.9, 40)
    >>> found = warn_of_maps(scores > 0.6, scores, name="ILL", other="WELL")
    >>> found["text"].split(": ")[0]
    'VAL is separated perfectly (AUROC 1.000, 20 ILL and 20 WELL)'
    >>> found["text"].split(": ")[1]
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
        found = f"VAL holds only {counts[fewest]} {fewest}"
    else:
        return None
    named = "Platt or isotonic" if len(methods) == 2 else "temperature, Platt or isotonic"
    return {
        "methods": methods,
        "text": f"{found}: it does not determine a {named} map; {advice}.",
    }


def read_map_warnings(path: Path, method: str) -> list[str]:
    """Return the warnings of recalibration.json about one method; none in files without them."""
    blocks: Mapping[str, Any] = read_json(path).get("warnings", {})
    try:
        return [str(block["text"]) for block in blocks.values() if method in block["methods"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is not as it was written: restore it, or run `medimg evaluate` again."
        ) from error


def fit_recalibration(
    method: Method, *, split: str, truth: Truth, scores: Scores
) -> Recalibration | None:
    """Fit a map on VAL.

    Undefined (None) where VAL has one class, and where the scores point the wrong way, so that
    no increasing map calibrates them.

    Args:
        method: "temperature" (Guo et al., ICML 2017), "platt" (Platt 1999, on the logit, with his
            targets, which keep the map finite where scores separate the classes), or "isotonic"
            (Zadrozny and Elkan, KDD 2002).
        split: what the images are; only "val" is taken.
        truth: shape (N,), bool.
        scores: shape (N,), in [0, 1].

    Raises:
        DataError: The images are not those of VAL.
    """
    if split != "val":
        raise DataError(
            f"Recalibration is fitted on VAL alone, but these are images of {split.upper()}; a map "
            f"that has seen them would flatter their figures."
        )
    if len(truth) == 0 or truth.all() or not truth.any():
        return None
    if method == "temperature":
        return _fit_temperature(truth, scores)
    if method == "platt":
        return _fit_platt(truth, scores)
    return _fit_isotonic(truth, scores)


def _fit_temperature(truth: Truth, scores: Scores) -> Recalibration:
    logits = to_logits(scores)

    def loss(log_temperature: float) -> float:
        return log_loss_error(truth, to_probabilities(logits / np.exp(log_temperature)))

    bounds = tuple(np.log(_TEMPERATURES))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return Recalibration("temperature", {"temperature": float(np.exp(found.x))})


def _fit_platt(truth: Truth, scores: Scores) -> Recalibration | None:
    num_positive, num_negative = int(truth.sum()), int((~truth).sum())
    high, low = (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2)
    targets = np.where(truth, high, low)
    intercept, slope = fit_line(to_logits(scores), targets, weights=np.ones((1, len(truth))))[0]
    if not slope > 0:
        return None
    return Recalibration("platt", {"intercept": float(intercept), "slope": float(slope)})


def _fit_isotonic(truth: Truth, scores: Scores) -> Recalibration | None:
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    fitted.fit(scores, truth.astype(np.float64))
    corners = {"x": fitted.X_thresholds_.tolist(), "y": fitted.y_thresholds_.tolist()}
    return Recalibration("isotonic", corners) if corners["y"][0] < corners["y"][-1] else None
