"""Settings files that no parser expects end in one short sentence, whatever their format."""

import json
import random
import re
from pathlib import Path

import pytest

from medimg_baseline_cls.config import Config, build_config, load_config_file, show_value
from medimg_baseline_cls.errors import ConfigError

_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12)
)
_CASES = {
    "list_as_name.yaml": "? [a]\n: b\n",
    "table_as_name.yaml": "? {a: b}\n: c\n",
    "empty_int.yaml": 'seed: !!int ""\n',
    "empty_float.yaml": 'head_lr: !!float ""\n',
    "odd_switch.yaml": 'pretrained: !!bool "x"\n',
    "odd_time.yaml": 'data_dir: !!timestamp "x"\n',
    "no_day.yaml": "data_dir: 2020-99-99\n",
    "itself.yaml": "class_names: &a [x, *a]\n",
    "bomb.yaml": _BOMB.replace("a11:", "class_names:"),
    "deep.yaml": "\n".join(" " * depth + "a:" for depth in range(500)),
    "deep.json": "[" * 100_000,
    "deep.toml": "a = " + "[" * 10_000,
    "long_number.json": '{"seed": ' + "9" * 6000 + "}",
    "long_number.toml": "seed = " + "9" * 6000,
    "hexadecimal.yaml": "limit: 0x" + "f" * 6000,
    "long_name.json": json.dumps({"a" * 9999: 1}),
    "null.json": "null",
    "nul.yaml": 'data_dir: "a\\0b"\n',
    "nul.json": json.dumps({"split_files": ["a\0b"]}),
    "nul.toml": 'manifest = "a\\u0000b"\n',
    "half.json": r'{"data_dir": "\ud800"}',
    "brackets.yaml": f'group_regex: "{"(" * 3000}"\n',
    "repeats.yaml": 'subgroup_regex: "(?P<a>x{99999999999})"\n',
}
# What only a programmer would say.
_RAW = re.compile(r"unhashable|index out of range|NoneType|recursion|int_max|KeyError|Error\(")


@pytest.mark.parametrize("name", _CASES)
def test_hostile_files_end_in_a_short_sentence_that_names_the_file(tmp_path: Path, name: str):
    file = tmp_path / name
    file.write_text(_CASES[name], encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        build_config(file)
    lines = [str(line) for line in caught.value.args]
    assert str(file) in lines[0]
    assert max(map(len, lines)) < 700
    assert not _RAW.search(str(caught.value)), str(caught.value)
    assert lines[-1].endswith(".")


@pytest.mark.parametrize("suffix", [".yaml", ".toml", ".json"])
def test_whatever_is_in_a_file_is_settings_or_a_config_error(tmp_path: Path, suffix: str):
    draw = random.Random(7)
    parts = ["a", "seed", ":", "=", "[", "]", "{", "}", "- ", "? ", "!!int", "!!set", "&a", "*a"]
    parts += ['"', "\n", " ", "0x", "9", "1e", "\\u0000", "null", "<<", "|", ">", ",", "'", "#"]
    file = tmp_path / f"s{suffix}"
    for _ in range(200):
        file.write_text("".join(draw.choices(parts, k=draw.randint(1, 12))), encoding="utf-8")
        try:
            assert isinstance(load_config_file(file), dict)
        except ConfigError as error:
            assert str(file) in str(error)


def test_a_home_of_nobody_is_a_path_as_any_other():
    assert Config(data_dir=Path("~no-such-user-at-all/x")).data_dir is not None


def test_what_is_shown_of_a_value_is_short_however_it_contains_itself():
    endless: list[object] = ["x"]
    endless.append(endless)
    wide = [["x"] * 1000] * 1000
    for value in (endless, wide, {"a": wide}, "x" * 10_000, 16**6000, [16**6000]):
        assert len(show_value(value)) < 300
    assert show_value([1, None, "a"]) == "[1, None, a]"
