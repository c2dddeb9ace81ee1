"""The space of a sweep: what a file may say, and one sentence for each of its mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.config import (
    Config,
    apply_values,
    config_to_dict,
    count_combinations,
    field_facts,
    parse_space,
    read_space,
)
from medimg_baseline_cls.config.search_space import MAY_VARY
from medimg_baseline_cls.errors import ConfigError


def test_lists_and_ranges_are_read_under_the_names_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "lr: {low: 1e-5, high: 1e-3, log: true}\n"
        "augment: [light, acquisition]\n"
        "epochs: {low: 1, high: 6, step: 2}\n"
        "horizontal_flip: [true, false]\n"
    )
    space = read_space(file, Config())
    assert {name: entry.to_plain() for name, entry in space.items()} == {
        "finetune_lr": {"low": 1e-5, "high": 1e-3, "log": True},
        "augment": ["light", "acquisition"],
        "finetune_epochs": {"low": 1, "high": 5, "step": 2},
        "horizontal_flip": [True, False],
    }


@pytest.mark.parametrize(
    "content",
    [
        {"weight_decay": {"low": 0, "high": 0.1}},
        {"patience": {"low": 0, "high": 4}, "imbalance": ["none", "focal"]},
        {"batch_size": {"low": 8, "high": 64, "log": True}},
    ],
)
def test_what_a_space_writes_reads_back_to_it(content: dict[str, Any]) -> None:
    space = parse_space(content, Config())
    plain = json.loads(json.dumps({name: entry.to_plain() for name, entry in space.items()}))
    assert parse_space(plain, Config()) == space


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ({"batch_size": [16, 32], "imbalance": ["none", "focal"]}, 4),
        ({"finetune_epochs": {"low": 1, "high": 6, "step": 2}, "frozen_stem": [True, False]}, 6),
        ({"batch_size": {"low": 8, "high": 16, "log": True}}, 9),
        ({"weight_decay": {"low": 0.0, "high": 0.1, "step": 0.02}}, 6),
        ({"weight_decay": {"low": 0.0, "high": 0.1}, "batch_size": [16, 32]}, None),
    ],
)
def test_combinations_are_counted(content: dict[str, Any], count: int | None) -> None:
    space = parse_space(content, Config())
    assert count_combinations(space) == count
    if count is not None:
        assert len([v for entry in space.values() for v in entry.list_values()]) == sum(
            entry.size or 0 for entry in space.values()
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "the space is empty"),
        ({"lerning_rate": [1, 2]}, "no setting 'lerning_rate': did you mean finetune_lr"),
        ({"batch_size": [1, 32]}, "batch_size = 1: expected a whole number from 2 to 4096"),
        ({"imbalance": ["none", "smote"]}, "imbalance = smote: expected one of"),
        ({"finetune_lr": {"low": 0, "high": 0.1}}, "finetune_lr = 0: expected a number above 0"),
        ({"finetune_lr": {"low": 0.1, "high": 0.01}}, "low must be below high"),
        ({"finetune_lr": {"low": 0.01}}, "needs low and high"),
        ({"finetune_lr": {"low": 0.01, "high": 0.1, "sort": "log"}}, "finetune_lr has sort"),
        ({"finetune_lr": {"low": 0.01, "high": 0.1, "log": 1}}, "log = 1: expected true or false"),
        ({"finetune_lr": {"low": 0.01, "high": 0.1, "step": -1}}, "expected a number above 0"),
        ({"finetune_lr": {"low": 0.01, "high": 0.1, "step": 1}}, "leaves one value"),
        ({"weight_decay": {"low": 0, "high": 0.1, "log": True}}, "needs low above 0 and no step"),
        ({"patience": {"low": 0, "high": 4, "step": 0.5}}, "patience is a whole number"),
        ({"arch": {"low": 1, "high": 2}}, "arch is not a number"),
        ({"horizontal_flip": {"low": 0, "high": 1}}, "horizontal_flip is not a number"),
        ({"finetune_lr": {"low": "a", "high": 0.1}}, "finetune_lr = a: expected a number"),
        ({"batch_size": {"low": 8.5, "high": 64}}, "batch_size = 8.5: expected a whole number"),
        ({"batch_size": {"low": 8, "high": 9999}}, "batch_size = 9999: expected a whole number"),
        ({"augment": ["light", "wild"]}, "augment = wild: expected"),
        ({"arch": ["resnet18", ""]}, "arch"),
        ({"imbalance": ["none", ["focal"]]}, "imbalance = [focal]"),
        ({"frozen_stem": [True, "maybe"]}, "frozen_stem = maybe: expected true or false"),
        ({"batch_size": 32}, "expected a list of values, or low and high"),
        ({"batch_size": [32]}, "expected two or more different values"),
        ({"finetune_lr": [0.001, "1e-3"]}, "expected two or more different values"),
        ({"training": {"batch_size": [16, 32]}}, "training is a section"),
        ({"lr": [1e-3, 1e-4], "finetune_lr": [1e-3, 1e-4]}, "finetune_lr is given twice"),
        (
            {"head_fit": ["adamw", "logistic"], "imbalance": ["none", "focal"]},
            "(head_fit = logistic, imbalance = focal): imbalance = focal is not possible",
        ),
        (
            {"finetune_epochs": {"low": 0, "high": 2}, "head_epochs": {"low": 0, "high": 2}},
            "leave nothing to train",
        ),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_file(
    tmp_path: Path, content: dict[str, Any], said: str
) -> None:
    file = tmp_path / "space.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        read_space(file, Config())
    assert len(caught.value.args) == 1
    assert str(caught.value).startswith(f"{file}: ")
    assert str(caught.value).endswith((".", "?"))


@pytest.mark.parametrize(
    "name",
    ["data_dir", "seed", "split_seed", "val_fraction", "fold", "select", "num_resamples", "device"],
)
def test_data_split_and_objective_may_not_vary(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} may not vary in a sweep"):
        parse_space({name: [1, 2]}, Config())


def test_what_may_vary_are_settings() -> None:
    assert set(MAY_VARY) < field_facts().keys()


def test_a_combination_that_the_other_settings_refuse_is_refused() -> None:
    with pytest.raises(ConfigError, match="horizontal_flip = true has no effect"):
        parse_space({"augment": ["none", "light"]}, Config(horizontal_flip=True))


def test_the_values_of_a_trial_replace_those_of_the_settings() -> None:
    base = Config(augment="light", batch_size=16)
    changed = apply_values(base, {"batch_size": 64})
    assert config_to_dict(changed) == config_to_dict(base) | {"batch_size": 64}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"finetune_lr": {"low": 1e-5, "high": 1e-3, "step": float("nan")}}, "step = nan"),
        ({"batch_size": {"low": 8, "high": 32, "step": float("inf")}}, "step = inf"),
        ({"finetune_lr": {"low": 1e-5, "high": 1e-3, "step": 1e-320}}, "cannot be counted"),
        ({1: [1, 2]}, "1 is not the name of a setting"),
        ({None: [1, 2]}, "is not the name of a setting"),
        ({True: [1, 2]}, "is not the name of a setting"),
    ],
)
def test_what_is_no_number_and_no_name_is_refused(content: dict[Any, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_space(content, Config())
