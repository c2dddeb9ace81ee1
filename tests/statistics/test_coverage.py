"""How often intervals hold a known truth: by enumeration where that is exact, else by simulation.

Seeded, so that a test fails for a changed method and not by chance; the bounds are wide enough
for the Monte Carlo error of the few draws (docs/benchmarks has the many).
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit
from tests.conftest import predictions_of

from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import describe_values, draw_weights, weighted_scores
from medimg_baseline_cls.statistics.calibration import describe_calibration
from medimg_baseline_cls.statistics.decision_curve import THRESHOLDS, draw_decision_curve
from medimg_baseline_cls.statistics.delong import delong_interval
from medimg_baseline_cls.statistics.intervals import clopper_pearson_interval, wilson_interval

SHIFT = 1.5
AUROC = float(stats.norm.cdf(SHIFT / math.sqrt(2)))
Interval = tuple[float, float]


def coverage_by_enumeration(
    interval: Callable[[int, int], Interval], *, share: float, total: int
) -> float:
    """Return the chance that the interval of a binomial count holds its share."""
    counts = np.arange(total + 1)
    holds = np.array(
        [low <= share <= high for low, high in (interval(k, total) for k in range(total + 1))]
    )
    return float(stats.binom.pmf(counts, total, share)[holds].sum())


@pytest.mark.parametrize("total", [10, 40, 200])
def test_clopper_pearson_never_falls_short(total: int) -> None:
    for share in np.linspace(0.01, 0.99, 37):
        found = coverage_by_enumeration(clopper_pearson_interval, share=share, total=total)
        assert found >= 0.95


@pytest.mark.parametrize("total", [40, 200])
def test_wilson_is_right_on_average_and_narrower(total: int) -> None:
    shares = np.linspace(0.05, 0.95, 61)
    found = [coverage_by_enumeration(wilson_interval, share=s, total=total) for s in shares]
    assert np.mean(found) == pytest.approx(0.95, abs=0.01)
    assert min(found) > 0.88
    widths = [np.ptp(f(total // 3, total)) for f in (wilson_interval, clopper_pearson_interval)]
    assert widths[0] < widths[1]


def draw_study(
    seed: int, *, num_patients: int = 60, images_each: int = 1, correlation: float = 0.0
) -> tuple[NDArray[np.bool_], NDArray[np.float64], list[str]]:
    """Draw a study whose AUROC is known: normal logits, a patient effect shared by its images."""
    random = np.random.default_rng([7, seed])
    truth = np.repeat(np.arange(num_patients) % 2 == 0, images_each)
    patient = np.repeat(random.normal(size=num_patients), images_each)
    noise = random.normal(size=len(truth))
    logits = SHIFT * truth + math.sqrt(correlation) * patient + math.sqrt(1 - correlation) * noise
    groups = [f"p{i // images_each}" for i in range(len(truth))]
    return truth, expit(logits - SHIFT / 2), groups


def bootstrap_auroc(
    truth: NDArray[np.bool_], scores: NDArray[np.float64], groups: list[str]
) -> Interval:
    weights = draw_weights(
        groups, truth.astype(np.int64), num_resamples=300, seed=1, purpose="test"
    )
    low, high = describe_values(weighted_scores(truth, scores, weights=weights)["auroc"]).bounds
    return low, high


def coverage(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_both_intervals_of_the_auroc_hold_it_in_about_95_of_100_studies() -> None:
    studies = [draw_study(seed) for seed in range(200)]
    drawn = coverage([bootstrap_auroc(*study) for study in studies], AUROC)
    closed = [delong_interval(truth, scores) for truth, scores, _ in studies]
    formula = coverage([interval for interval in closed if interval is not None], AUROC)
    assert 0.90 <= drawn <= 0.99
    assert 0.90 <= formula <= 0.99


def test_taking_images_of_a_patient_as_independent_falls_short() -> None:
    studies = [
        draw_study(seed, num_patients=40, images_each=4, correlation=0.9) for seed in range(120)
    ]
    whole = coverage([bootstrap_auroc(*study) for study in studies], AUROC)
    alone = coverage(
        [bootstrap_auroc(t, s, [str(i) for i in range(len(t))]) for t, s, _ in studies], AUROC
    )
    assert whole >= 0.84
    assert alone < whole - 0.1


def as_predictions(split: str, seed: int, num_patients: int) -> Predictions:
    truth, scores, groups = draw_study(seed, num_patients=num_patients)
    found = predictions_of(split, truth.astype(np.int64), np.stack([1 - scores, scores], axis=1))
    return replace(found, groups=tuple(f"{split}-{group}" for group in groups))


def test_a_closed_interval_at_a_chosen_threshold_falls_short_of_the_drawn_one() -> None:
    """The specificity at a target sensitivity depends on VAL, which Wilson's interval ignores."""
    reach = float(stats.norm.isf(0.9, SHIFT / 2))
    specificity = float(stats.norm.cdf(reach, -SHIFT / 2))
    drawn, closed = list[Interval](), list[Interval]()
    for seed in range(100):
        val = as_predictions("val", seed, 50)
        test = as_predictions("test", 1000 + seed, 200)
        thresholds = choose_thresholds(val, classes=["PNEUMONIA"], target_sensitivity=0.9)
        summaries = {
            part.split: summarize_predictions(part, thresholds, positive_class="PNEUMONIA")
            for part in (val, test)
        }
        point = (
            add_intervals(
                summaries, (val, test), target_sensitivity=0.9, resampling=Resampling(300, seed)
            )["test"]
            .classes["PNEUMONIA"]
            .operating_points["target_sensitivity"]
        )
        found = point.metrics["specificity"]
        assert found.bounds is not None and found.wilson is not None
        drawn.append(found.bounds)
        closed.append(found.wilson)
    assert coverage(drawn, specificity) >= 0.9
    assert coverage(closed, specificity) < 0.75


def test_the_interval_of_the_calibration_slope_holds_it() -> None:
    found = list[Interval]()
    for seed in range(80):
        random = np.random.default_rng([11, seed])
        logits = random.normal(scale=1.5, size=250)
        truth = random.random(250) < expit(0.6 * logits + 0.2)
        weights = draw_weights(
            [str(i) for i in range(250)],
            truth.astype(np.int64),
            num_resamples=300,
            seed=seed,
            purpose="test",
        )
        described = describe_calibration(truth, expit(logits), weights=weights, seed=seed)
        assert described.brief.slope.bounds is not None
        found.append(described.brief.slope.bounds)
    assert 0.87 <= coverage(found, 0.6) <= 1.0


def test_the_band_of_the_decision_curve_holds_the_net_benefit() -> None:
    thresholds = np.log(THRESHOLDS / (1 - THRESHOLDS))
    hits = 0.5 * stats.norm.sf(thresholds, SHIFT / 2)
    alarms = 0.5 * stats.norm.sf(thresholds, -SHIFT / 2)
    truth_curve = hits - alarms * THRESHOLDS / (1 - THRESHOLDS)
    holds = list[NDArray[np.bool_]]()
    for seed in range(80):
        truth, scores, groups = draw_study(seed, num_patients=200)
        weights = draw_weights(
            groups, truth.astype(np.int64), num_resamples=300, seed=seed, purpose="test"
        )
        curve = draw_decision_curve(truth, scores, weights=weights)
        holds.append((curve.lower <= truth_curve) & (truth_curve <= curve.upper))
    middle = np.mean(holds, axis=0)[9:80]
    assert 0.9 <= middle.mean() <= 0.99
    assert middle.min() > 0.82
