"""Rules against a plain search over every threshold, of one sample and of many at once."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from medimg_baseline_cls.catalogue import CHOSEN_RULES, RULES
from medimg_baseline_cls.statistics.metrics import count_by_threshold
from medimg_baseline_cls.statistics.threshold_rules import (
    CRITERIA,
    choose_position,
    choose_threshold,
)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.random(60) < 0.4
    scores = np.round(np.clip(random.normal(0.4 + 0.2 * truth, 0.2), 0, 1), 2)
    return truth, scores


def test_every_chosen_rule_of_the_catalogue_has_a_criterion_and_no_other() -> None:
    assert list(CRITERIA) == list(CHOSEN_RULES)
    assert not RULES["default"].is_chosen


@pytest.mark.parametrize("seed", range(5))
def test_the_highest_of_the_best_thresholds_is_taken(seed: int) -> None:
    truth, scores = draw(seed)
    thresholds, tp, fp = count_by_threshold(truth, scores)
    by_f1 = [(f1_score(truth, scores >= cut), cut) for cut in thresholds]
    place = choose_position("max_f1", tp, fp=fp, target=0.0)
    assert thresholds[place] == max(by_f1)[1]
    for target in (0.5, 0.8, 1.0):
        reaching = [cut for cut in thresholds if recall_score(truth, scores >= cut) >= target]
        place = choose_position("target_sensitivity", tp, fp=fp, target=target)
        assert thresholds[place] == max(reaching)


@pytest.mark.parametrize("rule", list(CRITERIA))
def test_many_samples_at_once_are_each_alone(rule: str) -> None:
    random = np.random.default_rng(0)
    tp = np.cumsum(random.integers(0, 3, (20, 15)), axis=1)
    fp = np.cumsum(random.integers(0, 3, (20, 15)), axis=1)
    together = choose_position(rule, tp, fp=fp, target=0.8)
    alone = [choose_position(rule, t, fp=f, target=0.8) for t, f in zip(tp, fp, strict=True)]
    assert together.tolist() == [int(place) for place in alone]


def test_a_threshold_is_that_of_its_place_and_nan_where_nothing_is_rated() -> None:
    truth, scores = draw(0)
    thresholds, tp, fp = count_by_threshold(truth, scores)
    for rule, criterion in CRITERIA.items():
        chosen = choose_threshold(criterion, thresholds, tp=tp, fp=fp, target=0.8)
        assert chosen == thresholds[choose_position(rule, tp, fp=fp, target=0.8)]

    def rate_nothing(tp: np.ndarray, fp: np.ndarray, *, target: float) -> np.ndarray:
        return np.full(tp.shape, -np.inf)

    assert np.isnan(choose_threshold(rate_nothing, thresholds, tp=tp, fp=fp, target=0.8))
