"""Grad-CAM and related methods: network, images and target classes in, heat maps out.

The methods differ in how they weight the features of a layer (interpret/methods.py). Grad-CAM:
Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017. For layers with feature maps (convolutional networks, channels first or
last) and layers with tokens (vision transformers). A map is neither a localization nor a cause.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.interpret.hooks import capture_layer
from medimg_baseline_cls.interpret.volume_maps import VolumeMap

Weigh = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The maps of a batch.

    Attributes:
        heats: shape (B, H, W), in [0, 1]; of 3D networks (B, K, H, W); of slices (B * K, H, W).
        grid: rows and columns of the layer's cells, from which the maps are interpolated; in 3D
            after the number of cells along the slices.
        is_found: whether the image has any evidence for the class, shape (B,).
        volumes: of volumes, the whole of which each map is the slice that says most.
    """

    heats: NDArray[np.float32]
    grid: tuple[int, ...]
    is_found: NDArray[np.bool_]
    volumes: tuple[VolumeMap, ...] = ()


def compute_gradcam(
    model: nn.Module, pixels: Tensor, *, targets: Tensor, layer: str
) -> NDArray[np.float32]:
    """Return only the maps of `compute_evidence`, shape (B, H, W)."""
    return compute_evidence(model, pixels, targets=targets, layer=layer).heats


def weigh_by_mean_gradient(values: Tensor, slopes: Tensor) -> Tensor:
    """Grad-CAM: weight each channel by its mean gradient.

    Args:
        values: features of the layer, shape (B, D, h, w), or (B, D, d, h, w) in 3D.
        slopes: gradients of the logit with respect to them, of the same shape.

    Returns:
        Shape (B, 1, h, w); negative values are evidence against the class.
    """
    weights = slopes.mean(dim=tuple(range(2, slopes.ndim)), keepdim=True)  # (B, D, 1, 1)
    return (weights * values).sum(dim=1, keepdim=True)


def compute_evidence(
    model: nn.Module,
    pixels: Tensor,
    *,
    targets: Tensor,
    layer: str,
    weigh: Weigh = weigh_by_mean_gradient,
) -> Evidence:
    """Compute the map of one class for each image of a batch: Grad-CAM, unless `weigh` is set.

    The cost is one forward pass and a backward pass from the logits to the layer. The
    model is left unchanged: modes, hooks, gradients.

    Args:
        model: any classifier that turns pixels into logits, shape (B, C).
        pixels: a batch of inputs, shape (B, channels, H, W).
        targets: the class index to explain for each image, shape (B,).
        layer: dotted name of the layer whose output is weighted, such as "layer4".
        weigh: turns features and gradients into a map, as `weigh_by_mean_gradient` does.

    Returns:
        Maps in [0, 1]: 1 at the strongest evidence for the class, 0 at the weakest; all 0
        if there is no evidence for the class or it is the same everywhere.

    Raises:
        ModelError: the layer is unknown, unused or has no spatial extent, or the maps are
            not finite.
    """
    with capture_layer(model, layer) as captured:
        logits = model(pixels)  # (B, C)
        # Images do not interact in eval mode, so one backward pass of the sum serves all.
        evidence = logits.gather(1, targets.to(logits.device)[:, None]).sum()
        activations = captured.output
        if not evidence.requires_grad:
            raise ModelError(f"the logits do not depend on layer {layer}: choose another layer.")
        (gradients,) = torch.autograd.grad(evidence, activations)
    size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
    num_prefix = _num_prefix_tokens(model)
    with torch.no_grad():
        values = _feature_maps(activations.detach().float(), size, num_prefix=num_prefix)
        slopes = _feature_maps(gradients.float(), size, num_prefix=num_prefix)
        maps = weigh(values, slopes)  # (B, 1, h, w)
    return finish_maps(maps, pixels, grid=tuple(maps.shape[2:]))


@torch.no_grad()
def finish_maps(maps: Tensor, pixels: Tensor, *, grid: tuple[int, ...]) -> Evidence:
    """Turn maps of any size into evidence: the positive part, resized to the image, in [0, 1].

    Args:
        maps: shape (B, 1, h, w), or (B, 1, d, h, w) of volumes (B, K, H, W); (B * K, 1, h, w) of
            the slices of volumes, which share one scale: 1 is the strongest evidence of a volume.
        pixels: the images, shape (B, channels, H, W).
        grid: rows and columns of the cells of the maps.

    Raises:
        ModelError: the maps are not finite.
    """
    maps = maps.clamp(min=0)
    is_found = maps.flatten(1).amax(dim=1) > 0
    size = tuple(pixels.shape[-(maps.ndim - 2) :])
    mode = "bilinear" if maps.ndim == 4 else "trilinear"
    maps = functional.interpolate(maps, size=size, mode=mode, align_corners=False)
    maps = _stretch(maps[:, 0], num_images=len(pixels))  # (B, H, W)
    if not bool(torch.isfinite(maps).all()):
        raise ModelError(
            "the heat map is not finite: the weights or the pixels contain NaN or values too large "
            "for the precision; try precision=fp32."
        )
    return Evidence(maps.cpu().numpy(), grid, is_found.cpu().numpy())


def _stretch(maps: Tensor, *, num_images: int) -> Tensor:
    """Shift and scale the maps of each image to span [0, 1]; constant ones become 0."""
    values = maps.reshape(num_images, -1)
    lowest = values.amin(dim=1, keepdim=True)
    spans = values.amax(dim=1, keepdim=True) - lowest
    return ((values - lowest) / torch.where(spans > 0, spans, torch.ones_like(spans))).view_as(maps)


def _feature_maps(features: Tensor, size: tuple[int, int], *, num_prefix: int | None) -> Tensor:
    """Return features of any layout as maps, channels first: shape (B, D, h, w)."""
    if features.ndim == 5 and _has_aspect((features.shape[3], features.shape[4]), size):
        return features  # of a 3D network
    if features.ndim == 4:
        _, first, second, third = features.shape
        if _has_aspect((second, third), size):
            return features
        if _has_aspect((first, second), size):  # channels last, as in Swin
            return features.permute(0, 3, 1, 2)
    if features.ndim == 3:
        return _token_maps(features, size, num_prefix=num_prefix)
    raise ModelError(
        f"the layer's output has shape {tuple(features.shape)}, which is not that of maps for "
        f"images of {size[0]} x {size[1]} px: choose a layer before the pooling, such as the last "
        "stage or block."
    )


def _token_maps(tokens: Tensor, size: tuple[int, int], *, num_prefix: int | None) -> Tensor:
    """Arrange patch tokens (B, N, D) as an image, without class and register tokens."""
    num_tokens = tokens.shape[1]
    guesses = (0, 1) if num_prefix is None else (num_prefix, 0)
    for num_dropped in guesses:
        num_patches = num_tokens - num_dropped
        height = round(math.sqrt(max(num_patches, 0) * size[0] / size[1]))
        width = num_patches // max(height, 1)
        if height * width == num_patches > 0 and _has_aspect((height, width), size):
            grid = tokens[:, num_dropped:].unflatten(1, (height, width))  # (B, h, w, D)
            return grid.permute(0, 3, 1, 2)
    raise ModelError(
        f"the layer's output has {num_tokens} tokens, which do not fill a grid of the image's "
        f"shape ({size[0]} x {size[1]} px): choose a layer whose tokens are patches."
    )


def _has_aspect(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return whether a grid has the aspect ratio of the image, up to one cell of rounding."""
    step = max(size[0] / grid[0], size[1] / grid[1])
    return all(abs(size[i] / step - grid[i]) < 1 for i in (0, 1))


def _num_prefix_tokens(model: nn.Module) -> int | None:
    """Return the number of tokens before the patches, an attribute of timm's transformers."""
    for module in model.modules():
        number = getattr(module, "num_prefix_tokens", None)
        if isinstance(number, int):
            return number
    return None
