"""What one forward pass shows of a network: its maps, its classifier, the layer to look at."""

import copy

import pytest
import timm
import torch
from torch import nn

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.models.families import (
    CAM_LAYERS,
    MAX_CANDIDATES,
    check_cam_layer,
    find_cam_layer,
    resolve_layer,
    trace_layers,
)


class Stage(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x) + x


class Toy(nn.Module):
    """Two stages, pooling, a hidden layer and a classifier; `unused` never runs."""

    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(Stage(), Stage())
        self.norm = nn.BatchNorm2d(3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden = nn.Linear(3, 4)
        self.drop = nn.Dropout(0.9)
        self.fc = nn.Linear(4, 2)
        self.unused = nn.Linear(4, 2)

    def forward(self, x):
        x = self.pool(self.norm(self.stages(x))).flatten(1)
        return self.fc(self.drop(self.hidden(x)))


class Averaged(Toy):
    def forward(self, x):
        hidden = self.hidden(self.pool(self.stages(x)).flatten(1))
        return (self.fc(hidden) + self.unused(hidden)) / 2


class Softmaxed(Toy):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 2)

    def forward(self, x):
        return self.fc(x.flatten(1))


class MyResNet(timm.models.resnet.ResNet):
    """A subclass, as users write them."""


class ShortResNet(timm.models.resnet.ResNet):
    """It has a layer4, but leaves it out."""

    def forward_features(self, x):
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        return self.layer3(self.layer2(self.layer1(x)))


PIXELS = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TOY_SHAPES = {
    "stages.0.conv": (1, 3, 8, 8),
    "stages.0": (1, 3, 8, 8),
    "stages.1.conv": (1, 3, 8, 8),
    "stages.1": (1, 3, 8, 8),
    "stages": (1, 3, 8, 8),
    "norm": (1, 3, 8, 8),
    "pool": (1, 3, 1, 1),
    "hidden": (1, 4),
    "drop": (1, 4),
    "fc": (1, 2),
}


def test_every_layer_that_ran_is_listed_in_order_of_completion():
    trace = trace_layers(Toy(), PIXELS)
    assert list(trace.shapes.items()) == list(TOY_SHAPES.items())
    assert trace.head_name == "fc"
    assert trace.maps() == [name for name, shape in TOY_SHAPES.items() if shape == (1, 3, 8, 8)]


def test_a_layer_that_runs_twice_stands_where_it_ran_last():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 192))
    net.append(net[1])
    net.append(nn.Linear(192, 2))
    # One module under two names has one name for torch, the first.
    assert list(trace_layers(net, PIXELS).shapes) == ["0", "2", "3", "1", "5"]


def test_tracing_gives_the_network_back_as_it_was():
    net = Toy()
    net.drop.eval()
    state, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    trace_layers(net, PIXELS)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_tracing_gives_it_back_after_an_error_too():
    net = Toy()
    with pytest.raises(RuntimeError):
        trace_layers(net, torch.rand(1, 7, 8, 8))
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("kind", [Averaged, Softmaxed])
def test_logits_that_are_no_layer_s_output_have_no_classifier(kind):
    assert trace_layers(kind(), PIXELS).head_name == ""


def test_a_convolution_whose_output_is_flattened_is_a_classifier():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 2, 1), nn.Flatten())
    assert trace_layers(net, PIXELS).head_name == "1"


def test_an_unknown_network_shows_the_last_map_that_is_not_inside_a_stage():
    net = Toy()
    assert find_cam_layer(net, trace_layers(net, PIXELS)) == "norm"
    net.norm = nn.Identity()
    net.norm.forward = lambda x: x.mean((2, 3), keepdim=True)  # no map any more
    assert find_cam_layer(net, trace_layers(net, PIXELS)) == "stages"


def test_a_network_without_maps_has_nothing_to_look_at():
    net = Flat()
    with pytest.raises(ModelError, match="Flat has no feature map"):
        find_cam_layer(net, trace_layers(net, PIXELS))


def test_a_subclass_of_a_known_family_takes_the_family_s_layer():
    net = MyResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1), channels=(8, 8, 8, 8))
    trace = trace_layers(net, torch.rand(1, 3, 64, 64))
    assert "layer4" in trace.maps()
    assert find_cam_layer(net, trace) == "layer4"


def test_a_known_family_that_does_not_run_its_layer_shows_its_last_map():
    net = ShortResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1), channels=(8, 8, 8, 8))
    trace = trace_layers(net, torch.rand(1, 3, 64, 64))
    assert "layer4" not in trace.shapes
    assert find_cam_layer(net, trace) == "layer3"


@pytest.mark.parametrize("family", CAM_LAYERS)
def test_every_known_family_is_a_class_that_exists(family):
    module, _, name = family.rpartition(".")
    assert isinstance(getattr(__import__(module, fromlist=[name]), name), type)


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_the_layer_of_a_family_has_a_map_with_several_places(arch, built):
    model = built(arch)
    trace = trace_layers(model.net, torch.rand(1, 3, 64, 64))
    assert model.cam_layer in trace.maps()
    shape = trace.shapes[model.cam_layer]
    assert (shape[1] if len(shape) == 3 else shape[2] * shape[3]) >= 4


def test_full_names_stand_for_themselves():
    net = Toy()
    for name, _ in net.named_modules():
        assert resolve_layer(net, name) == name


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("stages.-1", "stages.1"),
        ("stages.-2.conv", "stages.0.conv"),
        ("-1", "unused"),
        ("-2", "fc"),
        ("-7.-1.-1", "stages.1.conv"),
        ("stages.-3", "stages.-3"),
        ("stages.2", "stages.2"),
        ("stages.-0", "stages.-0"),
        ("stages.-x", "stages.-x"),
        ("nowhere.-1", "nowhere.-1"),
        ("stages.-1.fc", "stages.-1.fc"),
    ],
)
def test_positions_from_the_end_are_counted_out_or_left_alone(layer, name):
    assert resolve_layer(Toy(), layer) == name


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        ("stagess", "does not exist"),
        ("fc", "gives no feature map"),
        ("pool", "gives no feature map"),
        ("unused", "gives no feature map"),
    ],
)
def test_a_layer_without_a_map_is_refused_with_layers_that_have_one(layer, problem):
    net = Toy()
    trace = trace_layers(net, PIXELS)
    with pytest.raises(ModelError) as caught:
        check_cam_layer(net, trace, layer=layer)
    text = str(caught.value)
    assert text.startswith(f"cam_layer {layer!r} {problem} in Toy; ")
    named = text.rpartition("first: ")[2].rstrip(".").split(", ")
    assert set(named) <= set(trace.maps())
    assert len(named) == len(set(named))
    if layer == "stagess":
        assert named[0] == "stages"  # the nearest
    else:
        assert named[0] == "norm"  # the last


def test_every_candidate_is_taken_and_there_are_not_too_many(built):
    net = built("resnet18").net
    trace = trace_layers(net, torch.rand(1, 3, 64, 64))
    with pytest.raises(ModelError) as caught:
        check_cam_layer(net, trace, layer="nothing")
    named = str(caught.value).rpartition("first: ")[2].rstrip(".").split(", ")
    assert len(named) == MAX_CANDIDATES
    assert named[0] == "layer4"
    for layer in named:
        assert check_cam_layer(net, trace, layer=layer) == layer
