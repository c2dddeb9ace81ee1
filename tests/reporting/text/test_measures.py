"""The records that tables and sentences are written from: whose, on which split, how counted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medimg_baseline_cls.catalogue import DECISIONS, SCORES
from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.text.measures import list_metrics, list_points

MULTI = ("COVID", "NORMAL", "PNEUMONIA")
COUNTED = ("sensitivity", "specificity", "ppv", "npv", "accuracy")


def test_two_classes_have_the_positive_one_alone(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run().folder)
    metrics, points = list_metrics(content), list_points(content)
    assert {m.owner for m in (*metrics, *points)} == {"PNEUMONIA"}
    assert [m.key for m in metrics] == list(SCORES)
    ordered = sorted(DECISIONS, key=lambda key: DECISIONS[key].proportion is None)
    assert [m.key for m in points] == ["threshold", *ordered] * 3
    assert [m.rule for m in points[::9]] == ["Max-F1", "Target sensitivity 0.95", "Default (0.5)"]


def test_more_classes_have_each_and_their_mean(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run(MULTI).folder)
    owners = list(dict.fromkeys(m.owner for m in list_metrics(content)))
    assert owners == [*MULTI, "Macro mean"]
    macro = content.summaries["test"].macro.metrics["auroc"].value
    mean = next(m for m in list_metrics(content) if (m.owner, m.key) == ("Macro mean", "auroc"))
    assert mean.estimates["test"].value == macro


def test_counts_are_those_of_the_confusion_matrix(make_run: Callable[..., Any]) -> None:
    run = make_run()
    points = {(m.rule, m.key): m for m in list_points(read_run(run.folder))}
    for split in ("val", "test"):
        labels = run.labels[split] == 1
        calls = run.probabilities[split][:, 1] >= 0.5
        expected = {
            "sensitivity": ((labels & calls).sum(), labels.sum()),
            "specificity": ((~labels & ~calls).sum(), (~labels).sum()),
            "ppv": ((labels & calls).sum(), calls.sum()),
            "npv": ((~labels & ~calls).sum(), (~calls).sum()),
            "accuracy": ((labels == calls).sum(), len(labels)),
        }
        for key, pair in expected.items():
            assert points["Default (0.5)", key].counts[split] == pair
    assert all(not m.counts for (_, key), m in points.items() if key not in COUNTED)


@pytest.mark.parametrize("key", COUNTED)
def test_proportion_prints_percent_and_its_counts(make_run: Callable[..., Any], key: str) -> None:
    measure = next(m for m in list_points(read_run(make_run().folder)) if m.key == key)
    part, whole = measure.counts["test"]
    assert measure.print_long("test").endswith(f"({part}/{whole})")
    assert "%" in measure.print_long("test")


def test_split_without_the_figure_is_empty_in_a_table(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run().folder)
    only_val = replace(content, summaries={"val": content.summaries["val"]})
    measure = list_metrics(only_val)[0]
    assert measure.print_short("test") == ""
    assert measure.print_long("test") == "–"
    assert measure.print_short("val") == measure.print_long("val")


def test_interval_of_a_threshold_is_printed_with_three_decimals(
    make_run: Callable[..., Any],
) -> None:
    run = make_run()
    summary = run.json("test_summary.json")
    point = summary["classes"]["PNEUMONIA"]["operating_points"]["max_f1"]
    point |= {"threshold": 0.6134, "threshold_interval": [0.2, 0.77777]}
    run.write_json("test_summary.json", summary)
    threshold = list_points(read_run(run.folder))[0]
    assert threshold.print_long("test") == "0.613 (95% CI 0.200, 0.778)"
    assert threshold.print_short("test") == "0.613 (0.200, 0.778)"
    interval = threshold.estimates["test"].interval
    assert interval is not None and interval.method == "bootstrap"
    assert threshold.estimates["val"].interval is None


def test_run_without_evaluation_has_no_figures(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run(stages=("data",)).folder)
    assert list_metrics(content) == list_points(content) == []
