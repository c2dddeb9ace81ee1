import warnings
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from monai.networks.nets import DenseNet121
from torch import Tensor, nn

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.interpret.cam import compute_evidence, compute_gradcam

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget


def tokens_to_maps(tokens: Tensor) -> Tensor:
    side = int((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)


def make_timm(arch: str, size: int | None = None) -> nn.Module:
    options = {} if size is None else {"img_size": size}
    return timm.create_model(arch, num_classes=3, pretrained=False, **options)


def make_monai() -> nn.Module:
    model = DenseNet121(spatial_dims=2, in_channels=3, out_channels=3, pretrained=False)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # in place it would change the activations the oracle kept
    return model


def noisy(shape: tuple[int, ...]) -> Tensor:
    """Return images with structure: smooth blobs, so that maps are not flat."""
    coarse = torch.rand(shape[0], shape[1], 4, 4)
    smooth = nn.functional.interpolate(coarse, size=shape[2:], mode="bicubic")
    return smooth + 0.1 * torch.randn(shape)


ORACLES: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "resnet18": (lambda: make_timm("resnet18"), "layer4", 96),
    "densenet121": (lambda: make_timm("densenet121"), "features.norm5", 96),
    "efficientnet_b0": (lambda: make_timm("efficientnet_b0"), "conv_head", 96),
    "convnext_atto": (lambda: make_timm("convnext_atto"), "stages.3", 96),
    "vit_tiny_patch16_224": (lambda: make_timm("vit_tiny_patch16_224", 96), "blocks.11.norm1", 96),
    "monai:DenseNet121": (make_monai, "features.denseblock4", 96),
}


@pytest.mark.parametrize("name", ORACLES)
def test_maps_equal_those_of_pytorch_grad_cam(name: str) -> None:
    make, layer, size = ORACLES[name]
    torch.manual_seed(0)
    model, pixels = make().eval(), noisy((4, 3, size, size))
    targets = torch.tensor([0, 1, 2, 0])
    ours = compute_gradcam(model, pixels, targets=targets, layer=layer)
    reshape = tokens_to_maps if name.startswith("vit") else None
    with GradCAM(model, [model.get_submodule(layer)], reshape_transform=reshape) as oracle:
        theirs = oracle(pixels, [ClassifierOutputTarget(int(target)) for target in targets])
    assert ours.shape == (4, size, size)
    assert ours.dtype == np.float32
    num_compared = 0
    for mine, other in zip(ours, theirs, strict=True):
        assert bool(mine.any()) == bool(other.any())
        if mine.any():
            num_compared += 1
            assert np.corrcoef(mine.ravel(), other.ravel())[0, 1] >= 0.999
            # Their scaling adds 1e-7 to the span: not small beside weak random gradients.
            assert np.allclose(mine, other / other.max(), atol=2e-3)
    assert num_compared >= 2


class PlantedNet(nn.Module):
    """Class 1 is bright pixels of channel 0, class 0 of channel 1: the right map is known."""

    def __init__(self, layout: str = "maps") -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(8)
        self.layer = nn.Identity()
        self.layout = layout
        self.num_prefix_tokens = {"tokens": 2, "maps": 0, "last": 0}[layout]

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.pool(pixels)
        if self.layout == "maps":
            means = self.layer(maps).mean(dim=(2, 3))
        elif self.layout == "last":
            means = self.layer(maps.permute(0, 2, 3, 1)).mean(dim=(1, 2))
        else:
            tokens = maps.flatten(2).mT
            prefix = torch.full((len(maps), 2, maps.shape[1]), 100.0)
            means = self.layer(torch.cat([prefix, tokens], dim=1))[:, 2:].mean(dim=1)
        return means.flip(1)


def planted_pixels(height: int = 64, width: int = 64) -> Tensor:
    pixels = torch.zeros(2, 2, height, width)
    pixels[0, 0, 24:32, 40:48] = 1.0
    pixels[1, 1, 32:40, 16:24] = 1.0
    return pixels


@pytest.mark.parametrize("layout", ["maps", "last", "tokens"])
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 64)])
def test_one_is_where_the_evidence_is_in_every_layout(layout: str, size: tuple[int, int]) -> None:
    model = PlantedNet(layout)
    maps = compute_gradcam(
        model, planted_pixels(*size), targets=torch.tensor([1, 0]), layer="layer"
    )
    assert maps.shape == (2, *size)
    for heat, (row, column) in zip(maps, [(28, 44), (36, 20)], strict=True):
        assert heat.max() == 1.0
        assert heat.min() == 0.0
        peak = np.argwhere(heat > 0.99).mean(axis=0)
        assert np.abs(peak - (row - 0.5, column - 0.5)).max() <= 1
        assert heat[row - 16 : row + 16, column - 16 : column + 16].sum() >= 0.99 * heat.sum()


def test_class_without_evidence_has_an_empty_map() -> None:
    class Against(PlantedNet):
        def forward(self, pixels: Tensor) -> Tensor:
            return -super().forward(pixels)

    pixels, targets = planted_pixels(), torch.tensor([1, 0])
    found = compute_evidence(Against(), pixels, targets=targets, layer="layer")
    assert not found.heats.any()
    assert not found.is_found.any()
    assert compute_evidence(PlantedNet(), pixels, targets=targets, layer="layer").is_found.all()


def test_the_grid_is_that_of_the_layer() -> None:
    pixels, targets = noisy((1, 3, 96, 96)), torch.tensor([0])
    torch.manual_seed(0)
    network = make_timm("resnet18")
    for layer, cells in (("layer4", 3), ("layer3", 6)):  # strides of 32 and 16 px
        found = compute_evidence(network, pixels, targets=targets, layer=layer)
        assert found.grid == (cells, cells)


def test_map_of_an_image_does_not_depend_on_its_batch_mates() -> None:
    torch.manual_seed(0)
    model, pixels = make_timm("resnet18"), noisy((3, 3, 64, 64))
    targets = torch.tensor([2, 1, 0])
    together = compute_gradcam(model, pixels, targets=targets, layer="layer4")
    for i in range(3):
        alone = compute_gradcam(
            model, pixels[i : i + 1], targets=targets[i : i + 1], layer="layer4"
        )
        assert np.allclose(alone[0], together[i], atol=1e-4)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_maps_are_the_same_where_gradients_are_switched_off(
    context: Callable[[], torch.no_grad | torch.inference_mode],
) -> None:
    torch.manual_seed(0)
    model, pixels = make_timm("resnet18"), noisy((2, 3, 64, 64))
    targets = torch.tensor([0, 1])
    expected = compute_gradcam(model, pixels, targets=targets, layer="layer4")
    with context():
        found = compute_gradcam(model, pixels * 1, targets=targets, layer="layer4")
        assert not torch.is_grad_enabled()
    assert np.array_equal(found, expected)


def test_layer_may_be_followed_by_one_that_works_in_place() -> None:
    torch.manual_seed(0)
    maps = []
    for is_inplace in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4, padding=2),
            nn.ReLU(inplace=is_inplace),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 2),
        )
        maps.append(
            compute_gradcam(model, noisy((2, 3, 32, 32)), targets=torch.tensor([0, 1]), layer="0")
        )
    assert np.array_equal(maps[0], maps[1])
    assert maps[0].any()


def test_no_parameter_gathers_a_gradient_and_only_the_end_is_recorded() -> None:
    torch.manual_seed(0)
    model = make_timm("resnet18")
    recorded: list[bool] = []
    early, late = model.get_submodule("layer1"), model.get_submodule("fc")
    for layer in (early, late):
        layer.register_forward_hook(lambda *io: recorded.append(io[-1].requires_grad))
    compute_gradcam(model, noisy((1, 3, 64, 64)), targets=torch.tensor([0]), layer="layer4")
    assert recorded == [False, True]
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("layer5", "is not a layer of this network: try one of layer"),
        ("", "is not a layer"),
        ("fc", "not that of maps"),
    ],
)
def test_unsuitable_layer_is_refused_with_advice(layer: str, message: str) -> None:
    model = make_timm("resnet18")
    with pytest.raises(ModelError, match=message):
        compute_gradcam(model, torch.rand(1, 3, 64, 64), targets=torch.tensor([0]), layer=layer)


def test_tokens_that_fill_no_grid_are_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, pixels: Tensor) -> Tensor:
            return self.layer(pixels.flatten(2)[:, :, :7].mT).mean(dim=1)

    with pytest.raises(ModelError, match="7 tokens, which do not fill a grid"):
        compute_gradcam(Odd(), torch.rand(1, 2, 16, 16), targets=torch.tensor([0]), layer="layer")


def test_layer_that_the_logits_do_not_use_is_refused() -> None:
    class Side(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.side, self.idle = nn.Identity(), nn.Identity(), nn.Identity()

        def forward(self, pixels: Tensor) -> Tensor:
            self.side(pixels)
            return self.used(pixels).mean(dim=(2, 3))

    for layer, message in (("side", "do not depend on layer side"), ("idle", "not used in")):
        with pytest.raises(ModelError, match=message):
            compute_gradcam(Side(), torch.rand(1, 2, 8, 8), targets=torch.tensor([0]), layer=layer)


def test_map_that_is_not_finite_is_refused() -> None:
    pixels = planted_pixels()
    pixels[0, 0, 0, 0] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        compute_gradcam(PlantedNet(), pixels, targets=torch.tensor([1, 0]), layer="layer")


def test_foreign_transformer_without_a_word_on_its_tokens_is_understood() -> None:
    class Foreign(PlantedNet):
        def __init__(self) -> None:
            super().__init__("tokens")
            del self.num_prefix_tokens

        def forward(self, pixels: Tensor) -> Tensor:
            tokens = self.pool(pixels).flatten(2).mT
            tokens = torch.cat([torch.full((len(pixels), 1, 2), 100.0), tokens], dim=1)
            return self.layer(tokens)[:, 1:].mean(dim=1).flip(1)

    targets = torch.tensor([1, 0])
    found = compute_gradcam(Foreign(), planted_pixels(), targets=targets, layer="layer")
    expected = compute_gradcam(PlantedNet(), planted_pixels(), targets=targets, layer="layer")
    assert np.allclose(found, expected, atol=1e-6)


def test_tokens_before_the_patches_are_dropped_even_where_all_would_fill_a_grid() -> None:
    class Registers(nn.Module):
        """Four patches after five other tokens: nine would fill a grid of 3 x 3."""

        num_prefix_tokens = 5

        def __init__(self) -> None:
            super().__init__()
            self.pool, self.layer = nn.AvgPool2d(8), nn.Identity()

        def forward(self, pixels: Tensor) -> Tensor:
            tokens = self.pool(pixels).flatten(2).mT
            tokens = torch.cat([torch.full((len(pixels), 5, 1), 100.0), tokens], dim=1)
            return self.layer(tokens)[:, 5:].mean(dim=1)

    pixels = torch.zeros(1, 1, 16, 16)
    pixels[:, :, 8:, :8] = 1.0
    (heat,) = compute_gradcam(Registers(), pixels, targets=torch.tensor([0]), layer="layer")
    assert heat[-1, 0] == 1.0
    assert heat[0].max() < 0.1
    assert heat[-1, -1] == 0.0
