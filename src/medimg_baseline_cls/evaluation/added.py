"""What packages of others add to an evaluation: metrics of every run, and the rule of a threshold.

Each is a plain function of one sample; here it is called for every resample too, and its error is
one sentence with the package. An undefined value is None, NaN or a division by zero.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.statistics.bootstrap import CallCounts, Values, Weights
from medimg_baseline_cls.statistics.metrics import ConfusionCounts, Scores, Truth
from medimg_baseline_cls.statistics.threshold_rules import CRITERIA, Counts, Criterion
from medimg_baseline_cls.utils.plugins import PREFIX, Kind, blaming, load_plugin, load_plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMetric:
    """A metric of decisions at a threshold.

    Attributes:
        compute: takes the counts as tp=, fp=, fn=, tn= (int) and returns a number.
        reason: why it can be undefined.
    """

    compute: Callable[..., float | None]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMetric:
    """A metric of probabilities, which needs no threshold.

    Attributes:
        compute: takes (truth, scores), shape (N,) each: whether an image is of the class, and the
            probability of the class; returns a number.
        reason: why it can be undefined.
    """

    compute: Callable[[Truth, Scores], float | None]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule:
    """How a threshold is chosen on VAL.

    Attributes:
        criterion: takes (tp, fp), the true and false positives at each distinct score, the highest
            score first, shape (T,) each, the last being all positive and all negative images;
            returns a number for each, shape (T,), NaN where it is undefined. The first of the
            greatest is chosen.
        description: its text in thresholds.json and in the report.
    """

    criterion: Callable[[Counts, Counts], ArrayLike]
    description: str


def measure_added_decisions(counts: ConfusionCounts) -> dict[str, Estimate]:
    """Return the metrics of others at an operating point."""
    return {
        key: _estimate(_count(key, metric, **asdict(counts)), metric)
        for key, metric in _list_decisions().items()
    }


def measure_added_scores(truth: Truth, scores: Scores) -> dict[str, Estimate]:
    """Return the metrics of others that need no threshold; of no image, undefined ones."""
    return {
        key: _estimate(_score(key, metric, truth=truth, scores=scores), metric)
        for key, metric in _list_scores().items()
    }


def resample_added_decisions(counts: CallCounts) -> dict[str, Values]:
    """Return the metrics of others at an operating point in each resample, shape (B,) each."""
    metrics = _list_decisions()
    values = {key: np.full(len(counts.tp), np.nan) for key in metrics}
    for key, metric in metrics.items():
        for number in np.flatnonzero(~np.isnan(counts.tp)):
            cells = {name: int(column[number]) for name, column in counts._asdict().items()}
            found = _count(key, metric, **cells)
            values[key][number] = np.nan if found is None else found
    return values


def resample_added_scores(truth: Truth, scores: Scores, *, weights: Weights) -> dict[str, Values]:
    """Return the metrics of others without a threshold in each resample, shape (B,) each.

    Args:
        truth: shape (N,), bool.
        scores: shape (N,), in [0, 1].
        weights: shape (B, N): how often each resample contains each image.
    """
    metrics = _list_scores()
    values = {key: np.full(len(weights), np.nan) for key in metrics}
    for key, metric in metrics.items():
        for number, row in enumerate(weights):
            drawn = np.repeat(np.arange(len(truth)), row)
            found = _score(key, metric, truth=truth[drawn], scores=scores[drawn])
            values[key][number] = np.nan if found is None else found
    return values


def list_criteria(rule: str) -> Mapping[str, Criterion]:
    """Return the criteria by which thresholds are chosen: ours, and that of `plugin:NAME`.

    Raises:
        ConfigError: no installed package adds this rule, or it cannot be loaded.
    """
    if not rule.startswith(PREFIX):
        return CRITERIA
    added = load_plugin("threshold_rules", rule, expected=ThresholdRule)

    def criterion(tp: Counts, fp: Counts, *, target: float) -> NDArray[np.float64]:
        rows = zip(tp.reshape(-1, tp.shape[-1]), fp.reshape(-1, fp.shape[-1]), strict=True)
        rated = [_rate(rule, added, tp=hits, fp=misses) for hits, misses in rows]
        return np.stack(rated).reshape(tp.shape)

    return {**CRITERIA, rule: criterion}


def refuse_undefined(rule: str) -> NoReturn:
    """Refuse a rule by which no threshold can be chosen on VAL."""
    with blaming("threshold_rules", rule):
        raise ValueError("its criterion is NaN at every score of VAL, so there is no threshold")


def describe_added_rule(rule: str) -> str:
    """Return the text of a rule of another package."""
    return load_plugin("threshold_rules", rule, expected=ThresholdRule).description


def _rate(key: str, rule: ThresholdRule, *, tp: Counts, fp: Counts) -> NDArray[np.float64]:
    """Return the criterion at each threshold of one sample; -inf at scores that no image has."""
    is_drawn = np.diff(tp + fp, prepend=0) > 0
    rated = np.full(tp.shape, -np.inf)
    with blaming("threshold_rules", key), np.errstate(all="ignore"):
        found = np.asarray(rule.criterion(tp[is_drawn], fp[is_drawn]), dtype=np.float64)
        if found.shape != (int(is_drawn.sum()),):
            raise ValueError(f"its criterion has the shape {found.shape}, not that of tp")
    rated[is_drawn] = np.where(np.isnan(found), -np.inf, found)
    return rated


def _list_decisions() -> Mapping[str, DecisionMetric]:
    return load_plugins("decision_metrics", expected=DecisionMetric)


def _list_scores() -> Mapping[str, ScoreMetric]:
    return load_plugins("score_metrics", expected=ScoreMetric)


def _count(key: str, metric: DecisionMetric, **counts: int) -> float | None:
    return _call("decision_metrics", key, compute=partial(metric.compute, **counts))


def _score(key: str, metric: ScoreMetric, *, truth: Truth, scores: Scores) -> float | None:
    if len(truth) == 0:
        return None
    return _call("score_metrics", key, compute=partial(metric.compute, truth, scores))


def _call(kind: Kind, key: str, *, compute: Callable[[], float | None]) -> float | None:
    """Return a number; None where it is undefined."""
    with blaming(kind, key), np.errstate(all="ignore"):
        try:
            found = compute()
        except ZeroDivisionError:
            return None
        value = math.nan if found is None else float(found)
        if math.isinf(value):
            raise ValueError(f"it returned {value}, expected a number or None")
        return None if math.isnan(value) else value


def _estimate(value: float | None, metric: DecisionMetric | ScoreMetric) -> Estimate:
    return Estimate(value=value, reason="" if value is not None else metric.reason)
