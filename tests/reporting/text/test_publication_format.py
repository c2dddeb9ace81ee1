"""Numbers in journal style: rounded half up, never falsely exact, alike within one figure."""

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.records.estimates import Estimate, read_estimate
from medimg_baseline_cls.reporting.text.publication_format import (
    UNDEFINED,
    format_estimate,
    format_estimate_short,
    format_proportion,
)

STEADY = settings(deadline=None, derandomize=True)
UNIT = st.floats(min_value=0, max_value=1)


def numbers_in(text: str) -> list[str]:
    return re.findall(r"[<>]?−?\d+(?:\.\d+)?", text.replace("95% CI", ""))


@STEADY
@given(st.lists(UNIT, min_size=3, max_size=3).map(sorted))
def test_value_and_bounds_have_the_same_decimals_and_are_near(values: list[float]) -> None:
    low, value, high = values
    text = format_estimate(Estimate.from_json({"value": value, "interval": [low, high]}))
    assert re.fullmatch(r"\S+ \(95% CI \S+, \S+\)", text)
    printed = numbers_in(text)
    assert len({len(p.partition(".")[2]) for p in printed}) == 1
    for shown, true in zip(printed, (value, low, high), strict=True):
        number = float(shown.lstrip("<>"))
        assert abs(number - true) <= (1e-3 if shown[0] in "<>" else 0.0005 + 1e-12)
        if shown[0] == ">":
            assert true > number
        elif shown[0] == "<":
            assert true < number
        else:
            assert (number in (0, 1)) == (true in (0, 1))


@STEADY
@given(st.integers(1, 3000), st.data())
def test_percentage_is_never_falsely_0_or_100(total: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, total))
    text = format_proportion(Estimate.from_json({"value": part / total}), (part, total))
    shown, counts = text.rstrip(")").split(" (")
    assert counts == f"{part}/{total}"
    number = Decimal(shown.rstrip("%").lstrip("<>"))
    assert (number in (0, 100)) == (part in (0, total))
    assert abs(Fraction(number) - Fraction(100 * part, total)) <= (
        Fraction(1, 10) if shown[0] in "<>" else Fraction(1, 20)
    )


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({"value": 0.935}, "0.935"),
        ({"value": 0.125}, "0.125"),
        ({"value": 0.145, "interval": [0.115, 0.175]}, "0.145 (95% CI 0.115, 0.175)"),
        ({"value": 1.0, "interval": [0.971, 1.0]}, "1.000 (95% CI 0.971, 1.000)"),
        ({"value": 0.998, "interval": [0.99, 1.0]}, "0.998 (95% CI 0.990, 1.000)"),
        ({"value": 0.99999}, ">0.999"),
        ({"value": 0.00001}, "<0.001"),
        ({"value": -0.00001}, ">−0.001"),
        ({"value": -0.25, "interval": [-0.4, -0.1]}, "−0.250 (95% CI −0.400, −0.100)"),
        ({"value": 0.0}, "0.000"),
        ({"value": -0.0}, "0.000"),
        ({"value": 2.3455}, "2.346"),
        ({"value": 0.93, "interval": None}, "0.930"),
        ({"value": 0.93, "interval": [None, 1]}, "0.930"),
        ({"value": None, "reason": "one class"}, UNDEFINED),
        ({}, UNDEFINED),
        (0.9312, "0.931"),
    ],
)
def test_estimate(metric: object, text: str) -> None:
    assert format_estimate(read_estimate(metric)) == text
    assert format_estimate_short(read_estimate(metric)) == text.replace("95% CI ", "")


@pytest.mark.parametrize(
    ("metric", "counts", "text"),
    [
        ({"value": 0.125}, (1, 8), "12.5% (1/8)"),
        ({"value": 1.0, "interval": [0.9, 1.0]}, (30, 30), "100.0% (30/30; 95% CI 90.0%, 100.0%)"),
        ({"value": 0.0, "interval": [0.0, 0.1]}, None, "0.0% (95% CI 0.0%, 10.0%)"),
        ({"value": 0.9984}, (1248, 1250), "99.8% (1248/1250)"),
        ({"value": 0.99999}, None, ">99.9%"),
        ({"value": 0.29}, None, "29.0%"),
        ({"value": None}, (0, 0), UNDEFINED),
    ],
)
def test_proportion(metric: object, counts: tuple[int, int] | None, text: str) -> None:
    assert format_proportion(read_estimate(metric), counts) == text


def test_interval_needs_two_numbers() -> None:
    assert Estimate.from_json({"interval": [1, 2]}).bounds == (1.0, 2.0)
    for odd in ([1], [1, None], "ab", None, [1, 2, 3]):
        assert Estimate.from_json({"interval": odd}).bounds is None
