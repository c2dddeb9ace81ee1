"""Intervals stand under their figures, on the first screen and in the tables."""

from collections.abc import Callable
from typing import Any

from medimg_baseline_cls.reporting.content import RunContent, read_run
from medimg_baseline_cls.reporting.page.headline import summarize_run
from medimg_baseline_cls.reporting.page.performance import tabulate_metrics, tabulate_points
from medimg_baseline_cls.reporting.page.report_page import render_report

MakeRun = Callable[..., Any]


def read_with_intervals(make_run: MakeRun) -> RunContent:
    run = make_run()
    summary = run.json("test_summary.json")
    block = summary["classes"]["PNEUMONIA"]
    block["metrics"]["auroc"] |= {"interval": [0.8124, 0.9571], "method": "bootstrap"}
    point = block["operating_points"]["max_f1"]
    point["sensitivity"] |= {"interval": [0.7011, 0.8899], "method": "bootstrap"}
    point["mcc"] |= {"interval": [-0.05, 0.4], "method": "bootstrap"}
    point["npv"] |= {"interval": None, "interval_reason": "the resamples do not vary"}
    point["threshold_interval"] = [0.2, 0.7]
    summary["intervals"] = {"level": 0.95, "num_resamples": 2000, "seed": 0}
    run.write_json("test_summary.json", summary)
    return read_run(run.folder)


def test_the_first_screen_has_the_intervals_of_test(make_run: MakeRun) -> None:
    content = read_with_intervals(make_run)
    answer = summarize_run(content)
    auroc, precision = answer.scores
    assert auroc.detail.startswith("95 % CI 0.812–0.957; VAL ")
    assert auroc.scale is not None and auroc.scale.interval is not None
    assert precision.detail.startswith("chance ")
    assert precision.scale is not None and precision.scale.interval is None
    sensitivity, specificity = answer.rates
    assert sensitivity.detail.startswith("95 % CI 0.701–0.890; ")
    assert "95 %" not in specificity.detail


def test_an_exact_interval_is_named_where_the_resamples_do_not_vary(make_run: MakeRun) -> None:
    run = make_run()
    summary = run.json("test_summary.json")
    point = summary["classes"]["PNEUMONIA"]["operating_points"]["max_f1"]
    point["specificity"] |= {
        "value": 1.0,
        "interval": [0.868, 1.0],
        "method": "clopper_pearson",
        "interval_reason": "the resamples do not vary",
    }
    run.write_json("test_summary.json", summary)
    content = read_run(run.folder)
    specificity = summarize_run(content).rates[1]
    assert specificity.detail.startswith("95 % CI 0.868–1.000 (Clopper-Pearson); ")
    points = tabulate_points(content, "PNEUMONIA")
    assert points is not None
    row = dict(zip(points.header, points.rows[1].cells, strict=True))
    assert row["Spec."].endswith("\n0.868–1.000")


def test_the_tables_have_them_on_second_lines(make_run: MakeRun) -> None:
    content = read_with_intervals(make_run)
    metrics, points = tabulate_metrics(content), tabulate_points(content, "PNEUMONIA")
    assert metrics is not None and points is not None
    row = dict(zip(metrics.header, metrics.rows[1].cells, strict=True))
    assert row["AUROC"].endswith("\n0.812–0.957")
    row = dict(zip(points.header, points.rows[1].cells, strict=True))
    assert row["MCC"].endswith("\n−0.050 to 0.400")
    assert row["Threshold"].endswith("\n0.200–0.700")
    assert row["NPV"].endswith("\n–")
    assert any("A dash: no interval, because" in note for note in metrics.notes)
    assert any("were resampled 2,000 times" in note for note in metrics.notes)
    assert "\n" not in row["PPV"]
    assert "<small>0.812–0.957</small>" in render_report(content)


def test_val_has_dashes_where_its_threshold_was_chosen_on_it(make_run: MakeRun) -> None:
    run = make_run()
    summary = run.json("val_summary.json")
    point = summary["classes"]["PNEUMONIA"]["operating_points"]["max_f1"]
    for key in ("sensitivity", "specificity"):
        point[key] |= {"interval": None, "interval_reason": "chosen on these images"}
    run.write_json("val_summary.json", summary)
    content = read_run(run.folder)
    points = tabulate_points(content, "PNEUMONIA")
    assert points is not None
    row = dict(zip(points.header, points.rows[0].cells, strict=True))
    assert (row["Split"], row["Sens."][-2:], row["Spec."][-2:]) == ("VAL", "\n–", "\n–")


def test_a_run_without_intervals_says_nothing_of_them(make_run: MakeRun) -> None:
    page = render_report(read_run(make_run().folder))
    assert "95 %" not in page and "<small>" not in page


def test_the_controls_are_on_the_first_screen(make_run: MakeRun) -> None:
    run = make_run()
    shown = summarize_run(read_run(run.folder)).controls
    controls = run.json("eval_summary.json")["controls"]
    for control in controls:
        assert f"{control['test']['auroc']['value']:.3f}" in shown
