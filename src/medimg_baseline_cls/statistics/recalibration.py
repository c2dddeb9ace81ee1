"""Map probabilities to better calibrated ones.

Of one class against the rest. Every map is strictly increasing, so that an image called
positive stays so: AUROC, AP and all decisions are those of before; Brier score, log loss and
calibration change. A map belongs to its score space, and so do its thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar

from medimg_baseline_cls.statistics.logistic import fit_line, to_logits, to_probabilities
from medimg_baseline_cls.statistics.metrics import Scores, Truth, log_loss_error

Method = Literal["temperature", "platt", "isotonic"]
METHODS: tuple[Method, ...] = ("temperature", "platt", "isotonic")
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


def fit_recalibration(method: Method, *, truth: Truth, scores: Scores) -> Recalibration | None:
    """Fit a map on images that are not those it will be judged on.

    Undefined (None) where they are of one class, and where the scores point the wrong way, so that
    no increasing map calibrates them.

    Args:
        method: "temperature" (Guo et al., ICML 2017), "platt" (Platt 1999, on the logit, with his
            targets, which keep the map finite where scores separate the classes), or "isotonic"
            (Zadrozny and Elkan, KDD 2002).
        truth: shape (N,), bool.
        scores: shape (N,), in [0, 1].
    """
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
    x, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    y = isotonic_regression(np.bincount(place, truth) / counts, weights=counts).x
    is_corner = np.ones(len(y), dtype=np.bool_)
    is_corner[1:-1] = (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:])
    corners = {"x": x[is_corner].tolist(), "y": y[is_corner].tolist()}
    return Recalibration("isotonic", corners) if corners["y"][0] < corners["y"][-1] else None
