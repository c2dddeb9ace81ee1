"""A volume as a set of slices: its order has no influence, and its parts are those of images."""

import copy
from typing import get_args

import numpy as np
import pytest
import torch
from timm.models import adapt_input_conv
from torch import nn
from torch.nn import functional

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.models.build import build_model, describe_model, rebuild_model
from medimg_baseline_cls.models.classifier import Classifier, SlicePooling
from medimg_baseline_cls.models.slices import SliceHead, SliceNet, pool_slices, weigh_slices

SIZE, NUM_SLICES = 32, 6
KINDS = get_args(SlicePooling)


def build(
    pooling: SlicePooling, *, is_trained: bool = True, neighbors: int = 0, arch: str = "test_resnet"
) -> tuple[Classifier, Classifier]:
    """Return a network for images, and the same one for volumes."""
    images = build_model(arch, image_size=SIZE, pretrained=False).eval()
    volumes = pool_slices(
        copy.deepcopy(images), num_slices=NUM_SLICES, pooling=pooling, neighbors=neighbors
    ).eval()
    head = volumes.head_layer
    assert isinstance(head, SliceHead)
    if pooling == "attention" and is_trained:
        torch.nn.init.normal_(head.score.weight)
    return images, volumes


def draw(num_volumes: int = 3) -> torch.Tensor:
    return torch.rand(num_volumes, NUM_SLICES, SIZE, SIZE, generator=torch.manual_seed(0))


@pytest.mark.parametrize("pooling", KINDS)
@torch.no_grad()
def test_the_order_of_the_slices_has_no_influence(pooling: SlicePooling) -> None:
    _, model = build(pooling)
    pixels = draw()
    order = torch.randperm(NUM_SLICES, generator=torch.manual_seed(1))
    before, after = (model(part).softmax(1) for part in (pixels, pixels[:, order]))
    assert (before - after).abs().max() <= 1e-6
    assert before.shape == (3, 2)


@torch.no_grad()
def test_logits_of_slices_are_pooled() -> None:
    pixels = draw()
    pooled = {}
    for pooling in KINDS:
        images, model = build(pooling, is_trained=False)
        alone = images(pixels.flatten(0, 1)[:, None]).unflatten(0, (3, NUM_SLICES))  # (B, K, C)
        pooled[pooling] = model(pixels), alone
    expected = {
        "mean": lambda logits: logits.mean(dim=1),
        "attention": lambda logits: logits.mean(dim=1),  # as long as it has learned nothing
        "max": lambda logits: logits.amax(dim=1),
        "lse": lambda logits: logits.double().exp().mean(dim=1).log().float(),
    }
    for pooling, (found, alone) in pooled.items():
        torch.testing.assert_close(found, expected[pooling](alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", KINDS)
@torch.no_grad()
def test_the_head_on_stored_features_gives_the_logits(pooling: SlicePooling) -> None:
    _, model = build(pooling)
    pixels = draw()
    torch.testing.assert_close(model.head(model.features(pixels)), model(pixels))


@pytest.mark.parametrize("pooling", KINDS)
@torch.no_grad()
def test_a_checkpoint_has_all_that_is_needed(pooling: SlicePooling) -> None:
    _, model = build(pooling)
    again = rebuild_model(describe_model(model), model.net.state_dict()).eval()
    assert (again.facts, again.head_names) == (model.facts, model.head_names)
    assert torch.equal(again(draw()), model(draw()))


def test_the_attention_of_a_slice_that_decides_is_high() -> None:
    _, model = build("attention")
    head = model.head_layer
    assert isinstance(head, SliceHead)
    pixels = torch.zeros(1, NUM_SLICES, SIZE, SIZE)
    pixels[0, 4] = 1.0
    weights = weigh_slices(model, pixels, targets=torch.tensor([1]))
    assert weights.sum() == pytest.approx(1.0)
    others = torch.cat([weights[0, :4], weights[0, 5:]])
    assert (others - others[0]).abs().max() < 1e-6  # alike, and unlike the one that differs
    assert abs(weights[0, 4] - others[0]) > 1e-6


def test_shares_of_the_slices_add_up_to_the_logit() -> None:
    _, model = build("mean")
    pixels, targets = draw(), torch.tensor([0, 1, 1])
    shares = weigh_slices(model, pixels, targets=targets)
    head = model.head_layer
    assert isinstance(head, SliceHead)
    with torch.no_grad():
        logits = model(pixels).gather(1, targets[:, None])[:, 0] - head.linear.bias[targets]
    torch.testing.assert_close(shares.sum(dim=1), logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["max", "lse"])
def test_the_weight_of_a_slice_is_the_slope_of_the_pooled_logit(pooling: SlicePooling) -> None:
    images, model = build(pooling)
    pixels, targets = draw(), torch.tensor([0, 1, 1])
    weights = weigh_slices(model, pixels, targets=targets)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    with torch.no_grad():
        alone = images(pixels.flatten(0, 1)[:, None]).unflatten(0, (3, NUM_SLICES))
    logits = alone[torch.arange(3), :, targets].double().requires_grad_(True)
    pooled = logits.amax(dim=1) if pooling == "max" else logits.logsumexp(dim=1)
    (expected,) = torch.autograd.grad(pooled.sum(), logits)
    torch.testing.assert_close(weights, expected.float(), atol=1e-4, rtol=1e-4)


def test_images_are_still_images() -> None:
    images, model = build("mean")
    assert images.facts.num_slices == 0
    assert "num_slices" not in describe_model(images)
    with pytest.raises(ModelError, match="takes images of 1 or 3 channels"):
        images(draw())
    with pytest.raises(ModelError, match=r"volumes of 6 slices .* \(3, 5, 32, 32\)"):
        model(draw()[:, :5])


@pytest.mark.parametrize("neighbors", [1, 2, 4])
def test_neighbors_are_channels_and_slices_at_the_ends_repeat(neighbors: int) -> None:
    _, model = build("mean", neighbors=neighbors)
    pixels = draw(2)
    seen = model.normalize(pixels) * model.std + model.mean
    width = 2 * neighbors + 1
    assert seen.shape == (2 * NUM_SLICES, width, SIZE, SIZE)
    ends = ((0, 0), (neighbors, neighbors), (0, 0), (0, 0))
    padded = np.pad(pixels.numpy(), ends, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)  # (B, K, S, S, C)
    expected = np.moveaxis(windows, -1, 2).reshape(seen.shape)
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-6)


@torch.no_grad()
def test_one_neighbor_fills_the_three_channels_of_the_pretrained_stem() -> None:
    images, model = build("mean", neighbors=1)
    alone = build("mean")[1]
    assert model.facts.mean == images.facts.mean
    for name, tensor in alone.net.state_dict().items():
        assert torch.equal(tensor, model.net.state_dict()[name])
    # Where all slices are alike, so are a slice and its neighbors.
    pixels = draw(2)[:, :1].expand(-1, NUM_SLICES, -1, -1)
    torch.testing.assert_close(model(pixels), alone(pixels))


@pytest.mark.parametrize("arch", ["test_resnet", "test_efficientnet", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("neighbors", [2, 3])
@torch.no_grad()
def test_more_neighbors_take_the_stem_as_timm_adapts_it(arch: str, neighbors: int) -> None:
    images, model = build("mean", neighbors=neighbors, arch=arch)
    width = 2 * neighbors + 1
    (name,) = (
        name
        for name, tensor in images.net.state_dict().items()
        if tensor.ndim == 4 and tensor.shape[1] == 3
    )
    before, after = images.net.state_dict()[name], model.net.state_dict()[f"backbone.{name}"]
    torch.testing.assert_close(after, adapt_input_conv(width, before.clone()))
    assert model.facts.mean == tuple((images.facts.mean * 3)[:width])
    assert model.facts.std == tuple((images.facts.std * 3)[:width])
    assert model(draw()).isfinite().all()


@pytest.mark.parametrize("neighbors", [0, 1, 2])
@torch.no_grad()
def test_with_neighbors_the_order_of_the_slices_counts(neighbors: int) -> None:
    _, model = build("attention", neighbors=neighbors)
    head = model.head_layer
    assert isinstance(head, SliceHead)
    torch.nn.init.normal_(head.linear.weight)
    pixels = draw()
    order = torch.tensor([2, 0, 4, 1, 5, 3])
    change = (model(pixels) - model(pixels[:, order])).abs().max()
    assert (change > 1e-4) == (neighbors > 0)


@pytest.mark.parametrize("neighbors", [1, 3])
@torch.no_grad()
def test_a_checkpoint_knows_its_neighbors(neighbors: int) -> None:
    _, model = build("attention", neighbors=neighbors)
    described = describe_model(model)
    assert described["neighbors"] == neighbors
    again = rebuild_model(described, model.net.state_dict()).eval()
    assert again.facts == model.facts
    assert torch.equal(again(draw()), model(draw()))
    assert "neighbors" not in describe_model(build("attention")[1])  # as it was before


def test_a_network_without_a_first_convolution_takes_no_neighbors() -> None:
    images, _ = build("mean")
    for layer in images.net.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels == 3:
            layer.in_channels = 1
    with pytest.raises(ModelError, match="slice_neighbors = 0 or 1"):
        pool_slices(images, num_slices=NUM_SLICES, pooling="mean", neighbors=2)


@pytest.mark.parametrize("slices_per_pass", [1, 4, 7, 100])
def test_gradients_are_the_same_slices_by_slices(slices_per_pass: int) -> None:
    _, whole = build("attention")
    parts = copy.deepcopy(whole)
    assert isinstance(parts.net, SliceNet)
    parts.net.slices_per_pass = slices_per_pass
    for model in (whole, parts):
        model.net.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        functional.cross_entropy(model(draw()), torch.tensor([0, 1, 1])).backward()
    for (name, one), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_fewer_slices_per_pass_keep_fewer_activations() -> None:
    _, model = build("attention")
    assert isinstance(model.net, SliceNet)
    model.net.train()
    kept = {}
    for model.net.slices_per_pass in (0, 3):
        sizes = list[int]()

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(draw())
        kept[model.net.slices_per_pass] = sum(sizes)
    assert kept[3] < kept[0] / 2
