"""Turn logits and labels into a loss per image and its weight in the mean.

Loss and weight are kept separate until all images of the step are summed, so that a step
over several processes has the same mean as over one. Unknown findings of an image have
neither loss nor weight. Refuses unknown imbalance settings and classes without a training
image.
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
"""Maps logits (B, C) and labels, (B,) or (B, C), to losses (B,) and weights (B,).

The mean is the sum of the losses over the sum of the weights.
"""


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
        TrainingError: the setting is unknown, or class weights are set and a class has no
            training image.
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


def make_finding_criterion(
    imbalance: str,
    positive_counts: Sequence[int],
    *,
    negative_counts: Sequence[int],
    label_smoothing: float,
) -> Criterion:
    """Return the loss of several findings per image that a setting of `imbalance` names.

    Each known finding of an image is a binary decision: the loss of an image is the sum over
    its known findings, its weight their number (0 where none is known). So the mean is over
    the known pairs of image and finding.

    Args:
        imbalance: "none" (binary cross-entropy), "class_weights" (positive pairs weigh
            n_negative / n_positive of their finding) or "focal".
        positive_counts: training images with each finding, in the frozen class order.
        negative_counts: training images known to be without it.
        label_smoothing: share of each target spread over yes and no, in [0, 1).

    Raises:
        TrainingError: the setting is unknown or only for classes, no finding is known, or
            class weights are set and a finding is never positive or never negative.
    """
    if imbalance not in ("none", "class_weights", "focal"):
        raise TrainingError(
            f"imbalance is {imbalance!r}; with several findings per image choose none, "
            f"class_weights or focal."
        )
    if sum(positive_counts) + sum(negative_counts) == 0:
        raise TrainingError("No training image has a known finding; check the labels.")
    weights = torch.ones(len(positive_counts))
    if imbalance == "class_weights":
        weights = weigh_positives(positive_counts, negative_counts)
    losses_of = focal_finding_losses if imbalance == "focal" else finding_losses

    def criterion(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses = losses_of(logits, labels, label_smoothing=label_smoothing)  # (B, C)
        weighted = torch.where(labels == 1, losses * weights.to(losses.device), losses)
        return weighted.sum(dim=1), (labels >= 0).to(losses.dtype).sum(dim=1)

    return criterion


def weigh_positives(positive_counts: Sequence[int], negative_counts: Sequence[int]) -> Tensor:
    """Return n_negative / n_positive of each finding, so that both outcomes count the same.

    Raises:
        TrainingError: a finding has no positive or no negative image.

    >>> weigh_positives([10, 20], [30, 20])
    tensor([3., 1.])
    """
    if min(*positive_counts, *negative_counts) < 1:
        raise TrainingError(
            f"class_weights needs training images with and without every finding, but "
            f"{list(positive_counts)} have it and {list(negative_counts)} do not; add images or "
            f"use imbalance=none."
        )
    return torch.tensor(negative_counts) / torch.tensor(positive_counts)


def finding_losses(logits: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
    """Return the binary cross-entropy of each finding of each image, in nats.

    The target is (1 - e) for the right answer plus e / 2 for yes and for no, as in
    `cross_entropy_losses` with two classes.

    Args:
        logits: shape (B, C); converted to float32 unless float64.
        labels: 1, 0 or -1 (unknown), shape (B, C).
        label_smoothing: e, in [0, 1).

    Returns:
        Shape (B, C); 0, with gradient 0, where the label is unknown.

    >>> finding_losses(torch.zeros(1, 2), torch.tensor([[1, -1]]), label_smoothing=0.0)
    tensor([[0.6931, 0.0000]])
    """
    logits = _precise(logits)
    targets = (labels == 1).to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return losses * (labels >= 0)


def focal_finding_losses(
    logits: Tensor, labels: Tensor, *, label_smoothing: float, gamma: float = FOCAL_GAMMA
) -> Tensor:
    """Return the focal loss of each finding: cross-entropy times (1 - p)^gamma.

    p is the probability of the right answer, yes or no (Lin et al., ICCV 2017, without the
    class factor alpha).

    Args:
        logits: shape (B, C).
        labels: 1, 0 or -1 (unknown), shape (B, C).
        label_smoothing: as in `finding_losses`.
        gamma: focusing exponent, 0 (plain cross-entropy) or more.

    Returns:
        Shape (B, C), float32; 0 where the label is unknown.

    >>> focal_finding_losses(torch.zeros(1, 1), torch.tensor([[1]]), label_smoothing=0.0)
    tensor([[0.1733]])
    """
    plain = finding_losses(logits, labels, label_smoothing=label_smoothing)
    # 1 - p as the sigmoid of the other sign: no loss of digits where p is nearly 1.
    missing = torch.where(labels == 1, -logits.float(), logits.float()).sigmoid()
    return plain * missing**gamma


def weigh_classes(class_counts: Sequence[int]) -> Tensor:
    """Return the weights with which every class counts the same.

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
        logits: shape (B, C); converted to float32 unless float64.
        labels: index of the right class, shape (B,).
        label_smoothing: e, in [0, 1).

    Returns:
        Shape (B,).

    >>> cross_entropy_losses(torch.zeros(1, 2), torch.tensor([0]), label_smoothing=0.0)
    tensor([0.6931])
    """
    return F.cross_entropy(
        _precise(logits), labels, reduction="none", label_smoothing=label_smoothing
    )


def _precise(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def focal_losses(
    logits: Tensor, labels: Tensor, *, label_smoothing: float, gamma: float = FOCAL_GAMMA
) -> Tensor:
    """Return the focal loss of each image: cross-entropy times (1 - p)^gamma.

    p is the probability of the right class, so that easy images count little (Lin et al.,
    ICCV 2017, without the class factor alpha).

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
    # 1 - p as a sum over the other classes: no loss of digits where p is nearly 1.
    probabilities = logits.float().softmax(dim=1)
    others = torch.ones_like(probabilities).scatter_(1, labels[:, None], 0.0)
    missing = (probabilities * others).sum(dim=1)
    return plain * missing**gamma
