"""What is read from a run folder, and what is inferred where a file says nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.records.estimates import read_estimate
from medimg_baseline_cls.reporting.content import as_mapping, number_of, read_run


@pytest.mark.parametrize(
    ("cell", "number"),
    [("0.5", 0.5), ("", None), (None, None), ("nan", None), ("inf", None), ("x", None), ("3", 3.0)],
)
def test_cell_is_a_finite_number_or_nothing(cell: str | None, number: float | None) -> None:
    assert number_of(cell) == number


@pytest.mark.parametrize(
    ("metric", "number"),
    [
        ({"value": 0.5}, 0.5),
        ({"value": None, "reason": "one class"}, None),
        (0.25, 0.25),
        (3, 3.0),
        (None, None),
        (True, None),
        ("0.5", None),
        ({}, None),
    ],
)
def test_metric_is_an_object_or_a_bare_number(metric: Any, number: float | None) -> None:
    assert read_estimate(metric).value == number


def test_only_an_object_is_an_object() -> None:
    assert as_mapping({"a": 1}) == {"a": 1}
    assert as_mapping([1]) == as_mapping(None) == as_mapping("a") == {}


def test_every_known_file_is_read(make_run: Callable[..., Any]) -> None:
    run = make_run()
    content = read_run(run.folder)
    assert content.name == run.folder.name
    assert content.config["seed"] == 7
    assert len(content.split) == 132
    assert len(content.history) == len(content.timings) == 5
    assert set(content.summaries) == {"val", "test"}
    assert "training.png" in content.figures
    assert content.panels["FP"] == tuple(sorted((run.folder / "gradcam" / "FP").glob("*.png")))


def test_missing_files_are_empty(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run(stages=()).folder)
    assert content.summaries == {}
    assert not content.split
    assert not content.figures
    assert content.panels == {"FP": (), "FN": ()}


def test_classes_come_from_the_frozen_order(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run(("B", "A", "C")).folder)
    assert content.class_names == ("B", "A", "C")
    assert content.positive_class is None
    without = replace(content, evaluation={})
    assert without.class_names == ("B", "A", "C")
    from_labels = replace(without, config={})
    assert from_labels.class_names == ("A", "B", "C")


def test_positive_class_is_found_before_the_evaluation(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run(stages=("data",)).folder)
    assert content.positive_class == "PNEUMONIA"
    assert replace(content, config={}).positive_class is None


def test_relative_folder_is_named_too(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(stages=())
    monkeypatch.chdir(run.folder)
    assert read_run(Path()).name == run.folder.name


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="medimg train"):
        read_run(tmp_path / "nowhere")
