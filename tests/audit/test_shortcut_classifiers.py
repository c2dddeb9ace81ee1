"""AUROCs against scikit-learn, folds that never cut a patient, controls that learn from TRAIN."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from medimg_baseline_cls.audit.pixel_measures import STATISTICS, measure_pixels
from medimg_baseline_cls.audit.shortcut_classifiers import (
    CONTROLS,
    PROPERTIES,
    ControlFeatures,
    assign_folds,
    cross_validate,
    direct_property,
    fit_controls,
    fit_scores,
    gather_features,
    score_auroc,
)
from medimg_baseline_cls.schema import ImageRecord

RecordMaker = Callable[..., ImageRecord]


def make_features(count: int, *, seed: int, signal: NDArray[np.float64]) -> ControlFeatures:
    """Return features of which the first trivial and the last border column carry a signal."""
    rng = np.random.default_rng(seed)
    trivial, border = rng.normal(size=(count, 6)), rng.normal(size=(count, 9))
    trivial[:, 0] += signal
    border[:, -1] += signal
    groups = np.array([f"p{i // 2}" for i in range(count)])
    return ControlFeatures(trivial.astype(np.float32), border.astype(np.float32), groups)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
@settings(deadline=None)
def test_auroc_is_that_of_scikit_learn_with_ties(pairs: list[tuple[bool, int]]) -> None:
    truth = np.array([positive for positive, _ in pairs])
    scores = np.array([score for _, score in pairs], dtype=np.float64)
    found = score_auroc(truth, scores)
    if truth.all() or not truth.any():
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(truth, scores))


def test_auroc_leaves_out_images_without_a_score() -> None:
    truth = np.array([True, False, True, False])
    assert score_auroc(truth, np.array([0.9, 0.1, np.nan, np.nan])) == 1.0
    assert score_auroc(truth, np.full(4, np.nan)) is None


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60),
    st.integers(2, 6),
)
@settings(deadline=None)
def test_folds_never_cut_a_patient(images: list[tuple[int, bool]], num_folds: int) -> None:
    groups = [f"p{number}" for number, _ in images]
    folds = assign_folds(
        groups, np.array([positive for _, positive in images]), num_folds=num_folds
    )
    homes = {group: set(folds[[g == group for g in groups]]) for group in groups}
    assert all(len(home) == 1 for home in homes.values())
    assert set(folds) <= set(range(num_folds))


def test_folds_hold_their_share_of_both_classes() -> None:
    groups = [f"p{i}" for i in range(103)]
    truth = np.array([i % 4 == 0 for i in range(103)])
    folds = assign_folds(groups, truth)
    for positive in (True, False):
        counts = Counter(folds[truth == positive].tolist()).values()
        assert max(counts) - min(counts) <= 1


def test_folds_are_the_same_in_any_order() -> None:
    groups = np.array([f"p{i // 3}" for i in range(60)])
    truth = np.arange(60) % 2 == 0
    order = np.random.default_rng(0).permutation(60)
    folds = assign_folds(groups, truth)
    np.testing.assert_array_equal(assign_folds(groups[order], truth[order]), folds[order])


def test_direction_of_a_property_comes_from_the_other_folds() -> None:
    truth = np.arange(100) % 2 == 0
    values = np.where(truth, -1.0, 1.0).astype(np.float32)
    folds = np.arange(100) // 20
    assert score_auroc(truth, direct_property(values, truth, folds=folds)) == 1.0
    # Noise must not look telling because a direction was chosen by the same images.
    noise = np.random.default_rng(5).normal(size=(40, 100)).astype(np.float32)
    aurocs = [score_auroc(truth, direct_property(n, truth, folds=folds)) for n in noise]
    assert abs(np.mean([a for a in aurocs if a is not None]) - 0.5) < 0.03


def test_scores_are_those_of_a_standardised_logistic_regression() -> None:
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(200, 4)) * [1, 10, 100, 0.1] + 5).astype(np.float32)
    truth = features[:, 0] + rng.normal(size=200) > 5
    found = fit_scores(features[:150], truth[:150], others={"new": features[150:]})["new"]
    scaler = StandardScaler().fit(features[:150])
    oracle = LogisticRegression(C=0.1, tol=1e-8, max_iter=10_000)
    oracle.fit(scaler.transform(features[:150]), truth[:150])
    expected = oracle.predict_proba(scaler.transform(features[150:]))[:, 1]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_constant_column_does_no_harm() -> None:
    features = np.zeros((40, 2), np.float32)
    features[:, 0] = np.arange(40)
    truth = np.arange(40) >= 20
    found = fit_scores(features, truth, others={"same": features, "none": features[:0]})
    assert score_auroc(truth, found["same"]) == 1.0
    assert found["none"].shape == (0,)


def test_cross_validation_scores_noise_at_chance() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(400) % 2 == 0
    folds = assign_folds([f"p{i}" for i in range(400)], truth)
    scores = cross_validate(rng.normal(size=(400, 30)).astype(np.float32), truth, folds=folds)
    auroc = score_auroc(truth, scores)
    assert auroc is not None
    assert abs(auroc - 0.5) < 0.1


def test_cross_validation_leaves_a_fold_without_a_score_where_the_others_hold_one_class() -> None:
    truth = np.array([True, True, False, False])
    folds = np.array([0, 0, 1, 1])
    assert np.isnan(cross_validate(np.ones((4, 1), np.float32), truth, folds=folds)).all()


def test_controls_are_fitted_on_train_and_score_the_others() -> None:
    labels = np.arange(120) % 2
    train = make_features(120, seed=0, signal=labels * 4.0)
    alike = make_features(60, seed=1, signal=(np.arange(60) % 2) * 4.0)
    inverted = make_features(60, seed=2, signal=(np.arange(60) % 2) * -4.0)
    scores = fit_controls(train, labels, others={"val": alike, "test": inverted}, num_classes=2)
    assert set(scores) == set(CONTROLS) == {"trivial", "border"}
    truth = np.arange(60) % 2 == 1
    for parts in scores.values():
        assert parts["val"].shape == parts["test"].shape == (60, 2)
        np.testing.assert_allclose(parts["val"].sum(axis=1), 1)
        assert roc_auc_score(truth, parts["val"][:, 1]) > 0.95
        assert roc_auc_score(truth, parts["test"][:, 1]) < 0.05


def test_controls_tell_each_of_three_classes_from_the_rest() -> None:
    labels = np.arange(150) % 3
    train = make_features(150, seed=0, signal=(labels == 2) * 5.0)
    scores = fit_controls(train, labels, others={"val": train}, num_classes=3)["border"]["val"]
    assert scores.shape == (150, 3)
    assert roc_auc_score(labels == 2, scores[:, 2]) > 0.95
    assert np.isfinite(scores).all()


def test_controls_leave_unknown_findings_out_and_undefined_ones_without_a_score() -> None:
    labels = np.zeros((90, 2), np.int64)
    labels[:, 0] = np.arange(90) % 3 - 1  # unknown, negative, positive
    train = make_features(90, seed=0, signal=(labels[:, 0] == 1) * 5.0)
    scores = fit_controls(train, labels, others={"val": train}, num_classes=2)["trivial"]["val"]
    known = labels[:, 0] >= 0
    assert roc_auc_score(labels[known, 0], scores[known, 0]) > 0.95
    assert np.isnan(scores[:, 1]).all()


def test_features_hold_sizes_and_statistics_under_their_names(record: RecordMaker) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 32, 32), dtype=np.uint8)
    measures = measure_pixels(pixels)
    records = [
        record("train/A/p1_1.png", width=200, height=100),
        record("train/B/p2_1.png", width=50, height=100),
    ]
    features = gather_features(records, measures, rows=np.array([1, 0]), num_bytes=[1000, 10])
    columns = dict(zip(PROPERTIES, features.trivial.T, strict=True))
    np.testing.assert_allclose(columns["aspect"], np.log([2, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(columns["file bytes"], np.log1p([1000, 10]), rtol=1e-6)
    mean = STATISTICS.index("mean")
    np.testing.assert_array_equal(columns["mean"], measures.statistics[[1, 0], mean])
    assert features.groups.tolist() == ["p1", "p2"]
    assert features.pick(np.array([1])).groups.tolist() == ["p2"]
