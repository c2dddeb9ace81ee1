"""The script with which a shell completes commands, flags and their values; tyro writes it."""

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, fields
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal, Union

import tyro

from medimg_baseline_cls.cli.flags import TYRO_MARKERS
from medimg_baseline_cls.cli.own_flags import OWN_FLAGS
from medimg_baseline_cls.cli.settings_flags import make_typed
from medimg_baseline_cls.config import PRESETS
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.screen import current_screen

SHELLS = ("bash", "zsh")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "preset": tuple(PRESETS),
    "track": ("mlflow", "tensorboard"),
    "action": ("list", "prune"),
    "shell": SHELLS,
}


@dataclass(frozen=True)
class Completion:
    """A script that completes the command line of `medimg`."""

    shell: str
    script: str


def completion(
    shell: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="SHELL", help="bash or zsh.", help_behavior_hint="(required)"),
    ],
    /,
) -> Completion:
    """Print the script with which a shell completes commands, flags and values.

    bash: into ~/.local/share/bash-completion/completions/medimg

    zsh: into a file _medimg in a folder of $fpath
    """
    if shell not in SHELLS:
        raise ConfigError(f"completion is written for {' and '.join(SHELLS)}, not for {shell}.")
    from medimg_baseline_cls.cli.commands import CALLED

    script = write_script(shell, CALLED)
    if not current_screen().is_for_machines:
        sys.stdout.write(script)
    return Completion(shell, script)


def write_script(shell: str, called: Mapping[str, Callable[..., Any]]) -> str:
    """Return the script for a shell.

    Args:
        shell: one of `SHELLS`.
        called: the commands whose flags are the arguments of a function.
    """
    table: dict[str, Any] = {name: _offer_choices(function) for name, function in called.items()}
    for command, own in OWN_FLAGS.items():
        names = {item.name for item in fields(own)}
        table[command] = make_typed(
            own, choices={name: words for name, words in _CHOICES.items() if name in names}
        )
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            table,
            prog="medimg",
            args=["--tyro-print-completion", shell],
            config=(*TYRO_MARKERS, tyro.conf.OmitSubcommandPrefixes),
        )
    # Runs and data are not flags: where nothing else fits, the shell completes their paths. It
    # does so only if there is no candidate at all, not even an empty one.
    filtered = text.getvalue().replace(
        'matches+=("$completion")', '[[ -n "$completion" ]] && matches+=("$completion")'
    )
    return filtered.replace("complete -F ", "complete -o bashdefault -o default -F ")


def _offer_choices(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for completion alone, of which arguments with known values have these.

    The values of one that is not a flag become commands below the command.
    """
    declared = signature(function)
    first, *others = declared.parameters.values()
    words = _CHOICES.get(first.name, ()) if first.kind is first.POSITIONAL_ONLY else ()
    if words:
        inner = _copy(function, others)
        kinds = [Annotated[Any, tyro.conf.subcommand(name=w, constructor=inner)] for w in words]
        one_of = Union[tuple(kinds)]  # noqa: UP007
        return _copy(function, [first.replace(annotation=one_of, kind=first.KEYWORD_ONLY)])
    return _copy(
        function,
        [
            item.replace(annotation=Literal[_CHOICES[item.name]], default=_CHOICES[item.name][0])
            if item.name in _CHOICES
            else item
            for item in declared.parameters.values()
        ],
    )


def _copy(function: Callable[..., Any], parameters: Sequence[Parameter]) -> Callable[..., Any]:
    """Return a function that has other parameters, and does nothing."""

    def call(*_: Any, **__: Any) -> None: ...

    call.__annotations__ = {item.name: item.annotation for item in parameters}
    vars(call)["__signature__"] = Signature(list(parameters))
    call.__doc__ = function.__doc__
    return call
