import math

import pytest
import torch
from torch import nn

from medimg_baseline_cls.models.freeze import frozen_backbone
from medimg_baseline_cls.schema import Stage
from medimg_baseline_cls.training.optimizer import (
    clip_gradients,
    count_warmup,
    learning_rate_factor,
    make_optimizer,
    mean_rate,
    set_learning_rates,
)

TUNE = Stage(name="finetune", epochs=4, head_lr=0.1, backbone_lr=0.01, warmup_fraction=0.25)


def test_norms_and_biases_do_not_decay(toy):
    model = toy.build_toy()
    optimizer = make_optimizer(model, TUNE, weight_decay=0.3)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    found = {name for name, p in model.net.named_parameters() if decays[id(p)] == 0.3}
    assert found == {"conv1.weight", "conv2.weight", "fc.weight"}
    assert set(decays.values()) == {0.0, 0.3}


def test_head_and_backbone_have_their_own_rates(toy):
    model = toy.build_toy()
    optimizer = make_optimizer(model, TUNE, weight_decay=0.0)
    set_learning_rates(optimizer, 0.5)
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in model.net.named_parameters():
        assert rates[id(parameter)] == (0.05 if name.startswith("fc.") else 0.005)


def test_a_frozen_backbone_is_not_in_the_optimizer(toy):
    model = toy.build_toy()
    with frozen_backbone(model):
        optimizer = make_optimizer(model, TUNE, weight_decay=0.0)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(model.net.fc.weight), id(model.net.fc.bias)}


def test_the_fused_step_is_that_of_adamw(toy):
    model, twin = toy.build_toy(), toy.build_toy()
    optimizer = make_optimizer(model, TUNE, weight_decay=0.2)
    set_learning_rates(optimizer, 1.0)
    no_decay = [p for p in twin.parameters() if p.ndim <= 1]
    oracle = torch.optim.AdamW(
        [
            {"params": [p for p in twin.net.fc.parameters() if p.ndim > 1], "lr": 0.1},
            {"params": [twin.net.conv1.weight, twin.net.conv2.weight], "lr": 0.01},
            {"params": [p for p in no_decay if p is twin.net.fc.bias], "lr": 0.1},
            {"params": [p for p in no_decay if p is not twin.net.fc.bias], "lr": 0.01},
        ],
        fused=False,
        foreach=False,
    )
    for number, group in enumerate(oracle.param_groups):
        group["weight_decay"] = 0.2 if number < 2 else 0.0
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=draw)
            q.grad = p.grad.clone()
        optimizer.step()
        oracle.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(("num_steps", "num_warmup"), [(1, 0), (10, 3), (100, 10), (7, 6)])
def test_the_rate_rises_to_the_full_one_and_falls(num_steps, num_warmup):
    factors = [
        learning_rate_factor(step, num_steps=num_steps, num_warmup=num_warmup)
        for step in range(num_steps)
    ]
    peak = max(num_warmup - 1, 0)
    assert factors[peak] == 1.0
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert all(0 < factor <= 1 for factor in factors)


def test_the_rate_follows_torch_s_cosine():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        found = learning_rate_factor(step, num_steps=20, num_warmup=0)
        assert found == pytest.approx(oracle.get_last_lr()[0])
        optimizer.step()
        oracle.step()


def test_warmup_never_fills_a_stage():
    assert count_warmup(TUNE, num_steps=100) == 25
    long = Stage(name="head", epochs=1, head_lr=1.0, warmup_fraction=1.0)
    assert count_warmup(long, num_steps=5) == 4
    assert count_warmup(long, num_steps=1) == 0


def test_the_written_rate_is_the_mean_over_the_epoch():
    factors = [learning_rate_factor(step, num_steps=20, num_warmup=5) for step in range(20)]
    for epoch in range(1, 5):
        expected = 0.01 * math.fsum(factors[(epoch - 1) * 5 : epoch * 5]) / 5
        assert mean_rate(TUNE, epoch=epoch, num_batches=5) == pytest.approx(expected)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_bounds_the_norm_and_keeps_the_direction(max_norm):
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
    draw = torch.Generator().manual_seed(0)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=draw)
    before = torch.cat([p.grad.flatten() for p in parameters])
    norm = clip_gradients(parameters, max_norm)
    after = torch.cat([p.grad.flatten() for p in parameters])
    assert norm.item() == pytest.approx(before.norm().item())
    assert after.norm().item() == pytest.approx(min(max_norm, norm.item()), rel=1e-4)
    assert torch.cosine_similarity(before, after, dim=0).item() == pytest.approx(1.0)


def test_clipping_off_leaves_gradients_alone():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], 0) is None
    assert parameter.grad.tolist() == [3.0, 4.0]
