"""The catalogue says of each metric what its computation does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_baseline_cls.catalogue import (
    CHOSEN_RULES,
    DECISIONS,
    HEADLINE_DECISIONS,
    HEADLINE_SCORES,
    OVERALL,
    PROPORTIONS,
    RATES,
    RULES,
    SCORES,
    Metric,
)
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import measure_counts, measure_scores
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.metrics import ConfusionCounts

EVERY = (*SCORES.values(), *DECISIONS.values(), *OVERALL.values())
COUNT = st.integers(0, 30)


def is_within(metric: Metric, value: float | None) -> bool:
    low, high = metric.bounds
    return value is None or low <= value <= high


@given(COUNT, COUNT, COUNT, COUNT)
def test_decisions_are_listed_as_they_are_computed(tp: int, fp: int, fn: int, tn: int) -> None:
    found = measure_counts(ConfusionCounts(tp=tp, fp=fp, fn=fn, tn=tn))
    counts = {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    assert {key: value for key, value in found.to_json().items() if key in counts} == counts
    metrics = found.metrics
    assert list(metrics) == list(DECISIONS)
    for key, metric in DECISIONS.items():
        assert is_within(metric, metrics[key].value)
        assert metrics[key].reason == (metric.reason if metrics[key].value is None else "")
    for key, (part, whole) in PROPORTIONS.items():
        total = sum(counts[name] for name in whole)
        share = sum(counts[name] for name in part) / total if total else None
        assert metrics[key].value == pytest.approx(share)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=20))
def test_scores_are_listed_as_they_are_computed(images: list[tuple[bool, float]]) -> None:
    truth = np.array([is_positive for is_positive, _ in images], dtype=bool)
    scores = np.array([score for _, score in images], dtype=np.float64)
    metrics = measure_scores(truth, scores).metrics
    assert metrics.keys() == SCORES.keys()
    for key, metric in SCORES.items():
        assert is_within(metric, metrics[key].value)
        assert metrics[key].reason == (metric.reason if metrics[key].value is None else "")


@pytest.mark.parametrize("metric", SCORES.values(), ids=SCORES)
def test_a_perfect_score_is_the_better_one(metric: Metric) -> None:
    truth = np.array([True, True, False, False])
    right, wrong = np.where(truth, 0.9, 0.1), np.where(truth, 0.1, 0.9)
    better, worse = (
        measure_scores(truth, scores).metrics[metric.key].value for scores in (right, wrong)
    )
    assert better is not None and worse is not None
    assert (better > worse) == metric.is_better_high


def test_rules_are_those_that_thresholds_are_chosen_by() -> None:
    val = Predictions(
        *("val", ("A", "B"), ("1", "2"), ("1", "2"), ("1", "2")),
        np.array([0, 1]),
        np.array([[0.8, 0.2], [0.3, 0.7]]),
    )
    points = choose_thresholds(val, classes=["B"], target_sensitivity=0.95)["B"]
    assert {point.rule for point in points} == set(RULES)
    assert set(CHOSEN_RULES) == set(RULES) - {"default"}


def test_every_row_has_its_words() -> None:
    for metric in EVERY:
        words = (metric.name, metric.short, metric.word, metric.reason, metric.source)
        assert all(words) and metric.bounds[0] < metric.bounds[1]
    assert set(HEADLINE_SCORES) <= set(SCORES) and set(RATES) <= set(PROPORTIONS)
    assert set(HEADLINE_DECISIONS) <= set(RATES)
