"""Settings: the network and how it is trained."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from medimg_baseline_cls.config.section import COMMON, RULES, Flag


@dataclass(frozen=True, kw_only=True, config=RULES)
class ModelSettings:
    """The network."""

    arch: Annotated[str, Flag("--model", is_common=True)] = "resnet18"
    """Any timm classifier (resnet18, densenet121 ...) or monai:NAME (monai:DenseNet121);
    for volumes monai3d:NAME."""

    pretrained: Annotated[bool, COMMON] = True
    """Start from pretrained weights; --no-pretrained: start from random weights."""

    weights: Annotated[Path | None, Field(examples=["resnet18.safetensors"]), COMMON] = None
    """File with pretrained weights, .safetensors or .pth (none: from the timm hub)."""

    slice_pooling: Literal["attention", "mean", "max", "lse"] = "attention"
    """Joins the slices of a volume."""

    slice_neighbors: Annotated[int, Field(ge=0, le=256, examples=[1])] = 0
    """Slices below and above that enter with each slice (2.5D; 0 to 256)."""

    slices_per_pass: Annotated[int, Field(ge=0, examples=[64])] = 0
    """Slices in memory at a time, in fine-tuning (0: all)."""

    cam_layer: Annotated[str | None, Field(examples=["layer4"])] = None
    """Layer for Grad-CAM, such as layer4 (none: the default of the architecture)."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class TrainingSettings:
    """The two stages of training."""

    head_epochs: Annotated[int, Field(ge=0, le=10_000), COMMON] = 10
    """Epochs for the classifier alone, the rest frozen (0 to 10000)."""

    finetune_epochs: Annotated[int, Field(ge=0, le=10_000), Flag("--epochs", is_common=True)] = 6
    """Epochs for the whole network (0 to 10000)."""

    batch_size: Annotated[int, Field(ge=2, le=4096), Flag("-b", is_common=True)] = 32
    """Images per step, over all processes (2 to 4096)."""

    head_fit: Literal["adamw", "logistic"] = "adamw"
    """Fit of the head alone: in epochs, or solved."""

    head_lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Peak learning rate of the head, both stages (above 0, at most 1)."""

    finetune_lr: Annotated[float, Field(gt=0, le=1), Flag("--lr")] = 1e-4
    """Peak learning rate of the backbone during fine-tuning (above 0, at most 1)."""

    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Weight decay of AdamW; none for norms and biases (0 to 1)."""

    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Probability mass taken from the true class (0 to 0.5)."""

    imbalance: Literal["none", "class_weights", "balanced_sampler", "focal"] = "none"
    """For rare classes."""

    ema_decay: Annotated[float, Field(ge=0, lt=1, examples=[0.999])] = 0.0
    """Decay of the average of the weights (0: off, else below 1: 0.999)."""

    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Maximum gradient norm (0: no limit)."""

    batchnorm: Literal["auto", "train", "frozen", "sync"] = "auto"
    """BatchNorm statistics in fine-tuning: per batch, kept, or over all processes (auto: frozen if
    pretrained)."""

    frozen_stem: bool = True
    """Keep the first pretrained layers; --no-frozen-stem: train the first layers too."""

    select: Literal["val_ap", "stressed_val"] = "val_ap"
    """Choice of best.pt: by AP on VAL as it is, or under fixed changes of its images."""

    patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better VAL score before early stopping (0: never)."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class AugmentationSettings:
    """Random changes of the training images."""

    augment: Annotated[
        str,
        Field(
            pattern=r"^(none|light|standard|acquisition|plugin:[A-Za-z0-9_.-]+)$",
            title="none, light, standard, acquisition or plugin:NAME",
            examples=["light"],
        ),
    ] = "acquisition"
    """Random changes of training images: none, light, standard, acquisition or plugin:NAME."""

    horizontal_flip: bool = False
    """Random horizontal flips; avoid for chest radiographs (heart side)."""

    head_augment: bool = False
    """Augment during head training too; slower."""
