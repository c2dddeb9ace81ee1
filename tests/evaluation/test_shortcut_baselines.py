"""The metrics of controls are scikit-learn's, and a model that does not beat them is told."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medimg_baseline_cls.evaluation.shortcut_baselines import (
    CLEAR_MARGIN,
    describe_controls,
    summarize_control,
    warn_of_controls,
)
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.evaluations import ShortcutBaseline
from medimg_baseline_cls.schema import Predictions

MakePredictions = Callable[..., Predictions]


def metrics_of(auroc: float | None) -> dict[str, Estimate]:
    return {"auroc": Estimate(value=auroc), "average_precision": Estimate(value=0.5)}


def control(auroc: float | None, name: str = "border") -> ShortcutBaseline:
    metrics = {"test": metrics_of(auroc)}
    return ShortcutBaseline(name=name, description=f"the {name} alone", metrics=metrics)


def ternary(split: str, *, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1, 1, 1], size=30)
    names = tuple(f"{split}{i}" for i in range(30))
    labels = np.arange(30, dtype=np.int64) % 3
    return Predictions(split, ("A", "B", "C"), names, names, names, labels, probabilities)


def test_metrics_of_two_classes_are_those_of_the_positive_one(binary: MakePredictions) -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.random(60) < 0.4, rng.random(60)
    parts = [binary(split, truth.tolist(), scores.tolist()) for split in ("val", "test")]
    found = summarize_control(
        "border", description="the frame", predictions=parts, positive_class="PNEUMONIA"
    )
    assert (found.name, found.description) == ("border", "the frame")
    for split in ("val", "test"):
        metrics = found.metrics[split]
        assert metrics["auroc"].value == pytest.approx(roc_auc_score(truth, scores))
        precision = average_precision_score(truth, scores)
        assert metrics["average_precision"].value == pytest.approx(precision)


def test_metrics_of_three_classes_are_the_mean_against_the_rest() -> None:
    part = ternary("test", seed=1)
    found = summarize_control("trivial", description="", predictions=[part], positive_class=None)
    expected = roc_auc_score(part.labels, part.probabilities, multi_class="ovr", average="macro")
    assert found.metrics["test"]["auroc"].value == pytest.approx(expected)


def test_unknown_findings_are_left_out() -> None:
    labels = np.array([[1], [0], [-1], [1], [0]])
    scores = np.array([[0.9], [0.2], [0.99], [0.8], [0.1]])
    names = tuple("abcde")
    part = Predictions("test", ("Mass",), names, names, names, labels, scores, "multilabel")
    found = summarize_control("border", description="", predictions=[part], positive_class=None)
    assert found.metrics["test"]["auroc"].value == 1.0


def test_the_mean_is_over_the_findings_of_the_models_mean(findings: MakePredictions) -> None:
    part = findings("test", unknown=0.0)
    labels = part.labels.copy()
    labels[:, 1] = 0  # no AUROC and no AP
    labels[:, 2] = -1  # nothing at all
    part = replace(part, labels=labels)
    found = summarize_control("border", description="", predictions=[part], positive_class=None)
    model = summarize_predictions(part, {}, positive_class=None).macro.metrics
    for metric, score in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
        expected = score(labels[:, 0], part.probabilities[:, 0])
        assert found.metrics["test"][metric].value == pytest.approx(expected)
        assert found.metrics["test"][metric].value == model[metric].value
    unknown = replace(part, labels=np.full_like(labels, -1))
    nothing = summarize_control(
        "border", description="", predictions=[unknown], positive_class=None
    )
    expected = {"value": None, "reason": "undefined for every finding"}
    assert nothing.metrics["test"]["auroc"].to_json() == expected


def test_a_finding_that_train_did_not_define_makes_the_mean_undefined(
    findings: MakePredictions,
) -> None:
    part = findings("test")
    part.probabilities[:, 1] = np.nan
    found = summarize_control("border", description="", predictions=[part], positive_class=None)
    assert found.metrics["test"]["auroc"].value is None


def test_undefined_metric_is_null_with_its_reason(binary: MakePredictions) -> None:
    part = binary("test", [True, True], [0.4, 0.5])
    found = summarize_control(
        "border", description="", predictions=[part], positive_class="PNEUMONIA"
    ).to_json()["test"]
    assert found["auroc"] == {"value": None, "reason": "all images are of one class"}
    assert found["average_precision"]["value"] == 1.0


def test_class_that_train_did_not_define_makes_the_mean_undefined() -> None:
    part = ternary("test", seed=2)
    part.probabilities[:, 1] = np.nan
    found = summarize_control("border", description="", predictions=[part], positive_class=None)
    assert found.metrics["test"]["auroc"].value is None


@pytest.mark.parametrize(
    ("own", "reached", "is_told"),
    [
        (0.9, 0.95, True),
        (0.9, 0.9, True),
        (0.9, 0.9 - CLEAR_MARGIN / 2, True),
        (0.9, 0.9 - 2 * CLEAR_MARGIN, False),
        (None, 0.9, False),
        (0.9, None, False),
    ],
)
def test_model_must_clearly_beat_a_control(
    own: float | None, reached: float | None, is_told: bool
) -> None:
    warnings = list(warn_of_controls(metrics_of(own), [control(reached)]))
    assert len(warnings) == is_told
    if is_told:
        assert f"{own:.3f}" in warnings[0]
        assert f"{reached:.3f}" in warnings[0]
        assert "the border alone" in warnings[0]


@pytest.mark.parametrize(
    ("own", "interval", "said"),
    [
        (0.31, (0.2, 0.42), "0.310 (95 % CI 0.200–0.420), is below chance (0.5): the classes are"),
        (0.48, (0.4, 0.6), "0.480 (95 % CI 0.400–0.600), is not clearly above chance (0.5)"),
        (0.62, (0.49, 0.7), "0.620 (95 % CI 0.490–0.700), is not clearly above chance (0.5)"),
        (0.5, None, "0.500, is not clearly above chance (0.5)"),
        (0.62, (0.51, 0.7), "does not clearly beat the 0.700"),
        (0.62, None, "does not clearly beat the 0.700"),
    ],
)
def test_a_model_that_is_not_above_chance_is_called_that(
    own: float, interval: tuple[float, float] | None, said: str
) -> None:
    auroc = Estimate(value=own)
    if interval is not None:
        auroc = auroc.with_interval(Interval(bounds=interval))
    (warning,) = warn_of_controls({"auroc": auroc}, [control(0.7)])
    assert said in warning


def test_each_control_is_told_by_itself() -> None:
    controls = [control(0.95, "trivial"), control(0.7), control(0.89)]
    assert len(list(warn_of_controls(metrics_of(0.9), controls))) == 2


def test_line_names_every_control() -> None:
    line = describe_controls([control(0.95, "trivial"), control(None)])
    assert line.endswith("trivial 0.950, border –")
