"""Which layer Grad-CAM looks at, and which layer is the classifier.

Known families have an entry in `CAM_LAYERS`; any other network is run once on one
image and its last feature map is taken. Refuses a layer that does not exist, that the
network does not run, or that gives no map, and names the candidates.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medimg_baseline_cls.errors import LayerError, ModelError

# Class of the network -> layer. Wherever only pooling and the linear layer follow, the map of
# Grad-CAM is exactly CAM (Zhou, CVPR 2016), which is why the activated output is taken:
# ResNet's layer4; DenseNet's norm5, which in timm includes the ReLU; EfficientNet's bn2, the
# activated output of conv_head (blocks.-1 would miss the last mixing of channels). MONAI's
# DenseNet has its last ReLU apart and in place, so norm5 would be overwritten behind our back.
# In a ViT only the class token leaves the last block, so the tokens that can still carry
# evidence are those that enter it: norm1 of the last block.
CAM_LAYERS: Mapping[str, str] = {
    "timm.models.resnet.ResNet": "layer4",
    "timm.models.densenet.DenseNet": "features.norm5",
    "timm.models.efficientnet.EfficientNet": "bn2",
    "timm.models.convnext.ConvNeXt": "stages.-1",
    "timm.models.vision_transformer.VisionTransformer": "blocks.-1.norm1",
    "monai.networks.nets.densenet.DenseNet": "class_layers.relu",
}
TOKEN_LAYER = "blocks.-1.norm1"  # what transformers of other families call it, too
MAX_CANDIDATES = 12


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What one forward pass of one image showed.

    `shapes` has the output shape of every layer that ran, in order of completion;
    `head_name` is the last linear layer, "" where the logits are not its output; `logits` is what
    the network returned; `num_axes` is that of the input, and so of maps.
    """

    shapes: Mapping[str, tuple[int, ...]]
    head_name: str
    logits: object
    num_axes: int = 4

    def maps(self) -> list[str]:
        """Return the layers with a feature map or tokens, in order of completion."""
        return [n for n, s in self.shapes.items() if self.is_map(n) or _is_tokens(s)]

    def is_map(self, name: str) -> bool:
        """Return whether the output of a layer has several cells along each side."""
        shape = self.shapes.get(name, ())
        # (B, C, h, w); (B, h, w, C) fits as well; of volumes (B, C, d, h, w)
        return len(shape) == self.num_axes and min(shape[2:]) > 1


def trace_layers(net: nn.Module, pixels: Tensor) -> LayerTrace:
    """Return what one forward pass in eval mode shows; the network is given back as it was."""
    shapes: dict[str, tuple[int, ...]] = {}
    outputs: dict[str, Tensor] = {}

    def make_hook(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, *call: Any) -> None:
            output = call[-1]
            if not isinstance(output, Tensor):
                return
            shapes.pop(name, None)
            shapes[name] = tuple(output.shape)
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                outputs[name] = output

        return keep

    modes = [(module, module.training) for module in net.modules()]
    handles = [m.register_forward_hook(make_hook(n)) for n, m in net.named_modules() if n]
    try:
        with torch.no_grad():
            logits = net.eval()(pixels)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    heads = [n for n, output in outputs.items() if _is_same(output, logits)]
    return LayerTrace(shapes, heads[-1] if heads else "", logits, pixels.ndim)


def find_cam_layer(net: nn.Module, trace: LayerTrace) -> str:
    """Return the layer for Grad-CAM: the family's own, else the last feature map.

    Of a small image the family's layer may be a single cell, which is not a map.

    Raises:
        ModelError: if the network has no feature map and no tokens.
    """
    for cls in type(net).__mro__:
        layer = CAM_LAYERS.get(f"{cls.__module__}.{cls.__qualname__}")
        if layer is not None and resolve_layer(net, layer) in trace.maps():
            return resolve_layer(net, layer)
    tokens = resolve_layer(net, TOKEN_LAYER)
    if _is_tokens(trace.shapes.get(tokens, ())):
        return tokens
    found = [
        name
        for name in trace.shapes
        if _is_outer_map(net, name, trace=trace) or _is_block_input(name, trace)
    ]
    if found:
        return found[-1]
    raise ModelError(f"{type(net).__name__} has no feature map for Grad-CAM; take another network.")


def check_cam_layer(net: nn.Module, trace: LayerTrace, *, layer: str) -> str:
    """Return the full name of a layer that the user asked for.

    Negative positions count from the end: "blocks.-1.norm1".

    Raises:
        LayerError: if there is no such layer, or it gives no map; names candidates.
    """
    name = resolve_layer(net, layer)
    maps = trace.maps()
    if name in maps:
        return name
    exists = name in dict(net.named_modules())
    problem = "gives no feature map" if exists else "does not exist"
    near = difflib.get_close_matches(layer, maps, n=3, cutoff=0.6)
    top = [candidate for candidate in maps if candidate.count(".") <= 1]
    candidates = [*near, *(c for c in (top or maps)[::-1] if c not in near)][:MAX_CANDIDATES]
    raise LayerError(
        f"cam_layer {layer!r} {problem} in {type(net).__name__}; "
        f"candidates, nearest or last first: {', '.join(candidates)}."
    )


def resolve_layer(net: nn.Module, layer: str) -> str:
    """Return a dotted name with its negative positions counted out, unchanged if impossible.

    >>> resolve_layer(nn.Sequential(nn.ReLU(), nn.ReLU()), "-1")
    '1'
    """
    module, parts = net, list[str]()
    for part in layer.split("."):
        children = dict(module.named_children())
        if part.startswith("-") and part[1:].isdigit() and 0 < int(part[1:]) <= len(children):
            part = list(children)[int(part)]
        parts.append(part)
        if part not in children:
            return layer
        module = children[part]
    return ".".join(parts)


def _is_tokens(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[1] > 1  # (B, N, D)


def _is_outer_map(net: nn.Module, name: str, *, trace: LayerTrace) -> bool:
    """Return whether a feature map is a stage's own output, not one inside a stage."""
    parents = name.split(".")[:-1]
    inside = (".".join(parents[: i + 1]) for i in range(len(parents)))
    is_inside = any(_is_stage(net, parent, trace=trace) for parent in inside)
    return trace.is_map(name) and not is_inside and "attn" not in name


def _is_stage(net: nn.Module, name: str, *, trace: LayerTrace) -> bool:
    """Return whether a layer is more than a list of stages that ends in a single cell."""
    shape = trace.shapes.get(name, ())
    is_list = isinstance(net.get_submodule(name), nn.Sequential)
    return len(shape) == trace.num_axes and (trace.is_map(name) or not is_list)


def _is_block_input(name: str, trace: LayerTrace) -> bool:
    """Return whether these are the normed tokens that enter a transformer block."""
    return _is_tokens(trace.shapes[name]) and name.endswith(".norm1")


def _is_same(output: Tensor, logits: object) -> bool:
    return isinstance(logits, Tensor) and torch.equal(output.flatten(), logits.flatten())
