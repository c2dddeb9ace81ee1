"""The head as logistic regression: the expected values are scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.training.history import read_history
from medimg_baseline_cls.training.logistic_head import PENALTIES, fit_logistic
from medimg_baseline_cls.training.losses import make_criterion, make_finding_criterion

NUM_IMAGES, NUM_FEATURES = 300, 12


def draw(num_classes, *, signal=1.0):
    """Features of very different sizes, of which the first two go with the class."""
    random = np.random.default_rng(3)
    labels = random.integers(0, num_classes, NUM_IMAGES)
    features = random.normal(size=(NUM_IMAGES, NUM_FEATURES))
    features[:, 0] += signal * labels
    features[:, 1] -= signal * (labels == 1)
    features = features * random.uniform(0.01, 30, NUM_FEATURES) + random.normal(size=NUM_FEATURES)
    return features.astype(np.float32), labels


def fit(features, labels, *, criterion, groups=None):
    return fit_logistic(
        torch.from_numpy(features),
        torch.from_numpy(labels),
        groups=groups or [str(row // 2) for row in range(len(labels))],
        criterion=criterion,
        num_outputs=labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1,
        seed=0,
    )


def predict(fitted, features):
    return torch.from_numpy(features).double() @ fitted.weight.T + fitted.bias


def standardize(features):
    wide = features.astype(np.float64)
    return (wide - wide.mean(axis=0)) / wide.std(axis=0)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("imbalance", ["none", "class_weights"])
def test_the_probabilities_are_those_of_scikit_learn(num_classes, imbalance):
    features, labels = draw(num_classes)
    counts = np.bincount(labels).tolist()
    criterion = make_criterion(imbalance, counts, label_smoothing=0.0)
    fitted = fit(features, labels, criterion=criterion)
    # scikit-learn penalizes one vector of weights for two classes, half of ours each way.
    share = 2 if num_classes == 2 else 1
    expected = LogisticRegression(
        C=share / (fitted.penalty * NUM_IMAGES),
        class_weight="balanced" if imbalance == "class_weights" else None,
        tol=1e-10,
        max_iter=5000,
    ).fit(standardize(features), labels)
    found = predict(fitted, features).softmax(dim=1).numpy()
    np.testing.assert_allclose(
        found, expected.predict_proba(standardize(features)), rtol=0, atol=1e-6
    )
    losses = -np.log(found[np.arange(NUM_IMAGES), labels])
    weights = np.ones(NUM_IMAGES) if imbalance == "none" else 1 / np.array(counts)[labels]
    assert fitted.loss == pytest.approx(np.average(losses, weights=weights))


def test_each_finding_is_fitted_on_the_images_where_it_is_known():
    features, classes = draw(3)
    labels = np.stack([classes == 1, classes == 2], axis=1).astype(np.int64)
    labels[::7, 1] = -1
    criterion = make_finding_criterion(
        "none",
        (labels == 1).sum(axis=0).tolist(),
        negative_counts=(labels == 0).sum(axis=0).tolist(),
        label_smoothing=0.0,
    )
    fitted = fit(features, labels, criterion=criterion)
    found = predict(fitted, features).sigmoid().numpy()
    for index in range(2):
        known = labels[:, index] >= 0
        expected = LogisticRegression(
            C=1 / (fitted.penalty * (labels >= 0).sum()), tol=1e-10, max_iter=5000
        ).fit(standardize(features)[known], labels[known, index])
        probabilities = expected.predict_proba(standardize(features))[:, 1]
        np.testing.assert_allclose(found[:, index], probabilities, rtol=0, atol=1e-6)


def test_noise_gets_the_strongest_penalty_and_signal_a_weaker_one():
    plain = make_criterion("none", [1, 1], label_smoothing=0.0)
    assert fit(*draw(2, signal=0.0), criterion=plain).penalty == PENALTIES[0]
    assert fit(*draw(2, signal=3.0), criterion=plain).penalty < PENALTIES[1]


def test_copies_of_a_patient_do_not_weaken_the_penalty():
    # Ten copies of 30 noisy images: with folds over images each would be in training too.
    features, labels = draw(2, signal=0.0)
    features, labels = np.repeat(features[:30], 10, axis=0), np.repeat(labels[:30], 10)
    plain = make_criterion("none", [1, 1], label_smoothing=0.0)
    patients = [str(row // 10) for row in range(len(labels))]
    images = [str(row) for row in range(len(labels))]
    strong = fit(features, labels, criterion=plain, groups=patients).penalty
    assert strong > fit(features, labels, criterion=plain, groups=images).penalty


def test_one_patient_and_a_constant_feature_are_no_obstacle():
    features, labels = draw(2)
    features[:, 5] = 1.0
    plain = make_criterion("none", [1, 1], label_smoothing=0.0)
    fitted = fit(features, labels, criterion=plain, groups=["one"] * len(labels))
    assert fitted.penalty in PENALTIES
    assert torch.isfinite(fitted.weight).all()
    # As float32 has 1.0 exactly, the constant feature has no weight at all.
    assert fitted.weight[:, 5].abs().max() == pytest.approx(0, abs=1e-12)


@pytest.fixture
def solved(toy):
    """Settings whose head stage is solved, and data that name the patients."""

    def make(**changes):
        settings = toy.make_settings(finetune_epochs=0, **changes)
        head = toy.replace(settings.stages[0], epochs=1, fit="logistic")
        data = toy.make_data()
        groups = [str(row) for row in range(10_000)]
        return (
            toy.replace(settings, stages=(head, settings.stages[1])),
            toy.replace(data, groups=groups),
        )

    return make


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_solved_head_depends_on_neither_seed_nor_start(toy, solved, tmp_path, ema_decay):
    heads = []
    for seed in (1, 2):
        settings, data = solved(ema_decay=ema_decay, seed=seed)
        model = toy.build_toy()
        nn.init.normal_(model.net.fc.weight, generator=torch.Generator().manual_seed(seed))
        toy.train_toy(tmp_path / str(seed), model=model, data=data, settings=settings)
        heads.append(model.net.fc.weight.detach().clone())
        row = read_history(tmp_path / str(seed)).rows[0]
        assert (row.stage, row.epoch, row.lr) == ("head", 1, 0.0)
    torch.testing.assert_close(heads[0], heads[1], rtol=0, atol=1e-4)


def test_a_head_without_bias_is_refused(toy, solved, tmp_path):
    settings, data = solved()
    model = toy.build_toy()
    model.net.fc.bias = None
    with pytest.raises(TrainingError, match="has no bias"):
        toy.train_toy(tmp_path, model=model, data=data, settings=settings)


def test_features_that_are_not_finite_are_refused_with_their_images(toy, solved, tmp_path):
    settings, data = solved()
    model = toy.build_toy()
    nn.init.constant_(model.net.conv2.bias, torch.inf)
    with pytest.raises(TrainingError, match="features of 40 training images are not finite"):
        toy.train_toy(tmp_path, model=model, data=data, settings=settings)


def test_a_feature_that_varies_less_than_float32_resolves_has_no_weight():
    features, labels = draw(2)
    features[:, 4] = np.float32(100) + np.float32(1e-5) * features[:, 0]
    plain = make_criterion("none", [1, 1], label_smoothing=0.0)
    assert fit(features, labels, criterion=plain).weight[:, 4].abs().max() == 0
