"""Error messages for settings: what was found, what was expected, and the nearest name."""

import difflib
import re
import reprlib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import ValidationError

from medimg_baseline_cls.config.presets import PRESETS
from medimg_baseline_cls.config.section import Flag
from medimg_baseline_cls.errors import ConfigError

_KIND_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    tuple: "a list of names",
}
# NUL, and half of a character, which JSON can name; bytes outside UTF-8 are U+DC80 to U+DCFF.
_FORBIDDEN = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_UNNAMABLE = r"a NUL or half a character (\ud800)"
_WORD = re.compile(r"(?<=[(|])[a-z][a-z_0-9]*(?=[|()])")  # in a pattern such as (auto|cpu|\d+)
_MAX_ITEMS, _MAX_LETTERS = 30, 200
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 2
_YAML_MARKS = "|>@`%&*!"  # plain YAML text cannot begin with one of these
_FOREIGN_NAMES: dict[str, str] = {
    "imgsz": "image_size",
    "batch": "batch_size",
    "lr0": "finetune_lr",
    "learning_rate": "finetune_lr",
    "smoothing": "label_smoothing",
    "clip_grad": "clip_norm",
    "hflip": "horizontal_flip",
    "network": "arch",
    "backbone": "arch",
    "checkpoint": "weights",
    "initial_checkpoint": "weights",
    "output": "output_dir",
    "amp": "precision",
    "gpu": "device",
    "gpus": "device",
    "cpu": "device",
    "cuda": "device",
    "early_stopping": "patience",
    "early_stop": "patience",
    "val_split": "val_fraction",
    "test_split": "test_fraction",
    "name": "project",
    "num_classes": "class_names",
    "classes": "class_names",
    "csv": "manifest",
    "patient_column": "group_column",
    "patient_id": "group_column",
    "resize": "image_size",
}


class SettingsError(ConfigError):
    """A ConfigError with one sentence per mistake."""

    def __init__(self, mistakes: Sequence[str], *, file: Path | None = None) -> None:
        self.mistakes = tuple(mistakes)
        where = "" if file is None else f"{file}: "
        if len(self.mistakes) == 1:
            super().__init__(where + self.mistakes[0])
        else:
            heading = f"{where}{len(self.mistakes)} mistakes in the settings:"
            super().__init__(heading, *self.mistakes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFacts:
    """What a message or a flag needs to know about one field.

    `offered` are its choices, or the words of a pattern that has other values too.
    """

    kind: Any
    choices: tuple[str, ...]
    offered: tuple[str, ...]
    is_optional: bool
    bounds: Mapping[str, float]
    example: Any
    default: Any
    words: str
    help: str
    aliases: tuple[str, ...]
    is_common: bool


@cache
def read_field_facts(config_class: type[Any]) -> dict[str, FieldFacts]:
    """Return the facts of every field of a pydantic dataclass."""
    return {name: _read_facts(info) for name, info in config_class.__pydantic_fields__.items()}


def describe_mistakes(
    error: ValidationError,
    facts: Mapping[str, FieldFacts],
    *,
    aliases: Mapping[str, Sequence[str]],
) -> tuple[str, ...]:
    """Return one sentence per field that pydantic refused, in the order of the report."""
    sentences: dict[str, str] = {}
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        if name in sentences:
            continue
        if name in facts:
            value = item["input"]
            sentences[name] = f"{name} = {show_value(value)}" + (
                f" contains {_UNNAMABLE}, which no name can contain: leave it out."
                if is_unnamable(value)
                else f": expected {describe_field(facts[name])}."
            )
        elif item["type"] == "unexpected_positional_argument":
            sentences[name] = "settings are given by name, for example Config(image_size=224)."
        elif name == "preset":
            shown = ", ".join(PRESETS)
            sentences[name] = (
                f"preset is a flag, not a setting: leave it out and pass --preset NAME ({shown})."
            )
        else:
            near = suggest_fields(name, facts, aliases=aliases)
            hint = f"did you mean {' or '.join(near)}?" if near else "see medimg train --help."
            sentences[name] = f"there is no setting {shorten_value(name)!r}: {hint}"
    return tuple(sentences.values())


def describe_field(facts: FieldFacts) -> str:
    """Return what a field expects, in words, with a valid example."""
    if facts.choices:
        words = "one of " + ", ".join(facts.choices)
    else:
        words = facts.words or _KIND_WORDS[facts.kind] + _describe_bounds(facts.bounds)
    if facts.is_optional:
        words += " or none"
    if facts.choices or facts.kind is bool or facts.example is None:
        return words
    return f"{words}, for example {show_value(facts.example)}"


def suggest_fields(
    name: str, names: Iterable[str], *, aliases: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the fields with the nearest names, including the names that other tools use."""
    meanings = {field: field for field in names}
    for field, flags in aliases.items():
        meanings |= {flag.lstrip("-").replace("-", "_"): field for flag in flags}
    meanings |= {foreign: field for foreign, field in _FOREIGN_NAMES.items() if field in meanings}
    wanted = name.strip("-").replace("-", "_").lower()
    if wanted in meanings:
        return [meanings[wanted]]
    near = difflib.get_close_matches(wanted, meanings, n=3, cutoff=0.6)
    return list(dict.fromkeys(meanings[found] for found in near))


def show_value(value: Any) -> str:
    """Return a value as it is written in a settings file; a long one is truncated.

    >>> show_value([1, "a"]), show_value([[1] * 99] * 99).endswith("...]")
    ('[1, a]', True)
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        items = cast(list[Any] | tuple[Any, ...], value)
        shown = ", ".join(map(shorten_value, items[:_MAX_ITEMS]))
        more = len(items) > _MAX_ITEMS or len(shown) > _MAX_LETTERS
        return f"[{shown[:_MAX_LETTERS]}{', ...' if more else ''}]"
    text = shorten_value(value)
    is_odd = not text or any(map(str.isspace, text)) or text[0] in _YAML_MARKS
    return repr(text) if is_odd else text


def is_unnamable(value: Any) -> bool:
    """Return whether a text, or one of several, contains what no file name can contain."""
    items = cast(Sequence[Any], value if isinstance(value, list | tuple) else (value,))
    return any(isinstance(item, str) and _FORBIDDEN.search(item) is not None for item in items)


def shorten_value(value: Any) -> str:
    """Return a value as text, truncated: it may contain itself, or be endless."""
    try:
        is_nested = isinstance(value, list | tuple | dict | set)
        text = _BRIEF.repr(value) if is_nested else str(value)
    except ValueError:  # Python refuses to print such numbers
        text = "a number of thousands of digits"
    return text if len(text) <= _MAX_LETTERS else f"{text[:_MAX_LETTERS]}..."


def _read_facts(info: Any) -> FieldFacts:
    kind, is_optional = info.annotation, False
    if get_origin(kind) in (Union, types.UnionType):
        kind, is_optional = next(a for a in get_args(kind) if a is not type(None)), True
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    bounds = {
        word: getattr(item, word)
        for item in info.metadata
        for word in ("ge", "gt", "le", "lt")
        if hasattr(item, word)
    }
    flag = next((item for item in info.metadata if isinstance(item, Flag)), Flag())
    pattern = next(filter(None, (getattr(m, "pattern", "") for m in info.metadata)), "")
    return FieldFacts(
        kind=str if choices else get_origin(kind) or kind,
        choices=choices,
        offered=choices or tuple(_WORD.findall(pattern)),
        is_optional=is_optional,
        bounds=bounds,
        example=info.examples[0] if info.examples else info.default,
        default=info.default,
        words=info.title or "",
        help=" ".join((info.description or "").split()),
        aliases=flag.aliases,
        is_common=flag.is_common,
    )


def _describe_bounds(bounds: Mapping[str, float]) -> str:
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']} to {bounds['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
    parts = [f"{words[key]} {bound}" for key, bound in bounds.items()]
    return " " + " and ".join(parts) if parts else ""
