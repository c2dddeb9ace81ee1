"""Metrics of whole images in each resample are those of scikit-learn on repeated rows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle

from medimg_baseline_cls.evaluation.resampling import resample_classes, resample_images
from medimg_baseline_cls.records.summaries import Average
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, draw_weights

MakePredictions = Callable[..., Predictions]
GRADES = ("none", "mild", "moderate", "severe")
NUM_RESAMPLES = 30


def weights_of(part: Predictions, *, seed: int = 0) -> NDArray[np.uint16]:
    strata = np.zeros(len(part.groups), dtype=np.int64)
    return draw_weights(part.groups, strata, num_resamples=NUM_RESAMPLES, seed=seed, purpose="x")


def resample(
    part: Predictions,
    block: Average,
    *,
    weights: NDArray[np.uint16],
    positive_class: str | None = None,
) -> dict[str, Values]:
    """Return what is measured of whole images, or of pooled findings, in each resample."""
    drawn = resample_classes(part, part.class_names, cuts={}, weights=weights)
    values = resample_images(part, drawn, weights=weights, positive_class=positive_class)
    return {key.metric: found for key, found in values.items() if key.block is block}


def repeated(
    part: Predictions, row: NDArray[np.uint16]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.repeat(part.labels, row, axis=0), np.repeat(part.probabilities, row, axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_log_loss_are_those_of_scikit_learn(draw: MakePredictions, seed: int) -> None:
    part = draw("test", class_names=GRADES[:3], seed=seed)
    weights = weights_of(part, seed=seed)
    values = resample(part, Average.OVERALL, weights=weights)
    assert set(values) == {"accuracy", "log_loss"}
    for b, row in enumerate(weights):
        labels, probabilities = repeated(part, row)
        accuracy = oracle.accuracy_score(labels, probabilities.argmax(axis=1))
        assert values["accuracy"][b] == pytest.approx(accuracy, abs=1e-12)
        log_loss = oracle.log_loss(labels, probabilities, labels=[0, 1, 2])
        assert values["log_loss"][b] == pytest.approx(log_loss, abs=1e-9)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [(GRADES[:3], (0, 1, 2)), (GRADES, (0, 1, 2, 3)), (("0", "1", "2", "4"), (0, 1, 2, 4))],
)
def test_kappa_and_grade_error_are_those_of_scikit_learn(
    draw: MakePredictions, names: tuple[str, ...], numbers: tuple[int, ...]
) -> None:
    part = replace(draw("test", class_names=names), task="ordinal")
    weights = weights_of(part)
    values = resample(part, Average.OVERALL, weights=weights)
    every = list(range(max(numbers) + 1))  # scikit-learn weighs by the place in `labels`
    for b, row in enumerate(weights):
        labels, probabilities = repeated(part, row)
        labels = np.array(numbers)[labels]
        called = np.array(numbers)[probabilities.argmax(axis=1)]
        kappa = oracle.cohen_kappa_score(labels, called, weights="quadratic", labels=every)
        assert values["quadratic_weighted_kappa"][b] == pytest.approx(kappa, abs=1e-12)
        error = oracle.mean_absolute_error(labels, called)
        assert values["mean_grade_error"][b] == pytest.approx(error, abs=1e-12)


def test_kappa_of_a_resample_of_one_grade_is_undefined(draw: MakePredictions) -> None:
    part = replace(draw("test", class_names=GRADES, num_images=20), task="ordinal")
    called = part.probabilities.argmax(axis=1)
    right = np.flatnonzero(called == part.labels)[0]
    alone = np.zeros((2, 20), dtype=np.uint16)
    alone[0, right] = 7
    alone[1] = 1
    kappa, error = (
        resample(part, Average.OVERALL, weights=alone)[name]
        for name in ("quadratic_weighted_kappa", "mean_grade_error")
    )
    assert np.isnan(kappa).tolist() == [True, False]
    assert error[0] == 0.0


@pytest.mark.parametrize(("positive", "expected"), [("PNEUMONIA", 0.25), ("NORMAL", 0.75)])
def test_a_tie_of_two_classes_is_called_positive(
    binary: MakePredictions, positive: str, expected: float
) -> None:
    # Four images at one half: one with pneumonia and three without, each weighing once.
    part = binary("test", [True, False, False, False], [0.5] * 4)
    weights = np.ones((1, 4), dtype=np.uint16)
    values = resample(part, Average.OVERALL, weights=weights, positive_class=positive)
    assert values["accuracy"].tolist() == [expected]


def test_a_sure_and_wrong_call_has_a_finite_log_loss(binary: MakePredictions) -> None:
    part = binary("test", [True, False], [0.0, 0.0])
    weights = np.array([[1, 1], [0, 2]], dtype=np.uint16)
    values = resample(part, Average.OVERALL, weights=weights, positive_class="PNEUMONIA")
    expected = oracle.log_loss([1, 0], [[1.0, 0.0], [1.0, 0.0]], labels=[0, 1])
    assert values["log_loss"] == pytest.approx([expected, 0.0], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_exact_match_counts_images_with_something_known(
    findings: MakePredictions, seed: int
) -> None:
    part = findings("test", unknown=0.5, seed=seed)
    weights = weights_of(part, seed=seed)
    values = resample(part, Average.OVERALL, weights=weights)
    assert set(values) == {"exact_match", "log_loss"}
    assert not (part.labels >= 0).any(axis=1).all()
    for b, row in enumerate(weights):
        labels, probabilities = repeated(part, row)
        kept = [
            all((p >= 0.5) == (y == 1) for y, p in zip(own, scores, strict=True) if y >= 0)
            for own, scores in zip(labels, probabilities, strict=True)
            if (own >= 0).any()
        ]
        assert values["exact_match"][b] == pytest.approx(np.mean(kept), abs=1e-12)


def test_exact_match_of_fully_known_images_is_that_of_scikit_learn(
    findings: MakePredictions,
) -> None:
    part = findings("test", unknown=0.0)
    weights = weights_of(part)
    values = resample(part, Average.OVERALL, weights=weights)["exact_match"]
    for b, row in enumerate(weights):
        labels, probabilities = repeated(part, row)
        expected = oracle.accuracy_score(labels, (probabilities >= 0.5).astype(int))
        assert values[b] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_pooled_figures_are_those_of_all_known_pairs(findings: MakePredictions, seed: int) -> None:
    part = findings("test", seed=seed)
    weights = weights_of(part, seed=seed)
    values = resample(part, Average.MICRO, weights=weights)
    losses = resample(part, Average.OVERALL, weights=weights)["log_loss"]
    assert losses.tolist() == values["log_loss"].tolist()
    for b, row in enumerate(weights):
        labels, probabilities = repeated(part, row)
        truth, scores = labels[labels >= 0], probabilities[labels >= 0]
        expected = {
            "auroc": oracle.roc_auc_score(truth, scores),
            "average_precision": oracle.average_precision_score(truth, scores),
            "brier_score": oracle.brier_score_loss(truth, scores),
            "log_loss": oracle.log_loss(truth, scores),
        }
        assert {name: column[b] for name, column in values.items()} == pytest.approx(
            expected, abs=1e-9
        )


def test_pairs_of_one_image_are_drawn_together(findings: MakePredictions) -> None:
    part = findings("test", num_images=12, unknown=0.0)
    weights = np.eye(12, dtype=np.uint16)
    values = resample(part, Average.MICRO, weights=weights)["brier_score"]
    expected = ((part.probabilities - part.labels) ** 2).mean(axis=1)
    assert values == pytest.approx(expected, abs=1e-12)


def test_nothing_known_has_no_pooled_figure(findings: MakePredictions) -> None:
    part = findings("test", unknown=1.1)
    assert (part.labels < 0).all()
    assert resample(part, Average.MICRO, weights=weights_of(part)) == {}
    values = resample(part, Average.OVERALL, weights=weights_of(part))
    assert set(values) == {"exact_match"} and np.isnan(values["exact_match"]).all()
