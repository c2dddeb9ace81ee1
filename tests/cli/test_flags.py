"""Arguments as people type them become canonical ones; what is no flag is left alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.cli.flags import canonical_tokens, check_flags, flag_names, is_flag
from medimg_baseline_cls.errors import ConfigError

ALIASES = {"--lr": "--finetune-lr", "-b": "--batch-size"}
KNOWN = ("--finetune-lr", "--batch-size", "--seed", "--help", "-h")
WORDS = st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), max_size=12)


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("--finetune_lr", "--finetune-lr"),
        ("--lr", "--finetune-lr"),
        ("--lr=1e-3", "--finetune-lr=1e-3"),
        ("-b=8", "--batch-size=8"),
        ("--data_dir=my_films=a_b", "--data-dir=my_films=a_b"),
        ("--seed=", "--seed="),
        ("my_films", "my_films"),
        ("lr", "lr"),
        ("a_b=c_d", "a_b=c_d"),
        ("-1_000", "-1_000"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_only_the_name_of_a_flag_is_changed(typed: str, canonical: str):
    assert canonical_tokens([typed], aliases=ALIASES) == [canonical]


@given(st.lists(WORDS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_canonical_arguments_stay_as_they_are_and_values_are_never_touched(typed: list[str]):
    once = canonical_tokens(typed, aliases=ALIASES)
    assert canonical_tokens(once, aliases=ALIASES) == once
    assert len(once) == len(typed)
    for before, after in zip(typed, once, strict=True):
        assert before.partition("=")[1:] == after.partition("=")[1:]
        if not before.startswith("-"):
            assert after == before


@pytest.mark.parametrize("value", ["-1", "-0.5", "-9e3", "-", "", "a-b", "3"])
def test_negative_numbers_and_a_lone_dash_are_values(value: str):
    assert not is_flag(value)


@pytest.mark.parametrize("flag", ["-b", "--seed", "--no-pretrained", "-x=1", "--seed=-1"])
def test_dashes_and_a_letter_are_a_flag(flag: str):
    assert is_flag(flag)


def test_flags_are_named_in_order_without_their_values():
    tokens = ["r", "--seed=-1", "-1", "--batch-size", "8", "-", "--seed", "=x"]
    assert flag_names(tokens) == ["--seed", "--batch-size", "--seed"]


def test_known_flags_pass_with_any_value():
    check_flags(["--seed", "-1", "--batch-size=--what", "--help", "x"], KNOWN, command="train")


def test_every_unknown_flag_is_named_on_a_line_of_its_own_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        check_flags(["--sed", "1", "--batch-sise=8", "--qqq", "--seed"], KNOWN, command="train")
    assert str(caught.value).splitlines() == [
        "train has no flag --sed: did you mean --seed?",
        "  train has no flag --batch-sise: did you mean --batch-size?",
        "  train has no flag --qqq: see medimg train --help.",
    ]


def test_who_knows_better_than_spelling_is_asked_instead():
    def suggest(name: str) -> list[str]:
        return ["--this", "--that"] if name == "--sed" else []

    with pytest.raises(ConfigError) as caught:
        check_flags(["--sed", "--seeed"], KNOWN, command="run", suggest=suggest)
    assert str(caught.value).splitlines() == [
        "run has no flag --sed: did you mean --this or --that?",
        "  run has no flag --seeed: see medimg run --help.",
    ]
