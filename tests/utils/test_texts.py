"""Texts as they are seen; the one list of missing values; numbers with a point or a comma."""

import unicodedata

import pytest

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.texts import clean_text, is_missing, read_bins, read_number

UNSEEN = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u202e", "\x07")


@pytest.mark.parametrize("unseen", UNSEEN)
def test_characters_that_are_not_seen_and_blanks_change_no_text(unseen: str) -> None:
    for place in range(len("benign") + 1):
        text = "benign"[:place] + unseen + "benign"[place:]
        assert clean_text(text) == "benign"
    assert clean_text(f"\u00a0 no{unseen} \t finding\u3000{unseen} ") == "no finding"
    assert clean_text(unseen) == ""


def test_accents_are_composed_even_around_an_unseen_character() -> None:
    for text in ("bénin", "Übergewicht", "ação", "한글"):
        decomposed = unicodedata.normalize("NFD", text)
        assert decomposed != text
        assert clean_text(decomposed) == clean_text(text) == text
    assert clean_text("be\u200b\u0301nin") == "bénin"


@pytest.mark.parametrize(
    "text",
    "|NA|na|N/A|n/a|#N/A|<NA>|nan|NaN|NAN|None|null|NULL|-|--|\u2013|.|NaT".split("|"),
)
def test_words_for_a_missing_value(text: str) -> None:
    assert is_missing(text)


@pytest.mark.parametrize("text", ["none", "NONE", "no", "0", "-1", "Nancy", "Na+", "nil", "..."])
def test_other_words_are_values(text: str) -> None:
    assert not is_missing(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("12", 12.0), ("12.5", 12.5), ("12,5", 12.5), ("-0,25", -0.25), ("0,125", 0.125)),
        *(("12,0", 12.0), ("1,234", None), ("12,345,678", None), ("a", None), ("", None)),
        *(("inf", None), ("nan", None), ("1,2,3", None)),
    ],
)
def test_a_decimal_comma_is_read_unless_it_may_part_thousands(
    text: str, number: float | None
) -> None:
    assert read_number(text) == number


def test_bins_are_read_with_points_commas_and_blanks() -> None:
    assert read_bins(["age=40/65", "dose = 0,5 / 1.5"]) == {"age": (40, 65), "dose": (0.5, 1.5)}


@pytest.mark.parametrize(
    "text", ["age", "age=", "=40", "age:40", "age=40/x", "age=65/40", "age=40/40", "age=40/"]
)
def test_bins_that_are_no_bands_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="rising numbers"):
        read_bins([text])


def test_bins_of_one_column_come_once() -> None:
    with pytest.raises(ConfigError, match="names age twice"):
        read_bins(["age=40", "age =65"])
