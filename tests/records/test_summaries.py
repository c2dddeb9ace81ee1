"""A summary that is read and written again is the same text; its metrics are in it once each."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from tests.conftest import draw_findings, draw_predictions
from tests.records.samples import ESTIMATES, TASKS, choose, list_metrics, measure, path_of

from medimg_baseline_cls.catalogue import COUNTS, DECISIONS
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.summaries import (
    Average,
    MetricKey,
    OperatingPoint,
    SplitSummary,
    read_record,
)
from medimg_baseline_cls.utils.files import write_json

every_summary = pytest.mark.parametrize(
    ("task", "split", "is_odd", "has_intervals"),
    [
        (task, split, is_odd, has_intervals)
        for task in TASKS
        for split in ("val", "test")
        for is_odd in (False, True)
        for has_intervals in (False, True)
    ],
)


# A first draw may wait for a busy processor.
STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def text_of(summary: SplitSummary) -> str:
    return json.dumps(summary.to_json(), allow_nan=False)


@every_summary
def test_a_summary_reads_back_as_it_was_written(
    task: str, split: str, is_odd: bool, has_intervals: bool
) -> None:
    summary = measure(task, is_odd=is_odd, has_intervals=has_intervals)[split]
    text = text_of(summary)
    again = SplitSummary.from_json(json.loads(text))
    assert text_of(again) == text
    assert again.class_names == summary.class_names and again.task == summary.task
    if is_odd and split == "test":
        assert any(estimate.value is None for _, estimate in again.items())


@every_summary
def test_each_metric_of_the_file_is_listed_once(
    task: str, split: str, is_odd: bool, has_intervals: bool
) -> None:
    summary = measure(task, is_odd=is_odd, has_intervals=has_intervals)[split]
    listed = list(summary.items())
    paths = [path_of(key) for key, _ in listed]
    assert len(set(paths)) == len(paths)
    written = dict(list_metrics(summary.to_json()))
    assert dict(zip(paths, (e.to_json() for _, e in listed), strict=True)) == written
    assert len(written) >= 28


@pytest.mark.parametrize("task", TASKS)
def test_the_entries_of_a_summary_are_in_the_order_of_stored_files(task: str) -> None:
    content = measure(task, has_intervals=True)["test"].to_json()
    facts = ["split", "num_images", "num_groups", "class_names"]
    facts += [] if task in ("binary", "multiclass") else ["task"]
    averages = ["macro", "micro"] if task == "multilabel" else ["macro"]
    end = [*averages, "overall", "confusion_matrix", "intervals"]
    assert list(content) == [*facts, "positive_class", "classes", *end]
    counts = ["prevalence", "num_positive", "num_negative"]
    unknown = ["num_unknown"] if task == "multilabel" else []
    for block in content["classes"].values():
        assert list(block) == [*counts, "metrics", "operating_points", *unknown]
    assert list(content["macro"]) == ["metrics", "operating_points"]
    if task == "multilabel":
        assert list(content["micro"]) == [*counts, "metrics", *unknown, "operating_points"]
        assert list(content["overall"]) == ["log_loss", "exact_match", "num_known_pairs"]


@every_summary
def test_a_change_of_nothing_changes_nothing(
    task: str, split: str, is_odd: bool, has_intervals: bool
) -> None:
    summary = measure(task, is_odd=is_odd, has_intervals=has_intervals)[split]
    same = summary.change(lambda _, estimate: estimate)
    assert same == summary and text_of(same) == text_of(summary)


@pytest.mark.parametrize("task", TASKS)
def test_a_change_sees_each_metric_by_its_own_key(task: str) -> None:
    summary = measure(task, has_intervals=True)["test"]
    before, text = dict(summary.items()), text_of(summary)
    seen: list[MetricKey] = []

    def number(key: MetricKey, estimate: Estimate) -> Estimate:
        assert before[key] is estimate
        seen.append(key)
        return Estimate(value=float(len(seen)))

    changed = summary.change(number)
    assert sorted(map(path_of, seen)) == sorted(map(path_of, before))
    values = {key: estimate.value for key, estimate in changed.items()}
    assert values == {key: float(place) for place, key in enumerate(seen, start=1)}
    assert text_of(summary) == text  # the given one is as it was


@pytest.mark.parametrize("task", TASKS)
def test_the_facts_of_a_summary_survive_a_change(task: str) -> None:
    summary = measure(task, has_intervals=True)["test"]
    changed = summary.change(lambda _, estimate: replace(estimate, interval=None)).to_json()
    before = summary.to_json()
    for content in (before, changed):
        for _, entry in list(list_metrics(content)):
            entry.clear()
    assert changed == before


def name_after_averages(task: str) -> tuple[str, ...]:
    return ("macro", "micro", "overall")[: 2 if task == "binary" else 3]


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_a_class_that_is_called_like_an_average_keeps_its_own_metrics(task: str) -> None:
    names = name_after_averages(task)
    draw = draw_findings if task == "multilabel" else draw_predictions
    val, test = (draw(split, class_names=names) for split in ("val", "test"))
    positive = "micro" if task == "binary" else None
    thresholds = choose_thresholds(
        val, classes=[positive] if positive else names, target_sensitivity=0.9
    )
    summaries = {
        part.split: summarize_predictions(part, thresholds, positive_class=positive)
        for part in (val, test)
    }
    found = add_intervals(
        summaries, (val, test), target_sensitivity=0.9, resampling=Resampling(40, 0)
    )["test"]
    assert text_of(SplitSummary.from_json(json.loads(text_of(found)))) == text_of(found)
    aurocs: dict[str, float] = {}
    for name in names:
        known = test.known(name)
        aurocs[name] = float(
            oracle.roc_auc_score(test.truth(name)[known], test.scores(name)[known])
        )
    listed = dict(found.items())
    for name in found.classes:
        estimate = listed[MetricKey(name, None, "auroc")]
        assert estimate.value == pytest.approx(aurocs[name])
        assert estimate.bounds is not None and estimate.delong is not None
    macro = listed[MetricKey(Average.MACRO, None, "auroc")]
    assert macro.value == pytest.approx(np.mean(list(aurocs.values())))
    assert macro.bounds is not None and macro.delong is None
    if task == "multilabel":
        known = test.labels >= 0
        micro = listed[MetricKey(Average.MICRO, None, "auroc")]
        pooled = oracle.roc_auc_score(test.labels[known], test.probabilities[known])
        assert micro.value == pytest.approx(pooled)


@pytest.mark.parametrize("task", TASKS)
def test_the_headline_is_the_positive_class_or_the_average(task: str) -> None:
    summary = measure(task)["test"]
    content = summary.to_json()
    block = content["classes"]["PNEUMONIA"] if task == "binary" else content["macro"]
    found = {metric: estimate.to_json() for metric, estimate in summary.headline.items()}
    assert found == block["metrics"]


@pytest.mark.parametrize("task", TASKS)
def test_a_file_is_read_as_it_was_written(tmp_path: Path, task: str) -> None:
    summary = measure(task, is_odd=True, has_intervals=True)["test"]
    write_json(tmp_path / "a.json", summary.to_json())
    write_json(
        tmp_path / "b.json", read_record(tmp_path / "a.json", SplitSummary.from_json).to_json()
    )
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"split": "test"},
        [],
        {"classes": 3},
        dict.fromkeys(("split", "num_images", "num_groups", "class_names", "classes")),
    ],
)
def test_what_is_no_summary_is_refused_by_its_path(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "test_summary.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match=r"test_summary\.json"):
        read_record(path, SplitSummary.from_json)


POINTS = st.builds(
    OperatingPoint,
    metrics=st.dictionaries(st.sampled_from(list(DECISIONS)), ESTIMATES),
    threshold=st.none() | st.floats(0, 1),
    num_findings=st.none() | st.integers(0, 14),
    **{name: st.none() | st.integers(0, 10**6) for name in COUNTS},
)
RANGES = st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1))


@STEADY
@given(POINTS, st.booleans(), RANGES)
def test_an_operating_point_reads_back_as_it_was(
    point: OperatingPoint, is_resampled: bool, bounds: tuple[float, float] | None
) -> None:
    if is_resampled:
        point = replace(point, is_resampled=True, threshold_interval=bounds)
    content = point.to_json()
    assert ("threshold_interval" in content) == is_resampled
    again = OperatingPoint.from_json(json.loads(json.dumps(content)))
    assert json.dumps(again.to_json()) == json.dumps(content)
    baselines = [e.baseline for e in point.metrics.values() if e.baseline is not None]
    if not any(map(math.isnan, baselines)):
        assert again == point


@STEADY
@given(POINTS)
def test_counts_are_added_up_and_those_of_an_average_are_none(point: OperatingPoint) -> None:
    content = point.to_json()
    assert point.counts() == sum(content.get(name, 0) for name in COUNTS)
    assert point.counts(("tp", "fn")) == content.get("tp", 0) + content.get("fn", 0)


def test_a_block_that_is_not_resampled_keeps_no_interval_of_its_threshold() -> None:
    points = measure("binary", has_intervals=True)["test"].classes["PNEUMONIA"].operating_points
    assert [rule for rule, point in points.items() if point.is_resampled] == [
        "max_f1",
        "target_sensitivity",
    ]


def test_an_interval_that_was_withheld_is_written_as_null() -> None:
    summary = measure("binary", has_intervals=True)["val"]
    key = MetricKey("PNEUMONIA", "max_f1", "sensitivity")
    estimate = dict(summary.items())[key]
    assert estimate.interval == Interval(
        bounds=None, reason="the threshold was chosen on these images; see TEST"
    )
    written = summary.to_json()["classes"]["PNEUMONIA"]["operating_points"]["max_f1"]
    assert list(written["sensitivity"]) == ["value", "interval", "interval_reason"]
    assert choose("binary")["PNEUMONIA"][0].value == written["threshold"]
