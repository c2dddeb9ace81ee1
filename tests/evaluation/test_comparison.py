"""Comparison of models: equal ones do not differ, metrics are scikit-learn's, others refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.aligned_models import AlignedModel
from medimg_baseline_cls.evaluation.comparison import compare_models
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.records.comparisons import Comparison
from medimg_baseline_cls.records.estimates import PairedDifference
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.delong import delong_test

BINARY = ("NORMAL", "PNEUMONIA")
GRADES = ("A", "B", "C")
FEW = Resampling(num_resamples=200, seed=1)


def make_test(
    seed: int, *, names: tuple[str, ...] = BINARY, size: int = 60, per_patient: int = 1
) -> Predictions:
    """Draw the predictions of a model; the images are the same for every seed."""
    labels = np.random.default_rng(size).integers(0, len(names), size)
    random = np.random.default_rng(seed)
    logits = random.normal(size=(size, len(names))) + 1.2 * np.eye(len(names))[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = tuple(f"test/{n:03d}.png" for n in range(size))
    groups = tuple(f"p{n // per_patient}" for n in range(size))
    return Predictions("test", names, ids, ids, groups, labels, probabilities)


def make_findings(seed: int, *, size: int = 60) -> Predictions:
    random = np.random.default_rng(size)
    labels = np.where(random.random((size, 3)) < 0.2, -1, random.random((size, 3)) < 0.4)
    scores = np.clip(np.random.default_rng(seed).normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    images = make_test(seed, names=GRADES, size=size)
    labels = labels.astype(np.int64)
    return replace(images, labels=labels, probabilities=scores, task="multilabel")


def make_model(name: str, test: Predictions) -> AlignedModel:
    positive = "PNEUMONIA" if test.class_names == BINARY else None
    classes = evaluated_classes(test.class_names, positive)
    val = replace(test, split="val")
    thresholds = choose_thresholds(val, classes=classes, target_sensitivity=0.9)
    return AlignedModel(name, test, thresholds, positive)


def walk(content: Any, found: list[Mapping[str, Any]] | None = None) -> list[Mapping[str, Any]]:
    """Return every metric of a nested summary."""
    found = [] if found is None else found
    if isinstance(content, dict):
        if "value" in content:
            found.append(content)
        for part in content.values():
            walk(part, found)
    return found


@pytest.mark.parametrize(
    "test",
    [make_test(1), make_test(1, per_patient=3), make_test(1, names=GRADES), make_findings(1)],
)
def test_a_copy_of_a_model_does_not_differ(test: Predictions) -> None:
    comparison = compare_models([make_model("a", test), make_model("b", test)], resampling=FEW)
    found = comparison.to_json()
    gaps = walk(found["differences"][0]["classes"])
    assert len(gaps) == len(comparison.differences[0].differences)
    assert len(gaps) > 25
    for gap in gaps:
        assert gap["value"] == 0
        assert gap["interval"] == [0, 0]
        assert gap.get("p_value", 1) == 1
        assert gap.get("p_holm", 1) == 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_models_have_the_metrics_of_their_own_summaries() -> None:
    models = [make_model("a", make_test(1)), make_model("b", make_test(2))]
    found = compare_models(models, resampling=FEW)
    for model, entry in zip(models, found.models, strict=True):
        own = summarize_predictions(model.test, model.thresholds, positive_class="PNEUMONIA")
        expected = list(own.classes["PNEUMONIA"].items())
        assert len(expected) == len(entry.estimates) == 4 + 3 * 8
        for rule, metric, estimate in expected:
            assert entry.estimates[MetricKey("PNEUMONIA", rule, metric)].value == estimate.value


def test_macro_averages_are_those_of_the_summaries() -> None:
    for test in (make_test(1, names=GRADES), make_findings(1)):
        model = make_model("a", test)
        found = compare_models([model, make_model("b", test)], resampling=FEW)
        own = summarize_predictions(test, model.thresholds, positive_class=None)
        for metric in ("auroc", "average_precision", "brier_score"):
            value = found.models[0].estimates[MetricKey(Average.MACRO, None, metric)].value
            assert value == pytest.approx(own.macro.metrics[metric].value, rel=1e-12)


def test_differences_are_those_of_scikit_learn_with_paired_tests() -> None:
    one, other = make_model("a", make_test(1)), make_model("b", make_test(2))
    found = compare_models([one, other], resampling=FEW)
    gaps = found.differences[0].differences
    truth = one.test.labels == 1
    first, second = one.test.scores("PNEUMONIA"), other.test.scores("PNEUMONIA")
    gap = gaps[MetricKey("PNEUMONIA", None, "auroc")]
    expected = oracle.roc_auc_score(truth, second) - oracle.roc_auc_score(truth, first)
    assert gap.value == pytest.approx(expected, abs=1e-12)
    test = delong_test(truth, first=first, second=second)
    assert test is not None
    assert test.interval is not None
    assert (gap.p_value, gap.bounds) == (test.p_value, test.interval)
    for rule in ("max_f1", "target_sensitivity", "default"):
        cuts = [p.value for m in (one, other) for p in m.thresholds["PNEUMONIA"] if p.rule == rule]
        right = [(s >= t) == truth for s, t in zip((first, second), cuts, strict=True)]
        accuracy = gaps[MetricKey("PNEUMONIA", rule, "accuracy")]
        assert accuracy.only_reference_right == (right[0] & ~right[1]).sum()
        assert accuracy.only_model_right == (right[1] & ~right[0]).sum()
        assert accuracy.value == pytest.approx(right[1].mean() - right[0].mean(), abs=1e-12)


def test_the_bootstrap_draws_the_same_images_for_both_models() -> None:
    """Against a plain loop: images drawn by class, scikit-learn on the copied images."""
    tests = make_test(1, size=150), make_test(2, size=150)
    models = [make_model(name, test) for name, test in zip("ab", tests, strict=True)]
    found = compare_models(models, resampling=Resampling(num_resamples=2000, seed=3))
    gap = found.differences[0].differences[MetricKey("PNEUMONIA", None, "average_precision")]
    own = gap.bounds
    assert gap.value is not None and own is not None
    random = np.random.default_rng(0)
    truth = tests[0].labels == 1
    rows = [np.flatnonzero(truth), np.flatnonzero(~truth)]
    gaps: list[float] = []
    for _ in range(1500):
        drawn = np.concatenate([random.choice(part, len(part)) for part in rows])
        first, second = (
            oracle.average_precision_score(truth[drawn], t.scores("PNEUMONIA")[drawn])
            for t in tests
        )
        gaps.append(second - first)
    low, high = np.quantile(gaps, [0.025, 0.975])
    width = high - low
    assert own == pytest.approx((low, high), abs=0.08 * width)
    assert own[0] < gap.value < own[1]


def list_gaps(comparison: Comparison) -> list[PairedDifference]:
    return [gap for part in comparison.differences for gap in part.differences.values()]


def test_all_tests_of_a_comparison_are_one_family() -> None:
    models = [make_model(name, make_test(seed)) for seed, name in enumerate("abc")]
    found = compare_models(models, resampling=FEW)
    tested = [(gap.p_value, gap.p_holm or 0) for gap in list_gaps(found) if gap.p_value is not None]
    assert found.tests["num_tests"] == len(tested) == 2 * (1 + 3)
    smallest, corrected = min(tested)
    assert corrected == pytest.approx(min(1, 8 * smallest))
    assert all(p_holm >= p_value for p_value, p_holm in tested)


def test_images_in_another_order_are_the_same_images() -> None:
    one, other = make_test(1), make_test(2)
    order = np.random.default_rng(0).permutation(60)
    shuffled = replace(
        other,
        image_ids=tuple(other.image_ids[i] for i in order),
        labels=other.labels[order],
        probabilities=other.probabilities[order],
    )
    straight = compare_models([make_model("a", one), make_model("b", other)], resampling=FEW)
    mixed = compare_models([make_model("a", one), make_model("b", shuffled)], resampling=FEW)
    assert mixed == straight and mixed.to_json() == straight.to_json()


def test_patients_with_several_images_are_warned_of() -> None:
    models = [make_model(name, make_test(i, per_patient=2)) for i, name in enumerate("ab")]
    (warning,) = compare_models(models, resampling=FEW).warnings
    assert warning.startswith("60 images are of 30 patients")


def test_identical_predictions_are_named_pair_by_pair() -> None:
    tests = {"a": make_test(1), "b": make_test(2), "c": make_test(2), "d": make_test(1)}
    models = [make_model(name, test) for name, test in tests.items()]
    cuts = {"PNEUMONIA": (replace(models[3].thresholds["PNEUMONIA"][0], value=0.123),)}
    models[3] = replace(models[3], thresholds=cuts)
    found = compare_models(models, resampling=FEW)
    assert found.warnings == (
        "a and d have identical predictions, only their thresholds differ.",
        "b and c have identical predictions.",
    )
    assert [gap.is_identical for gap in found.differences] == [False, False, True]


def test_predictions_that_differ_in_the_last_digit_are_no_copies() -> None:
    one, other = make_test(1), make_test(1)
    other.probabilities[7, 1] = np.nextafter(other.probabilities[7, 1], 0)
    found = compare_models([make_model("a", one), make_model("b", other)], resampling=FEW)
    assert found.warnings == () and not found.differences[0].is_identical


def other_labels(test: Predictions) -> Predictions:
    labels = test.labels.copy()
    labels[[3, 5]] = 1 - labels[[3, 5]]
    return replace(test, labels=labels)


def other_image(test: Predictions) -> Predictions:
    return replace(test, image_ids=("x", *test.image_ids[1:]))


def test_names_without_a_match_are_shown() -> None:
    one, other = make_test(1), make_test(2)
    other = replace(other, image_ids=tuple(f"ward/{n}" for n in other.image_ids))
    words = "60 of 60 only in a, such as ward/test/000.png and test/000.png"
    with pytest.raises(RunError, match=words):
        compare_models([make_model("a", one), make_model("b", other)], resampling=FEW)


@pytest.mark.parametrize(
    ("names", "flags"),
    [(("0", "1"), "--map 0=NORMAL"), (BINARY[::-1], "--class-names NORMAL PNEUMONIA")],
)
def test_other_names_of_the_classes_are_refused_with_what_to_do(
    names: tuple[str, ...], flags: str
) -> None:
    run = replace(make_model("run", make_test(1)), digests={"test/000.png": "a"})
    judged = replace(run, name="judged", test=replace(run.test, class_names=names), digests={})
    for models in ([run, judged], [judged, run]):
        with pytest.raises(RunError, match=f"judge judged again with, for example, {flags}"):
            compare_models(models, resampling=FEW)
    with pytest.raises(RunError) as caught:
        compare_models([run, replace(judged, digests=run.digests)], resampling=FEW)
    assert "again" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (make_test(2, size=50), "0 of 50 TEST images are only in b, 10 of 60 only in a"),
        (other_image(make_test(2)), "1 of 60 TEST images are only in b, 1 of 60 only in a"),
        (
            other_labels(make_test(2)),
            "2 of 60 TEST images have another reference standard, such as test/003",
        ),
        (make_test(2, names=GRADES), "the classes are A, B, C .* and NORMAL, PNEUMONIA"),
    ],
)
def test_other_images_and_reference_standards_are_refused(other: Predictions, words: str) -> None:
    one = make_test(1)
    with pytest.raises(RunError, match=f"b and a cannot be compared: .*{words}"):
        compare_models([make_model("a", one), make_model("b", other)], resampling=FEW)


def test_other_files_of_the_same_name_are_refused() -> None:
    models = [make_model(name, make_test(1)) for name in "ab"]
    digests = dict.fromkeys(models[0].test.image_ids, "0")
    models = [
        replace(models[0], digests=digests),
        replace(models[1], digests=digests | {models[1].test.image_ids[0]: "1"}),
    ]
    with pytest.raises(RunError, match="1 of 60 TEST images are other files"):
        compare_models(models, resampling=FEW)


def test_one_model_is_no_comparison() -> None:
    with pytest.raises(RunError, match="at least two models, but got 1"):
        compare_models([make_model("a", make_test(1))], resampling=FEW)
