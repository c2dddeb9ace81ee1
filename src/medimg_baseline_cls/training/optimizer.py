"""Make the optimizer of a stage and compute its learning rate at every step.

The rate is a pure function of the step number: nothing to save, nothing to restore, and
a resumed run cannot be off by one step.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.freeze import parameter_groups
from medimg_baseline_cls.schema import Stage

_FULL_LR = "full_lr"


def make_optimizer(model: Classifier, stage: Stage, *, weight_decay: float) -> AdamW:
    """Return AdamW (Loshchilov & Hutter, ICLR 2019) over the parameters that the stage trains.

    Norms and biases have no weight decay; head and backbone have separate rates. Parameters
    that do not require gradients are left out.
    """
    groups = parameter_groups(
        model, head_lr=stage.head_lr, backbone_lr=stage.backbone_lr, weight_decay=weight_decay
    )
    for group in groups:
        group[_FULL_LR] = group["lr"]
    # One kernel for all tensors: several times faster than the loop over them.
    return AdamW(groups, fused=True)


def learning_rate_factor(step: int, *, num_steps: int, num_warmup: int) -> float:
    """Return the share of the full rate at a step: linear warm-up, then a cosine to 0.

    Args:
        step: from 0 to num_steps - 1.
        num_steps: steps of the whole stage.
        num_warmup: number of warm-up steps.

    Returns:
        In (0, 1].

    >>> [round(learning_rate_factor(s, num_steps=5, num_warmup=2), 3) for s in range(5)]
    [0.5, 1.0, 1.0, 0.75, 0.25]
    """
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def count_warmup(stage: Stage, *, num_steps: int) -> int:
    """Return the number of warm-up steps of a stage; never all of its steps."""
    return min(round(stage.warmup_fraction * num_steps), max(0, num_steps - 1))


def set_learning_rates(optimizer: Optimizer, factor: float) -> None:
    """Set each group's rate to this share of its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = group[_FULL_LR] * factor


def mean_rate(stage: Stage, *, epoch: int, num_batches: int) -> float:
    """Return the mean learning rate of an epoch (from 1): the `lr` of history.csv.

    The head's rate in stage "head", the backbone's in stage "finetune"; 0 if it is solved.
    """
    if stage.fit == "logistic":
        return 0.0
    num_steps = stage.epochs * num_batches
    num_warmup = count_warmup(stage, num_steps=num_steps)
    steps = range((epoch - 1) * num_batches, epoch * num_batches)
    factors = [
        learning_rate_factor(step, num_steps=num_steps, num_warmup=num_warmup) for step in steps
    ]
    full_rate = stage.head_lr if stage.name == "head" else stage.backbone_lr
    return full_rate * sum(factors) / len(factors)


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> torch.Tensor | None:
    """Scale all gradients so that their total norm is at most `max_norm`; 0 turns this off.

    Returns:
        The norm before clipping (a tensor, not fetched from the device), or None where
        nothing is clipped.
    """
    if max_norm == 0:
        return None
    return nn.utils.clip_grad_norm_(parameters, max_norm)
