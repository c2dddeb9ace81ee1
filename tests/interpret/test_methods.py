import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.interpret import methods
from medimg_baseline_cls.interpret.cam import compute_evidence, weigh_by_mean_gradient
from medimg_baseline_cls.interpret.methods import METHODS, find_method, name_folder
from medimg_baseline_cls.interpret.occlusion import compute_occlusion

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_grad_cam as oracle
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

# Our weighing of a layer, and the class of pytorch-grad-cam that does the same.
WEIGHINGS = {
    "GradCAM": weigh_by_mean_gradient,
    "HiResCAM": methods.weigh_each_place,
    "LayerCAM": methods.weigh_positive_places,
    "GradCAMPlusPlus": methods.weigh_by_curvature,
    "EigenCAM": methods.project_on_first_component,
}
BY_NAME = {
    "gradcam": "GradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "gradcam++": "GradCAMPlusPlus",
}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3, stride=4, padding=1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(5, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.fc(self.drop(torch.relu(self.conv(pixels)).mean(dim=(2, 3))))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def theirs(name: str, values: Tensor, slopes: Tensor) -> np.ndarray:
    """Return the map of pytorch-grad-cam before it is scaled."""
    model = Small()
    cam = getattr(oracle, name)(model, [model.conv])
    return cam.get_cam_image(None, None, None, values.numpy(), slopes.numpy(), False)


@pytest.mark.parametrize("name", WEIGHINGS)
@pytest.mark.parametrize("shape", [(3, 16, 7, 7), (2, 4, 3, 5), (1, 64, 1, 2)])
def test_each_weighing_is_that_of_pytorch_grad_cam(name: str, shape: tuple[int, ...]) -> None:
    values, slopes = draw(*shape).relu(), draw(*shape, seed=1) / 10
    slopes[:, 0] = 0
    ours = WEIGHINGS[name](values, slopes)
    assert ours.shape == (shape[0], 1, *shape[2:])
    expected = theirs(name, values, slopes)
    for mine, other in zip(ours[:, 0].numpy(), expected, strict=True):
        # The sign of a principal component is arbitrary: ours has its strongest place positive.
        turned = name == "EigenCAM" and other.flat[np.abs(other).argmax()] < 0
        np.testing.assert_allclose(mine, -other if turned else other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BY_NAME)
def test_each_map_is_that_of_pytorch_grad_cam_through_a_network(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=3, pretrained=False).eval()
    pixels = nn.functional.interpolate(draw(2, 3, 4, 4), size=(64, 64), mode="bicubic")
    targets = torch.tensor([0, 2])
    ours = METHODS[name].compute(model, pixels, targets=targets, layer="layer3").heats
    with getattr(oracle, BY_NAME[name])(model, [model.layer3]) as cam:
        chosen = [ClassifierOutputTarget(target) for target in targets.tolist()]
        expected = cam(pixels, chosen)
    for mine, other in zip(ours, expected, strict=True):
        assert mine.any() == other.any()
        assert not mine.any() or np.corrcoef(mine.ravel(), other.ravel())[0, 1] >= 0.999


def test_grad_cam_is_the_default_of_compute_evidence() -> None:
    model, pixels, targets = Small(), draw(2, 1, 32, 32), torch.tensor([0, 1])
    found = METHODS["gradcam"].compute(model, pixels, targets=targets, layer="conv")
    plain = compute_evidence(model, pixels, targets=targets, layer="conv")
    np.testing.assert_array_equal(found.heats, plain.heats)


def occlude_slowly(model: nn.Module, image: Tensor, target: int) -> np.ndarray:
    """Return the mean fall of the logit over the squares that cover each pixel, by loops."""
    _, height, width = image.shape
    tall, wide = max(1, height // 8), max(1, width // 8)
    tops = sorted({*range(0, height - tall, max(1, tall // 2)), height - tall})
    lefts = sorted({*range(0, width - wide, max(1, wide // 2)), width - wide})
    total, count = np.zeros((height, width)), np.zeros((height, width))
    with torch.no_grad():
        whole = float(model(image[None])[0, target])
        for top in tops:
            for left in lefts:
                covered = image.clone()
                for channel in range(len(image)):
                    window = covered[channel, top : top + tall, left : left + wide]
                    window[:] = image[channel].mean()
                fall = whole - float(model(covered[None])[0, target])
                total[top : top + tall, left : left + wide] += fall
                count[top : top + tall, left : left + wide] += 1
    return total / count


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (33, 20)])
def test_occlusion_equals_a_loop_over_the_squares(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    model, pixels = Small(), draw(2, 1, *size)
    found = compute_occlusion(model, pixels, targets=torch.tensor([2, 0]), layer="conv")
    model.eval()
    for heat, image, target in zip(found.heats, pixels, (2, 0), strict=True):
        expected = np.maximum(occlude_slowly(model, image, target), 0)
        span = expected.max() - expected.min()
        np.testing.assert_allclose(heat, (expected - expected.min()) / span, rtol=0, atol=1e-5)
    assert found.is_found.all() and min(found.grid) > 5


class OneVoxel(nn.Module):
    """A 3D network whose class 1 is the brightness at one place, seen through a product."""

    facts = SimpleNamespace(is_3d=True)

    def __init__(self, place: tuple[int, int, int]) -> None:
        super().__init__()
        self.place = place
        self.num_seen: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.num_seen.append(len(pixels))
        at = (slice(None), *self.place)
        return torch.stack([-pixels[at], pixels[at] + pixels.mean(dim=(1, 2, 3))], dim=1)


@pytest.mark.parametrize(
    ("shape", "place", "cube"),
    [
        ((8, 16, 24), (5, 3, 7), ((5, 6), (2, 4), (6, 9))),
        ((20, 8, 8), (19, 0, 2), ((18, 20), (0, 1), (2, 3))),
        ((3, 32, 32), (0, 31, 31), ((0, 1), (28, 32), (28, 32))),
    ],
)
def test_occlusion_in_3d_finds_the_cube_that_counts(
    shape: tuple[int, int, int], place: tuple[int, int, int], cube: tuple[tuple[int, int], ...]
) -> None:
    pixels = torch.zeros(1, *shape)
    pixels[0][place] = 1.0
    model = OneVoxel(place)
    found = compute_occlusion(model, pixels, targets=torch.tensor([1]), layer="")
    expected = np.zeros((1, *shape))
    expected[0][tuple(slice(*ends) for ends in cube)] = 1.0  # an eighth of each side, or 1
    np.testing.assert_array_equal(found.heats > 0.5, expected > 0)
    assert found.grid == tuple(min(side, -(-side // max(1, side // 8))) for side in shape)
    assert sum(model.num_seen) == 1 + np.prod(
        found.grid
    )  # steps of a cube: hundreds, not thousands
    assert max(model.num_seen) * shape[0] <= 256


def test_occlusion_in_3d_equals_a_loop_over_the_cubes() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 2))
    model = nn.Sequential(nn.Unflatten(1, (1, 16)), net)
    model.facts = SimpleNamespace(is_3d=True)  # type: ignore[assignment]
    pixels = draw(1, 16, 10, 9)
    found = compute_occlusion(model, pixels, targets=torch.tensor([0]), layer="")
    expected = np.zeros((16, 10, 9))
    with torch.no_grad():
        for first in range(0, 16, 2):
            for row in range(10):
                for column in range(9):
                    covered = pixels.clone()
                    for deep in (first, first + 1):
                        covered[0, deep, row, column] = pixels[0, deep].mean()
                    fall = float(model(pixels)[0, 0] - model(covered)[0, 0])
                    expected[first : first + 2, row, column] = max(fall, 0)
    expected = (expected - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(found.heats[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_is_given_back_as_it_was(name: str) -> None:
    model = Small().train()
    model.fc.bias.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.random.get_rng_state()
    found = METHODS[name].compute(
        model, draw(2, 1, 32, 32), targets=torch.tensor([0, 1]), layer="conv"
    )
    assert found.heats.shape == (2, 32, 32) and found.heats.min() >= 0 and found.heats.max() <= 1
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model.training and model.drop.training and not model.fc.bias.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(random, torch.random.get_rng_state())


def test_labels_and_folders_differ() -> None:
    assert len({method.label for method in METHODS.values()}) == len(METHODS)
    folders = {name_folder(name) for name in METHODS}
    assert len(folders) == len(METHODS) and all(f.isidentifier() for f in folders)
    assert [n for n, m in METHODS.items() if not m.is_of_class] == ["eigencam"]


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"method=scorecam: expected one of gradcam, hirescam"):
        find_method("scorecam")
