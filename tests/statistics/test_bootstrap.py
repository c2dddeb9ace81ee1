"""Resamples keep patients whole; figures of weights are those of images really repeated."""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as oracle
from tests.conftest import predictions_of

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.statistics.bootstrap import (
    NO_VARIATION,
    average_precisions,
    choose_in_resamples,
    count_resamples,
    describe_values,
    draw_weights,
    rank_scores,
    weighted_calls,
    weighted_class,
    weighted_points,
    weighted_scores,
)
from medimg_baseline_cls.statistics.metrics import (
    auroc_score,
    average_precision_score,
    brier_score,
    count_confusion,
    log_loss_error,
    operating_point_metrics,
)

Images = tuple[NDArray[np.bool_], NDArray[np.float64], list[str]]


def draw_images(num_images: int = 60, *, seed: int = 0) -> Images:
    """Draw images with ties, three to a patient, some patients of both classes."""
    random = np.random.default_rng(seed)
    truth = random.random(num_images) < 0.4
    scores = np.round(1 / (1 + np.exp(-random.normal(size=num_images) - 1.2 * truth)), 2)
    return truth, scores, [f"p{i // 3}" for i in range(num_images)]


def weights_of(images: Images, *, num_resamples: int = 50, seed: int = 3) -> NDArray[np.uint16]:
    truth, _, groups = images
    strata = truth.astype(np.int64)
    return draw_weights(groups, strata, num_resamples=num_resamples, seed=seed, purpose="test")


def test_a_patient_is_drawn_whole() -> None:
    images = draw_images()
    weights = weights_of(images)
    for group in set(images[2]):
        own = weights[:, [g == group for g in images[2]]]
        assert (own == own[:, :1]).all()


def test_as_many_patients_are_drawn_as_a_stratum_holds() -> None:
    images = draw_images()
    truth, _, groups = images
    kinds = {g: frozenset(truth[[h == g for h in groups]].tolist()) for g in groups}
    first = {g: groups.index(g) for g in kinds}
    weights = weights_of(images)
    for kind, size in Counter(kinds.values()).items():
        members = [first[g] for g in kinds if kinds[g] == kind]
        assert (weights[:, members].sum(axis=1) == size).all()


def test_a_patient_stands_in_a_resample_as_often_as_a_binomial_says() -> None:
    num = 40
    groups, strata = [str(i) for i in range(num)], np.zeros(num, dtype=np.int64)
    weights = draw_weights(groups, strata, num_resamples=4000, seed=1, purpose="x")
    hits = np.bincount(weights.ravel(), minlength=8)[:5]
    expected = stats.binom.pmf(range(5), num, 1 / num) * weights.size
    assert hits == pytest.approx(expected, rel=0.05)


def test_draws_are_a_function_of_seed_and_purpose() -> None:
    truth, _, groups = draw_images()
    strata = truth.astype(np.int64)

    def draw(seed: int, purpose: str) -> NDArray[np.uint16]:
        return draw_weights(groups, strata, num_resamples=9, seed=seed, purpose=purpose)

    assert np.array_equal(draw(0, "val"), draw(0, "val"))
    assert not np.array_equal(draw(0, "val"), draw(1, "val"))
    assert not np.array_equal(draw(0, "val"), draw(0, "test"))


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_weights_are_those_of_repeated_images(seed: int) -> None:
    images = draw_images(seed=seed)
    truth, scores, _ = images
    weights = weights_of(images, num_resamples=25)
    values = weighted_scores(truth, scores, weights=weights)
    for b, row in enumerate(weights):
        t, s = np.repeat(truth, row), np.repeat(scores, row)
        assert values["auroc"][b] == pytest.approx(oracle.roc_auc_score(t, s), abs=1e-12)
        expected = oracle.average_precision_score(t, s)
        assert values["average_precision"][b] == pytest.approx(expected, abs=1e-12)
        assert values["brier_score"][b] == pytest.approx(oracle.brier_score_loss(t, s), abs=1e-12)
        assert values["log_loss"][b] == pytest.approx(oracle.log_loss(t, s), abs=1e-9)


@pytest.mark.parametrize("decimals", [2, 4, 16], ids=["many ties", "some ties", "no tie"])
def test_one_pass_over_many_images_counts_as_scikit_learn_does(decimals: int) -> None:
    num = 12_000  # summed in other ways than fewer images
    random = np.random.default_rng(decimals)
    truth = random.random(num) < 0.3
    scores = np.round(1 / (1 + np.exp(-random.normal(size=num) - truth)), decimals)
    weights = weights_of((truth, scores, [f"p{i // 2}" for i in range(num)]), num_resamples=3)
    cuts = {"each": np.array([scores[7], 2.0, np.nan]), "all": 0.5}
    values, calls = weighted_class(truth, scores, thresholds=cuts, weights=weights)
    for b, row in enumerate(weights):
        assert values["auroc"][b] == pytest.approx(
            oracle.roc_auc_score(truth, scores, sample_weight=row), abs=1e-12
        )
        assert values["average_precision"][b] == pytest.approx(
            oracle.average_precision_score(truth, scores, sample_weight=row), abs=1e-12
        )
        for rule, cut in (("each", cuts["each"][b]), ("all", 0.5)):
            found = [cells[b] for cells in calls[rule]]
            if np.isnan(cut):
                assert np.isnan(found).all()
                continue
            tn, fp, fn, tp = oracle.confusion_matrix(
                truth, scores >= cut, sample_weight=row, labels=[False, True]
            ).ravel()
            assert found == [tp, fp, fn, tn]
    apart = weighted_calls(truth, scores, thresholds=cuts, weights=weights)
    for rule, counts in apart.items():
        assert np.array_equal(counts, calls[rule], equal_nan=True)


def test_weights_of_one_give_the_figures_themselves() -> None:
    truth, scores, _ = draw_images()
    values = weighted_scores(truth, scores, weights=np.ones((1, len(truth)), dtype=np.uint16))
    assert values["auroc"][0] == auroc_score(truth, scores)
    assert values["average_precision"][0] == pytest.approx(average_precision_score(truth, scores))
    assert values["brier_score"][0] == pytest.approx(brier_score(truth, scores))
    assert values["log_loss"][0] == pytest.approx(log_loss_error(truth, scores))


@pytest.mark.parametrize("target", [0.55, 0.9, 1.0])
def test_thresholds_of_resamples_are_those_chosen_on_repeated_images(target: float) -> None:
    images = draw_images(seed=5)
    truth, scores, _ = images
    weights = weights_of(images)
    cuts = choose_in_resamples(truth, scores, weights=weights, target=target)
    for b, row in enumerate(weights):
        t, s = np.repeat(truth, row), np.repeat(scores, row)
        val = predictions_of("val", t.astype(np.int64), np.stack([1 - s, s], axis=1))
        points = choose_thresholds(val, classes=["PNEUMONIA"], target_sensitivity=target)
        chosen = {point.rule: point.value for point in points["PNEUMONIA"]}
        assert {rule: values[b] for rule, values in cuts.items()} == {
            rule: chosen[rule] for rule in cuts
        }


def test_points_of_weights_are_those_of_repeated_images() -> None:
    images = draw_images(seed=7)
    truth, scores, _ = images
    weights = weights_of(images)
    thresholds = np.random.default_rng(0).random(len(weights))
    thresholds[:3] = (0.0, 1.0, scores[0])
    values = weighted_points(truth, scores, thresholds=thresholds, weights=weights)
    for b, row in enumerate(weights):
        t, s = np.repeat(truth, row), np.repeat(scores, row)
        expected = operating_point_metrics(count_confusion(t, s, threshold=thresholds[b]))
        for name, value in expected.items():
            if value is None:
                assert np.isnan(values[name][b])
            else:
                assert values[name][b] == pytest.approx(value, abs=1e-12)


def test_a_resample_without_a_positive_image_is_undefined_and_counted() -> None:
    truth, scores = np.array([True, False, False]), np.array([0.9, 0.4, 0.2])
    weights = np.array([[0, 2, 1], [1, 1, 1], [1, 2, 0], [1, 0, 2]], dtype=np.uint16)
    values = weighted_scores(truth, scores, weights=weights)
    assert np.isnan(values["auroc"]).tolist() == [True, False, False, False]
    cuts = choose_in_resamples(truth, scores, weights=weights, target=0.9)
    assert np.isnan(cuts["max_f1"]).tolist() == [True, False, False, False]
    points = weighted_points(truth, scores, thresholds=cuts["max_f1"], weights=weights)
    assert np.isnan(points["specificity"]).tolist() == [True, False, False, False]
    assert describe_values(values["brier_score"]).bounds is not None
    assert describe_values(values["auroc"]).num_undefined == 1


def test_an_interval_without_width_is_none_with_a_reason() -> None:
    described = describe_values(np.ones(100))
    assert described.bounds is None and described.reason == NO_VARIATION
    mostly_undefined = np.where(np.arange(100) < 60, np.nan, np.arange(100))
    assert describe_values(mostly_undefined).bounds is None


def test_the_interval_is_that_of_scipy_within_monte_carlo_error() -> None:
    truth, scores, _ = draw_images(200, seed=2)
    groups = [str(i) for i in range(len(truth))]
    weights = draw_weights(
        groups, np.zeros(len(truth), dtype=np.int64), num_resamples=20_000, seed=0, purpose="test"
    )
    ours = describe_values(weighted_scores(truth, scores, weights=weights)["brier_score"]).bounds
    errors = (scores - truth) ** 2
    theirs = stats.bootstrap(
        (errors,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.1 * (theirs.high - theirs.low))


def test_few_resamples_at_a_time_give_what_all_at_once_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = draw_images()
    truth, scores, _ = images
    weights = weights_of(images)
    whole = weighted_scores(truth, scores, weights=weights)
    monkeypatch.setattr("medimg_baseline_cls.statistics.bootstrap._CHUNK_CELLS", 100)
    parts = list(count_resamples(rank_scores(truth, scores), weights))
    assert len(parts) == len(weights)
    joined = np.concatenate([average_precisions(counts) for _, counts in parts])
    assert joined == pytest.approx(whole["average_precision"], abs=1e-14)


def test_images_without_a_group_each_are_refused() -> None:
    with pytest.raises(DataError, match="a group and a stratum for each image"):
        draw_weights(["a"], np.zeros(2, dtype=np.int64), seed=0, purpose="x")
