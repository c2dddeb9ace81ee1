"""Networks with 3D convolutions: the same classifier as those for images, of volumes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medimg_baseline_cls.errors import ModelError, WeightsError
from medimg_baseline_cls.interpret.methods import METHODS
from medimg_baseline_cls.models.build import (
    MONAI3D_PREFIX,
    build_model,
    describe_model,
    rebuild_model,
)
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.freeze import find_stem, frozen_backbone, parameter_groups

SLICES, SIZE = 32, 32
ARCHS = ["DenseNet121", "resnet10", "resnet18", "resnet50", "SEResNet50"]


def build(name: str, **changes: object) -> Classifier:
    settings = {"pretrained": False, "image_size": (SLICES, SIZE), **changes}
    return build_model(MONAI3D_PREFIX + name, **settings).eval()  # type: ignore[arg-type]


def draw(num_volumes: int = 2) -> Tensor:
    return torch.rand(num_volumes, SLICES, SIZE, SIZE, generator=torch.manual_seed(0))


@pytest.mark.parametrize("name", ARCHS)
@torch.no_grad()
def test_a_volume_goes_through_whole(name: str) -> None:
    model, pixels = build(name, num_classes=3), draw()
    seen = model.normalize(pixels)
    torch.testing.assert_close(seen, pixels[:, None] * 2 - 1)  # (B, 1, K, S, S)
    logits = model(pixels)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(model.head(model.features(pixels)), logits)
    assert isinstance(model.head_layer, nn.Linear)
    assert not any(isinstance(layer, nn.Conv2d) for layer in model.modules())
    assert (model.facts.num_slices, model.facts.image_size, model.facts.is_3d) == (
        SLICES,
        SIZE,
        True,
    )
    # Unlike slices that are pooled, those of a volume have an order.
    assert (model(pixels.flip(1)) - logits).abs().max() > 1e-7


@pytest.mark.parametrize("name", ["resnet10", "DenseNet121"])
@torch.no_grad()
def test_a_checkpoint_has_all_that_is_needed(name: str) -> None:
    model = build(name)
    described = describe_model(model)
    assert described["num_slices"] == SLICES
    assert not {"pooling", "neighbors"} & set(described)
    again = rebuild_model(described, model.net.state_dict()).eval()
    assert (again.facts, again.head_names) == (model.facts, model.head_names)
    assert torch.equal(again(draw()), model(draw()))


def medicalnet_shapes(depth: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of MedicalNet's ResNets of basic blocks, by hand (arXiv:1904.00625)."""
    blocks = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth]
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 1, 7, 7, 7)}

    def add_norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (width,)

    add_norm("bn1", 64)
    before = 64
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for number in range(count):
            block = f"layer{stage}.{number}"
            for place, channels in (("1", before), ("2", width)):
                shapes[f"{block}.conv{place}.weight"] = (width, channels, 3, 3, 3)
                add_norm(f"{block}.bn{place}", width)
            if depth == 10 and before != width:  # 18 and 34 have shortcuts without weights
                shapes[f"{block}.downsample.0.weight"] = (width, before, 1, 1, 1)
                add_norm(f"{block}.downsample.1", width)
            before = width
    return shapes


@pytest.mark.parametrize("depth", [10, 18, 34])
def test_weights_of_medicalnet_fit(depth: int, tmp_path: Path) -> None:
    draw_tensor = torch.Generator().manual_seed(depth)
    state = {
        f"module.{name}": torch.rand(shape, generator=draw_tensor) * 0.01
        for name, shape in medicalnet_shapes(depth).items()
    }
    decoder = {"module.conv_seg.0.weight": torch.rand(512, 32, 2, 2, 2)}
    path = tmp_path / f"resnet_{depth}.pth"
    torch.save({"state_dict": state | decoder}, path)
    model = build(f"resnet{depth}", weights=path, pretrained=True)
    own = model.net.state_dict()
    for name, tensor in state.items():
        assert torch.equal(own[name.removeprefix("module.")], tensor)
    filled = {name.removeprefix("module.") for name in state} | {"fc.weight", "fc.bias"}
    assert {name for name in own if not name.endswith("num_batches_tracked")} == filled
    assert model.weights_report.kind == "file"
    assert set(model.weights_report.missing) == {"fc.weight", "fc.bias"}


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    state = {name: torch.rand(shape) for name, shape in medicalnet_shapes(10).items()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w.pth does not fit"):
        build("resnet18", weights=tmp_path / "w.pth", pretrained=True)


def test_random_weights_must_be_asked_for() -> None:
    with pytest.raises(WeightsError, match=r"3d:resnet10 has no weights on the hub.*--weights"):
        build("resnet10", pretrained=True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match=r"monai3d:resnet18"):
        build("resnet81")
    with pytest.raises(ModelError, match=r"cannot take images of 32 px"):
        build("resnet10", image_size=32)
    with pytest.raises(ModelError, match=r"volumes of 32 slices"):
        build("resnet10")(draw()[:, :5])


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"occlusion"}))  # slow
def test_maps_are_of_the_whole_volume(name: str) -> None:
    model = build("resnet10", image_size=(SLICES, 64))
    nn.init.normal_(model.head_layer.weight, generator=torch.manual_seed(0))
    pixels = torch.rand(1, SLICES, 64, 64, generator=torch.manual_seed(1))
    method, before = METHODS[name], model.training
    found = method.compute(model, pixels, targets=torch.tensor([1]), layer=f"net.{model.cam_layer}")
    assert found.heats.shape == (1, SLICES, 64, 64)
    assert len(found.grid) == 3
    assert found.heats.min() >= 0
    assert found.heats.max() <= 1
    assert model.training == before


def test_a_map_of_a_linear_end_is_that_of_its_weights() -> None:
    """Where only the mean and a linear layer follow, Grad-CAM is CAM (Zhou, CVPR 2016)."""
    model = build("resnet10", image_size=(SLICES, 64), cam_layer="layer4")
    nn.init.normal_(model.head_layer.weight, generator=torch.manual_seed(0))
    pixels = draw_large = torch.rand(1, SLICES, 64, 64, generator=torch.manual_seed(1))
    kept: list[Tensor] = []
    handle = model.net.layer4.register_forward_hook(lambda *call: kept.append(call[-1].detach()))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        model(draw_large)
    handle.remove()
    weights = model.head_layer.weight[1].detach()  # type: ignore[index]
    cam = torch.einsum("d,bdzyx->bzyx", weights, kept[0]).clamp(min=0)[:, None]
    expected = nn.functional.interpolate(cam, size=(SLICES, 64, 64), mode="trilinear")[:, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    found = METHODS["gradcam"].compute(model, pixels, targets=torch.tensor([1]), layer="net.layer4")
    torch.testing.assert_close(torch.from_numpy(found.heats), expected, atol=1e-5, rtol=1e-5)
    assert found.grid == tuple(kept[0].shape[2:])


def test_parts_are_found_as_in_networks_for_images() -> None:
    model = build("resnet10")
    stem = find_stem(model)
    assert isinstance(stem[0], nn.Conv3d)
    groups = parameter_groups(model, head_lr=0.1, backbone_lr=0.01, weight_decay=0.0)
    of_head = [p for group in groups if group["lr"] == 0.1 for p in group["params"]]
    assert {id(p) for p in of_head} == {id(p) for p in model.head_layer.parameters()}
    with frozen_backbone(model) as frozen:
        frozen.train()
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm3d)]
        assert norms and not any(norm.training for norm in norms)
    assert model.move(torch.device("cpu"))(draw()).isfinite().all()
