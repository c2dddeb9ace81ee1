"""The alarm of inverted classes: AUROC below chance, with all of its interval."""

from dataclasses import replace

import numpy as np
import pytest

from medimg_baseline_cls.evaluation.inverted import find_inverted
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.schema import Predictions


def alarms_of(val: Predictions, test: Predictions) -> tuple[str, ...]:
    parts = {"val": val, "test": test}
    summaries = {
        name: summarize_predictions(part, {}, positive_class="PNEUMONIA")
        for name, part in parts.items()
    }
    resampling = Resampling(num_resamples=200, seed=0)
    found = add_intervals(summaries, [val, test], target_sensitivity=0.9, resampling=resampling)
    return find_inverted(found["test"], test)


def test_labels_that_are_swapped_raise_the_alarm(val: Predictions, held_out: Predictions):
    assert alarms_of(val, held_out) == ()
    (alarm,) = alarms_of(val, replace(held_out, labels=1 - held_out.labels))
    assert "AUROC of PNEUMONIA is 0.058 (95 %" in alarm
    assert "inverted" in alarm


@pytest.mark.parametrize(("count", "is_alarm"), [(2, False), (8, True)])
def test_a_complete_inversion_of_few_patients_is_not_told_from_chance(
    val: Predictions, count: int, is_alarm: bool
):
    scores = np.r_[np.full(count, 0.9), np.full(count, 0.1)]
    ids = tuple(f"{i}.png" for i in range(2 * count))
    part = replace(
        val,
        split="test",
        image_ids=ids,
        paths=ids,
        groups=ids,
        labels=np.repeat([0, 1], count),
        probabilities=np.stack([1 - scores, scores], axis=1),
    )
    assert bool(alarms_of(val, part)) is is_alarm


def test_a_class_that_is_absent_raises_no_alarm(val: Predictions, held_out: Predictions):
    assert alarms_of(val, replace(held_out, labels=np.zeros_like(held_out.labels))) == ()


def test_an_interval_that_contains_one_half_raises_no_alarm(val: Predictions):
    random = np.random.default_rng(3)
    scores = random.random(len(val.labels))
    part = replace(val, split="test", probabilities=np.stack([1 - scores, scores], axis=1))
    assert alarms_of(val, part) == ()
