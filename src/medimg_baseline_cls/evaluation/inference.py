"""The only inference path: a network and batches in, probabilities out.

Validation during training, `evaluate` and `predict` all use it. Every forward pass has the same
shape, so that an image gets the same bits alone as in a full batch. Logits that are not finite
are refused.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.schema import Task
from medimg_baseline_cls.utils.device import Precision, autocast

INFERENCE_BATCH_SIZE = 32  # 64 and more are only 7 to 9 % faster (decision 0018)

BatchLike = tuple[Tensor, Tensor, NDArray[np.int64]]
ToUnitRange = Callable[[Tensor, torch.device], Tensor]
Activation = Literal["softmax", "sigmoid"]


def activation_of(task: Task) -> Activation:
    """Return the activation of a task: sigmoid for independent findings, softmax for classes.

    >>> activation_of("multilabel"), activation_of("ordinal")
    ('sigmoid', 'softmax')
    """
    return "sigmoid" if task == "multilabel" else "softmax"


def predict_probabilities(
    model: nn.Module,
    batches: Iterable[BatchLike],
    *,
    to_unit_range: ToUnitRange,
    device: torch.device,
    precision: Precision,
    activation: Activation,
    batch_size: int = INFERENCE_BATCH_SIZE,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the probabilities of a network for each image of some batches.

    Args:
        model: maps (B, C, S, S) in [0, 1] to logits (B, K); the train/eval mode of every module
            is restored.
        batches: (pixels, labels, rows) each, of any size; labels are ignored.
        to_unit_range: moves stored pixels to the device as float32 in [0, 1].
        device: where the model is.
        precision: "fp32" or "bf16".
        activation: "softmax" or "sigmoid", from `activation_of` the task.
        batch_size: images of every forward pass; smaller batches are filled up with copies.

    Returns:
        The rows in their given order, shape (N,), and the softmax or sigmoid in float64,
        shape (N, K).

    Raises:
        ModelError: the network's output is NaN or infinite.
    """
    rows: list[NDArray[np.int64]] = []
    logits: list[Tensor] = []
    # One autocast around all batches: the weights are cast to bf16 once.
    with _evaluating(model), torch.inference_mode(), autocast(device, precision):
        for pixels, chunk_rows in _equal_chunks(batches, batch_size):
            unit = to_unit_range(_fill_up(pixels, batch_size), device)  # (batch_size, C, S, S)
            answer = model(unit)
            # Results stay on the device until the last batch, so that it never waits for us.
            logits.append(answer[: len(chunk_rows)].double())
            rows.append(chunk_rows)
        if not rows:
            return np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float64)
        merged_rows = np.concatenate(rows).astype(np.int64, copy=False)
        merged = torch.cat(logits).cpu().numpy()  # (N, K)
        _check_finite(merged, merged_rows)
        return merged_rows, _softmax(merged) if activation == "softmax" else _sigmoid(merged)


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None, None, None]:
    """Switch to eval mode for a block, and restore the mode of every module."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _equal_chunks(
    batches: Iterable[BatchLike], batch_size: int
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Yield the images of the batches in pieces of at most `batch_size`."""
    for pixels, _, rows in batches:
        for start in range(0, len(rows), batch_size):
            stop = start + batch_size
            yield pixels[start:stop], rows[start:stop]


def _fill_up(pixels: Tensor, batch_size: int) -> Tensor:
    """Repeat the last image up to the constant size.

    Kernels are chosen by shape, and other kernels add in another order: without this a
    smaller last batch would differ in the last bits.
    """
    missing = batch_size - len(pixels)
    if missing == 0:
        return pixels
    return torch.cat([pixels, pixels[-1:].expand(missing, *pixels.shape[1:])])


def _check_finite(logits: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
    is_bad = ~np.isfinite(logits).all(axis=1)
    if is_bad.any():
        named = ", ".join(str(row) for row in rows[is_bad][:10])
        raise ModelError(
            f"The network gives NaN or infinity for {is_bad.sum()} of {len(rows)} images "
            f"(rows of split.csv from 0: {named}); its weights have diverged. "
            f"Train again with a lower learning rate, or try precision=fp32."
        )


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # Minus the maximum, as exp of a large logit overflows; the ratio is the same.
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))  # (N, K)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # exp of -|x|, as exp of a large x overflows.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)
