"""Settings files: the three formats say the same; what they cannot say is an error."""

import json
from pathlib import Path

import pytest
import yaml

from medimg_baseline_cls.config import Config, build_config, config_to_dict, load_config_file
from medimg_baseline_cls.errors import ConfigError

SETTINGS = {"image_size": 96, "head_lr": 0.001, "class_names": ["A", "B"], "keep_aspect": True}
TEXTS = {
    "s.yaml": "image_size: 96\nhead_lr: 1e-3\nclass_names: [A, B]\nkeep_aspect: true\n",
    "s.yml": "image_size: 96\nhead_lr: 0.001\nclass_names:\n- A\n- B\nkeep_aspect: yes\n",
    "s.toml": 'image_size = 96\nhead_lr = 1e-3\nclass_names = ["A", "B"]\nkeep_aspect = true\n',
    "s.json": json.dumps(SETTINGS),
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", TEXTS)
def test_each_format_says_the_same(tmp_path: Path, name: str):
    assert build_config(write(tmp_path, name, TEXTS[name])) == Config(**SETTINGS)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path):
    file = write(tmp_path, "s.yaml", "image_size: 96\nseed: 3\n")
    config = build_config(file, image_size=128)
    assert (config.image_size, config.seed, config.batch_size) == (128, 3, Config().batch_size)


def test_a_flag_mends_a_mistake_of_the_file(tmp_path: Path):
    assert build_config(write(tmp_path, "s.yaml", "image_size: 5"), image_size=96).image_size == 96


@pytest.mark.parametrize(
    "settings",
    [{}, SETTINGS, {"data_dir": "films", "limit": 3, "weights": "w.pth", "group_regex": r"(p\d+)"}],
)
def test_settings_survive_json_and_yaml(tmp_path: Path, settings: dict[str, object]):
    config = Config(**settings)  # type: ignore[arg-type]
    values = config_to_dict(config)
    assert list(values) == list(config.__dataclass_fields__)
    as_json = write(tmp_path, "config.json", json.dumps(values, allow_nan=False))
    as_yaml = write(tmp_path, "config.yaml", yaml.safe_dump(values))
    assert build_config(as_json) == build_config(as_yaml) == config


def test_what_a_run_inferred_is_no_setting(tmp_path: Path):
    values = config_to_dict(Config(seed=5)) | {"provenance": {"classes": ["A", "B"]}}
    assert build_config(write(tmp_path, "config.json", json.dumps(values))) == Config(seed=5)


def test_all_mistakes_of_a_file_are_reported_together_with_its_name(tmp_path: Path):
    file = write(tmp_path, "s.yaml", "image_siz: 96\nbatch_size: 0\nhead_epochs: 0\nepoch: 3\n")
    with pytest.raises(ConfigError) as caught:
        build_config(file, finetune_epochs=0)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{file}: 4 mistakes in the settings:"
    assert "image_size" in str(caught.value)
    assert "batch_size = 0" in str(caught.value)
    assert "leave nothing to train" in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path: Path):
    for name in ("s.yaml", "s.toml"):
        assert build_config(write(tmp_path, name, "# nothing\n")) == Config()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.ini", "", "ends in .yaml, .toml or .json"),
        ("s.json", "{", "cannot be parsed"),
        ("s.json", '{"seed": 1, "seed": 2}', "seed is given twice"),
        ("s.yaml", "seed: 1\nseed: 2\n", "seed is given twice"),
        ("s.toml", "seed = 1\nseed = 2\n", "cannot be parsed"),
        ("s.yaml", "a: [", "cannot be parsed"),
        ("s.yaml", "- seed\n- 3\n", "expected settings"),
        ("s.json", "3", "expected settings"),
        ("s.yaml", "data: !!python/name:os.system\n", "cannot be parsed"),
    ],
)
def test_a_garbled_file_is_refused_in_one_sentence(
    tmp_path: Path, name: str, text: str, words: str
):
    file = write(tmp_path, name, text)
    with pytest.raises(ConfigError) as caught:
        load_config_file(file)
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config_file(tmp_path / "none.yaml")
    file = tmp_path / "s.yaml"
    file.write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(ConfigError, match="cannot be parsed"):
        load_config_file(file)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", '{"seed": 3}'), ("a.toml", "seed = 3"), ("a.yaml", "seed: 3")],
)
def test_byte_order_mark_is_passed_over(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    assert load_config_file(path) == {"seed": 3}


def test_the_class_names_no_and_yes_are_words_and_a_switch_may_still_be_no(tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text("class_names: [no, yes, on]\npretrained: no\nkeep_aspect: true\n")
    config = build_config(file)
    assert config.class_names == ("no", "yes", "on")
    assert (config.pretrained, config.keep_aspect) == (False, True)


def test_names_of_other_tools_are_settings_in_files_and_in_python(tmp_path: Path):
    path = tmp_path / "my.yaml"
    path.write_text("epochs: 5\nimg_size: 96\n")
    assert build_config(path) == Config(epochs=5, img_size=96)  # type: ignore[call-arg]
    assert build_config(path) == Config(finetune_epochs=5, image_size=96)
    assert build_config(path, finetune_epochs=2).finetune_epochs == 2
    path.write_text("epochs: 5\nfinetune_epochs: 4\n")
    with pytest.raises(ConfigError, match="there is no setting 'epochs': did you mean finetune"):
        build_config(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "images:\n  image_size: 96\ntraining:\n  epochs: 5\nmodel:\nseed: 1\n"),
        ("a.toml", "seed = 1\n[images]\nimage_size = 96\n[training]\nepochs = 5\n"),
        ("a.json", '{"images": {"image_size": 96}, "training": {"epochs": 5}, "seed": 1}'),
    ],
)
def test_settings_may_be_grouped_by_section(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert build_config(path) == Config(image_size=96, finetune_epochs=5, seed=1)
    assert build_config(path, seed=2).seed == 2


def test_sections_are_understood_in_python_and_their_names_as_aliases_too() -> None:
    config = Config(model={"arch": "vit"}, data="films", machine=None)  # type: ignore[call-arg]
    assert config == Config(arch="vit", data_dir="films")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"training": {"arch": "vit"}},
            "arch is in the section training: move it to the section model.",
        ),
        (
            {"training": {"lr": 1e-3}, "finetune_lr": 1e-4},
            "finetune_lr is given twice, once in the section training: leave one out.",
        ),
        ({"training": {"arhc": "vit"}}, "there is no setting 'arhc': did you mean arch?"),
        (
            {"training": 3},
            "training = 3: training is a section and contains settings, such as head_epochs.",
        ),
        (
            {"training": {"training": {"head_epochs": 9}}},
            "training is a section inside the section training: move it out of it.",
        ),
        (
            {"model": {"training": {"head_epochs": 7}}},
            "training is a section inside the section model: move it out of it.",
        ),
        ({"MODLE": {"arch": "vit"}}, "there is no section 'MODLE': did you mean model?"),
        (
            {"training": {"epochs": 1, "finetune_epochs": 2}},
            "there is no setting 'epochs': did you mean finetune_epochs?",
        ),
    ],
)
def test_a_misplaced_setting_is_told_its_section(
    settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


@pytest.mark.parametrize("text", ["preset: robust", "training: {preset: robust}", "preset: [3]"])
def test_a_preset_in_a_file_is_told_that_it_is_a_flag(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="preset is a flag, not a setting") as caught:
        build_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("pass --preset NAME (baseline, robust, frozen, smoke).")


def test_the_mistakes_of_a_section_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model:\n  head_lr: 0.1\n")
    with pytest.raises(ConfigError) as caught:
        build_config(path)
    assert str(caught.value).startswith(f"{path}: head_lr is in the section model")
