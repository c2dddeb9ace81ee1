"""Which parameters train and which decay, against timm's own rule and by hand."""

import copy

import pytest
import torch
from timm.optim import param_groups_weight_decay
from torch.nn import functional

from medimg_baseline_cls.models.freeze import frozen_backbone, head_parameters, parameter_groups

ARCHS = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "resnetv2_18"]


def groups_of(model, **settings):
    rates = {"head_lr": 1e-3, "backbone_lr": 1e-5, "weight_decay": 0.05, **settings}
    return {group["name"]: group for group in parameter_groups(model, **rates)}


def ids(parameters):
    return {id(parameter) for parameter in parameters}


@pytest.mark.parametrize("arch", ARCHS)
def test_what_decays_is_what_decays_in_timm(arch, built):
    model = built(arch)
    own = {n: g["params"] for n, g in groups_of(model).items() if "no_decay" not in n}
    exempt = getattr(model.net, "no_weight_decay", set)()
    still, decaying = param_groups_weight_decay(model.net, 0.05, no_weight_decay_list=exempt)
    assert (still["weight_decay"], decaying["weight_decay"]) == (0.0, 0.05)
    assert ids(p for params in own.values() for p in params) == ids(decaying["params"])


@pytest.mark.parametrize("arch", ARCHS)
def test_the_head_s_groups_are_its_weight_and_its_bias(arch, built):
    model = built(arch)
    groups, layer = groups_of(model), model.head_layer
    assert [id(p) for p in groups["head"]["params"]] == [id(layer.weight)]
    assert [id(p) for p in groups["head_no_decay"]["params"]] == [id(layer.bias)]
    assert len(head_parameters(model)) == 2
    assert ids(head_parameters(model)) == {id(layer.weight), id(layer.bias)}
    rates = {name: group["lr"] for name, group in groups.items()}
    assert rates == {
        "head": 1e-3, "head_no_decay": 1e-3, "backbone": 1e-5, "backbone_no_decay": 1e-5,
    }  # fmt: skip


def test_what_takes_no_gradient_is_in_no_group(built):
    model = copy.deepcopy(built("test_resnet"))
    model.net.conv1[0].weight.requires_grad_(False)
    model.head_layer.bias.requires_grad_(False)
    groups = groups_of(model)
    assert "head_no_decay" not in groups
    grouped = ids(p for group in groups.values() for p in group["params"])
    assert grouped == ids(p for p in model.parameters() if p.requires_grad)


def test_without_gradients_a_step_of_decay_shrinks_only_what_decays(built):
    model = copy.deepcopy(built("test_vit"))
    before = {k: v.clone() for k, v in model.net.named_parameters()}
    optimizer = torch.optim.SGD(list(groups_of(model, backbone_lr=0.1, head_lr=0.1).values()))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.net.named_parameters():
        is_still = parameter.ndim == 1 or name in ("cls_token", "reg_token", "pos_embed")
        factor = 1.0 if is_still else 1 - 0.1 * 0.05
        assert torch.allclose(parameter, before[name] * factor, atol=1e-7), name


def test_freezing_twice_thaws_once_per_end(built):
    model = copy.deepcopy(built("test_resnet")).train()
    with frozen_backbone(model) as outer:
        assert outer is model
        with frozen_backbone(model):
            pass
        assert model.is_backbone_frozen
        assert not model.train().net.bn1.training
        assert [p.requires_grad for p in model.parameters()].count(True) == 2
    assert not model.is_backbone_frozen
    assert all(p.requires_grad for p in model.parameters())
    assert model.net.bn1.training


def test_a_head_that_was_frozen_stays_so_inside(built):
    model = copy.deepcopy(built("test_resnet"))
    model.head_layer.bias.requires_grad_(False)
    with frozen_backbone(model):
        assert [p.requires_grad for p in head_parameters(model)] == [True, False]
    assert not model.head_layer.bias.requires_grad


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_a_frozen_backbone_computes_no_gradient(arch, built, pixels):
    model = copy.deepcopy(built(arch))
    with frozen_backbone(model):
        features = model.features(pixels)
        assert not features.requires_grad
        functional.cross_entropy(model.head(features), torch.tensor([0, 2])).backward()
    with_gradient = {n for n, p in model.net.named_parameters() if p.grad is not None}
    head = model.head_names[0]
    assert with_gradient == {f"{head}.weight", f"{head}.bias"}


def test_a_step_on_cached_features_is_a_step_on_images(built, pixels):
    labels, states = torch.tensor([0, 2]), []
    for is_cached in (False, True):
        model = copy.deepcopy(built("test_resnet"))
        with frozen_backbone(model.train()):
            with torch.no_grad():
                features = model.features(pixels)
            optimizer = torch.optim.SGD(head_parameters(model), lr=0.5)
            logits = model.head(features) if is_cached else model(pixels)
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()
        states.append(model.net.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
