"""Turns logits and labels into one loss per image and the weight it has in the mean.

Loss and weight stay apart until the whole step's images are known, so that a step over
several processes has the same mean as one over a single process. Refuses unknown
imbalance settings and classes without a training image.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medimg_baseline_cls.errors import TrainingError

FOCAL_GAMMA = 2.0
"""The focusing exponent that Lin et al. found best."""

# The balanced sampler acts on the order of the images, not on their loss.
_PLAIN = ("none", "balanced_sampler")
_KNOWN = (*_PLAIN, "class_weights", "focal")

Criterion = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps logits (B, C) and labels (B,) to losses (B,) and weights (B,): mean = sum / sum."""


def make_criterion(
    imbalance: str, class_counts: Sequence[int], *, label_smoothing: float
) -> Criterion:
    """Return the loss that a setting of `imbalance` names.

    Args:
        imbalance: "none", "balanced_sampler" (both plain cross-entropy), "class_weights"
            or "focal".
        class_counts: training images per class, in the frozen class order.
        label_smoothing: share of each target spread over all classes, in [0, 1).

    Raises:
        TrainingError: the setting is unknown, or class weights are asked for and a class
            has no training image.
    """
    if imbalance not in _KNOWN:
        raise TrainingError(f"imbalance is {imbalance!r}; choose one of {', '.join(_KNOWN)}.")
    weights = weigh_classes(class_counts) if imbalance == "class_weights" else None

    def criterion(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if imbalance == "focal":
            losses = focal_losses(logits, labels, label_smoothing=label_smoothing)
        else:
            losses = cross_entropy_losses(logits, labels, label_smoothing=label_smoothing)
        if weights is None:
            return losses, torch.ones_like(losses)
        image_weights = weights.to(losses.device)[labels]
        return losses * image_weights, image_weights

    return criterion


def weigh_classes(class_counts: Sequence[int]) -> Tensor:
    """Return the weight of each class that makes every class count the same.

    n / (C n_c), so that the weights average to 1 over the training images (King & Zeng,
    Political Analysis 2001).

    Raises:
        TrainingError: a class has no image.

    >>> weigh_classes([30, 10])
    tensor([0.6667, 2.0000])
    """
    if min(class_counts) < 1:
        raise TrainingError(
            f"class_weights needs a training image of every class, but the counts are "
            f"{list(class_counts)}; add images or use imbalance=none."
        )
    total = sum(class_counts)
    return torch.tensor([total / (len(class_counts) * count) for count in class_counts])


def cross_entropy_losses(logits: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
    """Return the cross-entropy of each image, in nats.

    The target is (1 - e) for the right class plus e / C for every class (Szegedy et al.,
    CVPR 2016).

    Args:
        logits: shape (B, C); computed in float32 whatever comes.
        labels: index of the right class, shape (B,).
        label_smoothing: e, in [0, 1).

    Returns:
        Shape (B,), float32.

    >>> cross_entropy_losses(torch.zeros(1, 2), torch.tensor([0]), label_smoothing=0.0)
    tensor([0.6931])
    """
    return F.cross_entropy(
        logits.float(), labels, reduction="none", label_smoothing=label_smoothing
    )


def focal_losses(
    logits: Tensor, labels: Tensor, *, label_smoothing: float, gamma: float = FOCAL_GAMMA
) -> Tensor:
    """Return the focal loss of each image: cross-entropy times (1 - p)^gamma.

    p is the probability of the right class, so what is already known counts little
    (Lin et al., ICCV 2017, without the class factor alpha).

    Args:
        logits: shape (B, C).
        labels: index of the right class, shape (B,).
        label_smoothing: as in `cross_entropy_losses`.
        gamma: focusing exponent, 0 (plain cross-entropy) or more.

    Returns:
        Shape (B,), float32.

    >>> focal_losses(torch.zeros(1, 2), torch.tensor([0]), label_smoothing=0.0)
    tensor([0.1733])
    """
    plain = cross_entropy_losses(logits, labels, label_smoothing=label_smoothing)
    # 1 - p as a sum over the other classes keeps its digits where p is nearly 1.
    probabilities = logits.float().softmax(dim=1)
    others = torch.ones_like(probabilities).scatter_(1, labels[:, None], 0.0)
    missing = (probabilities * others).sum(dim=1)
    return plain * missing**gamma
