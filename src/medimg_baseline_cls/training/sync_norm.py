"""BatchNorm over the images of all processes: the setting `batchnorm = sync`.

The call of BatchNorm is replaced while the network runs, not the layers: the names of weights
and timm's and MONAI's layers with a built-in activation stay the same. Unlike
torch.nn.SyncBatchNorm, this works on CPUs too.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode


def batchnorm_over_processes(accelerator: Accelerator) -> AbstractContextManager[object]:
    """Return a context in which BatchNorm layers in train mode use the images of all processes.

    Every process must run the network and its backward pass, even without an image.
    """
    return nullcontext() if accelerator.num_processes == 1 else _SyncMode()


class _SyncMode(TorchFunctionMode):
    """Replaces the calls of torch.nn.functional.batch_norm that compute statistics."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = dict(kwargs or {})
        if func is not F.batch_norm or not keywords.pop("training"):
            return func(*args, **(kwargs or {}))
        x, *buffers = args
        return _batch_norm(x, tuple(buffers), **keywords)


class _Sum(Function):
    """The sum over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = tensor.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = grad.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total


def _batch_norm(
    x: Tensor,
    buffers: tuple[Tensor | None, ...],
    *,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalize x (B, C, ...), where B differs between processes and may be 0."""
    values = x.float()
    dims, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
    local_sum = values.sum(dim=dims)  # (C,)
    local_count = local_sum.new_full((1,), values.numel() / len(local_sum))
    summed = _sum(torch.cat([local_sum, local_count]))
    mean, count = summed[:-1] / summed[-1], summed[-1].detach()
    # A variance from the sum of squares would lose digits, so a second message is worth it.
    centered = values - mean.view(shape)
    variance = _sum(centered.square().sum(dim=dims)) / count
    _move_buffers(buffers, momentum, mean=mean, variance=variance * (count / (count - 1)))
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    normed = centered * scale.view(shape)
    if bias is not None:
        normed = normed + bias.view(shape)
    return normed.to(x.dtype)


def _sum(tensor: Tensor) -> Tensor:
    summed: Any = _Sum.apply(tensor)
    return summed


@torch.no_grad()
def _move_buffers(
    buffers: tuple[Tensor | None, ...], momentum: float, *, mean: Tensor, variance: Tensor
) -> None:
    for buffer, found in zip(buffers, (mean, variance), strict=True):
        if buffer is not None:
            buffer.mul_(1 - momentum).add_(found, alpha=momentum)
