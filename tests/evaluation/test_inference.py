"""One image alone, or among others, in any order: the same bits."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet18

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.evaluation.inference import (
    Activation,
    activation_of,
    predict_probabilities,
)
from medimg_baseline_cls.utils.device import Precision

CPU = torch.device("cpu")
BATCH_SIZE = 4
NUM_IMAGES = 6
Batch = tuple[Tensor, Tensor, NDArray[np.int64]]


def to_unit_range(pixels: Tensor, device: torch.device) -> Tensor:
    return pixels.to(device).float() / 255


def make_pixels(size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (NUM_IMAGES, 3, size, size), generator=generator).byte()


def batches_of(pixels: Tensor, sizes: list[int]) -> Iterator[Batch]:
    start = 0
    for size in sizes:
        rows = np.arange(start, start + size)
        yield pixels[start : start + size], torch.zeros(size, dtype=torch.int64), rows
        start += size


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return resnet18(num_classes=3)


def predict(
    model: nn.Module,
    sizes: list[int],
    *,
    precision: Precision = "fp32",
    activation: Activation = "softmax",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return predict_probabilities(
        model,
        batches_of(make_pixels(), sizes),
        to_unit_range=to_unit_range,
        device=CPU,
        precision=precision,
        activation=activation,
        batch_size=BATCH_SIZE,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_image_alone_gets_the_same_bits_as_in_a_batch(
    network: nn.Module, precision: Precision
) -> None:
    rows, expected = predict(network, [4, 2], precision=precision)
    assert rows.tolist() == list(range(NUM_IMAGES))
    for sizes in ([1] * NUM_IMAGES, [6], [1, 5]):
        again, probabilities = predict(network, sizes, precision=precision)
        assert (again == rows).all()
        assert (probabilities == expected).all(), sizes


def test_probabilities_are_the_softmax_of_the_logits(network: nn.Module) -> None:
    _, probabilities = predict(network, [4, 2])
    network.eval()
    with torch.no_grad():
        logits = network(to_unit_range(make_pixels(), CPU))
    network.train()
    expected = torch.softmax(logits.double(), dim=1).numpy()
    assert probabilities.dtype == np.float64
    assert np.allclose(probabilities, expected, atol=1e-5)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-15)


def test_findings_get_the_sigmoid_of_their_own_logit(network: nn.Module) -> None:
    _, probabilities = predict(network, [4, 2], activation=activation_of("multilabel"))
    network.eval()
    with torch.no_grad():
        logits = network(to_unit_range(make_pixels(), CPU))
    network.train()
    assert np.allclose(probabilities, torch.sigmoid(logits.double()).numpy(), atol=1e-5)
    _, alone = predict(network, [1] * NUM_IMAGES, activation="sigmoid")
    assert (alone == probabilities).all()


def test_only_findings_are_not_exclusive() -> None:
    tasks = ("multiclass", "ordinal", "multilabel")
    assert [activation_of(task) for task in tasks] == ["softmax", "softmax", "sigmoid"]


def test_the_network_is_given_back_as_it_was(network: nn.Module) -> None:
    network.train()
    network.layer1.eval()  # type: ignore[union-attr, operator]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    predict(network, [4, 2])
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    network.train()


class Fixed(nn.Module):
    """A network that answers with the first pixels of each image, or fails."""

    def __init__(self, scale: float = 1.0, *, fails: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.fails = fails
        self.sizes: list[int] = []
        self.modes: list[bool] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.sizes.append(len(pixels))
        self.modes.append(self.training)
        if self.fails:
            raise RuntimeError("out of memory")
        return pixels[:, 0, 0, :2] * self.scale


def test_every_forward_pass_has_the_same_shape() -> None:
    model = Fixed().train()
    predict(model, [5, 1])
    assert model.sizes == [BATCH_SIZE] * 3
    assert model.modes == [False] * 3
    assert model.training


def test_modes_come_back_after_an_error() -> None:
    model = Fixed(fails=True).train()
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(model, [2])
    assert model.training


def test_huge_logits_do_not_overflow() -> None:
    _, probabilities = predict(Fixed(1e30), [6])
    assert np.isfinite(probabilities).all()
    assert set(probabilities.ravel().tolist()) <= {0.0, 0.5, 1.0}


@pytest.mark.parametrize("scale", [1e30, -1e30])
def test_huge_logits_of_findings_do_not_overflow(scale: float) -> None:
    _, probabilities = predict(Fixed(scale), [6], activation="sigmoid")
    assert set(probabilities.ravel().tolist()) <= {0.0, 0.5, 1.0}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_diverged_weights_are_named(activation: Activation) -> None:
    with pytest.raises(ModelError, match=r"6 of 6 images .*0, 1, 2"):
        predict(Fixed(float("nan")), [6], activation=activation)


def test_no_image_gives_empty_arrays() -> None:
    rows, probabilities = predict(Fixed(), [])
    assert rows.shape == (0,) and rows.dtype == np.int64
    assert len(probabilities) == 0
