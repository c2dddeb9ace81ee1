"""What is a flag, and what an unknown one is answered."""

import pytest

from medimg_baseline_cls.cli.flags import check_flags, flag_names, is_flag
from medimg_baseline_cls.errors import ConfigError

KNOWN = ("--finetune-lr", "--batch-size", "--seed", "--help", "-h")


@pytest.mark.parametrize("value", ["-1", "-0.5", "-9e3", "-", "", "a-b", "3"])
def test_negative_numbers_and_a_lone_dash_are_values(value: str):
    assert not is_flag(value)


@pytest.mark.parametrize("flag", ["-b", "--seed", "--no-pretrained", "-x=1", "--seed=-1"])
def test_dashes_and_a_letter_are_a_flag(flag: str):
    assert is_flag(flag)


def test_flags_are_named_in_order_without_their_values():
    tokens = ["r", "--seed=-1", "-1", "--batch_size", "8", "-", "--seed", "=x", "--data_dir=a_b"]
    assert flag_names(tokens) == ["--seed", "--batch-size", "--seed", "--data-dir"]


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
