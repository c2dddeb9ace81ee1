"""Hands the settings to the resampling of the figures, and prints the headline's intervals."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, HEADLINE_SCORES, name_rule, word_of
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.estimates import Summary
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import headline
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.quantities import say_score


def resample_summaries(
    config: Config, summaries: Mapping[str, Summary], *, parts: Sequence[Predictions]
) -> dict[str, Summary]:
    """Return the summaries with an interval at each figure.

    Args:
        config: target sensitivity, number of resamples, seed.
        summaries: by split.
        parts: the predictions of VAL, then of TEST if there are any.
    """
    return add_intervals(
        summaries,
        parts,
        target_sensitivity=config.target_sensitivity,
        resampling=Resampling(config.num_resamples, config.seed),
    )


def print_intervals(session: Session, summary: Mapping[str, Any]) -> None:
    """Print the 95 % intervals of the headline, and of the operating point that is used."""
    figures = list(_list_figures(summary, rule=session.config.operating_point))
    if figures:
        session.log.info(f"95 % intervals on {summary['split'].upper()}: {', '.join(figures)}")


def _list_figures(summary: Mapping[str, Any], *, rule: str) -> Iterator[str]:
    is_mean = summary["positive_class"] is None
    for key in HEADLINE_SCORES:
        yield from _describe(f"{'macro ' if is_mean else ''}{word_of(key)}", headline(summary)[key])
    points = {} if is_mean else summary["classes"][summary["positive_class"]]["operating_points"]
    for key in HEADLINE_DECISIONS if rule in points else ():
        yield from _describe(f"{key} at {name_rule(rule)}", points[rule][key])


def _describe(name: str, figure: Mapping[str, Any]) -> Iterator[str]:
    if figure["value"] is not None and figure.get("interval"):
        low, high = figure["interval"]
        yield f"{name} {say_score(figure['value'])} ({say_score(low)} to {say_score(high)})"
