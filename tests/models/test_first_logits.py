"""A new classifier starts undecided, whatever its library would have drawn."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from medimg_baseline_cls.models.build import build_model

ARCHS = [
    "resnet18",
    "densenet121",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "regnetx_002",
    "mobilenetv3_small_050",
    "resnetv2_18",  # its classifier is a 1 x 1 convolution
    "xcit_nano_12_p16_224",
    "monai:DenseNet121",
    "monai:resnet10",
]


@pytest.mark.parametrize("arch", ARCHS)
def test_the_first_loss_is_that_of_an_undecided_classifier(arch, built, pixels):
    with torch.no_grad():
        logits = built(arch)(pixels)
    loss = functional.cross_entropy(logits, torch.tensor([0, 2]))
    assert float(loss) == pytest.approx(math.log(3), abs=0.25)
    assert len(logits.unique()) == logits.numel()  # undecided, but not dead


@pytest.mark.parametrize("arch", ARCHS)
def test_classifier_weights_are_normal_and_small_and_its_bias_is_zero(arch, built):
    layer = built(arch).head_layer
    weight = layer.weight.detach().double().flatten()
    error = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a standard deviation
    assert float(weight.std()) == pytest.approx(0.01, rel=error)
    assert abs(float(weight.mean())) < 0.05 / math.sqrt(weight.numel())
    # Of normal draws 95.4 % lie within two standard deviations, of uniform ones all do.
    assert float((weight.abs() < 0.02).double().mean()) == pytest.approx(0.954, abs=0.03)
    assert not layer.bias.any()


def test_two_classes_of_an_efficientnet_start_at_ln_2(pixels):
    model = build_model("tf_efficientnet_lite0", image_size=64, pretrained=False, seed=3).eval()
    with torch.no_grad():
        loss = functional.cross_entropy(model(pixels), torch.tensor([0, 1]))
    assert float(loss) == pytest.approx(math.log(2), abs=0.1)


def test_the_draw_follows_the_seed_and_not_the_image_size():
    heads = [
        build_model("resnet18", pretrained=False, image_size=size, seed=seed).head_layer.weight
        for size, seed in ((64, 1), (96, 1), (64, 2))
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_classifier_without_bias_is_drawn_too(monkeypatch, pixels):
    import timm

    plain = timm.create_model

    def create(*args, **settings):
        net = plain(*args, **settings)
        net.fc = nn.Linear(net.fc.in_features, net.fc.out_features, bias=False)
        return net

    monkeypatch.setattr(timm, "create_model", create)
    model = build_model("resnet18", pretrained=False, image_size=64)
    assert model.head_layer.bias is None
    assert float(model.head_layer.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert model(pixels).shape == (2, 2)
