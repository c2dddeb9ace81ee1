import copy
import re

import pytest
import timm
import torch
from torch import nn

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.models.build import describe_model, rebuild_model
from medimg_baseline_cls.models.own_module import has_new_statistics, wrap_module

SIZE = 32


class OwnNet(nn.Module):
    def __init__(self, num_classes=2, *, last=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.body = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, num_classes)
        self.last = last or nn.Identity()

    def forward(self, x):
        x = self.body(torch.relu(self.norm(self.stem(x))))
        return self.last(self.fc(torch.relu(x).mean(dim=(2, 3))))


class Flat(nn.Module):
    """No feature map: a linear layer on the pixels."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * SIZE * SIZE, 2)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Broken(OwnNet):
    def forward(self, x):
        raise KeyError("no such\nlayer")


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = OwnNet()

    def forward(self, x):
        return self.net(x), x


class WideHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=8)
        self.head = nn.Conv2d(4, 2, 4)

    def forward(self, x):
        return self.head(self.stem(x)).flatten(1)


def wrap(module, *, num_classes=2, **changes):
    return wrap_module(module, num_classes=num_classes, image_size=SIZE, **changes)


def test_the_classifier_computes_what_the_module_computes():
    module = OwnNet().eval()
    model = wrap(module).eval()
    pixels = torch.rand(3, 1, SIZE, SIZE)
    with torch.no_grad():
        expected = module((pixels.expand(-1, 3, -1, -1) - 0.5) / 0.5)
        torch.testing.assert_close(model(pixels), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(model.head(model.features(pixels)), expected, rtol=0, atol=1e-6)
    assert model.arch == "module:OwnNet" and model.cam_layer == "body"
    assert model.head_names == ("fc",)


def test_the_module_stays_as_it_was():
    module = OwnNet()
    module.norm.eval()
    before = copy.deepcopy(module.state_dict())
    model = wrap(module)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert type(module.fc) is nn.Linear and module.training and not module.norm.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_normalisation_is_that_of_timm_where_the_network_has_it():
    module = timm.create_model("resnet10t", num_classes=3)
    model = wrap(module, num_classes=3)
    assert model.facts.mean == module.pretrained_cfg["mean"] != (0.5, 0.5, 0.5)
    assert model.facts.std == module.pretrained_cfg["std"]


def test_a_checkpoint_fills_another_module_of_the_class():
    model = wrap(OwnNet(), cam_layer="stem")
    rebuilt = rebuild_model(describe_model(model), model.net.state_dict(), module=OwnNet())
    pixels = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(pixels), model.eval()(pixels))
    assert rebuilt.cam_layer == "stem"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "module:OwnNet is a network that was passed from Python, where it must be passed"),
        (Flat(), "best.pt is of module:OwnNet, not of module:Flat: pass the network that"),
    ],
)
def test_a_checkpoint_without_its_network_is_refused(module, words):
    model = wrap(OwnNet())
    with pytest.raises(ModelError, match=re.escape(words)):
        rebuild_model(describe_model(model), model.net.state_dict(), module=module)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (OwnNet(1), "model=OwnNet returns shape (1, 1) for one image, expected logits of shape"),
        (OwnNet(5), "returns shape (1, 5) for one image"),
        (Pair(), "model=Pair returns a tuple for one image, expected logits of shape (1, 2)"),
        (OwnNet(last=nn.Softmax(dim=1)), "has no last linear layer that outputs its logits"),
        (WideHead(), "has no last linear layer that outputs its logits"),
        (Flat(), "Flat has no feature map for Grad-CAM"),
        (Broken(), f"model=Broken cannot take an image of shape (1, 3, {SIZE}, {SIZE}): "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value[:20],
)
def test_a_network_that_cannot_be_trained_is_refused_with_what_is_missing(module, words):
    with pytest.raises(ModelError, match=re.escape(words)) as caught:
        wrap(module)
    assert "\n" not in str(caught.value)


def test_an_unknown_cam_layer_is_refused_with_candidates():
    with pytest.raises(ModelError, match=r"cam_layer 'layer4' does not exist in OwnNet.*body"):
        wrap(OwnNet(), cam_layer="layer4")


def test_the_report_tells_equal_weights_from_others():
    module = OwnNet()
    report = wrap(module).weights_report
    assert (report.kind, report.source) == ("module", "OwnNet")
    assert wrap(copy.deepcopy(module)).weights_report == report
    assert wrap(OwnNet()).weights_report.sha256 != report.sha256
    assert wrap(module, is_pretrained=False).weights_report.kind == "random"


def test_new_batchnorm_statistics_are_noticed():
    module = OwnNet()
    assert has_new_statistics(module)
    module(torch.rand(2, 3, SIZE, SIZE))
    assert not has_new_statistics(module) and not has_new_statistics(Flat())
