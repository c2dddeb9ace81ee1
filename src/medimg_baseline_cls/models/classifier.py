"""The wrapper around a plain network: pixels in [0, 1] in, float32 logits out.

It contains what belongs to a network: the normalization, gray copied to three channels, the
classifier layer and the Grad-CAM layer. The network inside stays plain: its state dict has its
library's own names. It refuses pixels with another number of channels than 1 or 3, and networks
without one linear layer for their logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg_baseline_cls.errors import ModelError

WeightsKind = Literal["random", "file", "hub", "checkpoint", "module"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """Where the weights came from and how they fitted.

    `source` is a file or repository name, never a path. `missing` are the keys of the
    network that were not filled: its classifier, which is always left out, and nothing
    else. `unexpected` are the keys of the file that were not used: its classifier, and
    for a file of the hub whatever else the network has no place for. `adapted` are the
    tensors with an adapted shape (position embedding, input channels).
    `renamed` describes how the keys were matched if not by their names.
    """

    kind: WeightsKind
    source: str = ""
    sha256: str = ""
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    renamed: str = ""


SlicePooling = Literal["attention", "mean", "max", "lse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """What must be known to build the same network again, as plain values.

    `num_slices` is that of each volume, 0 for images; their features are joined by `pooling`.
    Each slice enters with `neighbors` below and above, as channels. A network that `is_3d` sees
    the volume whole and pools nothing.
    """

    arch: str
    num_classes: int
    image_size: int
    cam_layer: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_slices: int = 0
    pooling: SlicePooling = "attention"
    neighbors: int = 0
    is_3d: bool = False


class Classifier(nn.Module):
    """A network with its normalization and a classifier that computes in float32.

    Attributes:
        net: the plain timm or MONAI network; its state dict keys are the library's own.
        arch, cam_layer: names; `cam_layer` is dotted, inside `net`.
        head_names: prefixes of the classifier inside `net`.
        mean, std: buffers of shape (1, 3, 1, 1), not part of `net`.
        weights_report: where the weights came from.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, facts: NetworkFacts, *, head_name: str, report: WeightsReport
    ) -> None:
        super().__init__()
        self.net = net
        self.facts = facts
        self.arch = facts.arch
        self.cam_layer = facts.cam_layer
        self.head_names = (head_name,)
        self.weights_report = report
        self.is_backbone_frozen = False
        self.register_buffer("mean", torch.tensor(facts.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts.std).view(1, -1, 1, 1), persistent=False)
        net.set_submodule(head_name, _in_full_precision(net.get_submodule(head_name)))
        for module in net.modules():
            if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels:
                # A partial: a copy of the network computes with its own weights.
                module.forward = partial(_compute_in_full_precision, module.forward)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits, float32, of pixels in [0, 1].

        Args:
            pixels: shape (B, 1, S, S) or (B, 3, S, S), floating point.

        Returns:
            Shape (B, C).
        """
        return self.net(self.normalize(pixels)).flatten(1)  # (B, C)

    def features(self, pixels: Tensor) -> Tensor:
        """Return exactly what the last linear layer sees, float32, shape (B, D)."""
        seen: list[Tensor] = []

        def keep_input(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        handle = self.head_layer.register_forward_pre_hook(keep_input)
        try:
            self.net(self.normalize(pixels))
        finally:
            handle.remove()
        return seen[-1].flatten(1).float()  # (B, D)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits (B, C) of features (B, D): the last linear layer alone."""
        if isinstance(self.head_layer, nn.Conv2d):
            features = features[:, :, None, None]  # (B, D, 1, 1)
        return self.head_layer(features).flatten(1)

    @property
    def head_layer(self) -> nn.Module:
        """The last linear layer."""
        return self.net.get_submodule(self.head_names[0])

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return (pixels - mean) / std with gray copied to every channel, (B, 3, S, S).

        Volumes (B, K, S, S) become their slices, (B * K, 3, S, S); with N neighbors below and above
        (B * K, 2 N + 1, S, S), from below to above, the slices at the ends repeated.
        For 3D networks they become (B, 1, K, S, S).

        Raises:
            ModelError: if pixels are not (B, 1, S, S) or (B, 3, S, S), or of another K.
        """
        channels, slices = self.mean.shape[1], self.facts.num_slices
        expected = (
            f"volumes of {slices} slices" if slices else f"images of 1 or {channels} channels"
        )
        if pixels.ndim != 4 or pixels.shape[1] not in ((slices,) if slices else (1, channels)):
            raise ModelError(
                f"{self.arch} takes {expected} as (B, C, S, S), but got a tensor of shape "
                f"{tuple(pixels.shape)}."
            )
        if self.facts.is_3d:
            return ((pixels - self.mean) / self.std)[:, None]
        if self.facts.neighbors:
            steps = torch.arange(-self.facts.neighbors, self.facts.neighbors + 1)
            places = (torch.arange(slices)[:, None] + steps).clamp(0, slices - 1)  # (K, 2 N + 1)
            pixels = pixels[:, places.to(pixels.device)].flatten(0, 1)
        elif slices:
            pixels = pixels.flatten(0, 1)[:, None]  # (B * K, 1, S, S)
        return (pixels - self.mean) / self.std  # broadcasting copies gray to every channel

    def move(self, device: torch.device) -> Self:
        """Move the network to a device, in the order of memory that is fast there."""
        if self.facts.is_3d:
            return self.to(device)
        return self.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen backbone stays in eval mode, whoever asks."""
        super().train(mode)
        if self.is_backbone_frozen:
            self.net.eval()
            self.head_layer.train(mode)
        return self


class FullPrecisionLinear(nn.Linear):
    """A linear layer that computes in float32, also under autocast.

    In bfloat16 a logit has 8 bits: many images would share the same score.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return float32 logits."""
        with torch.autocast(input.device.type, enabled=False):
            return functional.linear(input.float(), self.weight, self.bias)


class FullPrecisionConv(nn.Conv2d):
    """A 1 x 1 convolution used as classifier, in float32 also under autocast."""

    def forward(self, input: Tensor) -> Tensor:
        """Return float32 logits, (B, C, 1, 1)."""
        with torch.autocast(input.device.type, enabled=False):
            return functional.conv2d(input.float(), self.weight, self.bias)


def _compute_in_full_precision(compute: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:
    """Run a depthwise convolution in float32 on a CPU, also under autocast.

    In bfloat16 it is the slower one there: docs/decisions/0005-precision.md.
    """
    if input.device.type != "cpu":
        return compute(input)
    with torch.autocast("cpu", enabled=False):
        return compute(input.float())


def _in_full_precision(layer: nn.Module) -> nn.Module:
    """Return a float32 twin that shares the layer's parameters, names and mode."""
    if not isinstance(layer, (nn.Linear, nn.Conv2d)):  # the head of slices computes so itself
        return layer
    if isinstance(layer, nn.Linear):
        twin = FullPrecisionLinear(1, 1, device="meta")
        twin.in_features, twin.out_features = layer.in_features, layer.out_features
    else:
        twin = FullPrecisionConv(1, 1, 1, device="meta")
        twin.in_channels, twin.out_channels = layer.in_channels, layer.out_channels
    for name in ("weight", "bias"):
        setattr(twin, name, getattr(layer, name))
    return twin.train(layer.training)
