"""A volume as a set of slices: any network for images, its features pooled over the slices.

The order of the slices has no influence, unless each slice enters with its neighbors.
"attention" is the gated attention of Ilse et al., "Attention-based Deep Multiple Instance
Learning", ICML 2018; "lse" the smooth maximum log(mean(exp(x))) of the logits x of the slices
(Pinheiro & Collobert, CVPR 2015, with r = 1).
"""

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.models.classifier import Classifier, SlicePooling
from medimg_baseline_cls.utils.seed import torch_randomness

_HIDDEN = 128


class SliceHead(nn.Module):
    """Pools the slices of a volume, and classifies the result, in float32.

    "attention" and "mean" pool features; "max" and "lse" the logits of the slices, for each class.

    Args:
        linear: the classifier of the network for images.
        num_slices: K.
        pooling: "attention", "mean", "max" or "lse".
    """

    def __init__(self, linear: nn.Linear, *, num_slices: int, pooling: SlicePooling) -> None:
        super().__init__()
        self.num_slices, self.pooling = num_slices, pooling
        self.linear = linear
        if pooling == "attention":
            self.value = nn.Linear(linear.in_features, _HIDDEN)
            self.gate = nn.Linear(linear.in_features, _HIDDEN)
            self.score = nn.Linear(_HIDDEN, 1)
            nn.init.zeros_(self.score.weight)  # all slices alike, as long as nothing was learned
            nn.init.zeros_(self.score.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (B, C) of features (B, K, D) or (B, K * D)."""
        with torch.autocast(features.device.type, enabled=False):
            return self._pool(self.unpack(features))

    def unpack(self, features: Tensor) -> Tensor:
        """Return features as (B, K, D), float32."""
        return features.float().reshape(len(features), self.num_slices, -1)

    def attend(self, slices: Tensor) -> Tensor:
        """Return the weight of each slice, shape (B, K), of features (B, K, D); they sum to 1."""
        if self.pooling != "attention":
            return torch.full(slices.shape[:2], 1 / self.num_slices, device=slices.device)
        gated = torch.tanh(self.value(slices)) * torch.sigmoid(self.gate(slices))
        return torch.softmax(self.score(gated)[..., 0], dim=1)

    def _pool(self, slices: Tensor) -> Tensor:
        """Return the logits (B, C) of features (B, K, D)."""
        if self.pooling == "max":
            return self.linear(slices).amax(dim=1)
        if self.pooling == "lse":
            return torch.logsumexp(self.linear(slices), dim=1) - math.log(self.num_slices)
        return self.linear(torch.einsum("bk,bkd->bd", self.attend(slices), slices))


class SliceNet(nn.Module):
    """The network for images on each slice, then the head: (B * K, 3, S, S) to (B, C).

    With `slices_per_pass` above 0, a training step keeps the activations of so many slices at a
    time, and computes them twice (gradient checkpointing; Chen et al., arXiv:1604.06174).
    """

    def __init__(self, backbone: nn.Module, head: SliceHead, *, slices_per_pass: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.slices_per_pass = slices_per_pass

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of volumes, their slices one after the other."""
        if self.slices_per_pass and self.training and torch.is_grad_enabled():
            parts = images.split(self.slices_per_pass)
            seen = [checkpoint(self.backbone, part, use_reentrant=False) for part in parts]
            features = torch.cat(cast(list[Tensor], seen)).flatten(1)
        else:
            features = self.backbone(images).flatten(1)  # (B * K, D)
        return self.head(features.unflatten(0, (-1, self.head.num_slices)))

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that the network for images exempts from weight decay."""
        ask = getattr(self.backbone, "no_weight_decay", None)
        return {f"backbone.{name}" for name in ask()} if ask is not None else set()


def pool_slices(
    model: Classifier,
    *,
    num_slices: int,
    pooling: SlicePooling,
    neighbors: int = 0,
    slices_per_pass: int = 0,
    seed: int = 0,
) -> Classifier:
    """Return a classifier of volumes from one of images, which is taken over.

    Args:
        model: with a linear layer at its end.
        num_slices: K, of each volume.
        pooling: how the features of the slices become one.
        neighbors: N below and above that enter with each slice, as 2 N + 1 channels.
        slices_per_pass: whose activations a training step keeps at a time; 0: all.
        seed: of the first weights of the attention.

    Raises:
        ModelError: the classifier at its end is not a linear layer, or no convolution is first.
    """
    name = model.head_names[0]
    linear = model.net.get_submodule(name)
    if not isinstance(linear, nn.Linear):
        raise ModelError(
            f"{model.arch} ends in a {type(linear).__name__}, but slices are pooled before a "
            "linear layer: choose another network, such as resnet18."
        )
    model.net.set_submodule(name, nn.Identity())
    with torch_randomness(seed, "attention", model.arch):
        head = SliceHead(linear, num_slices=num_slices, pooling=pooling)
    # Alone, a slice is copied to all channels, as gray images are.
    channels = [place % 3 for place in range(2 * neighbors + 1 if neighbors else 3)]
    _spread_stem(model, channels)
    facts = replace(
        model.facts,
        cam_layer=f"backbone.{model.cam_layer}",
        mean=tuple(model.facts.mean[channel] for channel in channels),
        std=tuple(model.facts.std[channel] for channel in channels),
        num_slices=num_slices,
        pooling=pooling,
        neighbors=neighbors,
    )
    net = SliceNet(model.net, head, slices_per_pass=slices_per_pass)
    return Classifier(net, facts, head_name="head", report=model.weights_report)


def _spread_stem(model: Classifier, channels: list[int]) -> None:
    """Let the first convolution take other channels: copies of its own, scaled to the same sum.

    As timm adapts pretrained weights to other numbers of channels.
    """
    if channels == [0, 1, 2]:
        return
    layers = (layer for layer in model.net.modules() if isinstance(layer, nn.Conv2d))
    stem = next((layer for layer in layers if layer.in_channels == len(model.facts.mean)), None)
    if stem is None:
        raise ModelError(
            f"{model.arch} does not begin with a convolution of three channels, so that a slice "
            "cannot enter with two or more neighbors: choose slice_neighbors = 0 or 1."
        )
    scale = stem.in_channels / len(channels)
    stem.weight = nn.Parameter(stem.weight.detach()[:, channels] * scale)
    stem.in_channels = len(channels)


@torch.no_grad()
def weigh_slices(model: Classifier, pixels: Tensor, *, targets: Tensor) -> Tensor:
    """Return how much each slice says about a class, shape (B, K).

    The attention, or for "max" and "lse" the slope of the pooled logit for that of the slice: their
    sum is 1. For "mean" the share of the slice in the logit, without the bias.

    Args:
        model: of volumes.
        pixels: shape (B, K, S, S), in [0, 1].
        targets: the class of each volume, shape (B,).
    """
    head = cast(SliceHead, model.head_layer)
    slices = head.unpack(model.features(pixels))  # (B, K, D)
    if head.pooling == "attention":
        return head.attend(slices)
    targets = targets.to(slices.device)
    places = targets[:, None, None].expand(-1, slices.shape[1], 1)
    logits = head.linear(slices).gather(2, places)[..., 0]  # (B, K)
    if head.pooling == "max":
        return torch.nn.functional.one_hot(logits.argmax(dim=1), slices.shape[1]).float()
    if head.pooling == "lse":
        return logits.softmax(dim=1)
    return (logits - head.linear.bias[targets][:, None]) / slices.shape[1]
