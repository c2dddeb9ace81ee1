"""Every setting as a flag that tyro parses and shows: one section of the help per section.

tyro returns texts; `Config` parses them, so that flags and files are checked by the same rules.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from medimg_baseline_cls.cli.flags import option, to_dashes
from medimg_baseline_cls.config import FIELD_GROUPS, field_facts, show_value
from medimg_baseline_cls.errors import ConfigError

_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "PATH", tuple: "NAME...", str: "TEXT"}
_OWN_METAVARS = {
    "spacing": "SLICE/PIXEL",
    "data_dir": "DIR",
    "output_dir": "DIR",
    "cache_dir": "DIR",
    "weights": "FILE",
}


class _NoText(str):
    __slots__ = ()


class _NoNames(tuple[str, ...]):
    __slots__ = ()


# Objects of their own, so that an empty value that was typed differs from none.
NO_TEXT: Final = _NoText()
NO_NAMES: Final = _NoNames()


def make_parser(own: type[Any]) -> type[Any]:
    """Return a dataclass of the command's own flags and of every setting, for parsing."""
    return _add_sections(own, {name: _make_field(name) for name in field_facts()})


def make_help(
    own: type[Any], *, shown: Collection[str], file: Path | None, file_values: Mapping[str, Any]
) -> type[Any]:
    """Return a dataclass for the help alone: some settings, with the values of the file."""
    shown = {*shown, *file_values}
    facts = field_facts()
    described = {
        name: (name, Annotated[str, _describe(name, file_values, file=file)], NO_TEXT)
        for name in facts
        if name in shown
    }
    return _add_sections(own, described)


def make_typed(own: type[Any], *, choices: Mapping[str, Sequence[str]]) -> type[Any]:
    """Return a dataclass for completion alone: the type of each flag has its choices.

    Args:
        own: the command's own flags.
        choices: those of flags of the command.
    """
    facts = field_facts()
    described: dict[str, tuple[str, Any, Any]] = {}
    kind: Any
    default: Any
    for name, known in facts.items():
        kind, default = known.kind | None, None
        if known.offered:
            kind, default = Literal[known.offered], known.offered[0]
        elif known.kind is bool:
            kind, default = bool, False
        described[name] = name, Annotated[kind, _describe(name, {}, file=None)], default
    declared = [
        (name, Annotated[Literal[tuple(words)], option("")], words[0])
        for name, words in choices.items()
    ]
    typed = make_dataclass("Own", declared, bases=(own,), frozen=True, kw_only=True)
    return _add_sections(typed, described)


def given_settings(parsed: Any) -> dict[str, Any]:
    """Return the settings among the parsed flags."""
    sections = [getattr(parsed, title) for title in FIELD_GROUPS]
    values = {item.name: getattr(part, item.name) for part in sections for item in fields(part)}
    return {
        name: "none" if value == ("none",) else value
        for name, value in values.items()
        if value is not NO_TEXT and value is not NO_NAMES
    }


def spellings(name: str) -> tuple[str, ...]:
    """Return a setting's flag; the two of a switch.

    >>> spellings("seed"), spellings("keep_aspect")
    (('--seed',), ('--keep-aspect', '--no-keep-aspect'))
    """
    flag = to_dashes(name)
    is_switch = field_facts()[name].kind is bool
    return (f"--{flag}", f"--no-{flag}") if is_switch else (f"--{flag}",)


def spell_switches_out(tokens: Sequence[str]) -> list[str]:
    """Return the arguments with `--no-x` as `--x=false`, so that tyro lets the last one win.

    Raises:
        ConfigError: `--no-x` has a value.
    """
    values = {
        flag: (f"--{to_dashes(name)}", word)
        for name, facts in field_facts().items()
        if facts.kind is bool
        for flag, word in zip(spellings(name), ("true", "false"), strict=True)
    }
    spelled: list[str] = []
    for token in tokens:
        flag, equals, given = token.partition("=")
        on, word = values.get(to_dashes(flag), ("", ""))
        if on and equals and word == "false":
            raise ConfigError(f"{token}: {flag} takes no value; leave {equals}{given} out.")
        spelled.append(f"{on}={given if equals else word}" if on else token)
    return spelled


def _add_sections(own: type[Any], declared: Mapping[str, tuple[str, Any, Any]]) -> type[Any]:
    parts: list[tuple[str, Any, Any]] = []
    for title, names in FIELD_GROUPS.items():
        section = make_dataclass(title, [declared[n] for n in names if n in declared], frozen=True)
        section.__doc__ = None  # tyro would show the generated one
        parts.append((title, section, section()))
    return make_dataclass("Settings", parts, bases=(own,), frozen=True, kw_only=True)


def _make_field(name: str) -> tuple[str, Any, Any]:
    facts = field_facts()[name]
    marker = option("", aliases=facts.aliases or None)
    if facts.kind is tuple:
        return name, Annotated[tuple[str, ...], marker], NO_NAMES
    return name, Annotated[str, marker], NO_TEXT


def _describe(name: str, file_values: Mapping[str, Any], *, file: Path | None) -> Any:
    """Return a setting's help with all its facts in one closing parenthesis.

    These are the choices, the range, the value in the file or else the default, the aliases.
    """
    facts = field_facts()[name]
    current = file_values.get(name, facts.default)
    text, _, closing = facts.help.removesuffix(".").removesuffix(")").rpartition(" (")
    if not facts.help.endswith(")."):
        text, closing = facts.help.removesuffix("."), ""
    on, _, off = text.partition(f"; --no-{to_dashes(name)}: ")
    is_on = show_value(current) == "true"
    text = off.capitalize() if off and is_on else on
    notes = [", ".join(facts.choices), closing]
    if file is not None and name in file_values:
        notes.append(f"{file.name} {show_value(current)}")
    elif current is not None and facts.kind is not bool:
        plain = " ".join(current) or "none" if facts.kind is tuple else current
        notes.append(f"default {plain:g}" if isinstance(plain, float) else f"default {plain}")
    notes += [f"also {flag}" for flag in facts.aliases]
    known = "; ".join(note for note in notes if note)
    metavar = _OWN_METAVARS.get(name) or ("NAME" if facts.choices else _METAVARS.get(facts.kind))
    flag = spellings(name)[is_on if facts.kind is bool else 0]  # a switch: what would change it
    return option(
        f"{text} ({known})." if known else f"{text}.",
        "" if facts.kind is bool else metavar,
        name=flag.removeprefix("--"),
    )
