"""Occlusion: how much the score of a class drops when a square of the image is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. The square is
an eighth of the side and moves by half its width; it has the image's mean color, since black could
look like a finding. For 3D networks it is a cube, an eighth of the volume in each direction, which
moves by its width; for other networks of volumes a square covers a place in all slices at once.
A pixel gets the mean over the squares that cover it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medimg_baseline_cls.interpret.cam import Evidence, finish_maps
from medimg_baseline_cls.interpret.hooks import frozen_in_eval_mode

_SHARE, _BATCH = 8, 32
_SLICES = 256  # at a time


def compute_occlusion(model: nn.Module, pixels: Tensor, *, targets: Tensor, layer: str) -> Evidence:
    """Return the occlusion maps of a batch; `layer` is ignored.

    Args:
        model: any classifier that turns pixels into logits, shape (B, C); one whose `facts.is_3d`
            is true sees its channels as the slices of a volume.
        pixels: a batch of inputs, shape (B, channels, H, W).
        targets: the class index to explain for each image, shape (B,).
        layer: ignored; all methods have the same arguments.
    """
    is_3d = bool(getattr(getattr(model, "facts", None), "is_3d", False))
    depth, *sides = pixels.shape[1:]
    covers = [_cover(side, num_steps=1 if is_3d else 2) for side in sides]  # (r, H), (c, W)
    covers.insert(0, _cover(depth, num_steps=1) if is_3d else torch.ones(1, 1, dtype=torch.bool))
    covers = [cover.to(pixels.device) for cover in covers]
    with frozen_in_eval_mode(model), torch.no_grad():
        maps = torch.stack(
            [
                _measure_drops(model, image, target=int(target), covers=covers)
                for image, target in zip(pixels, targets, strict=True)
            ]
        )  # (B, K or 1, H, W)
    grid = tuple(len(cover) for cover in covers)
    return finish_maps(maps[:, None] if is_3d else maps, pixels, grid=grid if is_3d else grid[1:])


def _measure_drops(
    model: nn.Module, image: Tensor, *, target: int, covers: Sequence[Tensor]
) -> Tensor:
    """Return for each pixel the mean drop of the logit over the boxes that cover it.

    Args:
        model: turns pixels into logits.
        image: shape (channels, H, W).
        target: the class index.
        covers: what the boxes cover of each direction, bool: (d, K), or (1, 1) if that is all
            channels; (r, H); (c, W).

    Returns:
        Shape (K, H, W), or (1, H, W).
    """
    whole = model(image[None])[0, target]
    mean = image.mean(dim=(1, 2), keepdim=True)
    places = torch.cartesian_prod(*(torch.arange(len(cover)) for cover in covers))  # (n, 3)
    drops: list[Tensor] = []
    for part in places.split(max(1, min(_BATCH, _SLICES // len(image)))):
        deep, high, wide = (cover[part[:, i].to(image.device)] for i, cover in enumerate(covers))
        masks = deep[:, :, None, None] & high[:, None, :, None] & wide[:, None, None, :]
        drops.append(whole - model(torch.where(masks, mean, image))[:, target])
    fall = torch.cat(drops).view([len(cover) for cover in covers])  # (d, r, c)
    shares = [(cover / cover.sum(dim=0)).to(fall.dtype) for cover in covers]
    return torch.einsum("drc,dk,rh,cw->khw", fall, *shares)


def _cover(side: int, *, num_steps: int) -> Tensor:
    """Return what squares cover along a side, bool, shape (n, side); the last ends at its end.

    >>> _cover(4, num_steps=1).int().tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    >>> _cover(64, num_steps=2).int().argmax(dim=1)[-3:].tolist()
    [48, 52, 56]

    Args:
        side: in pixels.
        num_steps: in which a square moves by its width.
    """
    square = max(1, side // _SHARE)
    step = max(1, square // num_steps)
    starts = torch.tensor(sorted({*range(0, side - square, step), side - square}))[:, None]
    return (torch.arange(side) >= starts) & (torch.arange(side) < starts + square)
