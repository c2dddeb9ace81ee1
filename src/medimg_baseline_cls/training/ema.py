"""Keep an exponential moving average (EMA) of the weights.

The average is validated and saved; it has no effect on the weights being trained.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.training.checkpoint import copy_tensors


class WeightAverage:
    """A moving average of the tensors that change in a stage."""

    def __init__(self, net: nn.Module, *, decay: float, with_buffers: bool) -> None:
        """Start from the current weights.

        Args:
            net: the network; only parameters that require gradients are averaged.
            decay: share of the average that is kept in a step, in [0, 1).
            with_buffers: whether BatchNorm's statistics change too and are averaged.
        """
        self._decay = decay
        live: dict[str, Tensor] = {n: p for n, p in net.named_parameters() if p.requires_grad}
        if with_buffers:
            live |= dict(net.named_buffers())
        self._live = live
        self._average = {name: tensor.detach().clone() for name, tensor in live.items()}
        is_float = {name: tensor.is_floating_point() for name, tensor in live.items()}
        self._floats = [name for name in live if is_float[name]]
        self._others = [name for name in live if not is_float[name]]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average toward the weights after a step (from 0).

        Early steps count more, or the initial weights would stay in the average for long.
        """
        share = 1.0 - min(self._decay, (1 + step) / (10 + step))
        averages = [self._average[name] for name in self._floats]
        learning = [self._live[name].detach() for name in self._floats]
        torch._foreach_lerp_(averages, learning, share)  # pyright: ignore[reportPrivateUsage]
        for name in self._others:  # integer counters of BatchNorm have no average
            self._average[name].copy_(self._live[name])

    @contextmanager
    def applied(self) -> Generator[None, None, None]:
        """Put the average into the network for a block, then restore the trained weights."""
        learning = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        _copy_into(self._live, self._average)
        try:
            yield
        finally:
            _copy_into(self._live, learning)

    def state(self) -> dict[str, Tensor]:
        """Return a copy of the average on the CPU, for a checkpoint."""
        return copy_tensors(self._average)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the average of a checkpoint.

        Raises:
            TrainingError: its tensors are not those of this stage.
        """
        if state.keys() != self._average.keys():
            raise TrainingError(
                "The averaged weights in last.pt are not those that this stage trains: it was "
                "written by another version or with other settings; start a new run."
            )
        _copy_into(self._average, state)


@torch.no_grad()
def _copy_into(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])
