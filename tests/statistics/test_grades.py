"""Grades: what their order adds, against scikit-learn and a hand-worked table."""

from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from sklearn import metrics as oracle

from medimg_baseline_cls.evaluation.eval_summary import tabulate_summaries
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.metrics import (
    count_matrix,
    grade_values,
    mean_grade_error,
    quadratic_weighted_kappa,
)

GRADES = ("none", "mild", "moderate", "severe")
MakePredictions = Callable[..., Predictions]


@pytest.mark.parametrize("seed", range(5))
def test_kappa_and_error_are_those_of_scikit_learn(draw: MakePredictions, seed: int) -> None:
    found = draw("test", class_names=GRADES, seed=seed)
    called = found.probabilities.argmax(axis=1)
    matrix = count_matrix(found.labels, found.probabilities)
    kappa = oracle.cohen_kappa_score(found.labels, called, weights="quadratic")
    assert quadratic_weighted_kappa(matrix) == pytest.approx(kappa, abs=1e-12)
    error = oracle.mean_absolute_error(found.labels, called)
    assert mean_grade_error(matrix) == pytest.approx(error, abs=1e-12)


def test_kappa_of_a_hand_worked_table() -> None:
    # Squared distances: 1 + 4 + 1 = 6. By chance, from the sums of rows (5, 2, 3) and of columns
    # (3, 4, 3) of 10 images: (1 * 20 + 4 * 15 + 1 * 6 + 1 * 6 + 4 * 9 + 1 * 12) / 10 = 14.
    matrix = np.array([[3, 1, 1], [0, 2, 0], [0, 1, 2]])
    assert quadratic_weighted_kappa(matrix) == pytest.approx(1 - 6 / 14)
    assert mean_grade_error(matrix) == pytest.approx((1 + 2 + 1) / 10)


def test_kappa_is_undefined_for_one_grade_alone() -> None:
    assert quadratic_weighted_kappa(np.array([[5, 0], [0, 0]])) is None


def test_kappa_of_the_reversed_grading_is_negative() -> None:
    assert quadratic_weighted_kappa(np.array([[0, 4], [4, 0]])) == -1.0


def test_grades_are_classes_with_an_order(draw: MakePredictions) -> None:
    val, other = (draw(split, class_names=GRADES) for split in ("val", "test"))
    thresholds = choose_thresholds(val, classes=GRADES, target_sensitivity=0.9)
    plain, graded = (
        summarize_predictions(replace(other, task=task), thresholds, positive_class=None).to_json()
        for task in ("multiclass", "ordinal")
    )
    called = other.probabilities.argmax(axis=1)
    kappa = graded["overall"].pop("quadratic_weighted_kappa")["value"]
    expected = oracle.cohen_kappa_score(other.labels, called, weights="quadratic")
    assert kappa == pytest.approx(expected)
    error = graded["overall"].pop("mean_grade_error")["value"]
    assert error == pytest.approx(oracle.mean_absolute_error(other.labels, called))
    assert graded.pop("task") == "ordinal"
    assert graded == plain


def test_the_end_table_shows_both(draw: MakePredictions) -> None:
    val = replace(draw("val", class_names=GRADES), task="ordinal")
    thresholds = choose_thresholds(val, classes=GRADES, target_sensitivity=0.9)
    summary = summarize_predictions(val, thresholds, positive_class=None)
    header, rows = tabulate_summaries([summary])
    assert all(len(row) == len(header) for row in rows)
    kappa = summary.overall["quadratic_weighted_kappa"].value
    error = summary.overall["mean_grade_error"].value
    last = " ".join(rows[-1])
    shown = [
        Decimal(str(n)).quantize(Decimal("0.001"), rounding=ROUND_HALF_UP) for n in (kappa, error)
    ]
    assert f"kappa {shown[0]}, error {shown[1]}" in last


def test_two_grades_keep_their_positive_class(draw: MakePredictions) -> None:
    val = replace(draw("val", class_names=("benign", "malignant")), task="ordinal")
    thresholds = choose_thresholds(val, classes=["malignant"], target_sensitivity=0.9)
    summary = summarize_predictions(val, thresholds, positive_class="malignant")
    assert list(summary.classes) == ["malignant"]
    header, rows = tabulate_summaries([summary])
    assert all(len(row) == len(header) for row in rows)


GAPS = (("0", "1", "2", "4"), ("-1", "0", "3"), ("4", "2", "1", "0"), ("1", "20241231", "20250101"))


@pytest.mark.parametrize("names", GAPS)
def test_distances_are_those_of_the_grades(draw: MakePredictions, names: tuple[str, ...]) -> None:
    found = replace(draw("val", class_names=names), task="ordinal")
    values = np.array([int(name) for name in names])
    truth, called = values[found.labels], values[found.probabilities.argmax(axis=1)]
    thresholds = choose_thresholds(found, classes=names, target_sensitivity=0.9)
    overall = summarize_predictions(found, thresholds, positive_class=None).overall
    error = oracle.mean_absolute_error(truth, called)
    assert overall["mean_grade_error"].value == pytest.approx(error, rel=1e-12)
    # scikit-learn weighs by the place in `labels`: with every whole number in it, by value
    kappa = 1 - np.mean((truth - called) ** 2.0) / np.mean((truth[:, None] - called) ** 2.0)
    if max(values) < 100:
        every = np.arange(values.min(), values.max() + 1)
        by_place = oracle.cohen_kappa_score(truth, called, weights="quadratic", labels=every)
        assert kappa == pytest.approx(by_place, abs=1e-12)
    assert overall["quadratic_weighted_kappa"].value == pytest.approx(kappa, abs=1e-9)


def test_names_that_do_not_rise_or_fall_as_numbers_are_steps() -> None:
    for names in (("none", "mild"), ("0", "2", "1"), ("0", "1", "more"), ("0.5", "1"), ("1", "01")):
        assert grade_values(names) == tuple(range(len(names)))
