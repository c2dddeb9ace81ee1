"""Settings files: YAML, TOML or JSON in, plain values out; and back.

Flags override the file, which overrides the defaults. Paths in a file are
relative to the current directory, as they are in flags. A run's config.json is such a
file: its "provenance" (what the run inferred) is not a setting and is ignored.
"""

import dataclasses
import json
import re
import tomllib
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, cast

import yaml

from medimg_baseline_cls.config.messages import SettingsError, shorten_value, show_value
from medimg_baseline_cls.config.presets import PRESETS
from medimg_baseline_cls.config.sections import flatten_sections
from medimg_baseline_cls.config.settings import Config
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.visible import show_hidden

_NOT_SETTINGS = ("provenance",)
_SWITCH = "tag:yaml.org,2002:bool"


def build_config(file: Path | None = None, /, *, preset: str | None = None, **flags: Any) -> Config:
    """Return the settings of a preset, overridden by a file, overridden by flags.

    Args:
        file: a YAML, TOML or JSON file; None for the defaults alone.
        preset: a name of `PRESETS`, or None.
        **flags: settings by name; they override the file.

    Raises:
        ConfigError: with every mistake of file and flags; there is no such preset.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"preset is {show_value(preset)}; choose one of {', '.join(PRESETS)}.")
    values = {} if preset is None else PRESETS[preset]
    values = values | ({} if file is None else load_config_file(file))
    try:
        return Config(**(values | flags))
    except SettingsError as error:
        raise SettingsError(error.mistakes, file=file) from None


def load_config_file(path: Path) -> dict[str, Any]:
    """Return the settings in a file, unchecked; none if the file is empty.

    Raises:
        ConfigError: if the file is missing or malformed, names a setting twice or is not one table
            of settings.
    """
    values = read_settings_file(path)
    named = {shorten_value(name): values[name] for name in values if name not in _NOT_SETTINGS}
    try:
        settings = flatten_sections(named)
    except SettingsError as error:
        raise SettingsError(error.mistakes, file=path) from None
    # A run's own file has every setting of its time: one that came later was as in `baseline`.
    is_complete = len(named) < len(values) and PRESETS["baseline"].keys() & settings.keys()
    return PRESETS["baseline"] | settings if is_complete else settings


def read_settings_file(path: Path) -> dict[str, Any]:
    """Return the table in a file as it is; an empty one if the file is empty.

    Raises:
        ConfigError: if the file is missing or malformed, names a setting twice or is not one table.
    """
    readers = {".yaml": _read_yaml, ".yml": _read_yaml, ".toml": tomllib.loads, ".json": _read_json}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise ConfigError(f"{path}: expected a settings file that ends in .yaml, .toml or .json.")
    try:
        with parsing(lambda reason: ConfigError(f"{path} cannot be parsed: {reason}.")):
            values = read(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if values is None and path.suffix.lower() != ".json":
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings such as image_size: 224, one per line.")
    return cast(dict[str, Any], values)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return the settings as plain values that JSON, YAML and `Config(**...)` understand."""
    return {
        field.name: _to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)
    }


def format_setting(name: str, value: Any) -> str:
    """Return a setting as a line of YAML that is read back as the same value."""
    dump = partial(yaml.safe_dump, value, default_flow_style=True, width=10**6)
    dumped = dump(allow_unicode=True)
    if show_hidden(dumped.rstrip("\n")) != dumped.rstrip("\n"):
        dumped = dump(allow_unicode=False)  # as escapes, which YAML reads back
    # A lone scalar ends with "...", the mark of a document's end.
    return f"{name}: " + dumped.rstrip("\n").removesuffix("...").rstrip("\n")


def _to_plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, tuple):
        return [_to_plain(item) for item in cast(tuple[Any, ...], value)]
    return value


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_refuse_twins)


def _read_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, but a duplicate key is an error, and only true and false are switches.

    YAML 1.1 reads the class names no and yes as switches too.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return _refuse_twins(self.construct_pairs(node, deep=True))

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if not isinstance(node, yaml.ScalarNode):
                raise
            line, shown = node.start_mark.line + 1, show_value(node.value)
            kind = node.tag.rpartition(":")[2]
            raise ValueError(f"line {line}: {shown} cannot be read as {kind}") from error


_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != _SWITCH]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver(
    _SWITCH, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _refuse_twins(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str | int | float | date | None):
            raise ValueError(f"{show_value(key)} is not a name")
        if key in values:
            raise ValueError(f"{show_value(key)} is given twice")
        values[key] = value
    return values
