"""Turn somebody's own `torch.nn.Module` into a `Classifier`; the module stays as it was.

It takes normalized images (N, 3, S, S) and returns logits (N, C), the output of its last linear
layer. Refused with what is missing: another shape, no such layer, no feature map for Grad-CAM.
"""

import copy
import hashlib

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.models.classifier import Classifier, NetworkFacts, WeightsReport
from medimg_baseline_cls.models.families import (
    LayerTrace,
    check_cam_layer,
    find_cam_layer,
    trace_layers,
)
from medimg_baseline_cls.utils.seed import torch_randomness

MODULE_PREFIX = "module:"
HALF = (0.5, 0.5, 0.5)  # mean and deviation of a network that names none: images in [-1, 1]


def name_module(module: nn.Module) -> str:
    """Return the name of such a network in place of an architecture.

    >>> name_module(nn.Sequential())
    'module:Sequential'
    """
    return f"{MODULE_PREFIX}{type(module).__name__}"


def wrap_module(
    module: nn.Module,
    *,
    num_classes: int,
    image_size: int,
    cam_layer: str | None = None,
    is_pretrained: bool = True,
) -> Classifier:
    """Return a copy of a module as a classifier.

    Args:
        module: takes images (N, 3, S, S) and returns logits (N, C). Images are normalized by the
            mean and std of its `pretrained_cfg`, as timm's networks have it, else to [-1, 1].
        num_classes: C.
        image_size: S.
        cam_layer: dotted name of the layer for Grad-CAM; None takes the last feature map.
        is_pretrained: whether its weights are more than random ones.

    Raises:
        ModelError: it gives no such logits, has no last linear layer, or no feature map.
    """
    name, net = type(module).__name__, copy.deepcopy(module).cpu()
    with torch_randomness(0, "module", name):
        pixels = torch.rand(1, 3, image_size, image_size)
        try:
            trace = trace_layers(net, pixels)
        except Exception as error:  # foreign code raises anything
            raise ModelError(
                f"model={name} cannot take an image of shape (1, 3, {image_size}, {image_size}): "
                f"{' '.join(str(error).split())}"
            ) from error
    _require_logits(trace.logits, num_classes, name=name)
    _require_head(net, trace, name=name)
    layer = find_cam_layer(net, trace)
    if cam_layer:
        layer = check_cam_layer(net, trace, layer=cam_layer)
    config = getattr(module, "pretrained_cfg", None)
    known = config if isinstance(config, dict) else {}
    facts = NetworkFacts(
        arch=name_module(module),
        num_classes=num_classes,
        image_size=image_size,
        cam_layer=layer,
        mean=tuple(known.get("mean", HALF)),
        std=tuple(known.get("std", HALF)),
    )
    kind = "module" if is_pretrained else "random"
    report = WeightsReport(kind=kind, source=name, sha256=_digest_weights(net))
    return Classifier(net, facts, head_name=trace.head_name, report=report)


def has_new_statistics(net: nn.Module) -> bool:
    """Return whether no image has ever moved the statistics of the network's BatchNorm layers."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    means = [norm.running_mean for norm in norms if norm.running_mean is not None]
    return bool(means) and not any(bool(mean.any()) for mean in means)


def _require_logits(logits: object, num_classes: int, *, name: str) -> None:
    if isinstance(logits, Tensor) and tuple(logits.shape) == (1, num_classes):
        return
    is_tensor = isinstance(logits, Tensor)
    found = f"shape {tuple(logits.shape)}" if is_tensor else f"a {type(logits).__name__}"
    raise ModelError(
        f"model={name} returns {found} for one image, expected logits of shape (1, {num_classes}): "
        "a tensor with one value per class, before any softmax or sigmoid."
    )


def _require_head(net: nn.Module, trace: LayerTrace, *, name: str) -> None:
    """Refuse a network without a last linear layer: the head-only stage trains it alone."""
    head = net.get_submodule(trace.head_name)
    is_linear = type(head) is nn.Linear
    is_pointwise = type(head) is nn.Conv2d and head.kernel_size == (1, 1)
    if not (trace.head_name and (is_linear or is_pointwise)):
        raise ModelError(
            f"model={name} has no last linear layer that outputs its logits: the head-only "
            "stage trains it alone, and it has a learning rate of its own. Let the network end "
            "with a plain nn.Linear (or a 1 x 1 nn.Conv2d), without a softmax after it."
        )


def _digest_weights(net: nn.Module) -> str:
    """Return the sha256 of all tensors with their names."""
    digest = hashlib.sha256()
    for key, tensor in net.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
