"""Hands the settings to the resampling of the metrics, and prints the headline's intervals."""

from collections.abc import Iterator, Mapping, Sequence

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, HEADLINE_SCORES, name_rule, word_of
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Weights
from medimg_baseline_cls.utils.quantities import say_score


def resample_summaries(
    config: Config,
    summaries: Mapping[str, SplitSummary],
    *,
    parts: Sequence[Predictions],
    weights: Mapping[str, Weights] | None = None,
) -> dict[str, SplitSummary]:
    """Return the summaries with an interval for each metric.

    Args:
        config: target sensitivity, number of resamples, seed.
        summaries: by split.
        parts: the predictions of VAL, then of TEST if there are any.
        weights: from `draw_parts`, if they are drawn already.
    """
    return add_intervals(
        summaries,
        parts,
        target_sensitivity=config.target_sensitivity,
        resampling=Resampling(config.num_resamples, config.seed),
        weights=weights,
    )


def print_intervals(session: Session, summary: SplitSummary) -> None:
    """Print the 95 % intervals of the headline, and of the operating point that is used."""
    shown = list(_list_estimates(summary, rule=session.config.operating_point))
    if shown:
        session.log.info(f"95 % intervals on {summary.split.upper()}: {', '.join(shown)}")


def _list_estimates(summary: SplitSummary, *, rule: str) -> Iterator[str]:
    is_mean = summary.positive_class is None
    for key in HEADLINE_SCORES:
        yield from _describe(f"{'macro ' if is_mean else ''}{word_of(key)}", summary.headline[key])
    positive = summary.positive_class
    points = {} if positive is None else summary.classes[positive].operating_points
    for key in HEADLINE_DECISIONS if rule in points else ():
        yield from _describe(f"{key} at {name_rule(rule)}", points[rule].metrics[key])


def _describe(name: str, estimate: Estimate) -> Iterator[str]:
    if estimate.value is not None and estimate.bounds is not None:
        low, high = estimate.bounds
        yield f"{name} {say_score(estimate.value)} ({say_score(low)} to {say_score(high)})"
