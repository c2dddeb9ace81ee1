"""What several processes of one run must agree on: sums, gradients, statistics, lists.

With one process every function is the identity. Processes with fewer images of a step than others,
or none, take part with their share. A process that is gone ends the others with one sentence; where
work is uneven, they wait for one another without a limit.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.utils.device import ANSWER_SECONDS

Item = TypeVar("Item")

_PATIENCE = timedelta(days=30)


def sum_over_processes(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the sum of a tensor over all processes."""
    if accelerator.num_processes == 1:
        return tensor
    summed: Any = accelerator.reduce(tensor, reduction="sum")
    return summed


def sum_gradients(parameters: Sequence[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace each gradient by its sum over all processes, in one message.

    The same bits arrive everywhere, so the weights stay identical without being sent.
    """
    if accelerator.num_processes == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    summed = sum_over_processes(flat, accelerator)
    parts = summed.split([p.numel() for p in parameters])
    for parameter, gradient, part in zip(parameters, gradients, parts, strict=True):
        parameter.grad = gradient.copy_(part.view(gradient.shape))


@torch.no_grad()
def average_buffers(net: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the mean of the statistics that BatchNorm has learnt.

    Each process saw other images. Statistics of modules in eval mode are left alone: they
    are equal already, and a mean of equal numbers can differ in the last bit.
    """
    if accelerator.num_processes == 1:
        return
    learning = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.training]
    for buffer in (buffer for module in learning for buffer in module.buffers()):
        if buffer.is_floating_point():
            buffer.copy_(sum_over_processes(buffer, accelerator) / accelerator.num_processes)


@torch.no_grad()
def share_weights(net: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the weights and buffers of the first."""
    if accelerator.num_processes == 1:
        return
    for tensor in [*net.parameters(), *net.buffers()]:
        sent: Any = broadcast(tensor.detach().contiguous())
        tensor.copy_(sent)


def gather_items(items: list[Item], accelerator: Accelerator) -> list[Item]:
    """Return the items of all processes, those of the first process first."""
    if accelerator.num_processes == 1:
        return items
    gathered: list[Item] = gather_object(items)
    return gathered


def any_rank(flag: bool, accelerator: Accelerator) -> bool:
    """Return whether the flag is up in any process."""
    return any(gather_items([flag], accelerator))


def wait_for_all(accelerator: Accelerator) -> None:
    """Wait until every process is here, however long that takes, unless one of them ends.

    For work of uneven length, such as decoding in one process; sums wait for a minute only.
    """
    if accelerator.num_processes > 1:
        torch.distributed.barrier(group=_patient_group(torch.distributed.group.WORLD))


@contextmanager
def main_process_first(accelerator: Accelerator) -> Generator[None, None, None]:
    """Let the first process run a block before all others do."""
    if not accelerator.is_main_process:
        wait_for_all(accelerator)
    yield
    if accelerator.is_main_process:
        wait_for_all(accelerator)


@contextmanager
def detecting_lost_ranks(
    accelerator: Accelerator, run_dir: Path | None = None
) -> Generator[None, None, None]:
    """Report in one sentence that another process is gone, and how to resume the run.

    Raises:
        TrainingError: instead of what the library raises when a peer ends or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if accelerator.num_processes == 1 or not _is_loss(error):
            raise
        raise TrainingError(_describe_loss(run_dir)) from error


def _is_loss(error: RuntimeError) -> bool:
    """Return whether a message between processes has failed."""
    is_of_group = isinstance(error, torch.distributed.DistError)
    return is_of_group or "gloo" in str(error)  # gloo raises a bare RuntimeError with its file


def _describe_loss(run_dir: Path | None) -> str:
    begun = f"another process of this run is gone, or has not answered for {ANSWER_SECONDS} s"
    if run_dir is None or not (run_dir / "config.json").is_file():
        return f"{begun}: fix what its own message reports and start the run again."
    return (
        f"{begun}; resume from the last finished epoch, with as many processes as you like: "
        f"medimg run --resume {run_dir}"
    )


@lru_cache(maxsize=1)
def _patient_group(world: Any) -> Any:
    """Return a group of the same processes that waits as long as it must."""
    return torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
