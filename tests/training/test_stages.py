from dataclasses import replace

import pytest
import torch

from medimg_baseline_cls.training.interrupts import StopRequest
from medimg_baseline_cls.training.stages import open_stage
from medimg_baseline_cls.training.steps import TrainingContext, run_epoch
from medimg_baseline_cls.training.validation import validate
from medimg_baseline_cls.utils.log import SILENT


@pytest.fixture
def context(accelerator, tmp_path):
    return TrainingContext(
        run_dir=tmp_path,
        accelerator=accelerator,
        log=SILENT,
        stop=StopRequest(),
        seed=0,
        clip_norm=1.0,
        image_ids=(),
    )


def copy_state(model):
    return {name: tensor.clone() for name, tensor in model.net.state_dict().items()}


def changed_names(model, before):
    state = model.net.state_dict()
    return {name for name, old in before.items() if not torch.equal(state[name], old)}


def run_stage(context, model, stage, *, data, settings, epochs=2):
    with open_stage(context, model, stage=stage, data=data, settings=settings) as setup:
        return [run_epoch(context, setup, epoch=epoch + 1) for epoch in range(epochs)]


def head_stage(toy, *, augmented):
    settings = toy.make_settings(ema_decay=0.9)
    head = settings.stages[0]
    return type(head)(name="head", epochs=3, head_lr=0.05, augmented=augmented), settings


@pytest.mark.parametrize("augmented", [False, True])
def test_the_head_stage_leaves_backbone_and_statistics_bit_identical(toy, context, augmented):
    model = toy.build_toy().train()
    before = copy_state(model)
    stage, settings = head_stage(toy, augmented=augmented)
    run_stage(context, model, stage, data=toy.make_data(), settings=settings)
    assert changed_names(model, before) == {"fc.weight", "fc.bias"}
    assert model.training and all(p.requires_grad for p in model.parameters())


def test_cached_features_train_the_head_as_pixels_do(toy, context):
    data = toy.make_data()
    same = replace(data, augment=lambda pixels, rows, stage, epoch: pixels)
    results = []
    for augmented, images in ((False, data), (True, same)):
        model = toy.build_toy()
        stage, settings = head_stage(toy, augmented=augmented)
        losses = run_stage(context, model, stage, data=images, settings=settings, epochs=3)
        results.append((losses, model.net.fc.weight.detach().clone(), model.net.fc.bias.detach()))
    (losses, weight, bias), (other_losses, other_weight, other_bias) = results
    assert losses == pytest.approx(other_losses, abs=1e-6)
    torch.testing.assert_close(weight, other_weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(bias, other_bias, rtol=0, atol=1e-6)


def test_the_head_stage_looks_at_each_image_once(toy, context):
    model, seen = toy.build_toy(), []
    model.net.conv1.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    stage, settings = head_stage(toy, augmented=False)
    run_stage(context, model, stage, data=toy.make_data(), settings=settings, epochs=3)
    assert sum(seen) == 40 + 21


@pytest.mark.parametrize(("batchnorm", "moves"), [("train", True), ("frozen", False)])
def test_batchnorm_statistics_move_only_where_they_may(toy, context, batchnorm, moves):
    model = toy.build_toy()
    before = copy_state(model)
    settings = toy.make_settings(stage={"batchnorm": batchnorm})
    run_stage(context, model, settings.stages[1], data=toy.make_data(), settings=settings)
    statistics = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert changed_names(model, before) & statistics == (statistics if moves else set())
    assert {"norm.weight", "norm.bias", "conv1.weight", "fc.bias"} <= changed_names(model, before)


@pytest.mark.parametrize("batchnorm", ["train", "frozen"])
def test_a_frozen_stem_keeps_weights_and_statistics(toy, context, batchnorm):
    model = toy.build_toy()
    before = copy_state(model)
    settings = toy.make_settings(stage={"batchnorm": batchnorm, "frozen_stem": True})
    run_stage(context, model, settings.stages[1], data=toy.make_data(), settings=settings)
    # All convolutions of the toy work on the full side.
    assert changed_names(model, before) == {"fc.weight", "fc.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_frozen_statistics_survive_validation_between_epochs(toy, tmp_path):
    settings = toy.make_settings(head_epochs=0, stage={"batchnorm": "frozen"}, ema_decay=0.9)
    model = toy.build_toy()
    before = copy_state(model)
    toy.train_toy(tmp_path, model=model, settings=settings)
    assert not {name for name in changed_names(model, before) if "running" in name}


def test_augmentation_is_asked_for_rows_stage_and_epoch(toy, context):
    asked = []

    def augment(pixels, rows, stage, epoch):
        asked.append((stage, epoch, tuple(rows)))
        return pixels

    data = replace(toy.make_data(), augment=augment)
    settings = toy.make_settings()
    run_stage(context, toy.build_toy(), settings.stages[1], data=data, settings=settings)
    expected = [
        ("finetune", epoch, tuple(rows))
        for epoch in (1, 2)
        for _, _, rows in data.train.epoch("finetune", epoch)
    ]
    assert asked == expected


def test_pixels_come_channels_last(toy, context):
    model, layouts = toy.build_toy(), []
    model.register_forward_pre_hook(
        lambda module, inputs: layouts.append(
            inputs[0].is_contiguous(memory_format=torch.channels_last)
        )
    )

    def to_color(pixels, device):
        return toy.to_unit_range(pixels, device).repeat(1, 3, 1, 1)

    data, settings = replace(toy.make_data(), to_unit_range=to_color), toy.make_settings()
    with open_stage(
        context, model, stage=settings.stages[1], data=data, settings=settings
    ) as setup:
        run_epoch(context, setup, epoch=1)
        validate(context, setup, positive=1)
    assert len(layouts) == 5 + 3 and all(layouts)


def test_the_real_loader_and_augmenter_fit(toy, context):
    from medimg_baseline_cls.data.batches.augment import make_augmenter
    from medimg_baseline_cls.data.batches.loaders import ImageSet, Loader, to_unit_range

    data = toy.make_data()
    sets = [
        ImageSet(
            pixels=source.pixels,
            cache_rows=torch.arange(source.num_images).numpy(),
            rows=source.rows,
            labels=source.labels,
        )
        for source in (data.train, data.val)
    ]
    train, val = (Loader(images, batch_size=16, seed=0) for images in sets)
    real = replace(
        data,
        train=train,
        val=val,
        to_unit_range=to_unit_range,
        augment=make_augmenter("standard", horizontal_flip=False, seed=0),
    )
    settings = toy.make_settings()
    for stage in settings.stages:
        losses = run_stage(context, toy.build_toy(), stage, data=real, settings=settings)
        assert all(0 < loss < 2 for loss in losses)
