"""A difference between two sets of images as a record: both sides, the value, its interval."""

from medimg_baseline_cls.records.comparisons import nest_estimates
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.external import SetDifference
from medimg_baseline_cls.records.summaries import Average, MetricKey

GAP = SetDifference(
    value=-0.1,
    internal=0.9,
    external=0.8,
    interval=Interval(bounds=(-0.2, 0.0), method="bootstrap"),
)


def test_both_sides_come_before_the_difference():
    assert GAP.to_json() == {
        "internal": 0.9,
        "external": 0.8,
        "value": -0.1,
        "interval": [-0.2, 0.0],
        "method": "bootstrap",
    }


def test_what_is_undefined_has_its_reason_and_the_side_that_is_known():
    gap = SetDifference(value=None, reason="no image is positive", internal=0.9)
    assert gap.to_json() == {
        "internal": 0.9,
        "external": None,
        "value": None,
        "reason": "no image is positive",
    }


def test_it_is_read_back_as_an_estimate():
    found = Estimate.from_json(GAP.to_json())
    assert (found.value, found.bounds) == (-0.1, (-0.2, 0.0))


def test_differences_are_nested_as_those_of_a_comparison():
    content = nest_estimates(
        {
            MetricKey("A", None, "auroc"): GAP,
            MetricKey("A", "max_f1", "sensitivity"): GAP,
            MetricKey(Average.MACRO, None, "auroc"): GAP,
        }
    )
    assert content["A"]["metrics"]["auroc"] == GAP.to_json()
    assert content["A"]["operating_points"]["max_f1"]["sensitivity"] == GAP.to_json()
    assert content["macro"]["metrics"]["auroc"] == GAP.to_json()
