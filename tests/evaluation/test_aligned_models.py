"""All metrics of one model: those of scikit-learn, plain and resampled, under one key each."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.evaluation.aligned_models import (
    AlignedModel,
    align_models,
    measure_model,
    resample_model,
)
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.schema import Predictions

MakePredictions = Callable[..., Predictions]


def make_model(test: Predictions) -> AlignedModel:
    positive = "PNEUMONIA" if len(test.class_names) == 2 else None
    classes = evaluated_classes(test.class_names, positive)
    cuts = choose_thresholds(replace(test, split="val"), classes=classes, target_sensitivity=0.9)
    return AlignedModel("model", test, cuts, positive)


def test_each_figure_has_one_key_and_the_value_of_scikit_learn(draw: MakePredictions) -> None:
    model = make_model(draw("test"))
    found = measure_model(model)
    assert len(found) == 4 + 3 * 8
    truth, scores = model.test.labels == 1, model.test.scores("PNEUMONIA")
    value = found[MetricKey("PNEUMONIA", None, "auroc")].value
    assert value == pytest.approx(oracle.roc_auc_score(truth, scores))
    for point in model.thresholds["PNEUMONIA"]:
        called = scores >= point.value
        for figure, score in (("mcc", oracle.matthews_corrcoef), ("f1_score", oracle.f1_score)):
            value = found[MetricKey("PNEUMONIA", point.rule, figure)].value
            assert value == pytest.approx(score(truth, called))


@pytest.mark.parametrize("kind", ["binary", "classes", "findings"])
def test_a_resample_of_every_image_once_is_the_figure_itself(
    draw: MakePredictions, findings: MakePredictions, kind: str
) -> None:
    tests = {
        "binary": draw("test"),
        "classes": draw("test", class_names=("A", "B", "C")),
        "findings": findings("test"),
    }
    model = make_model(tests[kind])
    weights = np.ones((1, len(model.test.labels)), dtype=np.uint16)
    plain, resampled = measure_model(model), resample_model(model, weights)
    assert plain.keys() == resampled.keys()
    for key, (value,) in resampled.items():
        expected = plain[key].value
        assert math.isnan(value) if expected is None else value == pytest.approx(expected)


def test_averages_are_undefined_as_soon_as_a_class_is(draw: MakePredictions) -> None:
    test = draw("test", class_names=("A", "B", "C"))
    model = make_model(replace(test, labels=np.minimum(test.labels, 1)))
    found = measure_model(model)
    assert found[MetricKey("C", None, "auroc")].value is None
    assert found[MetricKey(Average.MACRO, None, "auroc")].value is None
    assert found[MetricKey(Average.MACRO, None, "brier_score")].value is not None


def test_averages_of_findings_are_over_the_defined_ones(findings: MakePredictions) -> None:
    test = findings("test")
    labels = test.labels.copy()
    labels[:, 2] = -1
    found = measure_model(make_model(replace(test, labels=labels)))
    values = [found[MetricKey(name, None, "auroc")].value for name in test.class_names]
    assert values[2] is None
    average = found[MetricKey(Average.MACRO, None, "auroc")].value
    assert average == pytest.approx(((values[0] or 0) + (values[1] or 0)) / 2)


def test_aligning_moves_the_probabilities_with_their_images(draw: MakePredictions) -> None:
    model = make_model(draw("test"))
    order = np.random.default_rng(1).permutation(80)
    ids = tuple(model.test.image_ids[i] for i in order)
    moved = replace(
        model.test,
        image_ids=ids,
        labels=model.test.labels[order],
        probabilities=model.test.probabilities[order],
    )
    _, aligned = align_models([model, replace(model, test=moved)])
    np.testing.assert_array_equal(aligned.test.probabilities, model.test.probabilities)
    assert aligned.test.image_ids == model.test.image_ids
