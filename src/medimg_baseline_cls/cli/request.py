"""Read the flags of `medimg train`, `run`, `cv` and `check`: the settings, each with its source.

Every setting is a flag; the help has the same groups as the Config. The Config parses all values,
so flags and files are checked by the same rules.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml

from medimg_baseline_cls.cli.flags import (
    COMMON_FLAGS,
    canonical_tokens,
    check_flags,
    flag_names,
    parse_tokens,
    to_dashes,
)
from medimg_baseline_cls.config import (
    FIELD_GROUPS,
    FIRST_SETTINGS,
    FLAG_ALIASES,
    Config,
    build_config,
    config_to_dict,
    field_facts,
    load_config_file,
    show_value,
    suggest_fields,
)
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.env import is_main_process
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.visible import quote_words, show_hidden

_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "PATH", tuple: "NAME...", str: "TEXT"}
_OWN_METAVARS = {"data_dir": "DIR", "output_dir": "DIR", "cache_dir": "DIR", "weights": "FILE"}
_PRECEDENCE = (
    "Settings come from the defaults, then --config FILE, then flags; later ones win.\n\n"
    "Paths are relative to the current folder, in files too."
)
_MORE = "\n\nThese are the most common settings; --help-all shows all of them."
_EVERY_SETTING = frozenset(name for names in FIELD_GROUPS.values() for name in names)
_FIRST_OF = {"cv": {"num_folds", "site_column"}, "check": {"label_columns", "cache_dir"}}
_CHANGED_BY_RESUME = {"output_dir"}
# Each training stage has its own value; the short aliases set only one of them.
_TWINS = {"finetune_lr": "head_lr", "finetune_epochs": "head_epochs"}
_RESUMED = {
    "cv": ("cross-validation (default: the newest", "[CV]"),
    "run": ("run or seed sweep (default: the newest", "[RUN]"),
}
_OWN_FLAGS = {
    "train": ("resume",),
    "run": ("seeds", "resume"),
    "cv": ("repeats", "by_site", "resume"),
    "check": ("label_noise",),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings with the source of each, and what to do with them."""

    config: Config
    sources: Mapping[str, str]
    is_printed: bool
    is_resumed: bool
    run: str | None
    seeds: tuple[int, ...] = ()
    repeats: int = 1
    by_site: bool = False
    label_noise: bool = False


def read_request(argv: Sequence[str], *, command: str, summary: str) -> Request:
    """Return the settings from flags and settings file.

    Raises:
        ConfigError: with every unknown flag or every invalid value.
    """
    aliases = {flag: f"--{to_dashes(name)}" for name in FLAG_ALIASES for flag in FLAG_ALIASES[name]}
    tokens = canonical_tokens(argv, aliases=aliases)
    own_flags = _OWN_FLAGS.get(command, ())
    own = [
        "--config",
        "--print-config",
        "--help-all",
        *(f"--{to_dashes(name)}" for name in own_flags),
    ]
    known = [*COMMON_FLAGS, *own, *(flag for name in field_facts() for flag in _spellings(name))]
    check_flags(tokens, known, command=command, suggest=partial(_suggest_flags, own=own))

    if command != "check" and tokens and not tokens[0].startswith("-"):
        raise ConfigError(
            f"{command} takes settings as flags only, but got {tokens[0]}: did you mean "
            f"--data-dir {quote_words(tokens[0])}?"
        )
    file = _find_file(tokens)
    file_values = {} if file is None else load_config_file(file)
    shown = _EVERY_SETTING
    if not {"-h", "--help"}.isdisjoint(tokens):  # tyro cannot parse a hidden flag
        shown = FIRST_SETTINGS | _FIRST_OF.get(command, set())
    tokens = ["--help" if token == "--help-all" else token for token in tokens]
    parser = _make_parser(file_values, file=file, command=command, shown=shown)
    switches, rest = _take_switches(tokens)
    more = "" if shown == _EVERY_SETTING else _MORE
    description = f"{summary}\n\n{_PRECEDENCE}{more}"
    parsed = parse_tokens(parser, rest, command=command, description=description)
    flags = _given_values(parsed, tokens) | switches | _named_folder(parsed, tokens)
    is_resumed = "--resume" in flag_names(tokens)
    if is_resumed:
        _check_resume(flags, parsed)
    config = build_config(file, **flags)
    if not parsed.print_config and is_main_process():
        _note_half_set(argv, config, flags=flags)
    return Request(
        config=config,
        sources=_find_sources(file, file_values=file_values, flags=flags),
        is_printed=parsed.print_config,
        is_resumed=is_resumed,
        run=parsed.resume[0] if is_resumed and parsed.resume else None,
        seeds=parsed.seeds,
        repeats=parsed.repeats,
        by_site=parsed.by_site,
        label_noise=parsed.label_noise,
    )


def print_settings(request: Request) -> None:
    """Write the settings to standard output, as a YAML file that --config takes."""
    sys.stdout.write(format_settings(request.config, request.sources))


def format_settings(config: Config, sources: Mapping[str, str]) -> str:
    """Return the settings as commented YAML: group by group, each with its source."""
    values = config_to_dict(config)
    lines = {name: _yaml_line(name, values[name]) for name in values}
    width = min(40, max(map(len, lines.values())))
    text = ["# Settings of medimg; each line ends with the source of its value."]
    for title, names in FIELD_GROUPS.items():
        text += ["", f"# {title}"]
        text += [f"{lines[name]:<{width}}  # {show_hidden(sources[name])}" for name in names]
    return "\n".join(text) + "\n"


def _yaml_line(name: str, value: Any) -> str:
    dump = partial(yaml.safe_dump, value, default_flow_style=True, width=10**6)
    dumped = dump(allow_unicode=True)
    if show_hidden(dumped.rstrip("\n")) != dumped.rstrip("\n"):
        dumped = dump(allow_unicode=False)  # as escapes, which YAML reads back
    # A lone scalar ends with "...", the mark of a document's end.
    return f"{name}: " + dumped.rstrip("\n").removesuffix("...").rstrip("\n")


def _spellings(name: str) -> tuple[str, ...]:
    flag = to_dashes(name)
    if field_facts()[name].kind is bool:
        return f"--{flag}", f"--no-{flag}"
    return (f"--{flag}",)


def _suggest_flags(name: str, *, own: Sequence[str]) -> list[str]:
    """Return the nearest flags; `--no-` is kept for switches."""
    bare = name.lstrip("-")
    is_negated = bare.startswith("no-")
    facts = field_facts()
    others = {flag.lstrip("-").replace("-", "_"): flag for flag in own}
    found: list[str] = []
    for near in suggest_fields(bare.removeprefix("no-"), [*facts, *others], aliases=FLAG_ALIASES):
        is_switch = near in facts and facts[near].kind is bool
        found.append(others.get(near) or _spellings(near)[-1 if is_switch and is_negated else 0])
    return found


def _note_half_set(argv: Sequence[str], config: Config, *, flags: Mapping[str, Any]) -> None:
    """Log which training stage an alias sets, and the value of the other stage."""
    given = {to_dashes(flag) for flag in flag_names(argv)}
    for name, twin in _TWINS.items():
        for flag in given.intersection(FLAG_ALIASES.get(name, ())):
            if twin not in flags:
                value = show_value(getattr(config, twin))
                open_log(None).info(f"{flag} sets {name}; {twin} stays {value}")


def _find_file(tokens: Sequence[str]) -> Path | None:
    found = ""
    for token, following in zip(tokens, [*tokens, ""][1:], strict=True):
        name, equals, value = token.partition("=")
        if name == "--config":
            found = value if equals else following
    return Path(found) if found else None


def _take_switches(tokens: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the switches that are given, as settings, and the other arguments.

    tyro shows each switch in the help only as the flag that changes it.
    """
    meanings = {
        spelling: (name, not spelling.startswith("--no-"))
        for name, facts in field_facts().items()
        if facts.kind is bool
        for spelling in _spellings(name)
    }
    switches: dict[str, Any] = {}
    rest: list[str] = []
    for token in tokens:
        spelling, equals, value = token.partition("=")
        if spelling in meanings:
            name, is_on = meanings[spelling]
            if equals and not is_on:
                raise ConfigError(f"{token}: {spelling} takes no value; leave {equals}{value} out.")
            switches[name] = value if equals and is_on else is_on
        else:
            rest.append(token)
    return switches, rest


def _given_values(parsed: Any, tokens: Sequence[str]) -> dict[str, Any]:
    given = set(flag_names(tokens))
    groups = [getattr(parsed, title) for title in FIELD_GROUPS]
    values = {item.name: getattr(group, item.name) for group in groups for item in fields(group)}
    found = {name: values[name] for name in field_facts() if f"--{to_dashes(name)}" in given}
    return {name: _one_none(value) for name, value in found.items()}


def _named_folder(parsed: Any, tokens: Sequence[str]) -> dict[str, Any]:
    """Return the data folder of `medimg check DIR` as a setting."""
    folders: tuple[str, ...] = getattr(parsed, "folder", ())
    if len(folders) > 1:
        raise ConfigError(f"check takes one folder, but got {' and '.join(folders)}.")
    if folders and "--data-dir" in flag_names(tokens):
        raise ConfigError(f"check got both {folders[0]} and --data-dir: pass the folder once.")
    return {"data_dir": folders[0]} if folders else {}


def _one_none(value: Any) -> Any:
    return "none" if value == ("none",) else value


def _check_resume(flags: Mapping[str, Any], parsed: Any) -> None:
    if len(parsed.resume) > 1:
        raise ConfigError(f"--resume takes one run, but got {' and '.join(parsed.resume)}.")
    others = [f"--{to_dashes(name)}" for name in flags if name not in _CHANGED_BY_RESUME]
    others += ["--config"] if parsed.config is not None else []
    others += ["--seeds"] if parsed.seeds else []
    others += ["--repeats"] if parsed.repeats != 1 else []
    others += ["--by-site"] if parsed.by_site else []
    if others:
        raise ConfigError(f"--resume uses the settings of the run: leave out {', '.join(others)}.")


def _find_sources(
    file: Path | None, *, file_values: Mapping[str, Any], flags: Mapping[str, Any]
) -> dict[str, str]:
    from_file = dict.fromkeys(file_values, str(file))
    from_flags = dict.fromkeys(flags, "flag")
    return dict.fromkeys(field_facts(), "default") | from_file | from_flags


def _make_parser(
    file_values: Mapping[str, Any], *, file: Path | None, command: str, shown: Collection[str]
) -> type[Any]:
    """Return a dataclass with the command's help: its own flags first, then a box per group."""
    config = _option("Settings file in YAML, TOML or JSON, such as a run's config.json.", "FILE")
    printed = _option("Print the settings with their sources as YAML, and exit.")
    what, metavar = _RESUMED.get(command, ("run (default: the newest", "[RUN]"))
    resumed = _option(f"Resume an interrupted {what}).", metavar)
    seeds = _option("Run with each of these seeds, on the split of the first.", "N N...")
    by_site = _option("Leave out each site of --site-column in turn instead of using folds.")
    noise = _option("Also list doubtful labels; needs a pass through the network --arch.")
    own: dict[str, tuple[Any, Any, Any]] = {
        "resume": (tuple[str, ...], (), resumed),
        "seeds": (tuple[int, ...], (), seeds),
        "repeats": (int, 1, _option("Repeats of all folds (1 or more; default 1).", "N")),
        "by_site": (bool, False, by_site),
        "label_noise": (bool, False, noise),
    }
    parts: list[tuple[str, Any, Any]] = [
        ("config", Annotated[Path | None, config], field(default=None)),
        ("print_config", Annotated[bool, printed], field(default=False)),
    ]
    for name, (kind, default, option) in own.items():
        is_shown = name in _OWN_FLAGS.get(command, ())
        marker = option if is_shown else tyro.conf.Suppress
        parts.append((name, Annotated[kind, marker], field(default=default)))
    if command == "check":
        folder = _option("Folder of images, as for train; it is not modified.", "DIR")
        kind = tyro.conf.Positional[tuple[str, ...]]
        parts.append(("folder", Annotated[kind, folder], field(default=())))
    for title, names in FIELD_GROUPS.items():
        options = [_make_option(n, file_values, file=file, is_shown=n in shown) for n in names]
        group = make_dataclass(title, options)
        group.__doc__ = None
        parts.append((title, group, field(default_factory=group)))
    return make_dataclass("Settings", parts)


def _option(text: str, metavar: str | None = None) -> Any:
    return tyro.conf.arg(help=text, metavar=metavar, help_behavior_hint="")


def _make_option(
    name: str, file_values: Mapping[str, Any], *, file: Path | None, is_shown: bool
) -> tuple[str, Any, Any]:
    facts = field_facts()[name]
    is_from_file = name in file_values
    option = (
        tyro.conf.Suppress
        if not (is_shown or is_from_file)
        else tyro.conf.arg(
            help=_describe_flag(
                name,
                current=file_values.get(name, facts.default),
                file=file if is_from_file else None,
            ),
            metavar=_OWN_METAVARS.get(name)
            or ("NAME" if facts.choices else _METAVARS.get(facts.kind)),
            help_behavior_hint="",
        )
    )
    if facts.kind is bool:
        is_on = file_values.get(name, facts.default) is True
        return name, Annotated[bool, option], field(default=is_on)
    kind = tuple[str, ...] if facts.kind is tuple else str
    return name, Annotated[kind, option], field(default=() if facts.kind is tuple else "")


def _describe_flag(name: str, *, current: Any, file: Path | None) -> str:
    """Return a setting's help with all its facts in one closing parenthesis.

    These are the choices, the range, the default, the aliases.
    """
    facts = field_facts()[name]
    text, _, closing = facts.help.removesuffix(".").removesuffix(")").rpartition(" (")
    if not facts.help.endswith(")."):
        text, closing = facts.help.removesuffix("."), ""
    on, _, off = text.partition(f"; --no-{to_dashes(name)}: ")
    text = off.capitalize() if off and show_value(current) == "true" else on
    notes = [", ".join(facts.choices), closing]
    if file is not None:
        notes.append(f"{file.name} {show_value(current)}")
    elif current is not None and facts.kind is not bool:
        plain = " ".join(current) or "none" if facts.kind is tuple else current
        notes.append(f"default {plain:g}" if isinstance(plain, float) else f"default {plain}")
    notes += [f"also {flag}" for flag in FLAG_ALIASES.get(name, ())]
    shown = "; ".join(note for note in notes if note)
    return f"{text} ({shown})." if shown else f"{text}."
