"""Sentences about settings: what is shown can be typed, what is suggested exists."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field
from pydantic.config import ConfigDict
from pydantic.dataclasses import dataclass

from medimg_baseline_cls.config import (
    FLAG_ALIASES,
    Config,
    field_facts,
    messages,
    show_value,
    suggest_fields,
)
from medimg_baseline_cls.config.messages import SettingsError, describe_field, read_field_facts
from medimg_baseline_cls.errors import ConfigError


@dataclass(kw_only=True, config=ConfigDict(use_attribute_docstrings=True))
class Oven:
    """Settings of something else, so that no sentence depends on our own Config."""

    heat: Annotated[int, Field(ge=50, le=250)] = 180
    """Heat
    of the oven."""
    fan: bool = False
    glow: Annotated[float, Field(gt=0, lt=1)] = 0.5
    depth: Annotated[float, Field(ge=0)] = 2.0
    width: Annotated[int, Field(lt=9)] = 3
    mode: Literal["bake", "grill"] = "bake"
    dish: Annotated[Path | None, Field(examples=["pan.txt"])] = None
    guests: Annotated[tuple[str, ...] | None, Field(examples=[["Ann", "Bo"]])] = None
    timer: Annotated[int | None, Field(ge=1)] = None
    cook: Annotated[str, Field(pattern="^[a-z]+$", title="small letters")] = "eve"


OVEN = read_field_facts(Oven)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (None, "none"),
        (3, "3"),
        (0.001, "0.001"),
        ("auto", "auto"),
        ("", "''"),
        (" ", "' '"),
        ("a b", "'a b'"),
        ("a\tb", r"'a\tb'"),
        (Path("a/b"), "a/b"),
        (["A", "B"], "[A, B]"),
        (("A", 1), "[A, 1]"),
        ([], "[]"),
    ],
)
def test_a_value_is_shown_as_it_is_typed(value: object, shown: str):
    assert show_value(value) == shown


@pytest.mark.parametrize("name", list(field_facts()))
def test_an_example_that_is_shown_can_be_copied_into_a_settings_file(name: str):
    facts = field_facts()[name]
    typed = yaml.safe_load(f"{name}: {show_value(facts.example)}")
    needs = {"site_column": "hospital"} if name == "test_site" else {}
    if facts.example is not None:
        assert Config(**typed, **needs) == Config(**{name: facts.example}, **needs)
    else:
        assert Config(**typed) == Config()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("heat", "a whole number from 50 to 250, for example 180"),
        ("fan", "true or false"),
        ("glow", "a number above 0 and below 1, for example 0.5"),
        ("depth", "a number of at least 0, for example 2.0"),
        ("width", "a whole number below 9, for example 3"),
        ("mode", "one of bake, grill"),
        ("dish", "a path or none, for example pan.txt"),
        ("guests", "a list of names or none, for example [Ann, Bo]"),
        ("timer", "a whole number of at least 1 or none"),
        ("cook", "small letters, for example eve"),
    ],
)
def test_what_a_field_expects_is_said_in_words(name: str, words: str):
    assert describe_field(OVEN[name]) == words


def test_facts_are_read_off_the_declaration():
    assert list(OVEN) == list(Oven.__dataclass_fields__)
    assert OVEN["heat"].help == "Heat of the oven."
    assert OVEN["fan"].help == ""
    kinds = {name: facts.kind for name, facts in OVEN.items()}
    assert kinds == {
        "heat": int,
        "fan": bool,
        "glow": float,
        "depth": float,
        "width": int,
        "mode": str,
        "dish": Path,
        "guests": tuple,
        "timer": int,
        "cook": str,
    }
    assert {n for n, facts in OVEN.items() if facts.is_optional} == {"dish", "guests", "timer"}
    assert OVEN["mode"].choices == ("bake", "grill")
    assert OVEN["glow"].bounds == {"gt": 0, "lt": 1}
    assert (OVEN["dish"].example, OVEN["dish"].default) == ("pan.txt", None)
    assert (OVEN["heat"].example, OVEN["heat"].default) == (180, 180)


def test_one_mistake_is_one_line_and_several_are_a_list():
    one = SettingsError(["a = 1: no."])
    assert (str(one), one.mistakes) == ("a = 1: no.", ("a = 1: no.",))
    assert str(SettingsError(["a = 1: no."], file=Path("f.yaml"))) == "f.yaml: a = 1: no."
    two = SettingsError(["a.", "b."], file=Path("f.yaml"))
    assert str(two) == "f.yaml: 2 mistakes in the settings:\n  a.\n  b."
    assert two.mistakes == ("a.", "b.")
    assert isinstance(two, ConfigError)


@pytest.mark.parametrize("name", list(field_facts()))
def test_a_setting_is_found_by_its_own_name_however_it_is_written(name: str):
    for spelling in (name, f"--{name}", name.replace("_", "-"), name.upper()):
        assert suggest_fields(spelling, field_facts(), aliases=FLAG_ALIASES) == [name]


@pytest.mark.parametrize(
    ("flag", "name"), [(flag, name) for name, flags in FLAG_ALIASES.items() for flag in flags]
)
def test_an_alias_leads_to_its_setting_alone(flag: str, name: str):
    assert suggest_fields(flag, field_facts(), aliases=FLAG_ALIASES) == [name]


def test_aliases_are_told_apart():
    flags = [flag for own in FLAG_ALIASES.values() for flag in own]
    assert len(set(flags)) == len(flags)
    assert not {flag.lstrip("-").replace("-", "_") for flag in flags} & set(field_facts())


def test_other_tools_names_lead_to_settings_that_exist():
    foreign = messages._FOREIGN_NAMES
    assert set(foreign.values()) <= set(field_facts())
    assert not set(foreign) & set(field_facts())
    for theirs, ours in foreign.items():
        assert suggest_fields(theirs, field_facts(), aliases=FLAG_ALIASES) == [ours]


def test_only_settings_that_exist_are_suggested():
    assert suggest_fields("imgsz", ["seed"], aliases={}) == []
    assert suggest_fields("fann", OVEN, aliases={}) == ["fan"]
    assert suggest_fields("qqqq", field_facts(), aliases=FLAG_ALIASES) == []


def test_a_suggestion_is_made_once_and_at_most_three_are():
    # Both the setting and its aliases are near, but they are one setting.
    assert suggest_fields("num_worker", field_facts(), aliases=FLAG_ALIASES) == ["num_workers"]
    names = [f"layer_{i}" for i in range(9)]
    found = suggest_fields("layer_x", names, aliases={})
    assert len(found) == 3
    assert set(found) <= set(names)


def test_mistakes_come_in_the_order_of_the_settings_and_once_each():
    with pytest.raises(SettingsError) as caught:
        Config(seed="x", class_names=[True, False, "", None], limit=0)  # type: ignore[arg-type]
    starts = [sentence.split(" = ")[0] for sentence in caught.value.mistakes]
    assert starts == [n for n in field_facts() if n in ("class_names", "limit", "seed")]
    assert all(sentence.endswith(".") for sentence in caught.value.mistakes)


def test_text_that_was_typed_is_shown_so_that_blanks_are_seen():
    for value, shown in (("", "''"), ("  ", "'  '"), ("no films", "'no films'")):
        with pytest.raises(ConfigError) as caught:
            Config(device=value)
        assert str(caught.value) == (
            f"device = {shown}: expected auto, cpu, mps, cuda or cuda:NUMBER, for example cuda:1."
        )
