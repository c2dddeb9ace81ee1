"""External minus internal: values by scikit-learn, intervals by a loop, undefined by name."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle
from sklearn.linear_model import LogisticRegression

from medimg_baseline_cls.evaluation.external_difference import subtract_internal
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.records.comparisons import nest_estimates
from medimg_baseline_cls.records.external import SetDifference
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.schema import Predictions, Threshold

POINT = Threshold(rule="max_f1", value=0.4, description="", class_name="PNEUMONIA")
THRESHOLDS = {"PNEUMONIA": (POINT,)}


def draw_set(
    seed: int, *, num_patients: int = 60, gap: float = 1.5, prevalence: float = 0.5
) -> Predictions:
    """Draw a calibrated-looking model on patients with one to three images each."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 4, size=num_patients)
    truth = random.random(num_patients) < prevalence
    truth[:2] = (False, True)
    own = random.normal(size=num_patients) + gap * truth
    owner = np.repeat(np.arange(num_patients), sizes)
    logits = own[owner] + 0.5 * random.normal(size=len(owner)) - gap / 2
    scores = 1 / (1 + np.exp(-logits))
    ids = tuple(f"s{seed}/{i:03d}.png" for i in range(len(owner)))
    return Predictions(
        split="test",
        class_names=("NORMAL", "PNEUMONIA"),
        image_ids=ids,
        paths=ids,
        groups=tuple(f"s{seed}-p{i}" for i in owner),
        labels=truth[owner].astype(np.int64),
        probabilities=np.stack([1 - scores, scores], axis=1),
    )


INTERNAL, EXTERNAL = draw_set(1), draw_set(2, gap=0.8, num_patients=50)


def subtract(
    internal: Predictions, external: Predictions, *, num_resamples: int = 400, seed: int = 0
) -> dict[MetricKey, SetDifference]:
    return subtract_internal(
        internal,
        external,
        thresholds=THRESHOLDS,
        positive_class="PNEUMONIA",
        resampling=Resampling(num_resamples, seed),
    )


@cache
def found() -> dict[MetricKey, SetDifference]:
    return subtract(INTERNAL, EXTERNAL)


def columns(part: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return part.truth("PNEUMONIA"), part.scores("PNEUMONIA")


def measure(metric: str, part: Predictions) -> float:
    truth, scores = columns(part)
    if metric == "auroc":
        return float(oracle.roc_auc_score(truth, scores))
    if metric == "average_precision":
        return float(oracle.average_precision_score(truth, scores))
    if metric == "brier_score":
        return float(oracle.brier_score_loss(truth, scores))
    if metric == "log_loss":
        return float(oracle.log_loss(truth, scores))
    if metric == "sensitivity":
        return float(oracle.recall_score(truth, scores >= POINT.value))
    if metric == "specificity":
        return float(oracle.recall_score(~truth, scores < POINT.value))
    assert metric == "slope"
    logits = np.log(scores / (1 - scores))[:, None]
    return float(LogisticRegression(C=np.inf, tol=1e-10).fit(logits, truth).coef_[0, 0])


@pytest.mark.parametrize(
    ("metric", "rule"),
    [
        ("auroc", None),
        ("average_precision", None),
        ("brier_score", None),
        ("log_loss", None),
        ("slope", None),
        ("sensitivity", "max_f1"),
        ("specificity", "max_f1"),
    ],
)
def test_values_are_those_of_scikit_learn(metric: str, rule: str | None):
    gap = found()[MetricKey("PNEUMONIA", rule, metric)]
    internal, external = measure(metric, INTERNAL), measure(metric, EXTERNAL)
    tolerance = 1e-4 if metric == "slope" else 1e-12
    assert gap.internal == pytest.approx(internal, abs=tolerance)
    assert gap.external == pytest.approx(external, abs=tolerance)
    assert gap.value == pytest.approx(external - internal, abs=tolerance)


def resample_auroc(part: Predictions, *, count: int, seed: int) -> NDArray[np.float64]:
    """Resample patients within each class in a plain loop."""
    random = np.random.default_rng(seed)
    truth, scores = columns(part)
    groups = np.array(part.groups)
    by_class = [np.unique(groups[truth == value]) for value in (False, True)]
    rows_of = {name: np.flatnonzero(groups == name) for name in np.unique(groups)}
    values: list[float] = []
    for _ in range(count):
        drawn = [random.choice(names, size=len(names)) for names in by_class]
        rows = np.concatenate([rows_of[name] for name in np.concatenate(drawn)])
        values.append(float(oracle.roc_auc_score(truth[rows], scores[rows])))
    return np.array(values)


def test_the_interval_is_that_of_two_samples_resampled_on_their_own():
    gap = subtract(INTERNAL, EXTERNAL, num_resamples=3000)[MetricKey("PNEUMONIA", None, "auroc")]
    values = resample_auroc(EXTERNAL, count=1500, seed=1) - resample_auroc(
        INTERNAL, count=1500, seed=2
    )
    low, high = np.quantile(values, (0.025, 0.975))
    assert gap.bounds is not None
    assert gap.bounds[0] == pytest.approx(low, abs=0.02)
    assert gap.bounds[1] == pytest.approx(high, abs=0.02)


def test_sets_of_the_same_size_are_not_resampled_alike():
    """A set against itself: the same draws on both sides would give no width at all."""
    gap = subtract(INTERNAL, INTERNAL)[MetricKey("PNEUMONIA", None, "auroc")]
    assert gap.value == 0
    assert gap.bounds is not None
    assert gap.bounds[0] < -0.05 < 0.05 < gap.bounds[1]


def test_the_same_seed_gives_the_same_interval():
    assert subtract(INTERNAL, EXTERNAL, seed=3) == subtract(INTERNAL, EXTERNAL, seed=3)
    assert subtract(INTERNAL, EXTERNAL, seed=3) != subtract(INTERNAL, EXTERNAL, seed=4)


def test_every_metric_of_a_class_and_of_calibration_has_an_interval():
    without = [
        key
        for key, gap in found().items()
        if key.block == "PNEUMONIA" and (gap.value is None or gap.bounds is None)
    ]
    assert without == []
    names = {key.metric for key in found() if key.block == "PNEUMONIA" and key.rule is None}
    assert {"auroc", "average_precision", "brier_score", "log_loss"} <= names
    assert {"slope", "intercept_at_slope_1", "ece_equal_mass"} <= names


@pytest.mark.parametrize("value", [0, 1])
def test_a_class_that_is_absent_is_undefined_with_the_side_and_the_reason(value: int):
    rows = np.flatnonzero(EXTERNAL.labels == value)
    alone = replace(
        EXTERNAL,
        image_ids=tuple(EXTERNAL.image_ids[i] for i in rows),
        paths=tuple(EXTERNAL.paths[i] for i in rows),
        groups=tuple(EXTERNAL.groups[i] for i in rows),
        labels=EXTERNAL.labels[rows],
        probabilities=EXTERNAL.probabilities[rows],
    )
    gap = subtract(INTERNAL, alone)[MetricKey("PNEUMONIA", None, "auroc")]
    assert gap.value is None
    assert gap.reason == "undefined on the external images: all images are of one class"
    assert (gap.external, gap.internal) == (None, measure("auroc", INTERNAL))
    other = subtract(alone, INTERNAL)[MetricKey("PNEUMONIA", None, "auroc")]
    assert other.reason == "undefined on the internal images: all images are of one class"
    specificity = subtract(INTERNAL, alone)[MetricKey("PNEUMONIA", "max_f1", "specificity")]
    assert (specificity.value is None) is (value == 1)


def test_findings_are_compared_each_where_it_is_known(findings):  # type: ignore[no-untyped-def]
    internal, external = findings("test", seed=1), findings("test", seed=2)
    labels = external.labels.copy()
    labels[:, 2] = -1
    gaps = subtract_internal(
        internal,
        replace(external, labels=labels),
        thresholds={
            name: (Threshold(rule="default", value=0.5, description="", class_name=name),)
            for name in internal.class_names
        },
        positive_class=None,
        resampling=Resampling(100, 0),
    )
    known = labels[:, 0] >= 0
    expected = oracle.roc_auc_score(labels[known, 0], external.probabilities[known, 0])
    assert gaps[MetricKey("Effusion", None, "auroc")].external == pytest.approx(expected)
    absent = gaps[MetricKey("Nodule", None, "auroc")]
    assert absent.value is None
    assert absent.internal is not None
    mean = gaps[MetricKey(Average.MACRO, None, "auroc")]
    assert mean.value is None
    assert (
        mean.reason == "a mean of 3 findings on the internal images and of 2 on the external ones"
    )
    assert mean.external == pytest.approx(
        np.mean([gaps[MetricKey(name, None, "auroc")].external for name in ("Effusion", "Mass")])
    )
    assert gaps[MetricKey("Mass", None, "auroc")].value is not None


def test_the_interval_of_a_difference_contains_the_true_one():
    """Of 60 pairs, about 57 should; benchmarks/external_coverage.py has the whole simulation."""
    true = measure("auroc", draw_set(100, num_patients=20_000, gap=0.8)) - measure(
        "auroc", draw_set(101, num_patients=20_000, gap=1.5)
    )
    key, hits = MetricKey("PNEUMONIA", None, "auroc"), 0
    for number in range(60):
        internal = draw_set(1000 + number, num_patients=70, gap=1.5)
        external = draw_set(2000 + number, num_patients=70, gap=0.8)
        bounds = subtract(internal, external, num_resamples=200, seed=number)[key].bounds
        assert bounds is not None
        hits += bounds[0] <= true <= bounds[1]
    assert 53 <= hits <= 60


def test_the_record_lists_both_sides_and_the_interval():
    content = nest_estimates(found())["PNEUMONIA"]["metrics"]["auroc"]
    assert set(content) >= {"internal", "external", "value", "interval"}
    assert content["value"] == content["external"] - content["internal"]
    low, high = content["interval"]
    assert low < content["value"] < high
