"""The printed line of intervals: the headline's metrics, and only those that have one."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.pipeline.steps.intervals import print_intervals, resample_summaries
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions, Task
from medimg_baseline_cls.utils.log import RunLog

Summaries = dict[str, SplitSummary]
NAMES = ("bacteria", "normal", "virus")


def draw(split: str, *, names: tuple[str, ...], task: Task) -> Predictions:
    """Draw a fair classifier's predictions; of findings each fifth is unknown."""
    random = np.random.default_rng([len(split), len(names)])
    labels = np.arange(60) % len(names)
    truth = np.eye(len(names))[labels]
    if task == "multilabel":
        truth = (random.random((60, len(names))) < 0.4).astype(float)
    odds = np.exp(random.normal(size=truth.shape) + 1.5 * truth)
    given = odds / (1 + odds) if task == "multilabel" else odds / odds.sum(axis=1, keepdims=True)
    if task == "multilabel":
        labels = np.where(random.random(truth.shape) < 0.2, -1, truth).astype(np.int64)
    ids = tuple(f"{split}{i}" for i in range(60))
    groups = tuple(f"p{i // 2}" for i in range(60))
    return Predictions(split, names, ids, ids, groups, labels, given, task)


def summarize(
    config: Config, parts: tuple[Predictions, Predictions], positive: str | None
) -> Summaries:
    classes = evaluated_classes(parts[0].class_names, positive)
    thresholds = choose_thresholds(
        parts[0], classes=classes, target_sensitivity=config.target_sensitivity
    )
    summaries = {
        part.split: summarize_predictions(part, thresholds, positive_class=positive)
        for part in parts
    }
    return resample_summaries(config, summaries, parts=parts)


def print_line(config: Config, summary: SplitSummary, folder: Path) -> str:
    """Return what is printed of a summary."""
    log = RunLog(None, folder / "log.txt")
    # No run is needed: these two are all that is read of a session.
    print_intervals(cast(Session, SimpleNamespace(config=config, log=log)), summary)
    path = folder / "log.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def written(estimate: Estimate) -> str:
    assert estimate.bounds is not None
    low, high = estimate.bounds
    return f"{estimate.value:.3f} ({low:.3f} to {high:.3f})"


@pytest.fixture
def config() -> Config:
    return Config(num_resamples=80, target_sensitivity=0.9)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("max_f1", "Max-F1"),
        ("default", "Default (0.5)"),
        ("target_sensitivity", "Target sensitivity"),
    ],
)
def test_two_classes_have_their_operating_point(
    config: Config, tmp_path: Path, rule: str, name: str
) -> None:
    names = ("no", "yes")
    parts = tuple(draw(split, names=names, task="multiclass") for split in ("val", "test"))
    chosen = replace(config, operating_point=rule)
    summary = summarize(chosen, (parts[0], parts[1]), "yes")["test"]
    line, block = print_line(chosen, summary, tmp_path), summary.classes["yes"]
    assert "95 % intervals on TEST: AUROC " in line
    assert line.count("AUROC") == 1 and "macro" not in line
    for key in ("auroc", "average_precision"):
        assert written(block.metrics[key]) in line
    for key in ("sensitivity", "specificity"):
        estimate = block.operating_points[rule].metrics[key]
        assert f"{key} at {name} {written(estimate)}" in line


@pytest.mark.parametrize("task", ["multiclass", "ordinal", "multilabel"])
def test_more_classes_have_their_macro_means(config: Config, tmp_path: Path, task: Task) -> None:
    parts = tuple(draw(split, names=NAMES, task=task) for split in ("val", "test"))
    summary = summarize(config, (parts[0], parts[1]), None)["test"]
    line, macro = print_line(config, summary, tmp_path), summary.macro.metrics
    for name, key in (("macro AUROC", "auroc"), ("macro AP", "average_precision")):
        assert f"{name} {written(macro[key])}" in line
    assert "sensitivity" not in line
    assert not any(name in line for name in NAMES)


def test_the_split_is_named(config: Config, tmp_path: Path) -> None:
    parts = tuple(draw(split, names=("no", "yes"), task="multiclass") for split in ("val", "test"))
    summaries = summarize(config, (parts[0], parts[1]), "yes")
    assert "on VAL: " in print_line(config, summaries["val"], tmp_path)


def test_an_undefined_metric_is_not_printed(config: Config, tmp_path: Path) -> None:
    val, test = (draw(split, names=("no", "yes"), task="multiclass") for split in ("val", "test"))
    alone = replace(test, labels=np.ones(60, dtype=np.int64))
    summary = summarize(config, (val, alone), "yes")["test"]
    assert summary.classes["yes"].metrics["auroc"].value is None
    line = print_line(config, summary, tmp_path)
    assert "AUROC" not in line and "specificity" not in line
    assert "sensitivity at " in line and "None" not in line and "nan" not in line


def test_a_summary_without_intervals_prints_nothing(config: Config, tmp_path: Path) -> None:
    val, test = (draw(split, names=("no", "yes"), task="multiclass") for split in ("val", "test"))
    thresholds = choose_thresholds(val, classes=["yes"], target_sensitivity=0.9)
    summary = summarize_predictions(test, thresholds, positive_class="yes")
    assert print_line(config, summary, tmp_path) == ""


def test_settings_reach_the_resampling(config: Config) -> None:
    parts = tuple(draw(split, names=("no", "yes"), task="multiclass") for split in ("val", "test"))
    found = [
        summarize(replace(config, **change), (parts[0], parts[1]), "yes")["test"]
        for change in ({}, {}, {"seed": 4}, {"num_resamples": 90})
    ]
    assert found[0] == found[1]
    assert [s.intervals["num_resamples"] for s in found] == [80, 80, 80, 90]
    assert [s.intervals["seed"] for s in found] == [0, 0, 4, 0]
    aurocs = [s.classes["yes"].metrics["auroc"] for s in found]
    assert aurocs[0].value == aurocs[2].value
    assert aurocs[0].interval != aurocs[2].interval
