"""The optimism of a choice on VAL, against simulations in which it is known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from tests.conftest import predictions_of

from medimg_baseline_cls.evaluation.selection import estimate_optimism, measure_optimism
from medimg_baseline_cls.schema import Predictions

MakePredictions = Callable[..., Predictions]
NUM_IMAGES, IMAGES_PER_PATIENT = 120, 2


class World:
    """Models of the same or of different skill on images of patients, any number of samples.

    The scores of all models share a part, as those of networks on the same image do.
    """

    def __init__(self, skills: list[float], *, shared: float = 0.5) -> None:
        self.skills, self.shared = np.array(skills), shared

    def draw(self, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return labels, shape (N,), and scores, shape (M, N), of one VAL."""
        patients = NUM_IMAGES // IMAGES_PER_PATIENT
        labels = np.repeat((np.arange(patients) % 3 == 0).astype(np.int64), IMAGES_PER_PATIENT)
        common = generator.normal(size=patients)
        own = generator.normal(size=(len(self.skills), patients))
        noise = np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own
        per_image = 0.3 * generator.normal(size=(len(self.skills), NUM_IMAGES))
        logits = np.repeat(noise, IMAGES_PER_PATIENT, axis=1) + per_image
        return labels, 1 / (1 + np.exp(-(logits + self.skills[:, None] * labels)))

    def true_optimism(self, *, num_samples: int) -> float:
        """Return how much the best on a VAL is worse on another one, by sampling both."""
        generator = np.random.default_rng(0)
        gains: list[float] = []
        for _ in range(num_samples):
            values, fresh = (self._rate(*self.draw(generator)) for _ in range(2))
            gains.append(values.max() - fresh[values.argmax()])
        return float(np.mean(gains))

    def estimate(self, *, num_samples: int) -> NDArray[np.float64]:
        """Return the estimates from independent VALs."""
        generator = np.random.default_rng(1)
        found: list[float] = []
        for _ in range(num_samples):
            labels, scores = self.draw(generator)
            estimate = estimate_optimism(
                [[_predictions(labels, row)] for row in scores],
                positive_class="PNEUMONIA",
                num_resamples=100,
                seed=0,
            )
            assert estimate.optimism is not None
            found.append(estimate.optimism)
        return np.array(found)

    @staticmethod
    def _rate(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([average_precision_score(labels, row) for row in scores])


def _predictions(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Predictions:
    found = predictions_of("val", labels, np.stack([1 - scores, scores], axis=1))
    patients = tuple(f"patient{i // IMAGES_PER_PATIENT}" for i in range(len(labels)))
    return replace(found, groups=patients)


@pytest.mark.parametrize(
    ("skills", "tolerance"),
    [
        ([1.2] * 6, 0.25),
        ([1.2] * 10, 0.25),
        # The best is far ahead: hardly anything is left to chance.
        ([0.2, 0.3, 0.4, 0.5, 0.6, 2.5], None),
    ],
    ids=["6 equal models", "10 equal models", "one far better"],
)
def test_the_estimate_is_the_optimism_of_a_simulation(
    skills: list[float], tolerance: float | None
) -> None:
    world = World(skills)
    truth = world.true_optimism(num_samples=200)
    found = world.estimate(num_samples=12)
    if tolerance is None:
        assert abs(found.mean()) < 0.01
        assert abs(truth) < 0.01
    else:
        assert truth > 0.03
        assert found.mean() == pytest.approx(truth, rel=tolerance)


def test_equal_values_of_normal_chance_have_the_expected_maximum_as_optimism() -> None:
    """Of M independent normal values the expected maximum is known: 1.2672 for six."""
    generator = np.random.default_rng(0)
    resampled = generator.normal(0.7, 0.02, size=(6, 50_000))
    found = measure_optimism(np.full(6, 0.7), resampled)
    assert found == pytest.approx(1.2672 * 0.02, rel=0.02)


def test_values_that_differ_by_more_than_chance_keep_their_order() -> None:
    """Two models 5 standard errors apart: the better is chosen in all resamples."""
    generator = np.random.default_rng(0)
    values = np.array([0.6, 0.7])
    resampled = values[:, None] + generator.normal(0, 0.005, size=(2, 10_000))
    found = measure_optimism(values, resampled)
    assert found == pytest.approx(0, abs=1e-4)


def test_the_mean_of_resamples_may_be_off_the_value() -> None:
    """That resamples are lower on average than VAL itself is not the choice's fault."""
    generator = np.random.default_rng(0)
    values, chance = np.array([0.6, 0.61, 0.62]), generator.normal(0, 0.02, size=(3, 2000))
    near, off = (measure_optimism(values, values[:, None] + chance - x) for x in (0.0, 0.3))
    assert near == pytest.approx(off)
    assert near is not None
    assert 0 < near < 0.018  # 0.8463 x 0.02 is the expected maximum of three


def test_the_same_model_twice_is_no_choice() -> None:
    generator = np.random.default_rng(0)
    resampled = np.tile(generator.normal(0.7, 0.02, size=(1, 500)), (4, 1))
    assert measure_optimism(np.full(4, 0.7), resampled) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "resampled"),
    [
        (np.array([0.7]), np.full((1, 9), 0.7)),
        (np.array([0.7, np.nan]), np.full((2, 9), 0.7)),
        (np.array([0.7, 0.6]), np.full((2, 9), np.nan)),
    ],
    ids=["one model", "an undefined value", "undefined resamples"],
)
def test_where_nothing_is_chosen_there_is_no_estimate(
    values: NDArray[np.float64], resampled: NDArray[np.float64]
) -> None:
    assert measure_optimism(values, resampled) is None


def test_undefined_resamples_are_left_out() -> None:
    generator = np.random.default_rng(0)
    values, resampled = np.array([0.6, 0.6]), generator.normal(0.6, 0.05, size=(2, 300))
    with_some = np.insert(resampled, [0, 7, 40], np.nan, axis=1)
    assert measure_optimism(values, with_some) == measure_optimism(values, resampled)


@pytest.mark.parametrize("kind", ["classes", "findings", "stresses"])
def test_every_task_and_several_views_are_rated_as_in_training(
    kind: str, draw: MakePredictions, findings: MakePredictions
) -> None:
    """By hand: one resample, drawn as here, and the metrics of scikit-learn on repeated images."""
    names = ("A", "B", "C")
    if kind == "findings":
        models = [[findings("val", class_names=names, seed=s)] for s in range(3)]
        models = [[replace(m[0], labels=models[0][0].labels)] for m in models]
    else:
        models = [[draw("val", class_names=names, seed=s)] for s in range(3)]
        models = [[replace(m[0], labels=models[0][0].labels)] for m in models]
    if kind == "stresses":
        models = [[m[0], models[(k + 1) % 3][0]] for k, m in enumerate(models)]
    found = estimate_optimism(models, positive_class=None, num_resamples=60, seed=3)
    assert (found.num_models, found.num_resamples) == (3, 60)
    assert found.optimism == pytest.approx(_by_hand(models), abs=1e-9)


def _by_hand(models: list[list[Predictions]]) -> float:
    from medimg_baseline_cls.statistics.bootstrap import draw_weights

    first = models[0][0]
    strata = first.labels if first.labels.ndim == 1 else np.zeros(len(first.labels), np.int64)
    weights = draw_weights(first.groups, strata, num_resamples=60, seed=3, purpose="val")
    rows = [np.arange(len(first.groups)), *(np.repeat(rows_of(w), w) for w in weights)]
    values = np.array([[_rate_by_hand(views, r) for r in rows] for views in models])
    whole, resampled = values[:, 0], values[:, 1:]
    chance = resampled - resampled.mean(axis=1)[:, None]
    by_chance = np.mean([column.var(ddof=1) for column in chance.T])
    share = max(0.0, 1 - by_chance / whole.var(ddof=1))
    centers = whole.mean() + share * (whole - whole.mean())
    gains = [column[np.argmax(centers + column)] for column in chance.T]
    return float(np.mean(gains))


def rows_of(weights: NDArray[np.uint16]) -> NDArray[np.int64]:
    return np.arange(len(weights))


def _rate_by_hand(views: list[Predictions], rows: NDArray[np.int64]) -> float:
    means: list[float] = []
    for view in views:
        of_classes: list[float] = []
        for k in range(len(view.class_names)):
            column = view.labels if view.labels.ndim == 1 else view.labels[:, k]
            truth = column == k if view.labels.ndim == 1 else column == 1
            kept = rows if view.labels.ndim == 1 else rows[column[rows] >= 0]
            of_classes.append(average_precision_score(truth[kept], view.probabilities[kept, k]))
        means.append(float(np.mean(of_classes)))
    return float(np.mean(means))
