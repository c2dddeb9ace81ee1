"""Turn Ctrl-C, SIGTERM and SIGUSR1 into a clean stop: the step is finished, then the run stops.

Ctrl-C pressed again after a few seconds stops at once, as usual.
"""

import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from medimg_baseline_cls.errors import RunInterrupted

Item = TypeVar("Item")

# SLURM announces the end of a job with the signal that the user chose, usually SIGUSR1.
_SIGNALS = (signal.SIGINT, signal.SIGTERM) + (
    (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()  # Windows has none
)
# torchrun forwards the Ctrl-C that the terminal has already sent to its children.
_PATIENCE_SECONDS = 3.0


class StopRequest:
    """Whether a stop signal has come, and what to raise then."""

    def __init__(self) -> None:
        self.is_set = False

    def stopping(self, items: Iterable[Item], *, message: str) -> Iterator[Item]:
        """Yield the items; after a stop signal raise RunInterrupted before the next one."""
        for item in items:
            if self.is_set:
                raise RunInterrupted(message)
            yield item


@contextmanager
def catch_stop_signals() -> Generator[StopRequest, None, None]:
    """Note stop signals instead of acting on them, and restore the handlers afterwards.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    # None: the handler was not set from Python, so it cannot be restored.
    previous: dict[int, Any] = {
        number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS
    }
    first_time = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first_time
        if not request.is_set:
            request.is_set, first_time = True, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - first_time > _PATIENCE_SECONDS:
            _restore(previous)
            signal.raise_signal(number)

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        _restore(previous)


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
