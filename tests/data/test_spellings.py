"""Spellings of one name become one name; what was joined is said, and class_names decide."""

import random
import unicodedata
from itertools import permutations

import pytest

from medimg_baseline_cls.data.spellings import unify_spellings

UNSEEN = ["benign\u200b", "\ufeffbenign", "be\u00adnign", "benign ", "\u00a0benign", "ben\u200dign"]


@pytest.mark.parametrize("odd", [*UNSEEN, *(unicodedata.normalize("NFD", t) for t in ("bénin",))])
def test_what_is_not_seen_distinguishes_no_names_and_is_said(odd: str) -> None:
    plain = "bénin" if "\u0301" in odd else "benign"
    found = unify_spellings({odd: 30, plain: 2, "malignant": 5})
    assert found.names == {odd: plain, plain: plain, "malignant": "malignant"}
    (note,) = found.notes
    assert ascii(odd) in note and note.isprintable()  # the difference is made visible
    assert found.warnings == ()


@pytest.mark.parametrize("odd", UNSEEN)
def test_a_single_spelling_is_cleaned_too(odd: str) -> None:
    assert unify_spellings({odd: 3}).names == {odd: "benign"}


@pytest.mark.parametrize(
    "spellings",
    [
        ("Benign", "benign", "BENIGN"),
        ("No Finding", "no_finding", "no-finding", "NO FINDING"),
        ("Straße", "STRASSE"),
        ("\uff21\uff22", "ab"),
        ("\u00b5-lesion", "\u03bc lesion"),
    ],
)
def test_names_that_differ_in_case_or_hyphens_are_joined_with_a_warning(
    spellings: tuple[str, ...],
) -> None:
    for order in permutations(spellings):
        counts = {text: 10 - spellings.index(text) for text in order} | {"other": 50}
        found = unify_spellings(counts)
        assert {found.names[text] for text in spellings} == {spellings[0]}  # the most frequent
        (warning,) = found.warnings
        assert all(f"{text} ({counts[text]} image" in warning for text in spellings[1:])


def test_different_names_stay_different() -> None:
    names = ["0", "1", "-1", "10", "1.5", "T1", "T2", "a", "b", "grade", "grades", "no", "non", "_"]
    found = unify_spellings(dict.fromkeys(names, 1))
    assert found.names == {name: name for name in names}
    assert (found.notes, found.warnings) == ((), ())


def test_names_that_are_set_decide() -> None:
    counts = {"Benign": 9, "benign": 1, "BENIGN": 4, "malignant": 5}
    one = unify_spellings(counts, ("benign", "malignant"))
    assert set(one.names.values()) == {"benign", "malignant"} and one.warnings
    both = unify_spellings(counts, ("benign", "Benign", "malignant"))
    assert both.names == {text: text for text in counts}  # BENIGN could mean either
    decomposed = unicodedata.normalize("NFD", "bénin")
    assert unify_spellings({"bénin": 3}, (decomposed,)).names == {"bénin": decomposed}


def test_the_order_of_the_counts_changes_nothing() -> None:
    rng = random.Random(5)
    counts = {"A a": 3, "a-a": 3, "a_A": 3, "B\u200b": 1, "b": 2, "B": 2}
    found = unify_spellings(counts)
    for _ in range(10):
        items = list(counts.items())
        rng.shuffle(items)
        again = unify_spellings(dict(items))
        assert again.names == found.names
        assert sorted(again.warnings) == sorted(found.warnings)
