"""What a command prints on the screen: everything, warnings only, or one JSON object."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Screen(NamedTuple):
    """What the logs print of a command, and where.

    Attributes:
        is_quiet: warnings only; log.txt has all lines nevertheless.
        is_for_machines: lines go to standard error, since standard output is for one JSON object.
    """

    is_quiet: bool = False
    is_for_machines: bool = False


_SCREEN: ContextVar[Screen | None] = ContextVar("screen", default=None)


@contextmanager
def printing_on(screen: Screen) -> Generator[None, None, None]:
    """Let the logs that the block opens print so."""
    token = _SCREEN.set(screen)
    try:
        yield
    finally:
        _SCREEN.reset(token)


def current_screen() -> Screen:
    """Return what the logs print now, and where."""
    return _SCREEN.get() or Screen()
