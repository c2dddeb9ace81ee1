"""Presets: below settings file and flags, and named as the source of their settings."""

import json
from pathlib import Path

import pytest

from medimg_baseline_cls.cli.request import format_settings, read_request
from medimg_baseline_cls.config import PRESETS, Config, build_config, config_to_dict
from medimg_baseline_cls.errors import ConfigError


def test_robust_is_what_trains_without_a_preset_chosen_by_stressed_validation() -> None:
    assert build_config(preset="robust", select="val_ap") == Config()


@pytest.mark.parametrize("missing", [("frozen_stem", "head_fit"), ("select", "frozen_stem")])
def test_a_run_from_before_a_setting_is_read_as_it_was_trained(
    tmp_path: Path, missing: tuple[str, ...]
) -> None:
    settings = config_to_dict(build_config(preset="baseline", finetune_epochs=4))
    kept = {name: value for name, value in settings.items() if name not in missing}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(kept | {"provenance": {}}))
    assert build_config(file) == build_config(preset="baseline", finetune_epochs=4)
    file.write_text(json.dumps(kept))  # a user's own file: what it leaves out is the default
    assert all(getattr(build_config(file), name) == getattr(Config(), name) for name in missing)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_sets_the_same_settings(name: str) -> None:
    assert PRESETS[name].keys() == PRESETS["baseline"].keys()
    config = build_config(preset=name)
    assert {key: getattr(config, key) for key in PRESETS[name]} == PRESETS[name]


def test_file_and_flags_win_over_a_preset_and_each_source_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("training: {epochs: 9}\n")
    argv = ["--preset", "robust", "--config", str(file), "--augment", "light"]
    request = read_request(argv, command="train", summary="")
    config = request.config
    assert (config.finetune_epochs, config.augment, config.select) == (9, "light", "stressed_val")
    text = format_settings(config, request.sources)
    assert "# preset robust" in text and f"# {file}" in text and "# flag" in text


def test_an_unknown_preset_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="choose one of baseline, robust, frozen"):
        build_config(preset="strong")
