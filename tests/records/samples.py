"""Drawn estimates, and summaries of drawn predictions; some metrics are undefined."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import strategies as st
from tests.conftest import draw_findings, draw_odd_findings, draw_predictions

from medimg_baseline_cls.evaluation.operating_points import Thresholds, choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.summaries import Average, MetricKey, SplitSummary
from medimg_baseline_cls.schema import Predictions, Task

TERNARY = ("bacteria", "normal", "virus")
TASKS = ("binary", "multiclass", "ordinal", "multilabel")
Parts = tuple[Predictions, Predictions]
NUMBER = st.floats(-10, 10) | st.sampled_from((0.0, -0.0, 1e-300, 0.1 + 0.2, 1 - 2**-53))
BOUNDS = st.tuples(NUMBER, NUMBER)
TEXT = st.text(min_size=1, max_size=12)
COUNT = st.integers(1, 10**6)
INTERVALS = st.one_of(
    st.builds(Interval, bounds=BOUNDS, method=TEXT, num_undefined=st.just(0) | COUNT),
    st.builds(Interval, bounds=st.none(), method=st.just("") | TEXT, reason=TEXT),
)
ESTIMATES = st.one_of(
    st.builds(
        Estimate,
        value=NUMBER,
        num_defined=st.none() | COUNT,
        baseline=st.none() | st.just(math.nan) | NUMBER,
        interval=st.none() | INTERVALS,
        wilson=st.none() | BOUNDS,
        clopper_pearson=st.none() | BOUNDS,
        delong=st.none() | BOUNDS,
    ),
    st.builds(
        Estimate,
        value=st.none(),
        reason=TEXT,
        num_defined=st.none() | st.just(0),
        baseline=st.none() | st.just(math.nan) | NUMBER,
    ),
)


def draw_parts(task: str, *, is_odd: bool = False) -> Parts:
    """Draw VAL and TEST; an odd TEST lacks the last class, or one finding altogether."""
    if task == "multilabel":
        return draw_odd_findings() if is_odd else (draw_findings("val"), draw_findings("test"))
    names = ("NORMAL", "PNEUMONIA") if task == "binary" else TERNARY
    kind: Task = "ordinal" if task == "ordinal" else "multiclass"
    val, test = (
        replace(draw_predictions(s, class_names=names), task=kind) for s in ("val", "test")
    )
    # A sure classifier calls nothing positive there, so that PPV is undefined as well.
    last = len(names) - 1
    if is_odd:
        scores = test.probabilities.copy()
        scores[:, last] = 0.0
        scores /= scores.sum(axis=1, keepdims=True)
        test = replace(test, labels=test.labels % last, probabilities=scores)
    return val, test


def positive_of(task: str) -> str | None:
    return "PNEUMONIA" if task == "binary" else None


def choose(task: str, *, is_odd: bool = False) -> Thresholds:
    val = draw_parts(task, is_odd=is_odd)[0]
    classes = evaluated_classes(val.class_names, positive_of(task))
    return choose_thresholds(val, classes=classes, target_sensitivity=0.9)


@cache
def measure(
    task: str, *, is_odd: bool = False, has_intervals: bool = False
) -> dict[str, SplitSummary]:
    """Return the summaries of VAL and TEST."""
    parts, thresholds = draw_parts(task, is_odd=is_odd), choose(task, is_odd=is_odd)
    summaries = {
        part.split: summarize_predictions(part, thresholds, positive_class=positive_of(task))
        for part in parts
    }
    if not has_intervals:
        return summaries
    return add_intervals(
        summaries, parts, target_sensitivity=0.9, resampling=Resampling(num_resamples=40, seed=2)
    )


def list_metrics(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each object of a JSON file that has a value, with its path."""
    if isinstance(content, Mapping):
        if "value" in content:
            yield path, content
        for name, part in content.items():
            yield from list_metrics(part, (*path, name))


def path_of(key: MetricKey) -> tuple[str, ...]:
    """Return where docs/design.md has a metric."""
    if key.block is Average.OVERALL:
        return ("overall", key.metric)
    lead = (key.block.value,) if isinstance(key.block, Average) else ("classes", key.block)
    if key.rule is None:
        return (*lead, "metrics", key.metric)
    return (*lead, "operating_points", key.rule, key.metric)
