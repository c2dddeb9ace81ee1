"""Sites at locked thresholds, and their pooled metrics against the statistics themselves."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score
from tests.conftest import draw_findings, with_column
from tests.evaluation.test_external_difference import draw_set

from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.sites import (
    measure_locked,
    pool_metric,
    pool_metrics,
    select_estimates,
)
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.sites import Site, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.pooling import logit_errors, pool_sites

POSITIVE = "PNEUMONIA"


def point_of(name: str, value: float) -> tuple[Threshold]:
    return (Threshold(rule="max_f1", value=value, description="", class_name=name),)


THRESHOLDS = {POSITIVE: point_of(POSITIVE, 0.4)}
AUROC, SENSITIVITY, SPECIFICITY = list_pooled(POSITIVE, "max_f1")
RESAMPLING = Resampling(80, 0)


def site_of(name: str, part: Predictions, *, is_internal: bool = False) -> Site:
    summary = measure_locked(part, THRESHOLDS, positive_class=POSITIVE, resampling=RESAMPLING)
    return Site(
        name=name,
        is_internal=is_internal,
        num_images=summary.num_images,
        num_patients=summary.num_groups,
        predictions_sha256="",
        prevalence={POSITIVE: 0.5},
        estimates=select_estimates(summary, {}, rule="max_f1"),
    )


@cache
def four() -> tuple[Site, ...]:
    parts = {name: draw_set(seed, gap=0.4 + 0.2 * seed) for seed, name in enumerate("abc", 1)}
    own = site_of("own", draw_set(9, gap=3.0), is_internal=True)
    return (own, *(site_of(name, part) for name, part in parts.items()))


def estimate_of(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, interval=Interval(bounds=(low, high), method="bootstrap"))


GOOD = {
    "a": estimate_of(0.90, 0.82, 0.95),
    "b": estimate_of(0.80, 0.70, 0.88),
    "c": estimate_of(0.95, 0.90, 0.98),
}


def test_pooled_metrics_are_those_of_the_logits_of_the_external_sites() -> None:
    pooled = pool_metrics(four(), [POSITIVE], rule="max_f1")
    assert list(pooled) == [AUROC, SENSITIVITY, SPECIFICITY]
    for key, found in pooled.items():
        estimates = [site.look_up(key) for site in four()[1:]]
        wanted = pool_sites(
            [float(logit(e.value)) for e in estimates if e.value is not None],
            errors=logit_errors([e.bounds for e in estimates if e.bounds is not None]),
        )
        assert found.value == pytest.approx(expit(wanted.mean))
        assert found.bounds == pytest.approx(expit(wanted.confidence))
        assert found.prediction == pytest.approx(expit(wanted.prediction))
        assert found.between_deviation == wanted.between_deviation
        assert found.share_between == wanted.share_between
        assert (found.sites, found.left_out) == (("a", "b", "c"), {})


def test_the_run_itself_is_not_pooled() -> None:
    others = pool_metrics(four()[1:], [POSITIVE], rule="max_f1")
    assert pool_metrics(four(), [POSITIVE], rule="max_f1") == others


def test_intervals_are_those_of_the_summary_but_for_the_choice_of_the_threshold() -> None:
    test, val = draw_set(1), replace(draw_set(4), split="val")
    summaries = {
        part.split: summarize_predictions(part, THRESHOLDS, positive_class=POSITIVE)
        for part in (val, test)
    }
    drawn = add_intervals(summaries, [val, test], target_sensitivity=0.9, resampling=RESAMPLING)[
        "test"
    ]
    locked = measure_locked(test, THRESHOLDS, positive_class=POSITIVE, resampling=RESAMPLING)
    assert locked.look_up(AUROC) == drawn.look_up(AUROC)
    assert locked.look_up(AUROC).value == pytest.approx(
        roc_auc_score(test.truth(POSITIVE), test.scores(POSITIVE))
    )
    widths = [np.ptp(s.look_up(SENSITIVITY).bounds) for s in (locked, drawn)]
    assert locked.look_up(SENSITIVITY).value == drawn.look_up(SENSITIVITY).value
    assert widths[0] < widths[1]


def test_two_sites_are_not_pooled() -> None:
    found = pool_metric({name: GOOD[name] for name in "ab"})
    assert (found.value, found.interval, found.prediction) == (None, None, None)
    assert found.reason == "2 of 2 sites can be pooled; 3 are needed"


LEFT_OUT = {
    "undefined: all images are of one class": Estimate(
        value=None, reason="all images are of one class"
    ),
    "its interval touches 1, where the logit is infinite": estimate_of(1.0, 0.9, 1.0),
    "its interval touches 0, where the logit is infinite": estimate_of(0.0, 0.0, 0.1),
    "no interval: resamples do not vary": Estimate(
        value=0.5, interval=Interval(bounds=None, reason="resamples do not vary")
    ),
    "no interval": Estimate(value=0.5),
    "its interval has no width": estimate_of(0.5, 0.5, 0.5),
}


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_a_site_without_a_standard_error_is_left_out_with_the_reason(reason: str) -> None:
    found = pool_metric({**GOOD, "odd": LEFT_OUT[reason]})
    assert found.left_out == {"odd": reason}
    assert found == replace(pool_metric(GOOD), left_out={"odd": reason})
    few = pool_metric({"a": GOOD["a"], "b": GOOD["b"], "odd": LEFT_OUT[reason]})
    assert (few.value, few.reason) == (None, "2 of 3 sites can be pooled; 3 are needed")


def test_each_finding_is_pooled_where_it_is_known() -> None:
    names = ("Effusion", "Mass", "Nodule")
    thresholds = {name: point_of(name, 0.5) for name in names[:2]}
    sites: list[Site] = []
    for seed, name in enumerate("abcd"):
        part = draw_findings("test", seed=seed)
        part = with_column(part, 1, 0) if name == "d" else part
        summary = measure_locked(part, thresholds, positive_class=None, resampling=RESAMPLING)
        estimates = select_estimates(summary, {}, rule="max_f1")
        sites.append(replace(four()[1], name=name, estimates=estimates))
    pooled = pool_metrics(sites, names, rule="max_f1")
    assert pooled[MetricKey("Effusion", None, "auroc")].sites == ("a", "b", "c", "d")
    mass = pooled[MetricKey("Mass", None, "auroc")]
    assert mass.left_out == {"d": "undefined: all images are of one class"}
    nodule = pooled[MetricKey("Nodule", "max_f1", "sensitivity")]
    assert nodule.value is None
    assert nodule.left_out["a"] == "undefined: no threshold was chosen on VAL"


def test_calibration_is_that_of_the_class_or_undefined() -> None:
    summary = measure_locked(
        draw_set(1), THRESHOLDS, positive_class=POSITIVE, resampling=RESAMPLING
    )
    slope = MetricKey(POSITIVE, None, "slope")
    known = select_estimates(summary, {POSITIVE: {"slope": GOOD["a"]}}, rule="max_f1")
    assert known[slope] == GOOD["a"]
    unknown = select_estimates(summary, {}, rule="max_f1")[slope]
    assert (unknown.value, unknown.reason) == (None, "all images are of one class")
