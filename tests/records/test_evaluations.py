"""An overview of an evaluation, and controls, read back as they were written."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.records.samples import (
    ESTIMATES,
    TASKS,
    TEXT,
    choose,
    draw_parts,
    measure,
    positive_of,
)

from medimg_baseline_cls.evaluation.eval_summary import summarize_evaluation
from medimg_baseline_cls.evaluation.mistakes import mine_mistakes
from medimg_baseline_cls.evaluation.shortcut_baselines import summarize_control
from medimg_baseline_cls.records.evaluations import EvaluationSummary, ShortcutBaseline

# A first draw may wait for a busy processor.
STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
HEADLINES = st.dictionaries(
    st.sampled_from(("val", "test")),
    st.dictionaries(st.sampled_from(("auroc", "average_precision", "log_loss")), ESTIMATES),
)
CHECKPOINT = {"stage": "finetune", "epoch": 3, "sha256": "ab" * 32}


def make_control(task: str, *, is_odd: bool) -> ShortcutBaseline:
    return summarize_control(
        "border",
        description="classifier of the outer frame",
        predictions=draw_parts(task, is_odd=is_odd),
        positive_class=positive_of(task),
    )


def make_overview(task: str, *, is_odd: bool) -> EvaluationSummary:
    summaries = measure(task, is_odd=is_odd, has_intervals=True)
    thresholds = choose(task, is_odd=is_odd)
    test = draw_parts(task, is_odd=is_odd)[1]
    return summarize_evaluation(
        summaries["val"],
        summaries["test"],
        checkpoint=CHECKPOINT,
        thresholds=thresholds,
        mistakes=mine_mistakes(test, thresholds, num_hard_examples=3),
        controls=[make_control(task, is_odd=is_odd)],
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("is_odd", [False, True])
def test_an_overview_reads_back_as_it_was_written(task: str, is_odd: bool) -> None:
    plain = make_overview(task, is_odd=is_odd)
    later = replace(
        plain,
        head_only={"val": plain.headline["val"]},
        test_evaluations=2,
        patients={"headline": {"test": {"auroc": {"value": 0.5}}}, "warnings": []},
    )
    for overview in (plain, later):
        text = json.dumps(overview.to_json(), allow_nan=False)
        again = EvaluationSummary.from_json(json.loads(text))
        assert json.dumps(again.to_json()) == text
        assert again.headline.keys() == {"val", "test"} and again.task == plain.task
    names = ["checkpoint", "class_names", "positive_class", "thresholds", "headline"]
    names += ["num_mistakes", "warnings", "controls"]
    names += [] if task in ("binary", "multiclass") else ["task"]
    assert list(plain.to_json()) == names
    assert list(later.to_json()) == [*names, "head_only", "test_evaluations", "patients"]


@pytest.mark.parametrize("task", TASKS)
def test_the_headline_of_an_overview_is_that_of_its_summaries(task: str) -> None:
    content = make_overview(task, is_odd=False).to_json()
    for split, summary in measure(task, has_intervals=True).items():
        written = summary.to_json()
        block = written["classes"]["PNEUMONIA"] if task == "binary" else written["macro"]
        assert content["headline"][split] == block["metrics"]
    assert ("task" in content) == (task in ("ordinal", "multilabel"))
    assert content["checkpoint"] == CHECKPOINT


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("is_odd", [False, True])
def test_a_control_reads_back_as_it_was_written(task: str, is_odd: bool) -> None:
    control = make_control(task, is_odd=is_odd)
    text = json.dumps(control.to_json(), allow_nan=False)
    assert list(json.loads(text)) == ["name", "description", "val", "test"]
    again = ShortcutBaseline.from_json(json.loads(text))
    assert again == control and json.dumps(again.to_json()) == text


@STEADY
@given(TEXT, TEXT, HEADLINES)
def test_any_control_reads_back_as_it_was(name: str, words: str, metrics: dict[str, dict]) -> None:
    control = ShortcutBaseline(name=name, description=words, metrics=metrics)
    text = json.dumps(control.to_json(), allow_nan=False)
    assert json.dumps(ShortcutBaseline.from_json(json.loads(text)).to_json()) == text


def test_an_overview_of_an_older_version_is_read() -> None:
    stored = {
        "checkpoint": CHECKPOINT,
        "class_names": ["NORMAL", "PNEUMONIA"],
        "headline": {"val": {"auroc": 0.75}, "test": {"auroc": {"value": 0.5}}},
        "warnings": ["look at it"],
    }
    found = EvaluationSummary.from_json(stored)
    assert found.class_names == ("NORMAL", "PNEUMONIA") and found.task == "multiclass"
    assert found.headline["val"]["auroc"].value == 0.75
    assert found.headline["test"]["auroc"].value == 0.5
    assert found.warnings == ("look at it",) and found.controls == ()
    assert found.head_only is None and found.test_evaluations is None
