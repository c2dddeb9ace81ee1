"""Warnings appear when they must and only then; the table says what the summaries say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import MANY, draw_odd_findings, known_of, with_column

from medimg_baseline_cls.evaluation.eval_summary import (
    NO_VAL,
    find_warnings,
    summarize_evaluation,
    tabulate_summaries,
)
from medimg_baseline_cls.evaluation.mistakes import mine_mistakes
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import (
    evaluated_classes,
    summarize_predictions,
    without_decisions,
)
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.evaluations import ShortcutBaseline
from medimg_baseline_cls.records.summaries import MetricKey, SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import write_json

MakePredictions = Callable[..., Predictions]
TERNARY = ("bacteria", "normal", "virus")


def summarize_both(
    val: Predictions, other: Predictions, positive: str | None = "PNEUMONIA"
) -> tuple[SplitSummary, SplitSummary, Any]:
    classes = evaluated_classes(val.class_names, positive)
    thresholds = choose_thresholds(val, classes=classes, target_sensitivity=0.95)
    val_summary, test_summary = (
        summarize_predictions(p, thresholds, positive_class=positive) for p in (val, other)
    )
    return val_summary, test_summary, thresholds


def scored(binary: MakePredictions, split: str, *, prevalence: float, gap: float) -> Predictions:
    """Return 400 images whose positive scores lie `gap` above the negative ones."""
    num_positive = round(400 * prevalence)
    low = np.linspace(0.1, 0.5, 400 - num_positive)
    high = np.linspace(0.1, 0.5, num_positive) + gap
    truth = [False] * len(low) + [True] * len(high)
    return binary(split, truth, [*low.tolist(), *high.tolist()])


def test_two_alike_splits_give_no_warning(binary: MakePredictions) -> None:
    val = scored(binary, "val", prevalence=0.5, gap=0.45)
    other = scored(binary, "test", prevalence=0.5, gap=0.45)
    assert find_warnings(*summarize_both(val, other)[:2]) == []


def test_an_inverted_class_order_is_told(binary: MakePredictions) -> None:
    val = scored(binary, "val", prevalence=0.5, gap=-0.1)
    other = scored(binary, "test", prevalence=0.5, gap=-0.1)
    warnings = find_warnings(summarize_both(val, other)[0])
    assert "class order may be inverted. It is NORMAL, PNEUMONIA" in warnings[0]


def test_constant_scores_are_told(binary: MakePredictions) -> None:
    val = binary("val", [True, False] * 30, [0.4] * 60)
    warnings = find_warnings(summarize_both(val, val)[0])
    assert len(warnings) == 1 and "calls every VAL image positive" in warnings[0]


def test_a_prevalence_shift_is_told(binary: MakePredictions) -> None:
    val = scored(binary, "val", prevalence=0.5, gap=0.45)
    other = scored(binary, "test", prevalence=0.75, gap=0.45)
    warnings = find_warnings(*summarize_both(val, other)[:2])
    assert len(warnings) == 1
    assert "0.500 on VAL and 0.750 on TEST" in warnings[0]


@pytest.mark.parametrize(("share", "is_told"), [(0.05, False), (0.15, True), (0.5, True)])
def test_a_threshold_that_does_not_transfer_is_told(
    binary: MakePredictions, share: float, is_told: bool
) -> None:
    val = scored(binary, "val", prevalence=0.5, gap=0.45)
    num_wrong = round(200 * share)
    low = [0.1] * (200 - num_wrong) + [0.9] * num_wrong
    other = binary("test", [False] * 200 + [True] * 200, [*low, *[0.95] * 200])
    warnings = find_warnings(*summarize_both(val, other)[:2])
    found = [w for w in warnings if "At Max-F1, the specificity of PNEUMONIA falls" in w]
    assert len(found) == is_told
    assert all(f"from 1.000 on VAL to {1 - share:.3f} on TEST" in w for w in found)
    assert all("never tune on TEST" in w for w in found)


def test_what_a_few_images_show_by_chance_is_no_warning(binary: MakePredictions) -> None:
    val = binary("val", [True] * 9 + [False] * 40, [0.9] * 9 + [0.1] * 40)
    other = binary("test", [True] * 40 + [False] * 40, [0.9, 0.2] * 20 + [0.1] * 40)
    texts = find_warnings(*summarize_both(val, other)[:2])
    assert not any("falls" in text for text in texts)
    enough = binary("val", [True] * 10 + [False] * 40, [0.9] * 10 + [0.1] * 40)
    texts = find_warnings(*summarize_both(enough, other)[:2])
    assert sum("sensitivity of PNEUMONIA falls" in text for text in texts) == 1


@pytest.mark.parametrize(
    ("bounds", "is_told"), [((0.1, 0.49), True), ((0.1, 0.52), False), (None, True)]
)
def test_an_auroc_below_one_half_is_told_where_its_interval_is_too(
    binary: MakePredictions, bounds: tuple[float, float] | None, is_told: bool
) -> None:
    val = summarize_both(*[scored(binary, "val", prevalence=0.5, gap=-0.1)] * 2)[0]
    val = val.change(lambda _, estimate: estimate.with_interval(Interval(bounds=bounds)))
    assert any("below 0.5" in text for text in find_warnings(val)) == is_told


def test_eight_images_do_not_tell_an_inverted_order(binary: MakePredictions) -> None:
    val = binary("val", [True, False] * 4, [0.4, 0.6] * 4)
    assert not any("below 0.5" in text for text in find_warnings(summarize_both(val, val)[0]))


def test_without_val_the_first_warning_says_what_is_missing(binary: MakePredictions) -> None:
    test = scored(binary, "test", prevalence=0.5, gap=0.2)
    summary = summarize_predictions(test, {}, positive_class="PNEUMONIA")
    found = summarize_evaluation(
        None, without_decisions(summary), checkpoint={}, thresholds={}, mistakes=()
    )
    assert found.warnings == (NO_VAL,)
    assert list(found.headline) == ["test"]
    assert found.thresholds == {}
    assert found.class_names == ("NORMAL", "PNEUMONIA")
    content = found.to_json()
    assert content["headline"]["test"]["auroc"]["value"] == summary.headline["auroc"].value


def test_decisions_at_one_half_are_left_out_where_there_is_no_threshold(
    binary: MakePredictions,
) -> None:
    test = scored(binary, "test", prevalence=0.5, gap=0.2)
    summary = summarize_predictions(test, {}, positive_class="PNEUMONIA")
    found = without_decisions(summary)
    assert set(summary.overall) - set(found.overall) == {"accuracy"}
    assert summary.confusion_matrix is not None and found.confusion_matrix is None
    assert found.headline == summary.headline
    each = summarize_predictions(test, {}, positive_class=None)
    assert without_decisions(each) == each


def fail_all(key: MetricKey, estimate: Estimate) -> Estimate:
    return Estimate(value=0.0) if key.metric in ("sensitivity", "specificity") else estimate


def test_many_classes_give_one_line_of_a_kind(draw: MakePredictions) -> None:
    parts = draw("val", class_names=TERNARY), draw("test", class_names=TERNARY)
    val, other, _ = summarize_both(*parts, None)
    other = other.change(fail_all)
    classes = {
        name: replace(block, prevalence=(block.prevalence or 0) + shift / 10)
        for shift, (name, block) in enumerate(other.classes.items(), start=2)
    }
    texts = find_warnings(val, replace(other, classes=classes))
    for words in ("The prevalence", "falls from", "VAL has only"):
        assert sum(words in text for text in texts) <= 1
    (prevalence,) = [text for text in texts if "The prevalence" in text]
    assert all(f"of {name} is" in prevalence for name in TERNARY)


def test_controls_that_the_model_does_not_beat_come_first(binary: MakePredictions) -> None:
    small = binary("val", [True] * 3 + [False] * 30, [0.9] * 3 + [0.1] * 30)
    val, test, thresholds = summarize_both(small, small)
    reached = {"test": {"auroc": Estimate(value=1.0)}}
    control = ShortcutBaseline(name="border", description="classifier", metrics=reached)
    overview = summarize_evaluation(
        val, test, checkpoint={}, thresholds=thresholds, mistakes=(), controls=[control]
    )
    assert "does not clearly beat" in overview.warnings[0]
    assert len(overview.warnings) > 1


def test_a_small_or_one_sided_val_is_told(binary: MakePredictions) -> None:
    small = binary("val", [True] * 3 + [False] * 30, [0.9] * 3 + [0.1] * 30)
    assert any(
        "only 3 PNEUMONIA images" in w for w in find_warnings(summarize_both(small, small)[0])
    )
    empty = binary("val", [False] * 30, [0.1] * 30)
    assert any("no PNEUMONIA image" in w for w in find_warnings(summarize_both(empty, empty)[0]))


def test_a_class_that_is_a_number_is_not_read_as_a_count(draw: MakePredictions) -> None:
    few = draw("val", class_names=("0", "1"), num_images=9)
    told = " ".join(find_warnings(summarize_both(few, few, "1")[0]))
    assert "of class 1" in told and "of other classes than 1" in told


@pytest.mark.parametrize("positive", ["PNEUMONIA", None])
def test_evaluation_holds_both_splits_and_the_head(
    tmp_path: Path, draw: MakePredictions, positive: str | None
) -> None:
    names = ("NORMAL", "PNEUMONIA") if positive else TERNARY
    val, other = draw("val", class_names=names), draw("test", class_names=names)
    val_summary, test_summary, thresholds = summarize_both(val, other, positive)
    mistakes = mine_mistakes(other, thresholds, num_hard_examples=4)
    overview = summarize_evaluation(
        val_summary,
        test_summary,
        checkpoint={"stage": "finetune", "epoch": 3, "sha256": "ab" * 32},
        thresholds=thresholds,
        mistakes=mistakes,
        head_only={"val": val_summary},
    )
    content = overview.to_json()
    write_json(tmp_path / "eval_summary.json", content)
    written = val_summary.to_json()
    source = written["classes"][positive] if positive else written["macro"]
    assert content["headline"]["val"] == source["metrics"]
    assert content["head_only"] == {"val": source["metrics"]}
    assert content["class_names"] == list(names)
    counted = [
        number
        for rules in content["num_mistakes"].values()
        for kinds in rules.values()
        for number in kinds.values()
    ]
    assert sum(counted) == len(mistakes)
    for name, points in thresholds.items():
        for point in points:
            assert content["thresholds"][name][point.rule]["threshold"] == point.value


def test_table_of_two_classes_has_a_row_per_operating_point(
    val: Predictions, held_out: Predictions
) -> None:
    val_summary, test_summary, _ = summarize_both(val, held_out)
    header, rows = tabulate_summaries([val_summary, test_summary])
    assert all(len(row) == len(header) for row in rows)
    assert [row[0] for row in rows] == ["VAL", "", "", "TEST", "", ""]
    column = header.index("operating point")
    assert [row[column] for row in rows[:3]] == ["Max-F1", "Target sensitivity", "Default (0.5)"]
    block = test_summary.to_json()["classes"]["PNEUMONIA"]
    shown = dict(zip(header, rows[3], strict=True))
    point = block["operating_points"]["max_f1"]
    assert shown["n"] == "80"
    assert shown["prevalence"] == f"{block['prevalence']:.3f}"
    assert shown["AUROC"] == f"{block['metrics']['auroc']['value']:.3f}"
    assert shown["AP (baseline)"].endswith(f"({block['prevalence']:.3f})")
    for name, key in (("sensitivity", "sensitivity"), ("PPV", "ppv"), ("F1", "f1_score")):
        assert shown[name] == f"{point[key]['value']:.3f}"


def test_table_of_many_classes_ends_each_split_with_the_mean(draw: MakePredictions) -> None:
    val, other = (draw(split, class_names=TERNARY) for split in ("val", "test"))
    header, rows = tabulate_summaries(summarize_both(val, other, None)[:2])
    assert header[1] == "class"
    assert all(len(row) == len(header) for row in rows)
    assert len(rows) == 2 * (3 * 3 + 1)
    assert rows[9][:2] == ["VAL", "macro mean"]


def test_undefined_metrics_are_dashes(binary: MakePredictions) -> None:
    val = binary("val", [True, False], [0.8, 0.2])
    summaries = summarize_both(val, binary("test", [False], [0.1]))[:2]
    header, rows = tabulate_summaries(summaries)
    assert dict(zip(header, rows[3], strict=True))["AUROC"] == "–"


def test_the_overview_names_the_task_and_warns_of_findings() -> None:
    val, other = draw_odd_findings()
    val_summary, summary, thresholds = summarize_both(val, other, None)
    overview = summarize_evaluation(
        val_summary, summary, checkpoint={}, thresholds=thresholds, mistakes=()
    )
    assert overview.to_json()["task"] == "multilabel"
    text = "\n".join(overview.warnings)
    assert f"VAL has no image with {MANY[1]}," in text
    swapped = replace(val, labels=np.where(val.labels < 0, -1, 1 - val.labels))
    warnings = find_warnings(summarize_both(swapped, other, None)[0])
    assert any("1 and 0 may be swapped" in warning for warning in warnings)
    assert not any("class_names" in warning for warning in warnings)


def test_the_end_table_counts_known_images() -> None:
    val, other = draw_odd_findings()
    summary = summarize_both(val, other, None)[1]
    header, rows = tabulate_summaries([summary])
    assert all(len(row) == len(header) for row in rows)
    first = {row[1]: row for row in rows if row[0] and row[1]}
    assert first[MANY[0]][2] == str(len(known_of(other, 0)[0]))
    assert first[MANY[2]][2:6] == ["0", "–", "–", "– (–)"]
    assert "macro mean (13 of 14)" in first
    always = with_column(val, 0, 1)  # defines the AP, but not the AUROC
    _, of_val = tabulate_summaries([summarize_both(always, other, None)[0]])
    assert "macro mean (AUROC 12, AP 13 of 14)" in [row[1] for row in of_val]
    micro = next(row for row in rows if row[1].startswith("micro"))
    assert micro[2] == str((other.labels >= 0).sum())
