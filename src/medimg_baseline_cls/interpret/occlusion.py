"""Occlusion: how much the score of a class drops when a square of the image is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. The square is
an eighth of the side and moves by half its width; it has the image's mean color, since black could
look like a finding. A pixel gets the mean over the squares that cover it.
"""

import torch
from torch import Tensor, nn

from medimg_baseline_cls.interpret.cam import Evidence, finish_maps
from medimg_baseline_cls.interpret.hooks import frozen_in_eval_mode

_SHARE, _BATCH = 8, 32


def compute_occlusion(model: nn.Module, pixels: Tensor, *, targets: Tensor, layer: str) -> Evidence:
    """Return the occlusion maps of a batch; `layer` is ignored.

    Args:
        model: any classifier that turns pixels into logits, shape (B, C).
        pixels: a batch of inputs, shape (B, channels, H, W).
        targets: the class index to explain for each image, shape (B,).
        layer: ignored; all methods have the same arguments.
    """
    with frozen_in_eval_mode(model), torch.no_grad():
        maps = torch.stack(
            [
                _measure_drops(model, image, target=int(target))
                for image, target in zip(pixels, targets, strict=True)
            ]
        )  # (B, H, W)
    height, width = _list_starts(pixels.shape[-2]), _list_starts(pixels.shape[-1])
    return finish_maps(maps[:, None], pixels, grid=(len(height), len(width)))


def _measure_drops(model: nn.Module, image: Tensor, *, target: int) -> Tensor:
    """Return for each pixel the mean drop of the logit over the squares that cover it, (H, W)."""
    masks = _make_masks(image)  # (n, H, W)
    whole = model(image[None])[0, target]
    mean = image.mean(dim=(1, 2), keepdim=True)
    drops = torch.cat(
        [
            whole - model(torch.where(part[:, None], mean, image))[:, target]
            for part in masks.split(_BATCH)
        ]
    )  # (n,)
    covers = masks.to(drops.dtype)
    return (drops[:, None, None] * covers).sum(dim=0) / covers.sum(dim=0)


def _make_masks(image: Tensor) -> Tensor:
    """Return the mask of each square, bool, shape (n, H, W)."""
    height, width = image.shape[-2:]
    rows = _cover(height, _list_starts(height)).to(image.device)  # (r, H)
    columns = _cover(width, _list_starts(width)).to(image.device)  # (c, W)
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)


def _list_starts(side: int) -> list[int]:
    """Return where the squares start along a side; the last one ends at its end.

    >>> _list_starts(64)[:3], _list_starts(64)[-1], _list_starts(6)
    ([0, 4, 8], 56, [0, 1, 2, 3, 4, 5])
    """
    square = max(1, side // _SHARE)
    return sorted({*range(0, side - square, max(1, square // 2)), side - square})


def _cover(side: int, starts: list[int]) -> Tensor:
    places = torch.arange(side)
    first = torch.tensor(starts)[:, None]
    return (places >= first) & (places < first + max(1, side // _SHARE))
