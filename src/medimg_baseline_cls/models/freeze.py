"""Freeze the backbone or its first layers for a while, and sort parameters into optimizer groups.

Freezing means parameters AND BatchNorm buffers: with `requires_grad` alone, a forward
pass in training mode still moves the running means.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.families import trace_layers


def head_parameters(model: Classifier) -> list[nn.Parameter]:
    """Return the parameters of the last linear layer."""
    return list(model.head_layer.parameters())


@contextmanager
def frozen_backbone(model: Classifier) -> Generator[Classifier, None, None]:
    """Freeze everything but the last linear layer for a block, and restore it after.

    Inside, `model.train()` reaches only the last layer: BatchNorm keeps its running
    statistics and dropout stays off in the backbone.
    """
    gradients = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    was_frozen, training = model.is_backbone_frozen, model.training
    head = {id(p) for p in head_parameters(model)}
    try:
        for parameter, _ in gradients:
            parameter.requires_grad_(id(parameter) in head and parameter.requires_grad)
        model.is_backbone_frozen = True
        model.train(training)
        yield model
    finally:
        model.is_backbone_frozen = was_frozen
        for parameter, needs_gradient in gradients:
            parameter.requires_grad_(needs_gradient)
        for module, mode in modes:
            module.training = mode


def find_stem(model: Classifier) -> list[nn.Module]:
    """Return the layers up to the last with maps of at least a quarter of the image's side.

    They take most of the time of fine-tuning and respond to edges and textures. A network that
    has no such maps, such as a transformer of 16 x 16 patches, has no stem.

    Returns:
        Modules with parameters of their own, in the order of the forward pass.
    """
    side = model.facts.image_size
    slices, channels = max(1, model.facts.num_slices), model.mean.shape[1]
    shape = (1, 1, slices, side, side) if model.facts.is_3d else (slices, channels, side, side)
    pixels = torch.zeros(shape, device=model.mean.device)
    stem, large = list[nn.Module](), 0
    for name, shape in trace_layers(model.net, pixels).shapes.items():
        layer = model.net.get_submodule(name)
        if next(layer.parameters(recurse=False), None) is not None:
            stem.append(layer)
            if len(shape) == pixels.ndim and shape[-2] >= side / 4:  # (B, C, H, W) or (B, H, W, C)
                large = len(stem)
    return stem[:large]


@contextmanager
def frozen_layers(layers: Sequence[nn.Module]) -> Generator[None, None, None]:
    """Stop the gradients of some layers for a block; their modes are the caller's."""
    gradients = [(p, p.requires_grad) for layer in layers for p in layer.parameters(recurse=False)]
    try:
        for parameter, _ in gradients:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, needs_gradient in gradients:
            parameter.requires_grad_(needs_gradient)


def parameter_groups(
    model: Classifier, *, head_lr: float, backbone_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return optimizer groups of the parameters that take gradients.

    Norms, biases and whatever the network itself exempts (position embeddings, class
    tokens) get no weight decay. Groups that would be empty are left out.

    Returns:
        Dicts with "name", "params", "lr" and "weight_decay"; names are "head",
        "head_no_decay", "backbone", "backbone_no_decay".
    """
    exempt = _names_without_decay(model.net)
    head = {id(p) for p in head_parameters(model)}
    groups: dict[str, dict[str, Any]] = {}
    for part, rate in (("head", head_lr), ("backbone", backbone_lr)):
        for suffix, decay in (("", weight_decay), ("_no_decay", 0.0)):
            name = part + suffix
            groups[name] = {"name": name, "params": [], "lr": rate, "weight_decay": decay}
    for name, parameter in model.net.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "head" if id(parameter) in head else "backbone"
        is_exempt = parameter.ndim <= 1 or name.endswith(".bias") or name in exempt
        groups[part + ("_no_decay" if is_exempt else "")]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _names_without_decay(net: nn.Module) -> set[str]:
    ask: Callable[[], Iterable[str]] | None = getattr(net, "no_weight_decay", None)
    return set(ask()) if ask is not None else set()
