"""Settings written in any format are read back as the same Config."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medimg_baseline_cls.config import (
    FIELD_GROUPS,
    Config,
    build_config,
    config_to_dict,
    field_facts,
)
from medimg_baseline_cls.config.settings_files import load_config_file
from medimg_baseline_cls.errors import ConfigError

NASTY = ("yes", "0x1f", "1e3", "null", "a: b", "# x", "Größe", "-", "{a}", "'", '"', "a\\d", "2024")
TEXTS = (
    *("project", "device", "augment", "intensity", "operating_point", "group_regex"),
    *("subgroup_regex", "spacing"),
)


def draw_settings(seed: int) -> dict[str, Any]:
    """Return sound settings: some of the fields, with values from all over their ranges."""
    draw = random.Random(seed)
    values: dict[str, Any] = {}
    for name, facts in field_facts().items():
        if draw.random() < 0.4:
            continue
        if facts.choices:
            values[name] = draw.choice(facts.choices)
        elif facts.kind is bool:
            values[name] = draw.random() < 0.5
        elif facts.kind is int:
            values[name] = draw.randint(64, 256)
        elif facts.kind is float:
            values[name] = draw.uniform(0.02, 0.5)
        elif facts.kind is tuple:
            values[name] = draw.sample(NASTY, 3)
        elif name in TEXTS:
            values[name] = facts.example
        elif name != "positive_class":
            values[name] = draw.choice(NASTY)
    if values.get("class_names") and values.get("task") != "multilabel":
        values["positive_class"] = values["class_names"][0]
    if "weights" in values:
        values.pop("pretrained", None)
    if "subgroup_bins" in values:
        values["subgroup_bins"] = ["age=40/65"]
    values["num_folds"] = draw.randint(2, 100)
    values["fold"] = draw.randrange(values["num_folds"])
    if values.get("task") == "multilabel" or len(values.get("class_names") or ()) > 2:
        values.pop("target_prevalence", None)
    for name in ("site_column", "test_site", draw.choice(("split_files", "split_column"))):
        values.pop(name, None)
    if values.get("augment") == "none":
        values |= {"horizontal_flip": False, "head_augment": False}
    if values.get("slices"):
        values.pop("color", None)
    if values.get("slices_per_pass"):
        values["batchnorm"] = "frozen"
    if values.get("spacing"):
        values.pop("keep_aspect", None)
    if values.get("pretrained") is False:
        values.pop("frozen_stem", None)
    if values.get("head_fit") == "logistic":
        values |= {"head_augment": False, "imbalance": "none", "head_epochs": 1}
    return values


def in_sections(values: dict[str, Any]) -> dict[str, Any]:
    return {
        title: {name: values[name] for name in names if name in values}
        for title, names in FIELD_GROUPS.items()
    }


def as_toml(values: dict[str, Any]) -> str:
    """Return settings as TOML, whose scalars and flat lists are written as in JSON."""
    known = {name: value for name, value in values.items() if value is not None}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in known.items())


@pytest.mark.parametrize("seed", range(12))
def test_random_settings_survive_all_three_formats(tmp_path: Path, seed: int):
    config = Config(**draw_settings(seed))
    values = config_to_dict(config)
    texts = {
        "a.json": json.dumps(values, allow_nan=False),
        "a.yaml": yaml.safe_dump(values, allow_unicode=True),
        "sections.yaml": yaml.safe_dump(in_sections(values), allow_unicode=True),
        "sections.json": json.dumps(in_sections(values)),
        "a.toml": as_toml(values),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert build_config(tmp_path / name) == config
    assert Config(**values) == config


@pytest.mark.parametrize("seed", range(12))
def test_plain_values_are_plain(seed: int):
    values = config_to_dict(Config(**draw_settings(seed)))
    assert list(values) == list(field_facts())
    for value in values.values():
        items = value if type(value) is list else [value]
        assert all(type(item) in (str, int, float, bool, type(None)) for item in items)


def test_the_ending_counts_not_its_case(tmp_path: Path):
    for name, text in (("S.YAML", "seed: 3"), ("s.Json", '{"seed": 3}'), ("s.TOML", "seed = 3")):
        (tmp_path / name).write_text(text)
        assert build_config(tmp_path / name) == Config(seed=3)


def test_a_file_may_share_a_part_by_an_anchor(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("head_lr: &rate 0.002\nfinetune_lr: *rate\n")
    assert build_config(tmp_path / "s.yaml") == Config(head_lr=0.002, finetune_lr=0.002)


def test_no_value_in_a_file_or_flag_is_no_value_only_where_there_may_be_none(tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text("limit: null\nnum_workers:\n")
    assert build_config(file) == Config()
    file.write_text("limit: 5\n")
    assert build_config(file, limit=None) == Config()
    file.write_text("seed: null\n")
    with pytest.raises(ConfigError, match="seed = none: expected a whole number"):
        build_config(file)


def test_only_true_and_false_are_never_taken_for_a_class_name(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("class_names: [true, FALSE]\n")
    with pytest.raises(ConfigError, match="class_names = .*expected a list of names"):
        build_config(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("class_names: [NO, 'true']\n")
    assert build_config(tmp_path / "s.yaml").class_names == ("NO", "true")


def test_a_name_that_is_no_text_is_an_unknown_name(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("1: 2\n")
    assert load_config_file(tmp_path / "s.yaml") == {"1": 2}
    with pytest.raises(ConfigError, match="there is no setting '1'"):
        build_config(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", "seed: 1\nprovenance: {a: 1, a: 2}\n"),
        ("s.json", '{"seed": 1, "provenance": {"a": 1, "a": 2}}'),
    ],
)
def test_twins_are_refused_at_any_depth(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="a is given twice"):
        load_config_file(tmp_path / name)


def test_a_table_inside_the_file_is_a_section_or_unknown(tmp_path: Path):
    (tmp_path / "s.toml").write_text("[trainer]\nbatch_size = 3\n")
    with pytest.raises(
        ConfigError, match="there is no section 'trainer': did you mean training\\?"
    ):
        build_config(tmp_path / "s.toml")


def test_a_folder_is_no_settings_file(tmp_path: Path):
    (tmp_path / "s.yaml").mkdir()
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 's.yaml'} cannot be read: ")):
        load_config_file(tmp_path / "s.yaml")


def test_mistakes_without_a_file_name_none():
    with pytest.raises(ConfigError) as caught:
        build_config(image_size=5)
    assert str(caught.value).startswith("image_size = 5: ")
