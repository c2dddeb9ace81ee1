"""Turn the name of an architecture into a `Classifier` ready to train, or one from best.pt.

Names are timm's ("resnet18", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"), or
"monai:DenseNet121" for MONAI's own networks, or "monai3d:resnet18" for those with 3D convolutions,
which see volumes. This is the only file that imports timm's
or MONAI's networks. Refuses unknown names (with the nearest ones), image sizes that a
network cannot take, and networks without a last linear layer for their logits.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import timm
import torch
from timm.models import get_pretrained_cfg, split_model_name_tag
from torch import Tensor, nn

from medimg_baseline_cls.errors import LayerError, ModelError, WeightsError
from medimg_baseline_cls.models.classifier import Classifier, NetworkFacts, WeightsReport
from medimg_baseline_cls.models.families import (
    LayerTrace,
    check_cam_layer,
    find_cam_layer,
    trace_layers,
)
from medimg_baseline_cls.models.hub import HUB_FILES
from medimg_baseline_cls.models.own_module import HALF, MODULE_PREFIX, name_module, wrap_module
from medimg_baseline_cls.models.slices import pool_slices
from medimg_baseline_cls.models.weights import (
    StateDict,
    fill_network,
    load_hub_weights,
    load_weights_file,
    offline_hint,
)
from medimg_baseline_cls.utils.seed import torch_randomness

MONAI_PREFIX = "monai:"
MONAI3D_PREFIX = "monai3d:"
IN_CHANNELS = 3  # gray is copied to three channels, to keep pretrained stems unchanged
CLASSIFIER_STD = 0.01  # of its first weights

# MONAI's classifiers -> what each calls its input channels and its classes.
MONAI_NETWORKS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264"),
        ("in_channels", "out_channels"),
    ),
    **dict.fromkeys(
        ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        ("n_input_channels", "num_classes"),
    ),
    **dict.fromkeys(
        ("SEResNet50", "SEResNet101", "SEResNext50", "SEResNext101", "SENet154"),
        ("in_channels", "num_classes"),
    ),
}

# In 3D, ResNets are as in MedicalNet (Chen et al., arXiv:1904.00625), so that its weights fit; but
# the first layer keeps the number of slices, which are fewer than pixels.
_MEDICALNET = {"bias_downsample": False, "conv1_t_stride": (1, 2, 2)}
_WITHOUT_SHORTCUTS = ("resnet18", "resnet34")


def build_model(
    arch: str,
    *,
    num_classes: int = 2,
    seed: int = 0,
    image_size: int | tuple[int, int] = 224,
    pretrained: bool = True,
    weights: Path | None = None,
    cam_layer: str | None = None,
) -> Classifier:
    """Build a network, its classifier drawn from the seed.

    Args:
        arch: timm's name, or "monai:" and the name of one of MONAI's networks.
        num_classes: number of logits, 2 or more.
        seed: of the random initial weights; global generators are left as they were.
        image_size: side of the square images, in pixels; of 3D networks (slices, side).
        pretrained: take timm's weights from the hub, all but the classifier.
        weights: take them from this file instead (.safetensors, .pth, .pt, .bin).
        cam_layer: dotted name of the layer for Grad-CAM; None takes the family's.

    Raises:
        ModelError: if the name, the layer or the image size does not fit.
        WeightsError: if the weights cannot be had or do not fit.
    """
    num_slices, side = image_size if isinstance(image_size, tuple) else (0, image_size)
    plan = _plan_network(arch, num_classes=num_classes, image_size=side)
    with torch_randomness(seed, "model", arch):
        net, trace = _create(plan, arch, image_size=side, num_slices=num_slices)
    with torch_randomness(seed, "classifier", arch):
        _draw_classifier(net.get_submodule(trace.head_name))
    layer = find_cam_layer(net, trace)
    if cam_layer:
        layer = check_cam_layer(net, trace, layer=cam_layer)
    facts = NetworkFacts(
        arch=arch,
        num_classes=num_classes,
        image_size=side,
        cam_layer=layer,
        mean=plan.mean,
        std=plan.std,
        num_slices=num_slices,
        is_3d=num_slices > 0,
    )
    head = trace.head_name
    report = _load_weights(net, plan, head_name=head, pretrained=pretrained, weights=weights)
    return Classifier(net, facts, head_name=head, report=report)


def require_architecture(arch: str, *, image_size: int = 224) -> None:
    """Refuse an unknown name at once, before any image is read.

    Raises:
        ModelError: there is no such network; the message has the nearest names.
    """
    _plan_network(arch, num_classes=2, image_size=image_size)


def find_hub_id(arch: str, *, image_size: int) -> str | None:
    """Return the name on the hub of the pretrained weights of a network; None if it has none."""
    return _plan_network(arch, num_classes=2, image_size=image_size).hub_id


def describe_model(model: Classifier) -> dict[str, Any]:
    """Return what `rebuild_model` needs, as plain values for JSON and best.pt."""
    facts = model.facts
    named = {
        "num_slices": facts.num_slices,
        "pooling": "" if facts.is_3d or not facts.num_slices else facts.pooling,
        "neighbors": facts.neighbors,
    }
    sliced = {name: value for name, value in named.items() if value}
    return {
        "arch": facts.arch,
        "num_classes": facts.num_classes,
        "image_size": facts.image_size,
        "cam_layer": facts.cam_layer,
        "mean": list(facts.mean),
        "std": list(facts.std),
        **sliced,
    }


def rebuild_model(
    description: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    *,
    source: str = "best.pt",
    module: nn.Module | None = None,
) -> Classifier:
    """Build the network that a checkpoint describes and fill it with the checkpoint's tensors.

    Args:
        description: from `describe_model`.
        state_dict: of the network.
        source: the name of the checkpoint, for messages.
        module: the network itself where it is not one that has a name here.

    Raises:
        ModelError: if the module is missing, or not of the class that was trained.
        WeightsError: if the tensors are not exactly those of the described network.
    """
    arch, shape = description["arch"], ("num_classes", "image_size", "cam_layer")
    facts = {name: description[name] for name in shape}
    num_slices = description.get("num_slices", 0)
    is_pooled = bool(num_slices) and not arch.startswith(MONAI3D_PREFIX)
    if num_slices and not is_pooled:
        facts["image_size"] = num_slices, facts["image_size"]
    if is_pooled:
        facts["cam_layer"] = facts["cam_layer"].removeprefix("backbone.")
    if module is None:
        build = partial(build_model, arch, pretrained=False)
    elif name_module(module) == arch:
        build = partial(wrap_module, module)
    else:
        raise ModelError(
            f"{source} is of {arch}, not of {name_module(module)}: pass the network that the run "
            "was trained with, and no model where that has a name."
        )
    try:
        model = build(**facts)
    except LayerError:  # earlier versions wrote a layer without a map where images are small
        facts["cam_layer"] = None
        model = build(**facts)
    if is_pooled:
        model = pool_slices(
            model,
            num_slices=num_slices,
            pooling=description["pooling"],
            neighbors=description.get("neighbors", 0),
        )
    fill_network(model.net, state_dict, source=source)
    mean, std = tuple(description["mean"]), tuple(description["std"])
    facts = replace(model.facts, mean=mean, std=std)
    report = WeightsReport(kind="checkpoint")
    return Classifier(model.net, facts, head_name=model.head_names[0], report=report)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to create a network, its normalization, and where its pretrained weights are.

    `hub_files` has the address and the file names on the hub; `no_hub` says why there is none.
    """

    create: Callable[[], nn.Module]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    translate: Callable[[type[nn.Module], StateDict], StateDict] | None = None
    hub_id: str | None = None
    hub_files: tuple[str, ...] = HUB_FILES
    no_hub: str = ""


def _plan_network(arch: str, *, num_classes: int, image_size: int) -> _Plan:
    if num_classes < 2:
        raise ModelError(f"A classifier needs 2 classes or more, not {num_classes}.")
    if arch.startswith(MODULE_PREFIX):
        name = arch.removeprefix(MODULE_PREFIX)
        raise ModelError(
            f"{arch} is a network that was passed from Python, where it must be passed again, as "
            f"in evaluate(run, model={name}()); the command line cannot build it."
        )
    if arch.startswith((MONAI_PREFIX, MONAI3D_PREFIX)):
        return _plan_monai(arch, num_classes=num_classes)
    return _plan_timm(arch, num_classes=num_classes, image_size=image_size)


def _plan_timm(arch: str, *, num_classes: int, image_size: int) -> _Plan:
    name, tag = split_model_name_tag(arch)
    known = timm.list_models(pretrained=bool(tag))
    is_known = timm.is_model(name) and (not tag or arch in known)
    config = get_pretrained_cfg(arch) if is_known else None
    if config is None:
        names = [*known, *(MONAI_PREFIX + monai_name for monai_name in MONAI_NETWORKS)]
        near = difflib.get_close_matches(arch, names, n=5, cutoff=0.6)
        hint = f"nearest: {', '.join(near)}" if near else "see timm.list_models()"
        raise ModelError(f"Unknown architecture {arch!r}; {hint}.")
    settings: dict[str, Any] = {"num_classes": num_classes}
    if config.fixed_input_size:
        settings["img_size"] = image_size
    address = f"; download {config.url} and give it with --weights" if config.url else ""
    return _Plan(
        partial(timm.create_model, arch, pretrained=False, **settings),
        tuple(config.mean),
        tuple(config.std),
        translate=partial(_translate_as_timm, arch=arch, settings=settings),
        hub_id=config.hf_hub_id,
        hub_files=_hub_files(config.hf_hub_filename),
        no_hub=f"timm's hub has no weights for {arch}{address}",
    )


def _hub_files(filename: str | None) -> tuple[str, ...]:
    """Return the names to try on the hub, the safe format first."""
    if not filename:
        return HUB_FILES
    safe = filename.replace("pytorch_model.bin", "model.safetensors")
    return tuple(dict.fromkeys((safe, filename)))


def _plan_monai(arch: str, *, num_classes: int) -> _Plan:
    prefix, _, name = arch.partition(":")
    if name not in MONAI_NETWORKS:
        near = difflib.get_close_matches(name, MONAI_NETWORKS, n=5, cutoff=0.4) or MONAI_NETWORKS
        raise ModelError(
            f"Unknown architecture {arch!r}; nearest of MONAI's classifiers: "
            f"{', '.join(f'{prefix}:{n}' for n in near)}."
        )
    import monai.networks.nets as nets  # slow to import: only for who asks for it

    inputs, outputs = MONAI_NETWORKS[name]
    is_3d = arch.startswith(MONAI3D_PREFIX)
    half = HALF[:1] if is_3d else HALF
    settings: dict[str, Any] = {
        "spatial_dims": 3 if is_3d else 2,
        inputs: len(half),
        outputs: num_classes,
    }
    if is_3d and name.startswith("resnet"):
        settings |= _MEDICALNET | {"shortcut_type": "A" if name in _WITHOUT_SHORTCUTS else "B"}
    factory = cast(Callable[..., nn.Module], getattr(nets, name))
    no_hub = f"{arch} has no weights on the hub"
    return _Plan(partial(factory, **settings), half, half, _drop_decoder, no_hub=no_hub)


def _drop_decoder(kind: type[nn.Module], state: StateDict) -> StateDict:
    """Return a state dict without the last layer of MedicalNet, which is for segmentation."""
    return {key: value for key, value in state.items() if not key.startswith("conv_seg.")}


def _create(
    plan: _Plan, arch: str, *, image_size: int, num_slices: int
) -> tuple[nn.Module, LayerTrace]:
    """Return the network and what one image shows; refuse a size that it cannot take."""
    shape = (num_slices, image_size, image_size) if num_slices else (image_size, image_size)
    try:
        net = plan.create()
        _check_patches(net, arch, image_size=image_size)
        trace = trace_layers(net, torch.rand(1, len(plan.mean), *shape))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        size = " x ".join(map(str, shape)) if num_slices else image_size
        raise ModelError(f"{arch} cannot take images of {size} px: {error}") from error
    if not trace.head_name:
        raise ModelError(
            f"{arch} has no single last linear layer that outputs its logits "
            "(it may average several classifiers); take another architecture."
        )
    return net, trace


def _draw_classifier(layer: nn.Module) -> None:
    """Initialize the classifier again: small normal weights and no bias, whatever the architecture.

    timm draws the one of EfficientNets uniformly within 1 / sqrt(num_classes), as if its
    classes were its inputs. With two classes the first logits are near 15 and the first loss
    near 12 instead of ln 2, and the head's first epochs go into undoing that.
    """
    nn.init.normal_(cast(Tensor, layer.weight), std=CLASSIFIER_STD)
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)


def _check_patches(net: nn.Module, arch: str, *, image_size: int) -> None:
    """Refuse a size that patches do not tile: the network would silently drop the border."""
    size = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    patch = size[0] if isinstance(size, tuple) else size
    if isinstance(patch, int) and image_size % patch:
        lower = image_size // patch * patch
        sizes = f"{lower} or {lower + patch}" if lower else f"{patch}"
        raise ModelError(
            f"{arch} sees patches of {patch} px and would ignore {image_size - lower} px of "
            f"every image of {image_size} px; take image_size {sizes}."
        )


def _load_weights(
    net: nn.Module, plan: _Plan, *, head_name: str, pretrained: bool, weights: Path | None
) -> WeightsReport:
    """Fill the network from the file, else from the hub, else leave it random."""
    heads = (head_name,)
    translate = partial(plan.translate, type(net)) if plan.translate else None
    if weights is not None:
        return load_weights_file(net, weights, head_names=heads, translate=translate)
    if not pretrained:
        return WeightsReport(kind="random")
    if plan.hub_id is None:
        raise WeightsError(f"{plan.no_hub}. {offline_hint(None)}")
    return load_hub_weights(
        net, plan.hub_id, head_names=heads, translate=translate, filenames=plan.hub_files
    )


class _CaughtError(Exception):
    """Carries a state dict out of timm's loader."""

    def __init__(self, state: StateDict) -> None:
        super().__init__()
        self.state = state


def _translate_as_timm(
    kind: type[nn.Module], state: StateDict, *, arch: str, settings: Mapping[str, Any]
) -> StateDict:
    """Return a foreign state dict as timm itself would load it into this network.

    timm renames keys and resamples embeddings inside `create_model`, by a function that
    only the entry point of the architecture knows. So timm is asked to load, and the
    state dict is caught at the moment when timm hands it to the network. This keeps the
    check of missing and unexpected keys ours: timm only logs them.
    """
    config = get_pretrained_cfg(arch)
    assert config is not None, "only called for architectures that were found"
    overlay: dict[str, Any] = {"state_dict": state, "custom_load": False}
    stems = (config.first_conv,) if isinstance(config.first_conv, str) else config.first_conv or ()
    channels = {state[f"{s}.weight"].shape[1] for s in stems if f"{s}.weight" in state}
    if len(channels) == 1 and channels != {IN_CHANNELS}:
        overlay["input_size"] = (channels.pop(), *config.input_size[1:])

    def catch(_net: nn.Module, state_dict: Mapping[str, Tensor], *_: Any, **__: Any) -> None:
        raise _CaughtError(dict(state_dict))

    settings = {**settings, "in_chans": IN_CHANNELS, "pretrained_cfg_overlay": overlay}
    try:
        # Random numbers for the throw-away network must not come from the user's generators.
        with torch_randomness(0, "translate"), mock.patch.object(kind, "load_state_dict", catch):
            timm.create_model(arch, pretrained=True, **settings)
    except _CaughtError as caught:
        return caught.state
    raise ValueError(f"timm did not load the state dict of {arch}")
