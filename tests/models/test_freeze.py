import copy

import pytest
import torch
from torch.nn import functional

from medimg_baseline_cls.models.freeze import (
    find_stem,
    frozen_backbone,
    frozen_layers,
    head_parameters,
    parameter_groups,
)

ARCHS = ["resnet18", "vit_tiny_patch16_224", "monai:DenseNet121"]


@pytest.fixture(params=ARCHS)
def model(request, built):
    return copy.deepcopy(built(request.param)).train()


def snapshot(model):
    return {k: v.clone() for k, v in model.net.state_dict().items()}


def changed_keys(model, before):
    return {k for k, v in model.net.state_dict().items() if not torch.equal(v, before[k])}


def train_two_steps(model, pixels, parameters):
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    for _ in range(2):
        model.train()  # as a training loop does at the start of each epoch
        functional.cross_entropy(model(pixels), torch.tensor([0, 1])).backward()
        optimizer.step()
        optimizer.zero_grad()


def head_keys(model):
    return {f"{model.head_names[0]}.{name}" for name in ("weight", "bias")}


def test_head_only_training_leaves_the_backbone_bit_identical(model, pixels):
    before = snapshot(model)
    with frozen_backbone(model):
        # Every parameter is offered to the optimizer: freezing must not rely on its choice.
        train_two_steps(model, pixels, [p for p in model.parameters() if p.requires_grad])
    assert changed_keys(model, before) == head_keys(model)


def test_freezing_parameters_alone_lets_batch_norm_drift(built, pixels):
    model = copy.deepcopy(built("resnet18")).train()
    before = snapshot(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in head_parameters(model):
        parameter.requires_grad_(True)
    train_two_steps(model, pixels, head_parameters(model))
    drifted = changed_keys(model, before) - head_keys(model)
    assert "bn1.running_mean" in drifted


def test_frozen_features_equal_eval_features(model, pixels):
    with torch.no_grad():
        expected = model.eval().features(pixels)
    with frozen_backbone(model):
        model.train()
        assert torch.equal(model.features(pixels), expected)


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_gradients_come_back_even_after_an_error(model, training):
    model.train(training)
    first = next(model.parameters()).requires_grad_(False)
    inner = next(m for m in model.net.modules() if not list(m.children()))
    inner.train(not training)
    modes = [m.training for m in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    with pytest.raises(ZeroDivisionError), frozen_backbone(model):
        assert [p.requires_grad for p in head_parameters(model)] == [True, True]
        assert sum(p.requires_grad for p in model.parameters()) == 2
        raise ZeroDivisionError
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == needs
    assert not first.requires_grad
    assert model.train().net.training


def test_groups_hold_every_parameter_once(model):
    groups = parameter_groups(model, head_lr=1e-3, backbone_lr=1e-5, weight_decay=0.05)
    grouped = [p for group in groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))
    by_name = {group["name"]: group for group in groups}
    assert {id(p) for n in ("head", "head_no_decay") for p in by_name[n]["params"]} == {
        id(p) for p in head_parameters(model)
    }
    for name, group in by_name.items():
        assert group["lr"] == (1e-3 if name.startswith("head") else 1e-5)
        assert group["weight_decay"] == (0.0 if name.endswith("no_decay") else 0.05)
    decayed = by_name["head"]["params"] + by_name["backbone"]["params"]
    assert all(p.ndim > 1 for p in decayed)
    torch.optim.AdamW(groups)


def test_tokens_and_position_embeddings_do_not_decay(built):
    model = built("vit_tiny_patch16_224")
    groups = parameter_groups(model, head_lr=1, backbone_lr=1, weight_decay=1)
    exempt = next(g for g in groups if g["name"] == "backbone_no_decay")["params"]
    for parameter in (model.net.cls_token, model.net.pos_embed):
        assert any(p is parameter for p in exempt)


def test_a_frozen_backbone_has_only_head_groups(built):
    with frozen_backbone(built("resnet18")) as model:
        groups = parameter_groups(model, head_lr=1, backbone_lr=1, weight_decay=1)
    assert [g["name"] for g in groups] == ["head", "head_no_decay"]


STEMS = {  # by the sizes that each paper gives its stages: everything before the maps of an eighth
    "resnet18": ("conv1", "bn1", "layer1"),
    "monai:DenseNet121": (
        *("features.conv0", "features.norm0", "features.denseblock1"),
        *("features.transition1.norm", "features.transition1.conv"),
    ),
    "vit_tiny_patch16_224": (),
}


@pytest.mark.parametrize("arch", ARCHS)
def test_the_stem_is_what_works_on_a_quarter_of_the_side_or_more(built, arch):
    model = copy.deepcopy(built(arch)).train()
    found = find_stem(model)
    names = {name for name, module in model.net.named_modules() if module in found}
    assert names == {
        name
        for name, module in model.net.named_modules()
        if name.startswith(STEMS[arch] or "no stem") and [*module.parameters(recurse=False)]
    }
    assert all(module.training for module in model.modules())


def test_frozen_layers_take_no_gradient_and_do_again_afterward(built, pixels):
    model = copy.deepcopy(built("resnet18")).train()
    before = snapshot(model)
    with pytest.raises(ZeroDivisionError), frozen_layers([model.net.layer1[0].conv1]):
        train_two_steps(model, pixels, [p for p in model.parameters() if p.requires_grad])
        assert "layer1.0.conv1.weight" not in changed_keys(model, before)
        assert "layer1.0.conv2.weight" in changed_keys(model, before)
        raise ZeroDivisionError
    assert all(parameter.requires_grad for parameter in model.parameters())
