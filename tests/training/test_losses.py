import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import FocalLoss
from sklearn.utils.class_weight import compute_class_weight

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.training.losses import (
    cross_entropy_losses,
    focal_losses,
    make_criterion,
    weigh_classes,
)


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(50, 4, generator=draw) * 3
    return logits, torch.randint(0, 4, (50,), generator=draw)


def mean_of(criterion, batch):
    losses, weights = criterion(*batch)
    return losses.sum() / weights.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_cross_entropy_is_the_formula_of_its_definition(batch, smoothing):
    logits, labels = (part.numpy().astype(np.float64 if part.ndim == 2 else int) for part in batch)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = np.full((50, 4), smoothing / 4)
    target[np.arange(50), labels] += 1 - smoothing
    expected = -(target * log_p).sum(axis=1)
    found = cross_entropy_losses(*batch, label_smoothing=smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_class_weights_give_the_weighted_mean_of_torch(batch):
    counts = [5, 10, 20, 15]
    criterion = make_criterion("class_weights", counts, label_smoothing=0.0)
    expected = F.cross_entropy(*batch, weight=weigh_classes(counts))
    torch.testing.assert_close(mean_of(criterion, batch), expected)


def test_class_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [7, 30, 13])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weigh_classes([7, 30, 13]), expected, rtol=1e-6)


def test_class_weights_give_every_class_the_same_total():
    counts = [3, 40]
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    _, weights = make_criterion("class_weights", counts, label_smoothing=0.0)(
        torch.zeros(43, 2), labels
    )
    assert weights[labels == 0].sum().item() == pytest.approx(weights[labels == 1].sum().item())


def test_focal_is_that_of_monai(batch):
    logits, labels = batch
    oracle = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0, reduction="none")
    expected = oracle(logits, labels[:, None]).sum(dim=1)
    found = focal_losses(logits, labels, label_smoothing=0.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_focal_without_focus_is_cross_entropy(batch):
    found = focal_losses(*batch, label_smoothing=0.1, gamma=0.0)
    torch.testing.assert_close(found, cross_entropy_losses(*batch, label_smoothing=0.1))


def test_focal_has_a_finite_gradient_when_sure_and_right_or_wrong():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    losses = focal_losses(logits, torch.tensor([0, 0]), label_smoothing=0.0)
    losses.sum().backward()
    assert losses.tolist() == [0.0, 200.0]
    assert logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("imbalance", ["none", "balanced_sampler"])
def test_without_weights_the_mean_is_that_of_torch(batch, imbalance):
    criterion = make_criterion(imbalance, [1, 1, 1, 1], label_smoothing=0.1)
    expected = F.cross_entropy(*batch, label_smoothing=0.1)
    torch.testing.assert_close(mean_of(criterion, batch), expected)


def test_bfloat16_logits_are_scored_in_full_precision(batch):
    logits, labels = batch
    rounded = logits.bfloat16()
    found = cross_entropy_losses(rounded, labels, label_smoothing=0.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.cross_entropy(rounded.float(), labels, reduction="none"))


def test_a_class_without_images_has_no_weight():
    with pytest.raises(TrainingError, match=r"counts are \[3, 0\]"):
        make_criterion("class_weights", [3, 0], label_smoothing=0.0)


def test_an_unknown_setting_is_refused():
    with pytest.raises(TrainingError, match="choose one of none"):
        make_criterion("oversample", [1, 1], label_smoothing=0.0)
