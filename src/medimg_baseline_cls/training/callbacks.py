"""Who is told how training goes: the door for trackers, progress bars and notifications.

A callback gets plain records and never the network, so that it cannot change what is trained.
Decision 0032 says why its errors are warnings.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.training.history import EpochRow, FitResult
from medimg_baseline_cls.utils.log import RunLog


class Callback:
    """Is told how training goes; override the methods that are needed.

    They are called in the main process (rank 0) alone. A resumed training starts again with
    `on_start`, and tells of the epochs that are still to come.

    Example:
        >>> class BestSoFar(Callback):
        ...     def on_best(self, row):
        ...         print(f"epoch {row.epoch} of {row.stage}: AP {row.val_ap:.3f}")
    """

    def on_start(self, run_dir: Path) -> None:
        """Take note of the run folder, before the first epoch; config.json is in it."""

    def on_epoch(self, row: EpochRow) -> None:
        """Take note of a finished epoch, a row of history.csv, when its files are written."""

    def on_best(self, row: EpochRow) -> None:
        """Take note of an epoch that is the best so far, after `on_epoch`; best.pt is of it."""

    def on_end(self, result: FitResult | None) -> None:
        """Take note of how training ended; None where it was interrupted or failed."""


class GuardedCallback(Callback):
    """Somebody else's callback: its first error is a warning, and the end of its calls."""

    def __init__(self, callback: Callback, log: RunLog) -> None:
        self._callback, self._log = callback, log
        self._has_failed = False

    def on_start(self, run_dir: Path) -> None:
        """Pass it on."""
        self._call("on_start", run_dir)

    def on_epoch(self, row: EpochRow) -> None:
        """Pass it on."""
        self._call("on_epoch", row)

    def on_best(self, row: EpochRow) -> None:
        """Pass it on."""
        self._call("on_best", row)

    def on_end(self, result: FitResult | None) -> None:
        """Pass it on."""
        self._call("on_end", result)

    def _call(self, method: str, argument: Path | EpochRow | FitResult | None) -> None:
        if self._has_failed:
            return
        try:
            getattr(self._callback, method)(argument)
        except Exception as error:  # foreign code raises anything
            self._has_failed = True
            reason = " ".join(str(error).split())
            self._log.warn(
                f"the callback {type(self._callback).__name__} failed in {method} "
                f"({type(error).__name__}{': ' if reason else ''}{reason}) and is not called any "
                "more; training continues without it"
            )


def require_callbacks(callbacks: Sequence[object]) -> None:
    """Refuse what is not a callback, before any image is read.

    Raises:
        ConfigError: one of them is a class, a function or something else.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"callbacks={callback!r}: expected objects of classes that are derived from "
                "medimg_baseline_cls.Callback, such as callbacks=[MyCallback()]."
            )


@contextmanager
def telling_of_failure(callbacks: Sequence[Callback]) -> Generator[None, None, None]:
    """Tell callbacks that training has ended where the block raises."""
    try:
        yield
    except BaseException:
        for callback in callbacks:
            with suppress(Exception):  # what has stopped the training is what is to be shown
                callback.on_end(None)
        raise
