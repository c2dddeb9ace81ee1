"""Read the flags that are settings, each with its source: of train, run, cv, check and judge."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from medimg_baseline_cls.cli.flags import (
    COMMON_FLAGS,
    check_flags,
    flag_names,
    is_flag,
    parse_tokens,
    to_dashes,
)
from medimg_baseline_cls.cli.own_flags import OWN_FLAGS, SettingsFlags
from medimg_baseline_cls.cli.settings_flags import (
    NO_NAMES,
    given_settings,
    make_help,
    make_parser,
    spell_switches_out,
    spellings,
)
from medimg_baseline_cls.config import (
    FIELD_GROUPS,
    FLAG_ALIASES,
    PRESETS,
    Config,
    build_config,
    config_to_dict,
    field_facts,
    find_useless,
    format_setting,
    load_config_file,
    show_value,
    suggest_fields,
)
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.rank import is_main_process
from medimg_baseline_cls.utils.screen import current_screen
from medimg_baseline_cls.utils.visible import quote_words, show_hidden

_PRECEDENCE = (
    "Settings come from the defaults, then --config FILE, then flags; later ones win.\n\n"
    "Paths are relative to the current folder, in files too."
)
_MORE = "\n\nThese are the most common settings; --help-all shows all (volumes: --slices)."
# Each training stage has its own value; the short aliases set only one of them.
_TWINS = {"finetune_lr": "head_lr", "finetune_epochs": "head_epochs"}
_NEXT_TO_RESUME = ("resume", "print_config", "track", "tracking_uri", "track_names")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings with the source of each, and the command's own flags."""

    config: Config
    sources: Mapping[str, str]
    own: Any

    @property
    def is_resumed(self) -> bool:
        """Whether an interrupted run is resumed."""
        return _named_run(self.own) is not NO_NAMES

    @property
    def run(self) -> str | None:
        """The run to resume; None for the newest."""
        return next(iter(_named_run(self.own)), None)


def read_request(argv: Sequence[str], *, command: str, summary: str) -> Request:
    """Return the settings from flags and settings file.

    Raises:
        ConfigError: with every unknown flag or every invalid value.
    """
    own = OWN_FLAGS[command]
    own_flags = ["--help-all", *_name_flags(f for f in fields(own) if f.name != "folder")]
    aliases = [flag for name in own.settings for flag in FLAG_ALIASES.get(name, ())]
    flags_of_settings = [flag for name in own.settings for flag in spellings(name)]
    known = [*COMMON_FLAGS, *own_flags, *aliases, *flags_of_settings]
    check_flags(argv, known, command=command, suggest=partial(_suggest_flags, own=own_flags))
    if not {"-h", "--help", "--help-all"}.isdisjoint(argv):
        _print_help(argv, command=command, summary=summary)
    num_files = flag_names(argv).count("--config")
    if num_files > 1:
        raise ConfigError(
            f"--config is passed {num_files} times, but the settings come from one file: put them "
            "into one, or pass what differs as flags."
        )
    tokens = spell_switches_out(argv)
    _check_values(tokens, own=own)
    parsed, stray = parse_tokens(make_parser(own), tokens, command=command)
    if stray:
        raise ConfigError(
            f"{command} takes settings as flags only, but got {' '.join(stray)}: did you mean "
            f"{own.files} {quote_words(stray[0])}?"
        )
    others = own(**{item.name: getattr(parsed, item.name) for item in fields(own)})
    flags = given_settings(parsed) | _named_folder(others, argv)
    _check_resume(others, flags)
    preset: str | None = getattr(others, "preset", None)
    config = build_config(others.config, preset=preset, **flags)
    useless = find_useless(config, flags)
    if useless:
        raise ConfigError(*useless)
    if not others.print_config and is_main_process():
        _note_half_set(argv, config, flags=flags)
        _note_preset(preset, config)
    return Request(
        config=config, sources=_find_sources(others.config, flags, preset=preset), own=others
    )


@dataclass(frozen=True)
class ShownSettings:
    """What --print-config shows: each setting with its source."""

    settings: Mapping[str, Any]
    sources: Mapping[str, str]


def print_settings(request: Request) -> ShownSettings:
    """Write the settings to standard output, as a YAML file that --config takes."""
    if not current_screen().is_for_machines:
        sys.stdout.write(format_settings(request.config, request.sources))
    return ShownSettings(config_to_dict(request.config), request.sources)


def format_settings(config: Config, sources: Mapping[str, str]) -> str:
    """Return the settings as commented YAML: section by section, each with its source."""
    values = config_to_dict(config)
    lines = {name: f"  {format_setting(name, values[name])}" for name in values}
    width = min(40, max(map(len, lines.values())))
    text = ["# Settings of medimg; each line ends with the source of its value."]
    for title, names in FIELD_GROUPS.items():
        text += ["", f"{title}:"]
        text += [f"{lines[name]:<{width}}  # {show_hidden(sources[name])}" for name in names]
    return "\n".join(text) + "\n"


def _print_help(argv: Sequence[str], *, command: str, summary: str) -> None:
    """Print the help of a command, with the values of the settings file, and exit."""
    tokens = [part for token in argv for part in token.split("=", 1)]
    named = [value for flag, value in pairwise(tokens) if flag == "--config"]
    file = Path(named[-1]) if named else None
    own = OWN_FLAGS[command]
    shown = own.settings if "--help-all" in argv else own.common
    values = {} if file is None else load_config_file(file)
    kind = make_help(own, shown=shown, file=file, file_values=values)
    more = _MORE if len(shown) < len(own.settings) else ""
    description = f"{summary}\n\n{_PRECEDENCE}{more}"
    parse_tokens(kind, ["--help"], command=command, description=description)


def _check_values(tokens: Sequence[str], *, own: type[SettingsFlags]) -> None:
    """Refuse flags without a value, which tyro would show in a box of several lines."""
    single = {
        flag
        for name, facts in field_facts().items()
        if facts.kind is not tuple
        for flag in (*spellings(name), *facts.aliases)
    }
    # Of the command's own flags, --resume may have no value, and switches take none.
    valued = (f for f in fields(own) if f.default is not NO_NAMES and f.default is not False)
    single.update(_name_flags(valued))
    for token, following in pairwise([*tokens, "--"]):
        flag = to_dashes(token)
        if flag in single and is_flag(following):
            needed = "two or more numbers" if flag == "--seeds" else "a value"
            raise ConfigError(f"{token} needs {needed} after it.")


def _name_flags(items: Iterable[Field[Any]]) -> list[str]:
    return [f"--{to_dashes(item.name)}" for item in items]


def _suggest_flags(name: str, *, own: Sequence[str]) -> list[str]:
    """Return the nearest flags; `--no-` is kept for switches."""
    bare = name.lstrip("-")
    is_negated = bare.startswith("no-")
    facts = field_facts()
    others = {flag.lstrip("-").replace("-", "_"): flag for flag in own}
    found: list[str] = []
    for near in suggest_fields(bare.removeprefix("no-"), [*facts, *others], aliases=FLAG_ALIASES):
        is_switch = near in facts and facts[near].kind is bool
        found.append(others.get(near) or spellings(near)[-1 if is_switch and is_negated else 0])
    return found


def _note_half_set(argv: Sequence[str], config: Config, *, flags: Mapping[str, Any]) -> None:
    """Log which training stage an alias sets, and the value of the other stage."""
    given = set(flag_names(argv))
    for name, twin in _TWINS.items():
        for flag in given.intersection(FLAG_ALIASES.get(name, ())):
            if twin not in flags:
                value = show_value(getattr(config, twin))
                open_log(None).info(f"{flag} sets {name}; {twin} stays {value}")


def _note_preset(preset: str | None, config: Config) -> None:
    """Log what a preset changes, and what of it the file or a flag changed back."""
    if preset is None:
        return
    shown = {True: "", False: ""}
    for name, value in PRESETS[preset].items():
        current, default = getattr(config, name), field_facts()[name].default
        if value != default or current != value:
            text = f"{name} = {show_value(current)} (default {show_value(default)})"
            shown[current == value] += f"{', ' if shown[current == value] else ''}{text}"
    changed = f"; not of the preset: {shown[False]}" if shown[False] else ""
    open_log(None).info(f"preset {preset}: {shown[True] or 'as the defaults'}{changed}")


def _named_run(own: Any) -> tuple[str, ...]:
    """Return the run to resume; `NO_NAMES` without --resume, and of commands that have none."""
    return getattr(own, "resume", NO_NAMES)


def _named_folder(own: Any, argv: Sequence[str]) -> dict[str, Any]:
    """Return the data folder of `medimg check DIR` as a setting."""
    folders: tuple[str, ...] = getattr(own, "folder", ())
    if len(folders) > 1:
        raise ConfigError(f"check takes one folder, but got {' and '.join(folders)}.")
    if folders and not {"--data-dir", "--data"}.isdisjoint(flag_names(argv)):
        raise ConfigError(f"check got both {folders[0]} and --data-dir: pass the folder once.")
    return {"data_dir": folders[0]} if folders else {}


def _check_resume(own: Any, flags: Mapping[str, Any]) -> None:
    """Refuse flags next to --resume: a resumed run has its settings."""
    named = _named_run(own)
    if named is NO_NAMES:
        return
    if len(named) > 1:
        raise ConfigError(f"--resume takes one run, but got {' and '.join(named)}.")
    changed = [
        item.name
        for item in fields(own)
        if item.name not in (*_NEXT_TO_RESUME, *own.with_resume)
        and getattr(own, item.name) != item.default
    ]
    others = [f"--{to_dashes(name)}" for name in (*flags, *changed) if name != "output_dir"]
    if others:
        raise ConfigError(f"--resume uses the settings of the run: leave out {', '.join(others)}.")


def _find_sources(
    file: Path | None, flags: Mapping[str, Any], *, preset: str | None
) -> dict[str, str]:
    from_preset = dict.fromkeys(PRESETS.get(preset or "", {}), f"preset {preset}")
    from_file = {} if file is None else dict.fromkeys(load_config_file(file), str(file))
    return (
        dict.fromkeys(field_facts(), "default")
        | from_preset
        | from_file
        | dict.fromkeys(flags, "flag")
    )
