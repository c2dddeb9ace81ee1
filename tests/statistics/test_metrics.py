"""Every figure against scikit-learn, a hand-worked table or an invariant."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as oracle

from medimg_baseline_cls.catalogue import reason_of
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.metrics import (
    ConfusionCounts,
    auroc_score,
    average_precision_score,
    brier_score,
    count_by_threshold,
    count_confusion,
    count_matrix,
    cross_entropy_error,
    log_loss_error,
    operating_point_metrics,
    validation_scores,
)

# Few distinct values make ties; the extremes and their neighbors are always among them.
EXTREMES = (0.0, 5e-324, 1e-300, 1e-17, 1 / 3, 0.5, 1 - 2**-53, 1.0)
SCORES = st.one_of(
    st.sampled_from(EXTREMES),
    st.integers(0, 8).map(lambda k: k / 8),
    st.floats(0, 1, allow_subnormal=True),
)
ROWS = st.lists(st.tuples(st.booleans(), SCORES), min_size=1, max_size=40)
Rows = list[tuple[bool, float]]


def columns(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, scores = zip(*rows, strict=True)
    return np.array(truth, dtype=bool), np.array(scores, dtype=np.float64)


@settings(deadline=None)
@given(ROWS)
def test_average_precision_is_that_of_scikit_learn(rows: Rows) -> None:
    truth, scores = columns(rows)
    ours = average_precision_score(truth, scores)
    if truth.any():
        assert ours == pytest.approx(oracle.average_precision_score(truth, scores), abs=1e-12)
    else:
        assert ours is None


@settings(deadline=None)
@given(ROWS)
def test_auroc_is_that_of_scikit_learn(rows: Rows) -> None:
    truth, scores = columns(rows)
    ours = auroc_score(truth, scores)
    if truth.all() or not truth.any():
        assert ours is None
    else:
        assert ours == pytest.approx(oracle.roc_auc_score(truth, scores), abs=1e-12)


@settings(deadline=None)
@given(ROWS)
def test_auroc_is_the_share_of_pairs_in_order(rows: Rows) -> None:
    truth, scores = columns(rows)
    if truth.all() or not truth.any():
        return
    pairs = scores[truth][:, None] - scores[~truth][None, :]
    expected = ((pairs > 0).sum() + (pairs == 0).sum() / 2) / pairs.size
    assert auroc_score(truth, scores) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(ROWS)
def test_log_loss_and_brier_are_those_of_scikit_learn(rows: Rows) -> None:
    truth, scores = columns(rows)
    log_loss = oracle.log_loss(truth, scores, labels=[False, True])
    assert log_loss_error(truth, scores) == pytest.approx(log_loss, abs=1e-9)
    assert brier_score(truth, scores) == pytest.approx(((scores - truth) ** 2).mean(), abs=1e-12)


def test_a_certain_mistake_costs_a_finite_amount() -> None:
    loss = log_loss_error(np.array([True, False]), np.array([0.0, 1.0]))
    assert loss == pytest.approx(-np.log(np.finfo(float).eps))


@settings(deadline=None)
@given(ROWS, SCORES)
def test_operating_point_is_that_of_scikit_learn(rows: Rows, threshold: float) -> None:
    truth, scores = columns(rows)
    call = scores >= threshold
    counts = count_confusion(truth, scores, threshold=threshold)
    (tn, fp), (fn, tp) = oracle.confusion_matrix(truth, call, labels=[False, True])
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (tp, fp, fn, tn)
    figures = operating_point_metrics(counts)
    expected = {
        "sensitivity": oracle.recall_score(truth, call, zero_division=np.nan),
        "specificity": oracle.recall_score(truth, call, pos_label=False, zero_division=np.nan),
        "ppv": oracle.precision_score(truth, call, zero_division=np.nan),
        "npv": oracle.precision_score(truth, call, pos_label=False, zero_division=np.nan),
        "f1_score": oracle.f1_score(truth, call, zero_division=np.nan),
        "accuracy": oracle.accuracy_score(truth, call),
    }
    for name, value in expected.items():
        if np.isnan(value):
            assert figures[name] is None and reason_of(name)
        else:
            assert figures[name] == pytest.approx(value, abs=1e-12), name
    if tp + fn and tn + fp:
        balanced = oracle.balanced_accuracy_score(truth, call)
        assert figures["balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)
    if figures["mcc"] is not None:
        mcc = oracle.matthews_corrcoef(truth, call)
        assert figures["mcc"] == pytest.approx(mcc, abs=1e-12)


def test_hand_worked_operating_point() -> None:
    figures = operating_point_metrics(ConfusionCounts(tp=90, fp=20, fn=10, tn=80))
    assert figures["sensitivity"] == 0.9
    assert figures["specificity"] == 0.8
    assert figures["ppv"] == pytest.approx(9 / 11)
    assert figures["npv"] == pytest.approx(8 / 9)
    assert figures["balanced_accuracy"] == pytest.approx(0.85)
    assert figures["mcc"] == pytest.approx(7000 / np.sqrt(110 * 100 * 100 * 90))


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        (
            ConfusionCounts(tp=0, fp=0, fn=0, tn=4),
            {"sensitivity", "ppv", "f1_score", "balanced_accuracy", "mcc"},
        ),
        (ConfusionCounts(tp=0, fp=0, fn=2, tn=2), {"ppv", "mcc"}),
        (ConfusionCounts(tp=2, fp=2, fn=0, tn=0), {"npv", "mcc"}),
        (
            ConfusionCounts(tp=3, fp=0, fn=0, tn=0),
            {"specificity", "npv", "balanced_accuracy", "mcc"},
        ),
    ],
)
def test_an_empty_denominator_is_undefined_and_has_a_reason(
    counts: ConfusionCounts, undefined: set[str]
) -> None:
    figures = operating_point_metrics(counts)
    assert {name for name, value in figures.items() if value is None} == undefined
    assert all(map(reason_of, undefined))


@settings(deadline=None)
@given(ROWS)
def test_counts_by_threshold_are_those_of_each_threshold(rows: Rows) -> None:
    truth, scores = columns(rows)
    found = count_by_threshold(truth, scores)
    assert found.thresholds.tolist() == sorted(set(scores.tolist()), reverse=True)
    for threshold, tp, fp in zip(*found, strict=True):
        counts = count_confusion(truth, scores, threshold=float(threshold))
        assert (counts.tp, counts.fp) == (tp, fp)


def test_constant_scores_say_nothing() -> None:
    truth = np.array([True, False, True, False, False])
    scores = np.full(5, 0.3)
    assert auroc_score(truth, scores) == 0.5
    assert average_precision_score(truth, scores) == truth.mean()


@settings(deadline=None)
@given(ROWS)
def test_reversed_scores_mirror_the_auroc(rows: Rows) -> None:
    truth, scores = columns(rows)
    scores = np.round(scores, 3)
    auroc = auroc_score(truth, scores)
    if auroc is not None:
        mirrored = auroc_score(truth, np.round(1 - scores, 3))
        assert mirrored == pytest.approx(1 - auroc, abs=1e-12)


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_order_of_images_does_not_matter(rows: Rows, random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for metric in (average_precision_score, auroc_score):
        assert metric(*columns(rows)) == metric(*columns(shuffled))


def multiclass(seed: int, num_images: int = 60) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet((0.4, 0.4, 0.4), size=num_images)
    labels = generator.integers(0, 3, size=num_images)
    labels[:3] = (0, 1, 2)
    return labels.astype(np.int64), probabilities


@pytest.mark.parametrize("seed", range(5))
def test_multiclass_figures_are_those_of_scikit_learn(seed: int) -> None:
    labels, probabilities = multiclass(seed)
    found = validation_scores(labels, probabilities, positive=None)
    assert found.log_loss == pytest.approx(oracle.log_loss(labels, probabilities), abs=1e-9)
    assert found.auroc == pytest.approx(
        oracle.roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-12
    )
    one_hot = np.eye(3)[labels]
    expected = oracle.average_precision_score(one_hot, probabilities, average="macro")
    assert found.average_precision == pytest.approx(expected, abs=1e-12)
    matrix = oracle.confusion_matrix(labels, probabilities.argmax(axis=1))
    assert (count_matrix(labels, probabilities) == matrix).all()


def test_validation_scores_of_the_positive_class_alone() -> None:
    labels = np.array([0, 1, 0, 1])
    positive = np.array([0.2, 0.9, 0.4, 0.3])
    found = validation_scores(labels, np.stack([1 - positive, positive], axis=1), positive=1)
    assert found.average_precision == oracle.average_precision_score(labels, positive)
    assert found.auroc == oracle.roc_auc_score(labels, positive)
    assert found.log_loss == pytest.approx(oracle.log_loss(labels, positive))


def test_validation_scores_leave_out_a_class_without_images() -> None:
    labels, probabilities = multiclass(0)
    kept = labels != 2
    found = validation_scores(labels[kept], probabilities[kept], positive=None)
    expected = [oracle.roc_auc_score(labels[kept] == k, probabilities[kept][:, k]) for k in (0, 1)]
    assert found.auroc == pytest.approx(np.mean(expected))


def test_validation_scores_of_one_class_only_are_undefined() -> None:
    found = validation_scores(np.zeros(3, dtype=np.int64), np.eye(2)[[0, 0, 1]], positive=1)
    assert found.average_precision is None
    assert found.auroc is None


@pytest.mark.parametrize("positive", [0, 1])
def test_matrix_of_two_classes_agrees_with_the_default_operating_point(positive: int) -> None:
    scores = np.array([0.0, 0.49999999999999994, 0.5, 0.5000000000000001, 1.0])
    both = np.stack([scores, 1 - scores], axis=1)[:, :: 1 if positive == 0 else -1]
    labels = np.array([0, 1, 0, 1, 1])
    matrix = count_matrix(labels, np.ascontiguousarray(both), positive=positive)
    counts = count_confusion(labels == positive, scores, threshold=0.5)
    assert matrix[positive, positive] == counts.tp
    assert matrix[1 - positive, positive] == counts.fp


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan, np.inf, 3.7])
def test_scores_that_are_no_probabilities_are_refused(bad: float) -> None:
    truth, scores = np.array([True, False]), np.array([bad, 0.5])
    for metric in (average_precision_score, auroc_score, brier_score, log_loss_error):
        with pytest.raises(DataError, match="probability"), warnings.catch_warnings():
            metric(truth, scores)
    with pytest.raises(DataError, match="probability"):
        cross_entropy_error(np.array([0]), np.array([[bad, 0.5]]))


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="one truth"):
        auroc_score(np.array([1, 0]), np.array([0.1, 0.2]))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one truth"):
        auroc_score(np.array([True]), np.array([0.1, 0.2]))
    with pytest.raises(DataError, match="at least one"):
        brier_score(np.array([], dtype=bool), np.array([]))
    with pytest.raises(DataError, match="shapes"):
        cross_entropy_error(np.array([0, 1]), np.array([[0.5, 0.5]]))
    for label in (-1, 2):
        with pytest.raises(DataError, match="reference standard"):
            count_matrix(np.array([label]), np.array([[0.5, 0.5]]))


def test_counts_of_a_whole_country_have_their_correlation() -> None:
    """The product under the root is then beyond 64 bits."""
    counts = ConfusionCounts(tp=4_000_000, fp=1_000_000, fn=1_000_000, tn=4_000_000)
    assert operating_point_metrics(counts)["mcc"] == pytest.approx(0.6)
