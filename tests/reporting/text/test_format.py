"""Rounding never lies about "almost", and no absolute path survives."""

import re
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    format_count,
    format_difference,
    format_score,
    format_setting,
    group_settings,
    hide_paths,
)
from medimg_baseline_cls.utils.quantities import format_duration, format_threshold

STEADY = settings(deadline=None, derandomize=True)
UNIT = st.floats(min_value=0, max_value=1)
FOLDERS = st.lists(st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True), min_size=2, max_size=5)


@STEADY
@given(UNIT)
def test_score_has_three_decimals_or_says_on_which_side_it_lies(value: float) -> None:
    text = format_score(value)
    if text == ">0.999":
        assert 0.999 < value < 1
    elif text == "<0.001":
        assert 0 < value < 0.001
    else:
        assert re.fullmatch(r"[01]\.\d{3}", text)
        nearest = Decimal(value).quantize(Decimal("0.001"), rounding=ROUND_HALF_EVEN)
        assert Decimal(text) == nearest
        assert (text == "1.000") == (value == 1)
        assert (text == "0.000") == (value == 0)


@STEADY
@given(UNIT)
def test_threshold_shows_0_and_1_only_when_it_is_so(value: float) -> None:
    shown = float(format_threshold(value))
    assert shown == pytest.approx(value, abs=5e-4)
    if 1e-9 < value < 1 - 1e-9:
        assert 0 < shown < 1


@pytest.mark.parametrize(
    ("value", "text"), [(-0.25, "−0.250"), (-0.0001, ">−0.001"), (0.0, "0.000"), (2.5, "2.500")]
)
def test_score_below_0_has_a_real_minus_sign(value: float, text: str) -> None:
    assert format_score(value) == text


def test_undefined_is_a_dash_everywhere() -> None:
    texts = {format_score(None), format_threshold(None), format_count(None)}
    assert texts | {format_difference(None)} == {UNDEFINED}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.0001, "0.000"), (-0.0001, "0.000"), (0.75, "+0.750"), (-0.75, "−0.750")],
)
def test_difference_carries_its_sign(value: float, text: str) -> None:
    assert format_difference(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (3599.7, "1 h 0 min"), (90061, "25 h 1 min")],
)
def test_duration_carries_over(seconds: float, text: str) -> None:
    assert format_duration(seconds).replace("\xa0", " ") == text


@STEADY
@given(FOLDERS, st.sampled_from(["{}", "--data-dir={}", "see {} now", "Path('{}')", "a:{},b"]))
def test_absolute_path_keeps_its_last_name_only(folders: list[str], frame: str) -> None:
    path = "/" + "/".join(folders)
    text = hide_paths(frame.format(path))
    assert path not in text
    assert "/" + folders[0] + "/" not in text
    assert "…/" + folders[-1] in text


@pytest.mark.parametrize(
    "path",
    [
        "/home/ada/my films/x.png",
        "~/films/x.png",
        "~ada/films/x.png",
        "file:///home/ada/films/x.png",
        r"C:\Users\ada\films\x.png",
        "C:/Users/ada/films/x.png",
    ],
)
def test_home_in_any_spelling_is_hidden(path: str) -> None:
    assert hide_paths(path) == "…/x.png"


@pytest.mark.parametrize(
    "text",
    ["", "a/b/c.png", "../shared/data", "true/false", "3 / 4", "https://x.example/a/b", "1e-3"],
)
def test_text_without_an_absolute_path_is_left_alone(text: str) -> None:
    assert hide_paths(text) == text


def test_settings_are_printed_in_words() -> None:
    assert format_setting({"a": None, "b": [True, 2]}) == "a: not set, b: yes, 2"
    assert format_setting([]) == "none"
    assert format_setting({}) == "none"
    assert format_setting(["/home/ada/x"]) == "…/x"


def test_nested_settings_become_groups_and_dotted_names() -> None:
    content = {"a": 1, "b": {"c": {"d": 2, "e": {}}}, "f": {}}
    expected = {"": {"a": "1", "f": "none"}, "b": {"c.d": "2", "c.e": "none"}}
    assert group_settings(content) == expected


def test_pattern_for_groups_is_printed_as_it_is() -> None:
    pattern = r"(/|^)(person\d+)/x/"
    assert group_settings({"group_regex": pattern}) == {"": {"group_regex": pattern}}
