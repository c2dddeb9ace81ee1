"""Maps are fitted only on VAL, keep every decision, and are those of independent fits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_auc_score

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.mistakes import mine_mistakes
from medimg_baseline_cls.evaluation.recalibration import (
    FEWEST_IMAGES,
    carry_thresholds,
    fit_on_val,
    read_map_warnings,
    warn_of_maps,
)
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.recalibration import METHODS, Method

Images = tuple[NDArray[np.bool_], NDArray[np.float64]]


def draw(number: int = 400, *, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(scale=2, size=number), 2)
    return random.random(number) < expit(0.5 * logits - 0.7), expit(logits)


def point_at(value: float, space: str = "probability") -> Threshold:
    return Threshold(
        rule="max_f1", value=value, description="", class_name="PNEUMONIA", score_space=space
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_every_decision_stays_as_it_was(method: Method, seed: int) -> None:
    truth, scores = draw(seed=seed)
    other, _ = draw(seed=seed + 10)
    fitted = fit_on_val(method, split="val", truth=truth, scores=scores)
    assert fitted is not None
    everything = np.concatenate([scores, draw(seed=seed + 10)[1]])
    after = fitted.apply(everything)
    assert ((after >= 0) & (after <= 1)).all()
    for value in (*np.quantile(everything, (0.02, 0.3, 0.77)), *scores[:40], 0.5):
        (carried,) = carry_thresholds(fitted, [point_at(float(value))])
        assert carried.score_space == method
        assert np.array_equal(after >= carried.value, everything >= value)
    assert roc_auc_score(np.concatenate([truth, other]), after) == pytest.approx(
        roc_auc_score(np.concatenate([truth, other]), everything)
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_log_loss_of_val_falls(method: Method) -> None:
    truth, scores = draw()
    fitted = fit_on_val(method, split="val", truth=truth, scores=scores)
    assert fitted is not None
    assert log_loss(truth, fitted.apply(scores)) < log_loss(truth, scores)


def test_temperature_is_that_of_scipy() -> None:
    truth, scores = draw()
    fitted = fit_on_val("temperature", split="val", truth=truth, scores=scores)

    def loss(temperature: NDArray[np.float64]) -> float:
        return float(log_loss(truth, expit(logit(scores) / temperature[0])))

    found = minimize(loss, [1.0], tol=1e-12)
    assert fitted is not None
    assert fitted.parameters["temperature"] == pytest.approx(found.x[0], rel=1e-4)


def test_platt_is_that_of_scipy_with_his_targets() -> None:
    truth, scores = draw()
    positive, negative = truth.sum(), (~truth).sum()
    targets = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(line: NDArray[np.float64]) -> float:
        p = expit(line[0] + line[1] * logit(scores))
        return float(-np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p)))

    fitted = fit_on_val("platt", split="val", truth=truth, scores=scores)
    assert fitted is not None
    expected = minimize(loss, [0.0, 1.0], tol=1e-12).x
    found = (fitted.parameters["intercept"], fitted.parameters["slope"])
    assert found == pytest.approx(tuple(expected), abs=1e-4)


def test_platt_stays_finite_where_scores_separate_the_classes() -> None:
    scores = np.linspace(0.01, 0.99, 40)
    fitted = fit_on_val("platt", split="val", truth=scores > 0.5, scores=scores)
    assert fitted is not None and 0 < fitted.parameters["slope"] < 50


def test_isotonic_is_that_of_scikit_learn_but_for_its_slant() -> None:
    truth, scores = draw()
    fitted = fit_on_val("isotonic", split="val", truth=truth, scores=scores)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, truth.astype(float))
    grid = np.linspace(0, 1, 301)
    assert fitted is not None
    assert fitted.apply(grid) == pytest.approx(theirs.predict(grid), abs=2e-6)
    assert (np.diff(fitted.apply(grid)) > 0).all()


def test_scores_that_point_the_wrong_way_and_one_class_have_no_map() -> None:
    truth, scores = draw()
    for method in ("platt", "isotonic"):
        assert fit_on_val(method, split="val", truth=truth, scores=1 - scores) is None
    for method in METHODS:
        ones = np.ones_like(truth)
        assert fit_on_val(method, split="val", truth=ones, scores=scores) is None


def warned(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[list[str], str]:
    """Return the methods that are warned of, and what is said."""
    found = warn_of_maps(truth, scores, name="ILL", other="WELL")
    if found is None:
        return [], ""
    return list(found.methods), found.text


def test_a_val_that_is_separated_perfectly_is_told_with_its_numbers() -> None:
    scores = np.linspace(0.02, 0.98, 49)
    high = scores > 0.7
    methods, text = warned(high, scores)
    assert methods == ["platt", "isotonic"]
    assert text.startswith(f"VAL is separated perfectly (AUROC 1.000, {high.sum()} ILL and ")
    assert roc_auc_score(high, scores) == 1
    # One image on the wrong side, or a tie across the classes, is no perfect separation.
    wrong = high.copy()
    wrong[10] = True
    assert warned(wrong, scores) == ([], "")
    assert warned(high, np.where(scores > 0.6, 0.9, scores)) == ([], "")


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.8])
def test_a_temperature_is_preferred_only_where_there_is_a_best_one(cut: float) -> None:
    scores = np.linspace(0.0051, 0.9951, 100)
    methods, text = warned(scores > cut, scores)
    fitted = fit_on_val("temperature", split="val", truth=scores > cut, scores=scores)
    assert fitted is not None
    is_at_its_end = fitted.parameters["temperature"] < 0.051
    assert is_at_its_end == (cut == 0.5) == ("temperature" in methods)
    assert ("prefer temperature or none" in text) == (not is_at_its_end)


def test_few_images_of_a_class_are_told() -> None:
    random = np.random.default_rng(0)
    scores = np.round(random.random(80), 3)
    for few in (FEWEST_IMAGES - 1, FEWEST_IMAGES):
        truth = np.arange(80) < few
        for labels, word in ((truth, "ILL"), (~truth, "WELL")):
            methods, text = warned(labels, scores)
            if few < FEWEST_IMAGES:
                assert text.startswith(f"VAL has only 9 {word}: ")
                assert methods == ["platt", "isotonic"]
            else:
                assert text == ""
    assert warned(np.zeros(80, dtype=bool), scores) == ([], "")


def test_warnings_are_read_by_method(tmp_path: Path) -> None:
    path = tmp_path / "recalibration.json"
    path.write_text('{"classes": {}, "warnings": {"A": {"methods": ["platt"], "text": "few"}}}')
    assert read_map_warnings(path, "platt") == ["few"]
    assert read_map_warnings(path, "temperature") == []
    path.write_text('{"classes": {}}')
    assert read_map_warnings(path, "platt") == []


@pytest.mark.parametrize("split", ["test", "train", "new"])
def test_no_other_split_is_taken(split: str) -> None:
    truth, scores = draw()
    with pytest.raises(DataError, match="fitted only on VAL"):
        fit_on_val("platt", split=split, truth=truth, scores=scores)


def test_a_threshold_of_other_scores_is_refused(val: Predictions) -> None:
    recalibrated = replace(val, score_space="platt")
    for predictions, space in ((val, "platt"), (recalibrated, "probability")):
        thresholds = {"PNEUMONIA": (point_at(0.5, space),)}
        with pytest.raises(DataError, match="same space"):
            summarize_predictions(predictions, thresholds, positive_class="PNEUMONIA")
        with pytest.raises(DataError, match="same space"):
            mine_mistakes(predictions, thresholds, num_hard_examples=3)
    truth, scores = draw()
    fitted = fit_on_val("platt", split="val", truth=truth, scores=scores)
    assert fitted is not None
    with pytest.raises(DataError, match="only thresholds of plain probabilities"):
        carry_thresholds(fitted, [point_at(0.5, "platt")])
