"""What several processes of one run must agree on: sums, gradients, statistics, lists.

With one process every function is the identity. Processes that hold fewer images of a
step than others, or none, take part with their share.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

Item = TypeVar("Item")


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


def is_any(flag: bool, accelerator: Accelerator) -> bool:
    """Return whether the flag is up in any process."""
    return any(gather_items([flag], accelerator))
