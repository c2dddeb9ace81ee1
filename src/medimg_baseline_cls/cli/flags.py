"""Flags: tyro parses them and writes the help; an unknown one is told the nearest name here."""

import difflib
import inspect
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from functools import partial, wraps
from typing import Any, Final

import tyro

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.visible import show_hidden

TYRO_MARKERS = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
COMMON_FLAGS = ("--help", "-h")


class _Missing(str):
    __slots__ = ()


_MISSING: Final = _Missing()


def option(text: str, metavar: str | None = None, **more: Any) -> Any:
    """Return a flag's help for tyro, without the default that tyro would add."""
    return tyro.conf.arg(help=text, metavar=metavar, help_behavior_hint="", **more)


def parse_call(function: Callable[..., Any], argv: Sequence[str]) -> Any:
    """Call a command's function with the values of the flags, and return what it returns.

    Raises:
        ConfigError: a flag is unknown.
    """
    command = function.__name__
    parameters = inspect.signature(function).parameters.values()
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    groups = [fields(p.annotation) if is_dataclass(p.annotation) else (p,) for p in keywords]
    names = [f"--{to_dashes(item.name)}" for group in groups for item in group]
    check_flags(argv, [*names, *COMMON_FLAGS], command=command)

    @wraps(function)
    def collect(*values: Any, **flags: Any) -> Callable[[], Any]:
        return partial(function, *values, **flags)

    if set(COMMON_FLAGS).isdisjoint(argv):  # the help says what is required
        vars(collect)["__signature__"] = _allow_missing(function)
    call, stray = parse_tokens(collect, argv, command=command)
    if stray:
        raise ConfigError(
            f"{command} got {' '.join(stray)}, which it does not expect: leave it out, or see "
            f"medimg {command} --help."
        )
    if any(value is _MISSING for value in call.args):
        from medimg_baseline_cls.cli import COMMANDS

        usage = COMMANDS[command][0]
        raise ConfigError(f"{command} needs more: medimg {usage} (medimg {command} --help).")
    return call()


def _allow_missing(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function with a default for each text that is required.

    So the parser does not answer with a box of its own.
    """
    signature = inspect.signature(function)

    def allow(item: inspect.Parameter) -> inspect.Parameter:
        if item.kind is not item.POSITIONAL_ONLY or item.default is not item.empty:
            return item
        is_text = item.annotation.__origin__ is str
        return item.replace(default=_MISSING if is_text else ())

    return signature.replace(parameters=[allow(item) for item in signature.parameters.values()])


def parse_tokens(
    kind: Any, tokens: Sequence[str], *, command: str, description: str | None = None
) -> tuple[Any, list[str]]:
    """Return the arguments as parsed by tyro, and those that it did not expect.

    Control characters in its messages are escaped.
    """
    parse = partial(
        tyro.cli,
        kind,
        prog=f"medimg {command}",
        description=description,
        args=tokens,
        config=TYRO_MARKERS,
        return_unknown_args=True,
    )
    if all(show_hidden(token) == token for token in tokens):
        return parse()
    complaint = io.StringIO()
    try:
        with redirect_stdout(complaint), redirect_stderr(complaint):
            return parse()
    finally:
        lines = complaint.getvalue().split("\n")
        sys.stderr.write("\n".join(map(show_hidden, lines)))


def check_flags(
    tokens: Iterable[str],
    known: Sequence[str],
    *,
    command: str,
    suggest: Callable[[str], Sequence[str]] | None = None,
) -> None:
    """Refuse flags that the command does not have.

    Args:
        tokens: the arguments.
        known: the flags of the command.
        command: for the message.
        suggest: finds the nearest flags to an unknown one; None compares spellings only.

    Raises:
        ConfigError: names every unknown flag and the nearest known ones.
    """
    mistakes: list[str] = []
    for name in flag_names(tokens):
        if name in known:
            continue
        if suggest is None:
            near = difflib.get_close_matches(name, known, n=3)
        else:
            near = suggest(name)
        hint = f"did you mean {' or '.join(near)}?" if near else f"see medimg {command} --help."
        mistakes.append(f"{command} has no flag {name}: {hint}")
    if mistakes:
        raise ConfigError(*mistakes)


def flag_names(tokens: Iterable[str]) -> list[str]:
    """Return the flags among the arguments, in order, with dashes and without their values."""
    return [to_dashes(token.partition("=")[0]) for token in tokens if is_flag(token)]


def is_flag(token: str) -> bool:
    """Return whether an argument is a flag; a negative number is a value."""
    return token.startswith("-") and token != "-" and not token[1:2].isdigit()


def to_dashes(name: str) -> str:
    """Return `image_size` as `image-size`, and `--image_size` as `--image-size`."""
    return name.replace("_", "-")
