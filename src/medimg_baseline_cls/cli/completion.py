"""The script with which a shell completes commands, flags and their values; tyro writes it."""

import io
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, fields
from typing import Annotated, Any

import tyro

from medimg_baseline_cls.cli.flags import TYRO_MARKERS
from medimg_baseline_cls.cli.own_flags import OWN_FLAGS
from medimg_baseline_cls.cli.settings_flags import make_typed
from medimg_baseline_cls.config import PRESETS
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.screen import current_screen

SHELLS = ("bash", "zsh")
_CHOICES = {"preset": tuple(PRESETS)}


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
    table: dict[str, Any] = dict(called)
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
            config=TYRO_MARKERS,
        )
    # Runs and data are not flags: where nothing else fits, the shell completes their paths. It
    # does so only if there is no candidate at all, not even an empty one.
    filtered = text.getvalue().replace(
        'matches+=("$completion")', '[[ -n "$completion" ]] && matches+=("$completion")'
    )
    return filtered.replace("complete -F ", "complete -o bashdefault -o default -F ")
