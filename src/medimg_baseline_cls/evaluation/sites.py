"""Compares a locked model on several data sets, and pools them by random effects.

AUROC, sensitivity and specificity are pooled on the scale of the logit, with the standard error
that their interval means there (Debray et al., BMJ 2017). Thresholds are as stored for all sites:
choosing them again in every resample, as for the intervals of TEST, would put the same error into
each site.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy.special import expit, logit

from medimg_baseline_cls.catalogue import HEADLINE_SCORES
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, describe_part, draw_part
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.records.estimates import Bounds, Estimate, Interval
from medimg_baseline_cls.records.sites import CALIBRATION, PooledMetric, Site, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey, SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.intervals import LEVEL
from medimg_baseline_cls.statistics.pooling import FEWEST_SITES, logit_errors, pool_sites

POOLING: dict[str, Any] = {
    "level": LEVEL,
    "method": "random effects of the logits: restricted maximum likelihood; interval of the mean: "
    "the wider of Hartung-Knapp and normal; prediction interval with k - 2 degrees of freedom",
    "source": "Debray et al., BMJ 2017;356:i6460",
}
_NO_THRESHOLD = "no threshold was chosen on VAL"


def measure_locked(
    part: Predictions, thresholds: Thresholds, *, positive_class: str | None, resampling: Resampling
) -> SplitSummary:
    """Return the metrics of a data set, with intervals that take the thresholds as given."""
    summary = summarize_predictions(part, thresholds, positive_class=positive_class)
    return describe_part(part, summary, weights=draw_part(part, resampling), cuts={})


def select_estimates(
    summary: SplitSummary, calibration: Mapping[str, Mapping[str, Estimate]], *, rule: str
) -> dict[MetricKey, Estimate]:
    """Return what the sites are compared by: scores, decisions by one rule, calibration.

    Args:
        summary: from `measure_locked`.
        calibration: by class, then by metric; a class that cannot be judged has none.
        rule: the operating point.
    """
    found: dict[MetricKey, Estimate] = {}
    for name in summary.classes:
        keys = [MetricKey(name, None, metric) for metric in HEADLINE_SCORES]
        for key in dict.fromkeys((*keys, *list_pooled(name, rule))):
            estimate = summary.look_up(key)
            is_unknown = estimate.value is None and not estimate.reason
            found[key] = Estimate(value=None, reason=_NO_THRESHOLD) if is_unknown else estimate
        own = calibration.get(name, {})
        for metric in CALIBRATION:
            undefined = Estimate(value=None, reason="all images are of one class")
            found[MetricKey(name, None, metric)] = own.get(metric, undefined)
    return found


def pool_metrics(
    sites: Sequence[Site], classes: Sequence[str], *, rule: str
) -> dict[MetricKey, PooledMetric]:
    """Pool AUROC, sensitivity and specificity of each class over the sites that are external."""
    external = {site.name: site for site in sites if not site.is_internal}
    return {
        key: pool_metric({name: site.look_up(key) for name, site in external.items()})
        for class_name in classes
        for key in list_pooled(class_name, rule)
    }


def pool_metric(estimates: Mapping[str, Estimate]) -> PooledMetric:
    """Pool a proportion, or an AUROC, over sites.

    A site without a standard error of the logit is left out: the metric is undefined there, has no
    interval, or its interval touches 0 or 1.

    Args:
        estimates: by site.
    """
    left_out = dict(_list_left_out(estimates))
    used = {name: found for name, found in estimates.items() if name not in left_out}
    facts: dict[str, Any] = {"sites": tuple(used), "left_out": left_out}
    if len(used) < FEWEST_SITES:
        reason = f"{len(used)} of {len(estimates)} sites can be pooled; {FEWEST_SITES} are needed"
        return PooledMetric(value=None, reason=reason, **facts)
    bounds = [found.bounds for found in used.values() if found.bounds is not None]
    logits = [float(logit(found.value)) for found in used.values() if found.value is not None]
    pooled = pool_sites(logits, errors=logit_errors(bounds))
    return PooledMetric(
        value=float(expit(pooled.mean)),
        interval=Interval(bounds=_to_proportions(pooled.confidence), method="hartung-knapp"),
        prediction=_to_proportions(pooled.prediction),
        between_deviation=pooled.between_deviation,
        share_between=pooled.share_between,
        **facts,
    )


def _list_left_out(estimates: Mapping[str, Estimate]) -> Iterator[tuple[str, str]]:
    for name, found in estimates.items():
        value, bounds = found.value, found.bounds
        if value is None:
            yield name, f"undefined: {found.reason}" if found.reason else "undefined"
        elif bounds is None:
            reason = "" if found.interval is None else found.interval.reason
            yield name, f"no interval: {reason}" if reason else "no interval"
        elif not (bounds[0] > 0 and bounds[1] < 1 and 0 < value < 1):
            end = "0" if min(*bounds, value) <= 0 else "1"
            yield name, f"its interval touches {end}, where the logit is infinite"
        elif bounds[0] >= bounds[1]:
            yield name, "its interval has no width"


def _to_proportions(bounds: Bounds) -> Bounds:
    return float(expit(bounds[0])), float(expit(bounds[1]))
