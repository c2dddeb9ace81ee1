"""Subtracts the metrics of TEST from those of another data set, of one locked model.

The two sets have no patient in common: each is resampled on its own, and the interval is that of
the differences of the two bootstrap distributions (Efron and Tibshirani 1993, chapter 8: two
samples). Thresholds are as stored, for both. There are no strata: the prevalence of each set is as
uncertain as the rest.
"""

from collections.abc import Mapping

import numpy as np

from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import (
    Resampling,
    draw_part,
    list_values,
    resample_classes,
    resample_images,
)
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.external import SetDifference
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, Weights, describe_values
from medimg_baseline_cls.statistics.calibration import assign_by_mass, calibration_errors
from medimg_baseline_cls.statistics.logistic import fit_line, fit_offset, to_logits

_UNDEFINED = "the images do not define it"


def subtract_internal(
    internal: Predictions,
    external: Predictions,
    *,
    thresholds: Thresholds,
    positive_class: str | None,
    resampling: Resampling,
) -> dict[MetricKey, SetDifference]:
    """Return external minus internal for every metric that has an interval.

    Args:
        internal: predictions of TEST.
        external: of the other data set, by the same model.
        thresholds: the operating points, locked.
        positive_class: of two classes; None evaluates each against the rest.
        resampling: how often patients are resampled, and from which seed.
    """
    sides: list[tuple[dict[MetricKey, Estimate], dict[MetricKey, Values]]] = []
    for part, purpose in ((internal, "test"), (external, "external")):
        weights = draw_part(part, resampling, purpose=purpose, by_class=False)
        summary = summarize_predictions(part, thresholds, positive_class=positive_class)
        own = np.ones((1, len(part.groups)), weights.dtype)
        cuts = {
            name: {point.rule: point.value for point in points}
            for name, points in thresholds.items()
        }
        drawn = resample_classes(part, part.class_names, cuts=cuts, weights=weights)
        values = list_values(drawn, over_defined=part.has_findings)
        values |= resample_images(part, drawn, weights=weights, positive_class=positive_class)
        values |= _judge_calibration(part, tuple(summary.classes), weights=weights)
        found = dict(summary.items())
        for key, (value,) in _judge_calibration(part, tuple(summary.classes), weights=own).items():
            is_defined = not np.isnan(value)
            found[key] = Estimate(
                value=float(value) if is_defined else None, reason="" if is_defined else _UNDEFINED
            )
        sides.append((found, values))
    return _subtract(*sides)


def _judge_calibration(
    part: Predictions, classes: tuple[str, ...], *, weights: Weights
) -> dict[MetricKey, Values]:
    """Return the calibration of each class in each resample, shape (B,)."""
    values: dict[MetricKey, Values] = {}
    for name in classes:
        truth, scores = select_known(part, name)
        if not len(truth):
            continue
        own = weights[:, part.known(name)]
        index = assign_by_mass(scores)
        found = {"ece_equal_mass": calibration_errors(truth, scores, index=index, weights=own)}
        if 0 < truth.sum() < len(truth):
            outcomes, logits = truth.astype(np.float64), to_logits(scores)
            found["slope"] = fit_line(logits, outcomes, weights=own)[:, 1]
            found["intercept_at_slope_1"] = fit_offset(logits, outcomes, weights=own)
        values |= {MetricKey(name, None, key): drawn for key, drawn in found.items()}
    return values


def _subtract(
    internal: tuple[Mapping[MetricKey, Estimate], Mapping[MetricKey, Values]],
    external: tuple[Mapping[MetricKey, Estimate], Mapping[MetricKey, Values]],
) -> dict[MetricKey, SetDifference]:
    gaps: dict[MetricKey, SetDifference] = {}
    for key, other in external[0].items():
        own = internal[0].get(key, Estimate(value=None, reason=_UNDEFINED))
        if own.value is None or other.value is None:
            where, reason = ("external", other.reason)
            if other.value is not None:
                where, reason = ("internal", own.reason)
            gaps[key] = SetDifference(
                value=None,
                reason=f"undefined on the {where} images: {reason or _UNDEFINED}",
                internal=own.value,
                external=other.value,
            )
        elif own.num_defined != other.num_defined:
            gaps[key] = SetDifference(
                value=None,
                reason=f"a mean of {own.num_defined} findings on the internal images and of "
                f"{other.num_defined} on the external ones",
                internal=own.value,
                external=other.value,
            )
        elif key in internal[1] and key in external[1]:
            gaps[key] = SetDifference(
                value=other.value - own.value,
                interval=describe_values(external[1][key] - internal[1][key]),
                internal=own.value,
                external=other.value,
            )
    return gaps
