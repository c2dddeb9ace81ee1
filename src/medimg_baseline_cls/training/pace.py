"""Estimate the duration of an epoch, and log it early in a stage if it is long."""

import time
from collections.abc import Callable

from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.quantities import format_duration, say_until

_LEAST_BATCHES, _LEAST_SECONDS = 4, 10.0  # fewer give an unreliable estimate
_LONG_SECONDS = 60.0
_SHARE_OF_FORWARD = 1 / 3  # of the work of a training step; the backward pass is twice a forward


class Pace:
    """Estimates the duration of an epoch from its first batches, once.

    Args:
        log: gets one line if an epoch takes a minute or longer.
        stage: its name.
        sizes: number of images of TRAIN and VAL.
        num_left: epochs that the stage still has.
        now: a clock in seconds.
    """

    def __init__(
        self,
        log: RunLog,
        *,
        stage: str,
        sizes: tuple[int, int],
        num_left: int,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._log, self._stage, self._now = log, stage, now
        self._num_train, self._num_val = sizes
        self._num_left = num_left
        self._start: float | None = None
        self._num_images = self._num_batches = 0
        self._is_said = False

    def note(self, num_images: int) -> None:
        """Count a finished batch; `num_images` is over all processes."""
        if self._start is None:  # the first batch is slower: loading, kernel selection
            self._start = self._now()
            return
        self._num_images += num_images
        self._num_batches += 1
        seconds = self._now() - self._start
        if self._is_said or self._num_batches < _LEAST_BATCHES or seconds < _LEAST_SECONDS:
            return
        self._is_said = True
        work = self._num_train + self._num_val * _SHARE_OF_FORWARD
        epoch = work * seconds / self._num_images
        if epoch >= _LONG_SECONDS:
            whole = epoch * self._num_left
            self._log.info(
                f"stage {self._stage}: about {format_duration(epoch)} per epoch, "
                f"{format_duration(whole)} for {self._num_left} epochs, {say_until(whole)}"
            )
