"""Metrics of several classes and of findings, with intervals, recomputed by scikit-learn alone.

The package writes predictions and summaries; here the CSV is read by pandas, every value is
computed again, and every interval is drawn again by a plain loop with other random numbers.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle
from tests.conftest import draw_findings, draw_predictions

from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions, write_predictions
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions, Task

TERNARY = ("bacteria", "normal", "virus")
FINDINGS = ("Effusion", "Mass", "Nodule")
TARGET, TIMES = 0.9, 250
Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


def evaluate(parts: tuple[Predictions, Predictions]) -> dict[str, SplitSummary]:
    val, _ = parts
    classes = evaluated_classes(val.class_names, None)
    thresholds = choose_thresholds(val, classes=classes, target_sensitivity=TARGET)
    summaries = {p.split: summarize_predictions(p, thresholds, positive_class=None) for p in parts}
    return add_intervals(
        summaries, parts, target_sensitivity=TARGET, resampling=Resampling(1000, 0)
    )


def write_and_read(folder: Path, part: Predictions) -> Predictions:
    path = folder / f"predictions_{part.split}.csv"
    write_predictions(path, part)
    return read_predictions(path, split=part.split, task=part.task)


def read_classes(folder: Path, split: str, names: tuple[str, ...]) -> tuple[Labels, Scores, Any]:
    """Return class index, probabilities and patient of each image, by pandas."""
    table = pd.read_csv(folder / f"predictions_{split}.csv", dtype={"label": str, "group": str})
    labels = np.array([names.index(label) for label in table["label"]])
    columns = [table[f"prob_{name}"].to_numpy(dtype=np.float64) for name in names]
    return labels, np.stack(columns, axis=1), np.array(list(table["group"]))


def read_findings(folder: Path, split: str) -> tuple[Labels, Scores, Any]:
    """Return 1, 0 or -1 of each finding, probabilities and patient of each image, by pandas."""
    table = pd.read_csv(folder / f"predictions_{split}.csv", dtype=str, keep_default_na=False)
    labels = np.zeros((len(table), len(FINDINGS)), dtype=np.int64)
    for row, text in enumerate(table["label"]):
        for part in filter(None, str(text).split("|")):
            column = FINDINGS.index(part.removeprefix("?"))
            labels[row, column] = -1 if part.startswith("?") else 1
    columns = [np.array([float(v) for v in table[f"prob_{name}"]]) for name in FINDINGS]
    return labels, np.stack(columns, axis=1), np.array(list(table["group"]))


def draw_groups(groups: Any, strata: Any, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the images of one resample: patients drawn among those of the same classes."""
    images = {str(group): np.flatnonzero(groups == group) for group in np.unique(groups)}
    kinds: dict[tuple[int, ...], list[str]] = {}
    for group, rows in images.items():
        kinds.setdefault(tuple(sorted(set(strata[rows].tolist()))), []).append(group)
    drawn = [random.choice(members, size=len(members)) for members in kinds.values()]
    return np.concatenate([images[str(group)] for group in np.concatenate(drawn)])


def interval_of(
    figure: Callable[[NDArray[np.int64]], float], groups: Any, strata: Any
) -> tuple[float, float]:
    random = np.random.default_rng(17)
    values = [figure(draw_groups(groups, strata, random)) for _ in range(TIMES)]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return float(low), float(high)


def assert_near(found: Estimate, expected: tuple[float, float]) -> None:
    """Compare two percentile intervals of independent draws: within a quarter of their width."""
    assert found.interval is not None and found.interval.method == "bootstrap"
    slack = 0.25 * (expected[1] - expected[0]) + 1e-6
    assert found.bounds == pytest.approx(expected, abs=slack)


def prepare_classes(
    folder: Path, task: Task
) -> tuple[dict[str, SplitSummary], Labels, Scores, Any]:
    parts = tuple(
        write_and_read(folder, replace(draw_predictions(s, class_names=TERNARY), task=task))
        for s in ("val", "test")
    )
    val, test = parts
    return evaluate((val, test)), *read_classes(folder, "test", TERNARY)


def test_macro_means_of_three_classes(tmp_path: Path) -> None:
    summaries, labels, scores, groups = prepare_classes(tmp_path, "multiclass")
    macro = summaries["test"].macro.metrics

    def auroc(rows: NDArray[np.int64]) -> float:
        return float(oracle.roc_auc_score(labels[rows], scores[rows], multi_class="ovr"))

    def precision(rows: NDArray[np.int64]) -> float:
        truth = np.eye(3)[labels[rows]]
        return float(oracle.average_precision_score(truth, scores[rows], average="macro"))

    everyone = np.arange(len(labels))
    for name, figure in (("auroc", auroc), ("average_precision", precision)):
        assert macro[name].value == pytest.approx(figure(everyone), abs=1e-9)
        assert_near(macro[name], interval_of(figure, groups, labels))


def test_accuracy_and_log_loss_of_the_most_probable_class(tmp_path: Path) -> None:
    summaries, labels, scores, groups = prepare_classes(tmp_path, "multiclass")
    overall = summaries["test"].overall

    def accuracy(rows: NDArray[np.int64]) -> float:
        return float(oracle.accuracy_score(labels[rows], scores[rows].argmax(axis=1)))

    def loss(rows: NDArray[np.int64]) -> float:
        return float(oracle.log_loss(labels[rows], scores[rows], labels=[0, 1, 2]))

    everyone = np.arange(len(labels))
    for name, figure in (("accuracy", accuracy), ("log_loss", loss)):
        assert overall[name].value == pytest.approx(figure(everyone), abs=1e-9)
        assert_near(overall[name], interval_of(figure, groups, labels))


def test_kappa_and_mean_error_of_grades(tmp_path: Path) -> None:
    summaries, labels, scores, groups = prepare_classes(tmp_path, "ordinal")
    overall = summaries["test"].overall

    def kappa(rows: NDArray[np.int64]) -> float:
        calls = scores[rows].argmax(axis=1)
        return float(oracle.cohen_kappa_score(labels[rows], calls, weights="quadratic"))

    def error(rows: NDArray[np.int64]) -> float:
        return float(oracle.mean_absolute_error(labels[rows], scores[rows].argmax(axis=1)))

    everyone = np.arange(len(labels))
    for name, figure in (("quadratic_weighted_kappa", kappa), ("mean_grade_error", error)):
        assert overall[name].value == pytest.approx(figure(everyone), abs=1e-9)
        assert_near(overall[name], interval_of(figure, groups, labels))


def prepare_findings(folder: Path) -> tuple[dict[str, SplitSummary], Labels, Scores, Any]:
    val, test = (write_and_read(folder, draw_findings(s)) for s in ("val", "test"))
    return evaluate((val, test)), *read_findings(folder, "test")


def test_each_finding_on_the_images_where_it_is_known(tmp_path: Path) -> None:
    summaries, labels, scores, groups = prepare_findings(tmp_path)
    nothing = np.zeros(len(labels), dtype=np.int64)  # findings have no strata
    everyone = np.arange(len(labels))
    for column, name in enumerate(FINDINGS):

        def auroc(rows: NDArray[np.int64], column: int = column) -> float:
            own = rows[labels[rows, column] >= 0]
            return float(oracle.roc_auc_score(labels[own, column], scores[own, column]))

        block = summaries["test"].classes[name]
        assert block.num_unknown == (labels[:, column] < 0).sum()
        assert block.metrics["auroc"].value == pytest.approx(auroc(everyone), abs=1e-9)
        assert_near(block.metrics["auroc"], interval_of(auroc, groups, nothing))


def test_micro_macro_and_exact_matches_of_findings(tmp_path: Path) -> None:
    summaries, labels, scores, groups = prepare_findings(tmp_path)
    summary, nothing = summaries["test"], np.zeros(len(labels), dtype=np.int64)

    def micro(rows: NDArray[np.int64]) -> float:
        known = labels[rows] >= 0
        return float(oracle.roc_auc_score(labels[rows][known], scores[rows][known]))

    def macro(rows: NDArray[np.int64]) -> float:
        values = list[float]()
        for column in range(len(FINDINGS)):
            own = rows[labels[rows, column] >= 0]
            values.append(float(oracle.roc_auc_score(labels[own, column], scores[own, column])))
        return float(np.mean(values))

    def matches(rows: NDArray[np.int64]) -> float:
        known = labels[rows] >= 0
        right = (scores[rows] >= 0.5) == (labels[rows] == 1)
        counted = known.any(axis=1)
        return float((right | ~known).all(axis=1)[counted].mean())

    everyone = np.arange(len(labels))
    assert summary.micro is not None
    for found, figure in (
        (summary.micro.metrics["auroc"], micro),
        (summary.macro.metrics["auroc"], macro),
        (summary.overall["exact_match"], matches),
    ):
        assert found.value == pytest.approx(figure(everyone), abs=1e-9)
        assert_near(found, interval_of(figure, groups, nothing))
