"""The command line: the first word selects a command; a MedimgError is printed as one sentence.

`medimg --help` must be fast, so this file imports nothing heavy: each command loads the flags,
settings and pipeline that it needs.
"""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from medimg_baseline_cls import __version__
from medimg_baseline_cls.errors import ConfigError, MedimgError, RunInterrupted
from medimg_baseline_cls.utils.faults import plain_faults
from medimg_baseline_cls.utils.rank import is_main_process
from medimg_baseline_cls.utils.screen import Screen, current_screen, printing_on
from medimg_baseline_cls.utils.threads import calm_threads
from medimg_baseline_cls.utils.visible import show_hidden

COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": ("doctor [DATA]", "what would stop or slow a training here"),
    "demo": ("demo", "the whole pipeline, on phantom radiographs"),
    "init": ("init DATA", "write a settings file for a data set"),
    "check": ("check DIR", "look for leaks, copies and shortcuts in the images"),
    "run": ("run --data-dir DIR", "train, evaluate, explain and report"),
    "train": ("train --data-dir DIR", "train the head, then the whole network"),
    "cv": ("cv --data-dir DIR", "train and test every fold; mean, SD and range"),
    "sweep": ("sweep --space FILE", "train with several settings, choose on VAL"),
    "evaluate": ("evaluate RUN", "choose thresholds on VAL, score VAL and TEST"),
    "explain": ("explain RUN", "Grad-CAM panels of the worst mistakes"),
    "report": ("report RUN", "write report.html, tables, model card, checklists"),
    "judge": ("judge --test FILE", "the same statistics for predictions of any model"),
    "compare": ("compare RUN RUN...", "paired differences of runs on the same images"),
    "external": ("external RUN DATA...", "score a run, locked, on other labeled data sets"),
    "predict": ("predict RUN PATH...", "decide on new images"),
    "track": ("track RUN...", "send runs to MLflow or TensorBoard"),
    "runs": ("runs", "a table of the runs of an output folder"),
    "cache": ("cache list|prune", "what is in the image cache; remove what is unused"),
    "completion": ("completion bash|zsh", "the script that completes commands in a shell"),
}
_FOR_ALL = ("--quiet", "--json")
_AGAIN_SECONDS = 0.05
_HELP = frozenset({"-h", "--help", "--help-all"})
EXIT_OK, EXIT_UNREAD, EXIT_MISTAKE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    It is 0, 2 for a mistake, 130 when interrupted; `check` has 1 for warnings and 3 for
    errors, `external` 3 where classes seem to be inverted.
    """
    calm_threads()
    arguments = list(sys.argv[1:] if argv is None else argv)
    screen = Screen(is_quiet="--quiet" in arguments, is_for_machines="--json" in arguments)
    arguments = [token for token in arguments if token not in _FOR_ALL]
    try:
        with printing_on(screen), plain_faults(), _stopping_on_signals():
            code = _dispatch(arguments)
            sys.stdout.flush()
        return code
    except MedimgError as error:
        return _fail(EXIT_MISTAKE, *map(str, error.args), arguments=arguments, screen=screen)
    except RunInterrupted as stop:
        return _fail(EXIT_INTERRUPTED, str(stop), arguments=arguments, screen=screen)
    except KeyboardInterrupt as stop:
        why = str(stop) or "interrupted: start the command again."
        return _fail(EXIT_INTERRUPTED, why, arguments=arguments, screen=screen)
    except BrokenPipeError:  # as in `medimg train --help | head`: the reader has closed the pipe
        _drop_unwritten()
        return EXIT_UNREAD
    except SystemExit as end:  # the flag parser has printed its help or error
        code = end.code if isinstance(end.code, int) else EXIT_OK
        if screen.is_for_machines and code != EXIT_OK:
            _write_end(arguments, code=code, lines=["not called as expected: see standard error"])
        return code


@contextmanager
def _stopping_on_signals() -> Generator[None, None, None]:
    """Let the signals of `kill` and SLURM end a command as Ctrl-C does; repeats are ignored."""
    names = [name for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    numbers = [signal.Signals[name] for name in names]
    is_stopping, is_main_thread = False, threading.current_thread() is threading.main_thread()
    ours = [n for n in numbers if is_main_thread and signal.getsignal(n) is signal.SIG_DFL]

    def stop(*_: object) -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            raise KeyboardInterrupt

    def stop_again(ignored: "sys.UnraisableHookArgs") -> None:
        """Stop nevertheless where Python has dropped the interruption, as it does in a callback."""
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            # Not at once: it would be dropped again.
            again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main)
            again.daemon = True
            again.start()
        else:
            former_hook(ignored)

    for number in ours:
        signal.signal(number, stop)
    former_hook = sys.unraisablehook
    sys.unraisablehook = stop_again
    try:
        yield
    finally:
        sys.unraisablehook = former_hook
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _fail(code: int, *lines: str, arguments: Sequence[str], screen: Screen) -> int:
    """Write why a command failed: to standard error, and as its JSON if that is asked for."""
    if code == EXIT_MISTAKE or is_main_process():
        _complain(*lines)
    if screen.is_for_machines:
        _write_end(arguments, code=code, lines=lines)
    if code == EXIT_MISTAKE:
        _drop_unwritten()
    return code


def _write_end(arguments: Sequence[str], *, code: int, lines: Sequence[str]) -> None:
    from medimg_baseline_cls.cli.endings import write_end

    with suppress(BrokenPipeError):
        write_end(" ".join(arguments[:1]), code=code, error=lines)


def _complain(*lines: str) -> None:
    """Write a message to the standard error with control characters escaped."""
    text = "\n  ".join(map(show_hidden, lines))
    sys.stderr.write(f"medimg: {text}\n")


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        sys.stderr.write(describe_commands())
        return EXIT_MISTAKE
    word, *rest = arguments
    if word == "help" and rest:
        word, rest = rest[0], ["--help"]
    if word in ("-h", "--help", "help"):
        sys.stdout.write(describe_commands())
    elif word in ("-V", "--version"):
        sys.stdout.write(f"medimg {__version__}\n")
    else:
        if _HELP.isdisjoint(rest):
            _require_current_folder()
        result = _find_command(word)(rest)
        code: int = getattr(result, "status", EXIT_OK)
        if current_screen().is_for_machines:
            from medimg_baseline_cls.cli.endings import write_end

            write_end(word, code=code, result=result)
        return code
    return EXIT_OK


def _require_current_folder() -> None:
    """Refuse a current folder that was removed, before a library fails with an obscure error."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ConfigError(
            "the current folder no longer exists: change to one that does (cd)."
        ) from None


def _drop_unwritten() -> None:
    """Discard output that the standard output does not accept.

    Python flushes again when it exits, and would print an error there.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def describe_commands() -> str:
    """Return the text of `medimg --help`."""
    width = max(len(usage) for usage, _ in COMMANDS.values())
    lines = [f"  {usage:<{width}}   {purpose}" for usage, purpose in COMMANDS.values()]
    return "\n".join(
        [
            "usage: medimg COMMAND ...",
            "",
            "Folders of medical images in, a run folder with locked thresholds and explained",
            "errors out. Research use only.",
            "",
            *lines,
            "",
            "RUN is a run folder, or latest. Settings come from defaults, then --config FILE,",
            "then flags; later ones win.",
            "",
            "  medimg COMMAND --help   the flags of a command (--help-all: every one)",
            "  medimg COMMAND --quiet  prints warnings only; log.txt has the rest",
            "  medimg COMMAND --json   prints its end as JSON, and the rest to standard error",
            "  medimg --version        the version",
            "",
        ]
    )


def _find_command(word: str) -> Callable[[Sequence[str]], object]:
    if word.startswith("-"):
        raise ConfigError(f"put a command before {word}, such as medimg run {word} ...")
    if word not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(word, COMMANDS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use {', '.join(COMMANDS)}."
        raise ConfigError(f"there is no command {word!r}: {hint}")
    if os.environ.get("NO_COLOR"):  # https://no-color.org; tyro has a variable of its own
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")
    from medimg_baseline_cls.cli import commands

    return commands.TABLE[word]
