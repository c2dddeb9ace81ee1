"""Set up a stage: what is trained, on which inputs, with which loss.

Stage "head" trains the last linear layer on the backbone's features, computed once if there
is no augmentation; stage "finetune" trains everything.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from medimg_baseline_cls.evaluation.inference import BatchLike, ToUnitRange
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.freeze import find_stem, frozen_backbone, frozen_layers
from medimg_baseline_cls.schema import Stage, TrainSettings
from medimg_baseline_cls.training.ema import WeightAverage
from medimg_baseline_cls.training.features import (
    HeadOnly,
    cache_features,
    extract_features,
    pass_features,
)
from medimg_baseline_cls.training.interrupts import StopRequest
from medimg_baseline_cls.training.logistic_head import solve_head
from medimg_baseline_cls.training.losses import Criterion, make_criterion, make_finding_criterion
from medimg_baseline_cls.training.optimizer import make_optimizer
from medimg_baseline_cls.training.sources import BatchSource, FeatureSource, TrainData
from medimg_baseline_cls.training.steps import StageSetup, TrainingContext
from medimg_baseline_cls.utils.log import RunLog


class _View(NamedTuple):
    """The module that is trained, and its inputs."""

    module: nn.Module
    train: BatchSource
    val: BatchSource
    prepare: Callable[[BatchLike, int], Tensor]
    to_inputs: ToUnitRange
    stressed: Sequence[tuple[BatchSource, ToUnitRange]]


def open_context(
    data: TrainData,
    settings: TrainSettings,
    *,
    run_dir: Path,
    accelerator: Accelerator,
    log: RunLog,
    stop: StopRequest,
) -> TrainingContext:
    """Return what is the same for the whole training."""
    return TrainingContext(
        run_dir=run_dir,
        accelerator=accelerator,
        log=log,
        stop=stop,
        seed=settings.seed,
        clip_norm=settings.clip_norm,
        image_ids=data.image_ids,
    )


@contextmanager
def open_stage(
    context: TrainingContext,
    model: Classifier,
    *,
    stage: Stage,
    data: TrainData,
    settings: TrainSettings,
) -> Generator[StageSetup, None, None]:
    """Set up a stage for a block; in stage "head" the backbone is frozen during it.

    Args:
        context: of the training.
        model: trained from its current weights.
        stage: which stage.
        data: the images.
        settings: of the whole training.
    """
    is_head = stage.name == "head"
    stem = find_stem(model) if stage.frozen_stem else ()
    with frozen_backbone(model) if is_head else frozen_layers(stem):
        set_modes = partial(_set_modes, model, stage, stem=stem)
        set_modes()
        view = (_view_features if is_head else _view_pixels)(context, model, stage=stage, data=data)
        criterion, solve = _choose_criterion(data, settings), None
        if stage.fit == "logistic" and isinstance(view.train, FeatureSource):
            solve = partial(
                solve_head,
                context,
                model,
                train=view.train,
                groups=data.groups,
                criterion=criterion,
            )
        yield StageSetup(
            stage=stage,
            task=settings.task,
            module=view.module,
            train=view.train,
            val=view.val,
            prepare=view.prepare,
            to_inputs=view.to_inputs,
            stressed=view.stressed,
            set_modes=set_modes,
            optimizer=make_optimizer(model, stage, weight_decay=settings.weight_decay),
            parameters=[p for p in model.net.parameters() if p.requires_grad],
            criterion=criterion,
            average=_start_average(model, stage, decay=settings.ema_decay),
            solve=solve,
        )


def _choose_criterion(data: TrainData, settings: TrainSettings) -> Criterion:
    if settings.has_findings:
        return make_finding_criterion(
            settings.imbalance,
            data.class_counts,
            negative_counts=data.negative_counts,
            label_smoothing=settings.label_smoothing,
        )
    return make_criterion(
        settings.imbalance, data.class_counts, label_smoothing=settings.label_smoothing
    )


def _view_pixels(
    context: TrainingContext, model: Classifier, *, stage: Stage, data: TrainData
) -> _View:
    prepare = partial(_prepare_pixels, context=context, data=data, stage=stage)
    to_inputs = partial(_to_channels_last, to_unit_range=data.to_unit_range)
    stressed = [
        (data.val, partial(_to_channels_last, to_unit_range=_stressing(data, stress)))
        for stress in data.stresses
    ]
    return _View(model, data.train, data.val, prepare, to_inputs, stressed)


def _view_features(
    context: TrainingContext, model: Classifier, *, stage: Stage, data: TrainData
) -> _View:
    to_unit_range = data.to_unit_range
    val = cache_features(context, model, source=data.val, to_unit_range=to_unit_range)
    stressed = [
        (cache_features(context, model, source=data.val, to_unit_range=moved), pass_features)
        for moved in (_stressing(data, stress) for stress in data.stresses)
    ]
    if stage.augmented and data.augment is not None:
        prepare = partial(_prepare_features, context=context, model=model, data=data, stage=stage)
        return _View(HeadOnly(model), data.train, val, prepare, pass_features, stressed)
    train = cache_features(context, model, source=data.train, to_unit_range=to_unit_range)
    return _View(HeadOnly(model), train, val, _take_features, pass_features, stressed)


def _stressing(data: TrainData, stress: Callable[[Tensor], Tensor]) -> ToUnitRange:
    """Return the move of stored pixels to the device, with a fixed change of them there."""
    return lambda pixels, device: stress(data.to_unit_range(pixels, device))


def _prepare_pixels(
    batch: BatchLike, epoch: int, *, context: TrainingContext, data: TrainData, stage: Stage
) -> Tensor:
    """Return a batch in [0, 1] on the device, augmented if the stage is."""
    pixels = data.to_unit_range(batch[0], context.device)  # (B, C, S, S)
    if stage.augmented and data.augment is not None:
        pixels = data.augment(pixels, batch[2], stage.name, epoch)
    return pixels.contiguous(memory_format=torch.channels_last)


def _prepare_features(
    batch: BatchLike,
    epoch: int,
    *,
    context: TrainingContext,
    model: Classifier,
    data: TrainData,
    stage: Stage,
) -> Tensor:
    """Return the features of an augmented batch; they differ in every epoch."""
    pixels = _prepare_pixels(batch, epoch, context=context, data=data, stage=stage)
    return extract_features(context, model, pixels=pixels)


def _take_features(batch: BatchLike, epoch: int) -> Tensor:
    return batch[0]


def _to_channels_last(
    pixels: Tensor, device: torch.device, *, to_unit_range: ToUnitRange
) -> Tensor:
    return to_unit_range(pixels, device).contiguous(memory_format=torch.channels_last)


def _set_modes(model: Classifier, stage: Stage, *, stem: Sequence[nn.Module]) -> None:
    """Put every module into the mode that the stage needs."""
    # Frozen weights are not enough: in train mode BatchNorm would still move its statistics.
    model.train(stage.name != "head")
    for module in model.modules() if stage.batchnorm == "frozen" else stem:
        if isinstance(module, _BatchNorm):
            module.eval()


def _start_average(model: Classifier, stage: Stage, *, decay: float) -> WeightAverage | None:
    if decay == 0 or stage.fit == "logistic":
        return None
    moves_buffers = stage.name == "finetune" and stage.batchnorm != "frozen"
    return WeightAverage(model.net, decay=decay, with_buffers=moves_buffers)
