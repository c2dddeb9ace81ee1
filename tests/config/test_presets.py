"""Presets: below settings file and flags, and named as the source of their settings."""

from pathlib import Path

import pytest

from medimg_baseline_cls.cli.request import format_settings, read_request
from medimg_baseline_cls.config import PRESETS, Config, build_config
from medimg_baseline_cls.errors import ConfigError


def test_the_baseline_is_what_trains_without_a_preset() -> None:
    assert build_config(preset="baseline") == Config()


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
