"""Comparisons and spreads are written by class, then by kind, as docs/design.md shows them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.records.samples import (
    TASKS,
    choose,
    draw_parts,
    list_metrics,
    measure,
    path_of,
    positive_of,
)

from medimg_baseline_cls.evaluation.aligned_models import AlignedModel, measure_model
from medimg_baseline_cls.evaluation.comparison import compare_models
from medimg_baseline_cls.evaluation.fold_summary import describe_spread, summarize_spread
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.records.comparisons import ComparedModel, Comparison, ModelDifference
from medimg_baseline_cls.records.estimates import Interval, PairedDifference, Spread
from medimg_baseline_cls.records.spreads import SpreadBlock, SpreadPoint, SpreadSummary
from medimg_baseline_cls.records.summaries import Average, MetricKey


@pytest.mark.parametrize("task", TASKS)
def test_a_compared_model_is_written_as_its_summary_is(task: str) -> None:
    test = draw_parts(task)[1]
    model = AlignedModel("first", test, choose(task), positive_of(task))
    estimates = measure_model(model)
    num_classes = 1 if task == "binary" else 3
    assert len(estimates) == num_classes * (4 + 3 * 8) + (0 if task == "binary" else 4)
    gaps = {key: PairedDifference(value=0.0) for key in estimates}
    content = Comparison(
        split="test",
        task="multiclass",
        num_images=60,
        num_groups=30,
        class_names=("A", "B", "C"),
        positive_class=positive_of(task),
        intervals={"level": 0.95},
        tests={"num_tests": 0},
        warnings=("look",),
        models=(ComparedModel(name="first", thresholds={"A": {"r": 0.5}}, estimates=estimates),),
        differences=(ModelDifference(name="second", is_identical=True, differences=gaps),),
    ).to_json()
    facts = ["split", "task", "num_images", "num_groups", "class_names", "positive_class"]
    facts += ["reference", "intervals", "tests", "warnings"]
    assert list(content) == [*facts, "models", "differences"]
    assert content["reference"] == "first" and content["warnings"] == ["look"]
    (entry,), (gap,) = content["models"], content["differences"]
    assert list(entry) == ["name", "thresholds", "classes"]
    assert list(gap) == ["name", "is_identical", "classes"] and gap["is_identical"] is True
    written = measure(task)["test"].to_json()
    wanted = {**written["classes"], "macro": written["macro"]}
    assert set(entry["classes"]) == {*written["classes"], *(() if task == "binary" else ("macro",))}
    for name, block in entry["classes"].items():
        assert list(block) == ["metrics", "operating_points"]
        for path, found in list_metrics(block):
            expected = wanted[name]
            for step in path:
                expected = expected[step]
            assert found["value"] == expected["value"]
    paths = [[path for path, _ in list_metrics(e["classes"])] for e in (entry, gap)]
    assert paths[0] == paths[1] and len(paths[0]) == len(estimates)


@pytest.mark.parametrize("task", TASKS)
def test_a_comparison_is_the_same_text_when_read_and_written_again(task: str) -> None:
    test = draw_parts(task)[1]
    other = replace(test, probabilities=np.ascontiguousarray(test.probabilities[::-1]))
    models = [
        AlignedModel(name, part, choose(task), positive_of(task))
        for name, part in (("first", test), ("second", other), ("copy", test))
    ]
    content = compare_models(models, resampling=Resampling(50, 0)).to_json()
    read = Comparison.from_json(json.loads(json.dumps(content)) | {"runs": {"first": "a"}})
    assert json.dumps(read.to_json()) == json.dumps(content)
    tests = {gap.test for d in read.differences for gap in d.differences.values()}
    assert tests == {"delong", "mcnemar", ""}


@pytest.mark.parametrize("task", TASKS)
def test_a_spread_is_the_same_text_when_read_and_written_again(task: str) -> None:
    spread = summarize_spread([measure(task)[split] for split in ("test", "val")])
    name, block = next(iter(spread.classes.items()))
    key = MetricKey(name, None, "auroc")
    block = block.with_interval(key, Interval(bounds=(0.25, 0.75), method="m"))
    spread = replace(spread, classes={**spread.classes, name: block}, intervals={"level": 0.95})
    content = spread.to_json()
    read = SpreadSummary.from_json(json.loads(json.dumps(content)) | {"runs": [], "repeats": 1})
    assert read == spread
    assert json.dumps(read.to_json()) == json.dumps(content)


def list_spreads(content: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(content, dict):
        return {}
    if "mean" in content:
        return {path: content}
    found: dict[tuple[str, ...], Any] = {}
    for name, part in content.items():
        found |= list_spreads(part, (*path, name))
    return found


@pytest.mark.parametrize("task", TASKS)
def test_a_spread_is_where_the_summary_has_its_metric(task: str) -> None:
    summaries = [measure(task)[split] for split in ("test", "val")]
    spread = summarize_spread(summaries)
    found = list_spreads(spread.to_json())
    values = [{path_of(key): e.value for key, e in s.items()} for s in summaries]
    wanted = {
        path: describe_spread([of_run[path] for of_run in values]).to_json() for path in values[0]
    }
    if task != "ordinal":  # of the others, nothing is spread that is of whole images
        wanted = {path: entry for path, entry in wanted.items() if path[0] != "overall"}
    assert found == wanted
    for key, _ in summaries[0].items():
        if key.block in spread.blocks:
            listed = spread.blocks[key.block].look_up(key)
            assert listed is not None and listed.to_json() == wanted[path_of(key)]
    json.dumps(spread.to_json(), allow_nan=False)


def test_an_interval_is_that_of_one_mean_alone() -> None:
    block = summarize_spread([measure("binary")[s] for s in ("test", "val")]).classes["PNEUMONIA"]
    interval = Interval(bounds=(0.25, 0.75), method="m")
    for key in (
        MetricKey("PNEUMONIA", None, "auroc"),
        MetricKey("PNEUMONIA", "max_f1", "sensitivity"),
    ):
        changed = block.with_interval(key, interval)
        found = changed.look_up(key)
        assert found is not None and found.interval == interval
        before, after = (list_spreads(b.to_json()) for b in (block, changed))
        assert list(before) == list(after)
        assert [path for path in before if before[path] != after[path]] == [path_of(key)[2:]]
    absent = MetricKey("PNEUMONIA", "none such", "sensitivity")
    assert block.look_up(absent) is None
    assert block.with_interval(absent, interval) == block


def test_an_undefined_mean_gets_no_interval() -> None:
    nothing = Spread(mean=None, sd=None, minimum=None, maximum=None, num_defined=0)
    point = SpreadPoint(metrics={"ppv": nothing})
    block = SpreadBlock(metrics={"auroc": nothing}, operating_points={"max_f1": point})
    for key in (MetricKey("A", None, "auroc"), MetricKey("A", "max_f1", "ppv")):
        assert block.with_interval(key, Interval(bounds=(0.0, 1.0), method="m")) == block


def test_pooled_pairs_of_findings_have_a_row_and_other_averages_have_none() -> None:
    findings, classes = (
        summarize_spread([measure(task)[s] for s in ("test", "val")])
        for task in ("multilabel", "multiclass")
    )
    names = [name for name, _ in findings.rows()]
    assert names == [*findings.classes, "micro (all pairs)"]
    assert [name for name, _ in classes.rows()] == list(classes.classes)
    assert set(findings.averages) == {Average.MACRO, Average.MICRO}
    assert set(classes.averages) == {Average.MACRO}
