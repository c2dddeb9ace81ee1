"""Presets: below settings file and flags, and named as the source of their settings."""

import json
from pathlib import Path

import pytest

from medimg_baseline_cls.cli import main
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


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"smoke"}))
def test_every_recipe_sets_the_same_settings(name: str) -> None:
    assert PRESETS[name].keys() == PRESETS["baseline"].keys()
    assert not PRESETS["smoke"].keys() & {"augment", "select", "frozen_stem", "head_fit"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_settings_are(name: str) -> None:
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


def read(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    read_request(line.split(), command="train", summary="")
    return capsys.readouterr().out


def test_what_a_preset_changes_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert read("--preset robust", capsys) == (
        "preset robust: select = stressed_val (default val_ap)\n"
    )
    said = read("--preset baseline --augment light", capsys)
    assert "finetune_epochs = 3 (default 6)" in said
    assert said.endswith("; not of the preset: augment = light (default acquisition)\n")
    assert read("", capsys) == ""


def test_the_settings_of_a_preset_can_be_repeated_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--preset", "smoke", "--print-config"]) == 0
    file = tmp_path / "smoke.yaml"
    file.write_text(capsys.readouterr().out)
    assert build_config(file) == build_config(preset="smoke")


@pytest.mark.parametrize(
    ("line", "useless"),
    [
        ("--preset frozen --lr 1e-5", ["finetune_lr"]),
        ("--preset frozen --augment light --clip-norm 2", ["augment", "clip_norm"]),
        ("--epochs 0 --head-augment --augment light", []),
        ("--epochs 0 --head-lr 0.1", []),
        ("--no-pretrained --frozen-stem", ["frozen_stem"]),
        ("--head-epochs 0 --head-fit logistic --epochs 2", None),
        ("--lr 1e-5 --frozen-stem", []),
    ],
)
def test_a_flag_without_effect_is_refused(line: str, useless: list[str] | None) -> None:
    if useless == []:
        read_request(line.split(), command="train", summary="")
        return
    with pytest.raises(ConfigError) as caught:
        read_request(line.split(), command="train", summary="")
    if useless is not None:
        assert [str(text).split()[0] for text in caught.value.args] == useless
