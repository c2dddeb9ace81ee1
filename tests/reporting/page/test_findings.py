"""The page of several findings per image, and of grades: the words and figures they add."""

import csv
from collections.abc import Callable
from typing import Any

import pytest

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.page.headline import summarize_run
from medimg_baseline_cls.reporting.page.performance import (
    tabulate_confusion,
    tabulate_metrics,
    tabulate_micro_points,
    tabulate_overall,
)
from medimg_baseline_cls.reporting.page.pictures import list_errors
from medimg_baseline_cls.reporting.page.report_page import write_report
from medimg_baseline_cls.reporting.page.tables import tabulate_split

MakeRun = Callable[..., Any]
NAMES = ("Effusion", "Mass", "Nodule")
LABELS = ("Effusion|?Nodule", "", "Mass|Nodule", "?Effusion|?Mass|?Nodule")


def rewrite(run: Any, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = run.json(name)
    change(content)
    run.write_json(name, content)


def rewrite_labels(run: Any) -> list[dict[str, str]]:
    with (run.folder / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["label"] = LABELS[number % len(LABELS)]
    run.write_csv("split.csv", list(rows[0]), [list(row.values()) for row in rows])
    return rows


def to_findings(summary: dict[str, Any]) -> None:
    summary |= {"task": "multilabel", "confusion_matrix": None}
    summary["overall"] = {"log_loss": {"value": 0.321}, "exact_match": {"value": 0.654}}
    first = summary["classes"]["Effusion"]
    point = {k: v for k, v in first["operating_points"]["max_f1"].items() if k != "threshold"}
    summary["micro"] = {"metrics": first["metrics"], "operating_points": {"max_f1": point}}
    for block in summary["classes"].values():
        block["num_unknown"] = 1234
    for figure in summary["macro"]["metrics"].values():
        figure["num_defined"] = 2


@pytest.fixture
def findings_run(make_run: MakeRun) -> Any:
    run = make_run(NAMES)
    rewrite_labels(run)
    for name in ("val_summary.json", "test_summary.json"):
        rewrite(run, name, to_findings)
    rewrite(run, "eval_summary.json", lambda content: content.update(task="multilabel"))
    return run


def test_the_page_of_findings_holds_no_matrix(findings_run: Any) -> None:
    content = read_run(findings_run.folder)
    assert content.task == "multilabel"
    assert tabulate_confusion(content, "test") is None
    page = write_report(findings_run.folder).read_text(encoding="utf-8")
    assert "trained to find Effusion, Mass and Nodule on 60 images" in page
    assert "the rest" not in page and "Confusion matrix, TEST" not in page
    assert "?Nodule" not in page


def test_the_split_is_counted_by_finding(findings_run: Any) -> None:
    table = tabulate_split(read_run(findings_run.folder))
    assert table is not None
    # Of 4 images one has an effusion, and of one it is not known.
    test = next(row.cells for row in table.rows if row.cells[0] == "TEST")
    assert test[1] == "48"
    assert test[3:] == ("12 (33.3\u00a0%)", "12 (33.3\u00a0%)", "12 (50.0\u00a0%)")


def test_averages_say_of_what_they_are(findings_run: Any) -> None:
    content = read_run(findings_run.folder)
    table = tabulate_metrics(content)
    assert table is not None and table.header[0] == "Finding"
    leads = [row.cells[:2] for row in table.rows[-4:]]
    assert leads == [
        ("Macro mean", "VAL"),
        ("Macro mean", "TEST"),
        ("Micro, all pairs", "VAL"),
        ("Micro, all pairs", "TEST"),
    ]
    auroc = findings_run.json("test_summary.json")["micro"]["metrics"]["auroc"]["value"]
    assert table.rows[-1].cells[2] == f"{auroc:.3f}"
    notes = " ".join(table.notes)
    assert "Effusion in 1,234, Mass in 1,234, Nodule in 1,234 images" in notes
    assert "TEST: the macro AUROC is the mean of 2 of 3 findings." in notes


def test_micro_operating_points_have_no_threshold_of_their_own(findings_run: Any) -> None:
    table = tabulate_micro_points(read_run(findings_run.folder))
    assert table is not None
    assert [row.cells[:3] for row in table.rows] == [
        ("Max-F1", "VAL", "each its own"),
        ("", "TEST", "each its own"),
    ]
    point = findings_run.json("test_summary.json")["micro"]["operating_points"]["max_f1"]
    assert table.rows[1].cells[3:7] == tuple(str(point[key]) for key in ("tp", "fp", "fn", "tn"))


def test_figures_of_whole_images_are_shown(findings_run: Any) -> None:
    table = tabulate_overall(read_run(findings_run.folder))
    assert table is not None and table.header == ("Split", "Exact match", "Log loss")
    assert table.rows[-1].cells == ("TEST", "0.654", "0.321")


def test_the_gallery_names_findings_readably(findings_run: Any) -> None:
    errors = list_errors(read_run(findings_run.folder), "FP").shown
    wanted = {"Effusion, Nodule?", "no finding", "Mass, Nodule", "Effusion?, Mass?, Nodule?"}
    assert errors and {error.label for error in errors} <= wanted


def test_a_finding_that_test_does_not_define_is_a_dash(findings_run: Any) -> None:
    def empty(summary: dict[str, Any]) -> None:
        block = summary["classes"]["Mass"]
        block["prevalence"] = None
        for figure in block["metrics"].values():
            figure |= {"value": None, "reason": "no image has a reference standard"}

    rewrite(findings_run, "test_summary.json", empty)
    content = read_run(findings_run.folder)
    table = tabulate_metrics(content)
    assert table is not None
    row = next(row.cells for row in table.rows if row.cells[:2] == ("Mass", "TEST"))
    assert row[2:] == ("–",) * 5
    write_report(findings_run.folder)


def test_grades_lead_with_their_agreement(make_run: MakeRun) -> None:
    def grade(summary: dict[str, Any]) -> None:
        kappa, error = {"value": 0.8125}, {"value": 0.25}
        overall = {"quadratic_weighted_kappa": kappa, "mean_grade_error": error}
        summary |= {"task": "ordinal", "overall": {"accuracy": {"value": 0.75}, **overall}}

    run = make_run(("none", "mild", "severe"))
    for name in ("val_summary.json", "test_summary.json"):
        rewrite(run, name, grade)
    rewrite(run, "eval_summary.json", lambda content: content.update(task="ordinal"))
    content = read_run(run.folder)
    answer = summarize_run(content)
    assert answer.lede.endswith("trained to grade none < mild < severe.")
    first = answer.scores[0]
    assert (first.label, first.text) == ("TEST quadratic weighted kappa", "0.813")
    assert "mean error 0.250 grades" in first.detail
    table = tabulate_overall(content)
    assert table is not None
    assert table.rows[-1].cells == ("TEST", "0.813", "0.250", "0.750")
    assert tabulate_confusion(content, "test") is not None
    write_report(run.folder)
