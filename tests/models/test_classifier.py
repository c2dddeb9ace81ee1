"""The wrapper adds normalization and float32 logits to a plain network, and nothing else."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.models.classifier import Classifier, NetworkFacts, WeightsReport

# timm's smallest networks, one per family; the last has a 1 x 1 convolution as classifier.
ARCHS = [
    "test_resnet",
    "test_vit",
    "test_convnext",
    "test_efficientnet",
    "mobilenetv3_small_050",
    "resnetv2_18",
]
MEAN, STD = (0.2, 0.4, 0.6), (0.1, 0.2, 0.5)


class Net(nn.Module):
    """One convolution, the mean of its map, dropout and a linear layer."""

    def __init__(self, *, has_bias=True):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(5, 2, bias=has_bias)

    def forward(self, pixels):
        return self.fc(self.drop(self.norm(self.conv(pixels)).mean((2, 3))))


def wrap(net):
    facts = NetworkFacts(
        arch="net", num_classes=2, image_size=8, cam_layer="conv", mean=MEAN, std=STD
    )
    return Classifier(net, facts, head_name="fc", report=WeightsReport(kind="random"))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return wrap(Net())


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_normalising_is_by_hand_what_the_mean_and_std_say(model):
    pixels = torch.tensor(MEAN).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    assert torch.equal(model.normalize(pixels), torch.zeros(2, 3, 8, 8))
    deviations = torch.tensor([0.3, 0.0, 1.1]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert model.normalize(deviations)[0, :, 0, 0].tolist() == pytest.approx([1.0, -2.0, 1.0])
    grey = model.normalize(torch.full((1, 1, 2, 2), 0.5))
    assert grey[0, :, 1, 1].tolist() == pytest.approx([3.0, 0.5, -0.2])


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 2, 8, 8), (2, 4, 8, 8), (2, 8, 8, 3), (8, 8)])
def test_pixels_of_another_shape_are_refused_with_their_shape(model, shape):
    for call in (model, model.features, model.normalize):
        with pytest.raises(ModelError) as caught:
            call(torch.zeros(shape))
        assert str(shape) in str(caught.value)
        assert "net takes images of 1 or 3 channels" in str(caught.value)


def test_the_normalisation_moves_with_the_model_and_is_no_part_of_its_weights(model):
    assert all(key.startswith("net.") for key in model.state_dict())
    assert {k.removeprefix("net.") for k in model.state_dict()} == set(Net().state_dict())
    moved = copy.deepcopy(model).to("meta")
    assert moved.mean.is_meta and moved.std.is_meta
    assert model.mean.shape == model.std.shape == (1, 3, 1, 1)
    assert not any(parameter is model.mean for parameter in model.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_features_are_what_timm_calls_pre_logits(arch, built, pixels):
    model = built(arch)
    net, normal = model.net, model.normalize(pixels)
    with torch.no_grad():
        expected = net.forward_head(net.forward_features(normal), pre_logits=True).flatten(1)
        assert torch.equal(model.features(pixels), expected)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_head_is_one_matrix_product(arch, built):
    layer = built(arch).head_layer
    features = images(4, layer.weight.shape[1])
    expected = features @ layer.weight.flatten(1).T + layer.bias
    assert torch.allclose(built(arch).head(features), expected, atol=1e-6)


def test_features_in_training_are_what_the_head_saw_in_the_same_pass(model):
    pixels = images(4, 3, 8, 8)
    torch.manual_seed(1)
    logits = copy.deepcopy(model).train()(pixels)
    torch.manual_seed(1)
    features = model.train().features(pixels)
    assert torch.equal(model.head(features), logits)
    assert (features == 0).any()  # dropout was on


def test_features_carry_gradients_to_the_backbone(model):
    model.features(images(2, 3, 8, 8)).sum().backward()
    assert model.net.conv.weight.grad.abs().sum() > 0
    assert model.head_layer.weight.grad is None


def test_no_hook_stays_behind_when_the_network_fails(model):
    with pytest.raises(RuntimeError):
        model.features(torch.zeros(1, 3, 2, 2))  # smaller than the kernel
    assert not model.head_layer._forward_pre_hooks
    assert model.features(images(1, 3, 8, 8)).shape == (1, 5)


def test_the_classifier_s_parameters_are_the_network_s_own():
    net = Net()
    weight, bias = net.fc.weight, net.fc.bias
    model = wrap(net)
    assert model.head_layer is net.fc
    assert model.head_layer.weight is weight and model.head_layer.bias is bias
    assert len(list(model.parameters())) == len(list(Net().parameters()))
    assert isinstance(net.fc, nn.Linear)
    assert repr(net.fc).endswith("(in_features=5, out_features=2, bias=True)")
    assert wrap(Net(has_bias=False).eval()).head_layer.training is False


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_function_is_that_of_the_plain_network(has_bias):
    net = Net(has_bias=has_bias).eval()
    plain, pixels = copy.deepcopy(net), images(3, 3, 8, 8)
    normal = torch.stack([(pixels[:, i] - MEAN[i]) / STD[i] for i in range(3)], 1)
    with torch.no_grad():
        assert torch.allclose(wrap(net)(pixels), plain(normal), atol=1e-6)


def test_the_gradient_reaches_pixels_through_the_normalization(model):
    model.eval()
    pixels = images(1, 3, 8, 8).requires_grad_()
    model(pixels)[0, 0].backward()
    normal = model.normalize(pixels.detach()).requires_grad_()
    model.net(normal)[0, 0].backward()
    assert torch.allclose(pixels.grad, normal.grad / torch.tensor(STD).view(1, 3, 1, 1))


def test_gradients_of_the_classifier_are_float32_under_autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = functional.cross_entropy(model(images(4, 3, 8, 8)), torch.tensor([0, 1, 0, 1]))
    loss.backward()
    assert loss.dtype == torch.float32
    gradient = model.head_layer.weight.grad
    assert gradient.dtype == torch.float32
    assert not torch.equal(gradient, gradient.bfloat16().float())


def test_a_frozen_backbone_stays_in_eval_mode_whoever_asks(model):
    model.is_backbone_frozen = True
    assert model.train() is model
    trained = {name for name, module in model.net.named_modules() if module.training}
    assert trained == {"fc"}
    assert not any(module.training for module in model.eval().net.modules())
    model.is_backbone_frozen = False
    assert all(module.training for module in model.train().modules())


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_an_image_is_judged_alone_in_eval_mode(arch, built):
    pixels = images(5, 3, 64, 64)
    with torch.no_grad():
        together = built(arch)(pixels)
        alone = torch.cat([built(arch)(pixel[None]) for pixel in pixels])
        assert torch.allclose(together, alone, atol=1e-5)
        assert torch.allclose(built(arch)(pixels.flip(0)), together.flip(0), atol=1e-5)
