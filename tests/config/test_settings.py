"""The Config takes sound settings and names every mistake of the others."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medimg_baseline_cls.config import FIELD_GROUPS, FLAG_ALIASES, Config, field_facts
from medimg_baseline_cls.errors import ConfigError

OUT_OF_RANGE = {
    "image_size": (31, 1025, "large"),
    "num_folds": (1, 101),
    "fold": (-1, 0.5),
    "val_fraction": (0.01, 0.51, float("nan")),
    "head_epochs": (-1, 1.5),
    "batch_size": (1, 4097),
    "head_lr": (0, 1.01, float("inf")),
    "finetune_lr": (0.0, -1.0),
    "weight_decay": (-0.1, 2),
    "label_smoothing": (-0.1, 0.6),
    "imbalance": ("oversample",),
    "ema_decay": (-0.1, 1.0),
    "clip_norm": (-1,),
    "patience": (-1, True),
    "target_sensitivity": (0, 1.1),
    "target_prevalence": (0, 1.0),
    "num_resamples": (49, 100_001),
    "num_hard_examples": (-1, 1001),
    "num_workers": (-1, 257),
    "limit": (0, "few"),
    "seed": (-1, 2**32),
    "augment": ("heavy", "plugin:", "plugin:a b"),
    "operating_point": ("youden", "plugin:", "plugin:a b"),
    "device": ("gpu", "cuda:"),
    "precision": ("fp16",),
    "project": ("a b", "../x", "-x", "x.", ""),
    "data_dir": ("", 3, True),
    "class_names": ("NORMAL", [True, False], ["A", ""]),
    "keep_aspect": ("maybe", 3),
    "color": ("gray",),
    "intensity": ("window", "40", "40/", "a/b"),
    "slices": (-1, 513),
    "spacing": ("a", "5/", "5/1/1", "1000", "-5", ""),
    "arch": ("", None),
}
CONTRADICTIONS = (
    ({"weights": "w.safetensors", "pretrained": False}, "weights", "pretrained"),
    ({"intensity": "lung"}, "intensity", "set slices"),
    ({"intensity": "240/-160", "slices": 8}, "intensity", "LOWEST/HIGHEST"),
    ({"color": "rgb", "slices": 8}, "color", "slices"),
    ({"slices": 1}, "slices", "2 or more"),
    ({"arch": "monai3d:resnet18"}, "arch", "set slices"),
    ({"spacing": "5/0"}, "spacing", "above 0"),
    ({"spacing": "5/1", "keep_aspect": True}, "keep_aspect", "spacing"),
    ({"head_epochs": 0, "finetune_epochs": 0}, "head_epochs", "finetune_epochs"),
    ({"target_prevalence": 0.1, "class_names": ["A", "B", "C"]}, "target_prevalence", "3 classes"),
    ({"class_names": ["A"]}, "class_names", "two or more"),
    ({"class_names": ["A", "A"]}, "class_names", "different"),
    ({"class_names": ["A", "B"], "positive_class": "C"}, "positive_class", "class_names"),
    ({"horizontal_flip": True, "augment": "none"}, "horizontal_flip", "augment"),
    ({"head_augment": True, "augment": "none"}, "head_augment", "augment"),
    ({"head_augment": True, "head_epochs": 0}, "head_augment", "head_epochs"),
    ({"fold": 1}, "fold", "num_folds"),
    ({"fold": 5, "num_folds": 5}, "fold = 5", "0 to 4"),
    ({"site_column": "hospital", "num_folds": 5}, "num_folds", "site_column"),
    ({"test_site": "A"}, "test_site", "site_column"),
    ({"split_files": ["test.txt"], "split_column": "s"}, "split_files", "split_column"),
    ({"group_regex": "(person"}, "group_regex", "not a regular expression"),
    ({"subgroup_regex": "(person"}, "subgroup_regex", "not a regular expression"),
    ({"subgroup_regex": "(person)"}, "subgroup_regex", "has no named group"),
    ({"subgroup_bins": ["age:40"]}, "subgroup_bins", "rising numbers"),
    ({"subgroup_bins": ["age=40", "age=65"]}, "subgroup_bins", "names age twice"),
)


def message_of(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)  # type: ignore[arg-type]
    return str(caught.value)


def test_defaults_are_sound_and_every_example_too():
    assert Config() == Config()
    for name, facts in field_facts().items():
        if facts.example is not None:
            needs = {"site_column": "hospital"} if name == "test_site" else {}
            value = getattr(Config(**{name: facts.example}, **needs), name)
            assert value == (tuple(value) if facts.kind is tuple else facts.kind(facts.example))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, bad in OUT_OF_RANGE.items() for value in bad]
)
def test_a_refused_value_is_shown_with_what_is_expected(name: str, value: object):
    message = message_of(**{name: value})
    assert message.startswith(f"{name} = ")
    assert "expected" in message
    assert "\n" not in message
    facts = field_facts()[name]
    assert all(choice in message for choice in facts.choices)
    assert all(str(bound) in message for bound in facts.bounds.values())


def test_a_range_error_shows_value_range_and_a_valid_example():
    assert message_of(image_size=5000) == (
        "image_size = 5000: expected a whole number from 32 to 1024, for example 224."
    )
    assert message_of(ema_decay=1) == (
        "ema_decay = 1: expected a number of at least 0 and below 1, for example 0.999."
    )


@pytest.mark.parametrize(("settings", "first", "second"), CONTRADICTIONS)
def test_settings_at_odds_are_refused_by_name(settings: dict[str, object], first: str, second: str):
    message = message_of(**settings)
    assert first in message
    assert second in message


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("image_siz", "image_size"),
        ("imgsz", "image_size"),
        ("colour", "color"),
        ("smoothing", "label_smoothing"),
    ],
)
def test_an_unknown_name_brings_the_nearest_one(wrong: str, meant: str):
    message = message_of(**{wrong: 1})
    assert f"{wrong!r}: did you mean" in message
    assert meant in message


def test_another_tools_name_brings_one_setting_and_no_lookalike():
    assert message_of(gpu=0) == ("there is no setting 'gpu': did you mean device?")


def test_an_unknown_name_like_no_other_brings_the_way_to_the_list():
    assert "medimg train --help" in message_of(zzz=1)


def test_all_mistakes_are_reported_together():
    message = message_of(
        image_size=5, colour="grey", weights="w.pth", pretrained=False, class_names=["A", "A"]
    )
    lines = message.splitlines()
    assert lines[0] == "4 mistakes in the settings:"
    assert len(lines) == 5
    for word in ("image_size", "colour", "weights", "class_names"):
        assert sum(
            line.startswith((f"  {word}", f"  there is no setting '{word}")) for line in lines
        )


def test_a_broken_value_does_not_invent_a_contradiction():
    message = message_of(class_names=3, positive_class="A")
    assert message.startswith("class_names = 3")
    assert "\n" not in message


def test_settings_are_given_by_name_and_never_change():
    with pytest.raises(ConfigError, match="by name"):
        Config(224)  # type: ignore[misc]
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
    assert dataclasses.replace(config, seed=1).seed == 1
    with pytest.raises(ConfigError, match="seed"):
        dataclasses.replace(config, seed=-1)
    assert len({config, Config(), Config(seed=1)}) == 2


def test_text_from_files_and_flags_is_read_as_the_field_needs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/somewhere")
    config = Config(  # type: ignore[arg-type]
        head_lr="1e-3",
        image_size="96",
        pretrained="false",
        limit="none",
        class_names=[0, 1],
        data_dir="~/films",
    )
    assert (config.head_lr, config.image_size, config.pretrained) == (1e-3, 96, False)
    assert config.limit is None
    assert config.class_names == ("0", "1")
    assert config.data_dir == Path("/somewhere/films")


def test_group_regex_takes_the_two_words_and_expressions():
    for regex in ("auto", "none", r"^(patient\d+)_", r"(?P<group>\d+)", r"p\d+"):
        assert Config(group_regex=regex).group_regex == regex


def test_every_setting_has_its_help_and_its_group():
    grouped = [name for names in FIELD_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(field_facts())
    assert set(FLAG_ALIASES) <= set(grouped)
    for name, facts in field_facts().items():
        assert facts.help.endswith("."), name
        assert len(facts.help) <= 180, name


def test_every_bound_stands_in_the_help():
    for name, facts in field_facts().items():
        numbers = re.findall(r"\d+(?:\.\d+)?", facts.help)
        for bound in facts.bounds.values():
            assert f"{bound:g}" in numbers or str(bound) in numbers, name


def test_settings_are_read_without_torch():
    code = (
        "import sys; from medimg_baseline_cls import Config;Config(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
