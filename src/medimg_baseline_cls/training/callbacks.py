"""Callbacks of training: the way in for trackers, progress bars and notifications.

A callback gets plain records and never the network, so that it cannot change the result.
Its errors are only warnings (decision 0032).
"""

from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.training.history import EpochRow, FitResult
from medimg_baseline_cls.utils.log import RunLog


@dataclass(frozen=True, slots=True)
class Turn:
    """Which run of a cross-validation, or of a sweep of seeds, is trained next.

    Attributes:
        title: in words, such as "repeat 0, fold 2" or "seed 1".
        number: from 1 on.
        total: of all runs.
    """

    title: str
    number: int
    total: int


class Callback:
    """Base class of callbacks; override the methods that you need.

    They are called only in the main process (rank 0). A resumed training calls `on_start`
    again, and then the other methods for the remaining epochs.

    Example:
        >>> class BestSoFar(Callback):
        ...     def on_best(self, row):
        ...         print(f"epoch {row.epoch} of {row.stage}: AP {row.val_ap:.3f}")
    """

    def on_run(self, turn: Turn) -> None:
        """Called before each run of a cross-validation or of a sweep of seeds, then `on_start`."""

    def on_start(self, run_dir: Path) -> None:
        """Called before the first epoch; the run folder contains config.json."""

    def on_epoch(self, row: EpochRow) -> None:
        """Called after each epoch, when its row of history.csv and its files are written."""

    def on_best(self, row: EpochRow) -> None:
        """Called after `on_epoch` if the epoch is the best so far: it is in best.pt."""

    def on_end(self, result: FitResult | None) -> None:
        """Called when training has ended; with None if it was interrupted or failed."""

    def on_results(self, folder: Path) -> None:
        """Called when `run`, `run_seeds` or `cross_validate` has written results after training.

        That is when a run is evaluated, when it is reported, and at last with the folder of the
        seeds or folds.
        """


class GuardedCallback(Callback):
    """A user's callback: its first error becomes a warning, and it is not called again."""

    def __init__(self, callback: Callback, log: RunLog) -> None:
        self._callback, self._log = callback, log
        self._has_failed = False

    def on_run(self, turn: Turn) -> None:
        """Pass it on."""
        self._call("on_run", turn)

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

    def on_results(self, folder: Path) -> None:
        """Pass it on."""
        self._call("on_results", folder)

    def _call(self, method: str, argument: Turn | Path | EpochRow | FitResult | None) -> None:
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


def require_callbacks(callbacks: object) -> None:
    """Refuse objects that are not callbacks, before any image is read.

    Raises:
        ConfigError: they are not in a list, or one is a class, a function or another object.
    """
    if not isinstance(callbacks, Collection):
        raise ConfigError(
            f"callbacks={callbacks!r}: expected a list, such as callbacks=[MyCallback()]."
        )
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"callbacks={callback!r}: expected instances of subclasses of "
                "medimg_baseline_cls.Callback, such as callbacks=[MyCallback()]."
            )


@contextmanager
def telling_of_failure(callbacks: Sequence[Callback]) -> Generator[None, None, None]:
    """Call `on_end` of the callbacks if the block raises."""
    try:
        yield
    except BaseException:
        for callback in callbacks:
            with suppress(Exception):  # the error that stopped the training must stay visible
                callback.on_end(None)
        raise
