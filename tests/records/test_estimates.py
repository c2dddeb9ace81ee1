"""An estimate is written as docs/design.md shows it, and reads back as it was."""

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.records.samples import ESTIMATES, INTERVALS

from medimg_baseline_cls.records.estimates import Estimate, Interval, PairedDifference, Spread

# A first draw may wait for a busy processor.
STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# As runs have written them: the text must not change by a letter.
WRITTEN = (
    '{"value": 0.9375}',
    '{"value": null, "reason": "all images are of one class"}',
    '{"value": 0.25, "num_defined": 13, "baseline": 0.125}',
    '{"value": null, "reason": "no image is positive", "baseline": null}',
    '{"value": 0.5, "interval": [0.25, 0.75], "method": "bootstrap", "num_undefined": 3}',
    '{"value": 0.5, "interval": null, "method": "bootstrap", "num_undefined": 30, '
    '"interval_reason": "too few resamples define it"}',
    '{"value": 1.0, "interval": null, '
    '"interval_reason": "the threshold was chosen on these images; see TEST"}',
    '{"value": 1.0, "interval": [0.5, 1.0], "method": "clopper_pearson", "wilson": [0.5, 1.0], '
    '"clopper_pearson": [0.25, 1.0]}',
    '{"value": 0.75, "baseline": 0.5, "interval": [0.5, 1.0], "method": "bootstrap", '
    '"delong": [0.25, 0.875]}',
)


@pytest.mark.parametrize("text", WRITTEN)
def test_a_stored_estimate_is_written_as_it_was(text: str) -> None:
    assert json.dumps(Estimate.from_json(json.loads(text)).to_json()) == text


@STEADY
@given(ESTIMATES)
def test_an_estimate_reads_back_as_it_was(estimate: Estimate) -> None:
    text = json.dumps(estimate.to_json(), allow_nan=False)
    again = Estimate.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    if estimate.baseline is None or not math.isnan(estimate.baseline):
        assert again == estimate
    else:
        assert again.baseline is not None and math.isnan(again.baseline)


@STEADY
@given(ESTIMATES)
def test_an_estimate_says_its_value_first_and_nothing_empty(estimate: Estimate) -> None:
    content = estimate.to_json()
    assert next(iter(content)) == "value"
    assert ("reason" in content) == (estimate.value is None)
    assert "" not in content.values() and content.get("num_undefined") != 0
    empty = {name for name, entry in content.items() if entry is None}
    assert empty <= {"value", "baseline", "interval"}


@STEADY
@given(ESTIMATES, INTERVALS)
def test_only_what_is_defined_gets_an_interval(estimate: Estimate, interval: Interval) -> None:
    found = estimate.with_interval(interval)
    if estimate.value is None:
        assert found == estimate and found.bounds is None
    else:
        assert found.interval == interval and found.bounds == interval.bounds
        before, after = estimate.to_json(), found.to_json()
        of_intervals = {"interval", "method", "num_undefined", "interval_reason"}
        assert {k: v for k, v in after.items() if k not in of_intervals} == {
            k: v for k, v in before.items() if k not in of_intervals
        }


def test_what_is_no_interval_is_none() -> None:
    for entry in (None, [], [0.5], [0.1, 0.2, 0.3], ["a", "b"], "ab", {"low": 0.1, "high": 0.2}):
        found = Estimate.from_json({"value": 0.5, "interval": entry})
        assert found.interval is not None and found.bounds is None


GAP = {"value": -0.125, "interval": Interval(bounds=(-0.25, 0.0), method="bootstrap")}


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (
            PairedDifference(**GAP),
            {"value": -0.125, "interval": [-0.25, 0.0], "method": "bootstrap"},
        ),
        (
            PairedDifference(value=None, reason="undefined for one of the models"),
            {"value": None, "reason": "undefined for one of the models"},
        ),
        (
            PairedDifference(
                value=-0.125,
                interval=Interval(bounds=(-0.5, 0.25), method="delong", num_undefined=2),
                bootstrap=(-0.25, 0.0),
                test="delong",
                standard_error=0.0625,
                z=-2.0,
                p_value=0.03125,
                p_holm=0.125,
            ),
            {
                "value": -0.125,
                "interval": [-0.5, 0.25],
                "method": "delong",
                "num_undefined": 2,
                "bootstrap": [-0.25, 0.0],
                "test": "delong",
                "standard_error": 0.0625,
                "z": -2.0,
                "p_value": 0.03125,
                "p_holm": 0.125,
            },
        ),
        (
            PairedDifference(
                **GAP,
                test="mcnemar",
                only_reference_right=0,
                only_model_right=5,
                p_value=0.0625,
                p_holm=1.0,
            ),
            {
                "value": -0.125,
                "interval": [-0.25, 0.0],
                "method": "bootstrap",
                "test": "mcnemar",
                "only_reference_right": 0,
                "only_model_right": 5,
                "p_value": 0.0625,
                "p_holm": 1.0,
            },
        ),
    ],
    ids=["untested", "undefined", "delong", "mcnemar"],
)
def test_a_difference_has_what_its_test_gives(
    gap: PairedDifference, expected: dict[str, Any]
) -> None:
    assert json.dumps(gap.to_json()) == json.dumps(expected)


def test_delongs_test_says_that_resamples_do_not_vary() -> None:
    gap = PairedDifference(value=0.0, test="delong", standard_error=0.0, z=0.0, p_value=1.0)
    assert gap.to_json()["bootstrap"] is None
    assert "bootstrap" not in PairedDifference(value=0.0, test="mcnemar").to_json()


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        (
            Spread(mean=0.5, sd=0.25, minimum=0.25, maximum=0.75, num_defined=2),
            {"mean": 0.5, "sd": 0.25, "min": 0.25, "max": 0.75, "num_defined": 2},
        ),
        (
            Spread(mean=0.5, sd=None, minimum=0.5, maximum=0.5, num_defined=1),
            {"mean": 0.5, "sd": None, "min": 0.5, "max": 0.5, "num_defined": 1},
        ),
        (
            Spread(mean=None, sd=None, minimum=None, maximum=None, num_defined=0),
            {
                **dict.fromkeys(("mean", "sd", "min", "max")),
                "num_defined": 0,
                "reason": "undefined in every run",
            },
        ),
        (
            Spread(
                mean=0.5,
                sd=0.25,
                minimum=0.25,
                maximum=0.75,
                num_defined=2,
                interval=Interval(bounds=(0.125, 0.875), method="bootstrap of seeds and patients"),
            ),
            {
                "mean": 0.5,
                "sd": 0.25,
                "min": 0.25,
                "max": 0.75,
                "num_defined": 2,
                "interval": [0.125, 0.875],
                "method": "bootstrap of seeds and patients",
            },
        ),
    ],
    ids=["two runs", "one run", "no run", "with its interval"],
)
def test_a_spread_is_null_where_no_run_defines_it(spread: Spread, expected: dict[str, Any]) -> None:
    assert json.dumps(spread.to_json()) == json.dumps(expected)
