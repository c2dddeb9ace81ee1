"""Several findings per image: unknown ones teach nothing, and no step divides by nothing."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as oracle
from torchvision.ops import sigmoid_focal_loss

from medimg_baseline_cls.errors import DataError, TrainingError
from medimg_baseline_cls.training.losses import (
    finding_losses,
    focal_finding_losses,
    make_finding_criterion,
    weigh_positives,
)


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(50, 4, generator=draw) * 3
    labels = torch.randint(-1, 2, (50, 4), generator=draw)
    labels[7] = -1
    return logits, labels


def make_criterion(imbalance="none", *, positive=(5, 10, 20, 15), negative=(45, 30, 20, 5), e=0.0):
    return make_finding_criterion(imbalance, positive, negative_counts=negative, label_smoothing=e)


def mean_of(criterion, batch):
    losses, weights = criterion(*batch)
    return losses.sum() / weights.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_mean_loss_is_that_of_the_known_pairs(batch, smoothing):
    logits, labels = (part.numpy().astype(np.float64) for part in batch)
    known = labels >= 0
    p, y = 1 / (1 + np.exp(-logits[known])), labels[known]
    target = y * (1 - smoothing) + smoothing / 2
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    assert mean_of(make_criterion(e=smoothing), batch).item() == pytest.approx(expected, rel=1e-5)


def test_mean_loss_is_the_log_loss_of_scikit_learn(batch):
    logits, labels = batch
    known = labels >= 0
    expected = oracle.log_loss(labels[known], logits[known].double().sigmoid())
    assert mean_of(make_criterion(), batch).item() == pytest.approx(expected, rel=1e-5)


def test_an_image_weighs_as_many_findings_as_are_known_of_it(batch):
    _, weights = make_criterion()(*batch)
    assert weights.tolist() == (batch[1] >= 0).sum(dim=1).tolist()
    assert weights[7] == 0


@pytest.mark.parametrize("imbalance", ["none", "class_weights", "focal"])
def test_an_unknown_finding_has_no_loss_and_no_gradient(batch, imbalance):
    logits, labels = batch[0].clone().requires_grad_(), batch[1]
    losses, _ = make_criterion(imbalance, e=0.1)(logits, labels)
    losses.sum().backward()
    assert losses[7] == 0
    assert (logits.grad[labels < 0] == 0).all()
    assert (logits.grad[labels >= 0] != 0).all()
    other = torch.where(labels < 0, 100.0, batch[0])
    again, _ = make_criterion(imbalance, e=0.1)(other, labels)
    assert torch.equal(again, losses)


def test_class_weights_are_the_positive_weights_of_torch(batch):
    logits, labels = batch
    ratio = torch.tensor([45 / 5, 30 / 10, 20 / 20, 5 / 15])
    known = (labels >= 0).float()
    expected = F.binary_cross_entropy_with_logits(
        logits, labels.clamp(min=0).float(), weight=known, pos_weight=ratio, reduction="sum"
    )
    torch.testing.assert_close(
        mean_of(make_criterion("class_weights"), batch), expected / known.sum()
    )


def test_positive_weights_give_both_outcomes_the_same_total():
    labels = torch.tensor([[1]] * 3 + [[0]] * 12)
    losses, _ = make_criterion("class_weights", positive=[3], negative=[12])(
        torch.zeros(15, 1), labels
    )
    assert losses[:3].sum().item() == pytest.approx(losses[3:].sum().item())


def test_focal_is_that_of_torchvision(batch):
    logits, labels = batch
    targets = labels.clamp(min=0).float()
    expected = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=2.0) * (labels >= 0)
    found = focal_finding_losses(logits, labels, label_smoothing=0.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_focal_without_focus_is_cross_entropy(batch):
    found = focal_finding_losses(*batch, label_smoothing=0.1, gamma=0.0)
    torch.testing.assert_close(found, finding_losses(*batch, label_smoothing=0.1))


def test_extreme_logits_have_a_finite_loss_and_gradient():
    logits = torch.tensor([[200.0, -200.0, 200.0]], requires_grad=True)
    losses = focal_finding_losses(logits, torch.tensor([[1, 1, 0]]), label_smoothing=0.0)
    losses.sum().backward()
    assert losses.tolist() == [[0.0, 200.0, 200.0]]
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_bfloat16_logits_are_scored_in_full_precision(batch):
    found = finding_losses(batch[0].bfloat16(), batch[1], label_smoothing=0.0)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("counts", [([0, 5], [5, 5]), ([5, 5], [5, 0])])
def test_a_finding_that_never_varies_has_no_weight(counts):
    with pytest.raises(TrainingError, match="with and without every finding"):
        weigh_positives(*counts)


def test_labels_that_say_nothing_are_refused():
    with pytest.raises(TrainingError, match="No training image has a known finding"):
        make_criterion(positive=[0, 0], negative=[0, 0])


@pytest.mark.parametrize("imbalance", ["balanced_sampler", "oversample"])
def test_settings_for_classes_are_refused(imbalance):
    with pytest.raises(TrainingError, match="choose none, class_weights or focal"):
        make_criterion(imbalance)


class FindingSource:
    """A toy source whose images have two findings, partly unknown: brightness, and its reverse."""

    def __init__(self, source, *, unknown):
        draw = np.random.default_rng(4)
        self.source = source
        self.labels = np.stack([source.labels, 1 - source.labels], axis=1)
        self.labels[draw.random(self.labels.shape) < unknown] = -1

    def __getattr__(self, name):
        return getattr(self.source, name)

    def _with_findings(self, batches):
        for pixels, _, rows in batches:
            yield pixels, torch.from_numpy(self.labels[(rows - 5) // 3]), rows

    def epoch(self, stage, epoch):
        return self._with_findings(self.source.epoch(stage, epoch))

    def ordered(self):
        return self._with_findings(self.source.ordered())


def make_finding_data(toy, *, unknown=0.3):
    data = toy.make_data()
    train, val = (FindingSource(s, unknown=unknown) for s in (data.train, data.val))
    return replace(
        data,
        train=train,
        val=val,
        class_counts=tuple((train.labels == 1).sum(axis=0).tolist()),
        negative_counts=tuple((train.labels == 0).sum(axis=0).tolist()),
    )


def finding_settings(toy, **changes):
    return toy.make_settings(
        class_names=("Bright", "Dark"), positive_class=None, task="multilabel", **changes
    )


def test_written_figures_are_those_of_the_known_pairs(toy, tmp_path):
    data = make_finding_data(toy)
    result, model = toy.train_toy(tmp_path, data=data, settings=finding_settings(toy))
    model.eval()
    with torch.no_grad():
        pixels = toy.to_unit_range(torch.from_numpy(data.val.pixels), torch.device("cpu"))
        found = model(pixels).double().sigmoid().numpy()
    known = data.val.labels >= 0
    columns = [(data.val.labels[known[:, k], k], found[known[:, k], k]) for k in (0, 1)]
    expected = np.mean([oracle.average_precision_score(*column) for column in columns])
    assert result.best_val_ap == pytest.approx(expected)
    with (tmp_path / "history.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if float(r["val_ap"]) == result.best_val_ap]
    losses = [float(row["val_loss"]) for row in rows]
    log_loss = oracle.log_loss(data.val.labels[known], found[known])
    assert min(losses) == pytest.approx(log_loss, rel=1e-5)


def test_a_finding_that_val_does_not_define_is_left_out(toy, tmp_path):
    data = make_finding_data(toy)
    data.val.labels[:, 1] = 0
    result, _ = toy.train_toy(tmp_path, data=data, settings=finding_settings(toy))
    assert result.best_val_ap is not None and result.best_val_ap > 0.5


def test_val_of_which_nothing_is_known_is_refused(toy, tmp_path):
    data = make_finding_data(toy)
    data.val.labels[:] = -1
    with pytest.raises(DataError, match="labels of the validation images"):
        toy.train_toy(tmp_path, data=data, settings=finding_settings(toy))


@pytest.mark.parametrize("imbalance", ["none", "class_weights", "focal"])
def test_steps_of_which_nothing_is_known_leave_no_nan(toy, tmp_path, imbalance):
    data = make_finding_data(toy, unknown=0.0)
    data.train.labels[4:] = -1  # most steps of 8 of the 40 images know nothing
    settings = finding_settings(toy, imbalance=imbalance)
    _, model = toy.train_toy(tmp_path, data=data, settings=settings)
    assert all(tensor.isfinite().all() for tensor in model.net.state_dict().values())
    with (tmp_path / "history.csv").open() as file:
        assert all(np.isfinite(float(row["train_loss"])) for row in csv.DictReader(file))
