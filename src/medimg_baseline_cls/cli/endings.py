"""What a command prints at its end: the commands that usually come next, or one JSON object."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from medimg_baseline_cls.utils.files import format_json
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.rank import is_main_process
from medimg_baseline_cls.utils.visible import quote_words

if TYPE_CHECKING:
    from medimg_baseline_cls.pipeline.steps.session import RunResult


def say_next(result: "RunResult", *words: str, more: str = "") -> "RunResult":
    """Print the commands that usually come next, and return the result."""
    if not is_main_process():
        return result
    run = quote_words(str(result.run_dir))
    if result.outdated:
        names = ", ".join(result.outdated)
        open_log(None).info(f"now out of date: {names}; to update them: medimg run --resume {run}")
        return result
    commands = " && ".join(f"medimg {word} {run}" for word in words)
    open_log(None).info(f"next: {commands}{more}")
    return result


def write_end(command: str, *, code: int, result: Any = None, error: Sequence[str] = ()) -> None:
    """Write the end of a command as one JSON object to standard output.

    Args:
        command: such as "evaluate".
        code: its exit code.
        result: what the Python function of that name returned: a record; its fields are added.
        error: the lines that would be printed, if it failed.
    """
    if not is_main_process():
        return
    end: dict[str, Any] = {"command": command, "exit_code": code}
    if error:
        end["error"] = list(error)
    end |= _list_fields(result)
    sys.stdout.write(format_json(end))


def _list_fields(result: Any) -> Mapping[str, Any]:
    if not is_dataclass(result) or isinstance(result, type):
        return {}
    return {name: value for name, value in asdict(result).items() if name != "status"}
