"""The section about probabilities shows what the run's files hold, and nothing without them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.probabilities import (
    CalibrationSummary,
    ClassCalibration,
    MapWarning,
)
from medimg_baseline_cls.reporting.content import RunContent, read_run
from medimg_baseline_cls.reporting.page.calibration import tabulate_probabilities
from medimg_baseline_cls.reporting.page.report_page import render_report
from medimg_baseline_cls.reporting.page.tables import Table
from medimg_baseline_cls.statistics.calibration import describe_calibration

MakeRun = Callable[..., Any]


def calibration_of(seed: int) -> ClassCalibration:
    random = np.random.default_rng(seed)
    scores = random.random(60)
    weights = random.integers(0, 3, size=(50, 60)).astype(np.uint16)
    return describe_calibration(random.random(60) < scores, scores, weights=weights, seed=0)


def judge(make_run: MakeRun, classes: tuple[str, ...], *, names: tuple[str, ...]) -> RunContent:
    run = make_run(classes)
    blocks = [calibration_of(seed) for seed in (0, 1)]
    found = {
        s: {name: block.to_json() for name in names}
        for s, block in zip(("val", "test"), blocks, strict=True)
    }
    brief = blocks[1].brief.to_json()
    carried = {"parameters": {}, "thresholds": {"max_f1": {"threshold": 0.123456}}}
    maps = {"before": {"test": brief}, "platt": {"test": brief, **carried}}
    point = {
        key: {"value": 0.5} for key in ("sensitivity", "specificity", "ppv", "npv", "f1_score")
    }
    at = {
        "prevalence": 0.02,
        "average_precision": {"value": 0.31, "baseline": 0.02},
        "operating_points": {"max_f1": point | {"ppv": {"value": 0.2, "interval": [0.1, 0.4]}}},
        "max_f1_at_prevalence": {"threshold": 0.9, **point},
    }
    contents = {
        "calibration.json": found,
        "recalibration.json": {"fitted_on": "val", "classes": dict.fromkeys(names, maps)},
        "prevalence.json": {name: {"train": at, "target": at} for name in names},
    }
    for name, content in contents.items():
        (run.folder / name).write_text(json.dumps(content), encoding="utf-8")
    return read_run(run.folder)


def rows_of(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.header, row.cells, strict=True)) for row in table.rows]


def test_calibration_shows_slope_error_and_what_chance_gives(make_run: MakeRun) -> None:
    content = judge(make_run, ("NORMAL", "PNEUMONIA"), names=("PNEUMONIA",))
    table = tabulate_probabilities(content)[0]
    assert table.title == "Calibration, PNEUMONIA" and content.calibration is not None
    calibration = content.calibration.to_json()
    for row, split in zip(rows_of(table), ("val", "test"), strict=True):
        block = calibration[split]["PNEUMONIA"]
        assert row["Split"] == split.upper()
        low, high = block["slope"]["interval"]
        assert row["Slope"] == f"{block['slope']['value']:.3f}\n{low:.3f}–{high:.3f}"
        error = block["ece_equal_mass"]
        assert row["ECE"].startswith(f"{error['value']:.3f}\n")
        assert row["If calibrated"] == f"{error['expected']:.3f}\nto {error['percentile_95']:.3f}"
        parts = [float(row[k]) for k in ("Reliability", "Resolution", "Uncertainty")]
        within = block["brier"]["within_bin"]
        assert float(row["Brier"]) == pytest.approx(
            parts[0] - parts[1] + parts[2] + within, abs=0.002
        )


def test_recalibration_and_prevalence_have_their_tables(make_run: MakeRun) -> None:
    content = judge(make_run, ("NORMAL", "PNEUMONIA"), names=("PNEUMONIA",))
    _, maps, prevalence = tabulate_probabilities(content)
    before, after = rows_of(maps)
    assert (before["Probabilities"], after["Probabilities"]) == ("As predicted", "Platt")
    assert before["Threshold"] == "0.610" and after["Threshold"] == "0.123"
    train, declared = rows_of(prevalence)
    assert (train["Prevalence of"], declared["Prevalence of"]) == ("TRAIN", "Declared")
    assert declared["PPV"] == "0.200\n0.100–0.400"
    assert declared["Max-F1 threshold"] == "0.900"
    page = render_report(content)
    assert 'id="probabilities"' in page and 'href="#probabilities"' in page


def test_a_map_that_val_does_not_determine_is_told_below_its_table(make_run: MakeRun) -> None:
    content = judge(make_run, ("NORMAL", "PNEUMONIA"), names=("PNEUMONIA",))
    _, maps, _ = tabulate_probabilities(content)
    text = "VAL has only 7 NORMAL: it does not determine a Platt or isotonic map."
    warnings = {"PNEUMONIA": MapWarning(methods=("platt", "isotonic"), text=text)}
    assert content.recalibration is not None
    told = replace(content, recalibration=replace(content.recalibration, warnings=warnings))
    _, warned, _ = tabulate_probabilities(told)
    assert (*maps.notes, text) == warned.notes
    assert text in render_report(told)


def test_each_of_several_classes_has_its_rows_and_few_have_tables(make_run: MakeRun) -> None:
    names = ("A", "B", "C", "D", "E")
    tables = tabulate_probabilities(judge(make_run, names, names=names))
    assert len(tables) == 1 + 2 * 4
    assert [row["Class"] for row in rows_of(tables[0])] == [n for n in names for _ in range(2)]


def test_an_undefined_slope_is_a_dash_with_its_reason(make_run: MakeRun) -> None:
    content = judge(make_run, ("NORMAL", "PNEUMONIA"), names=("PNEUMONIA",))
    assert content.calibration is not None
    block = content.calibration.splits["val"]["PNEUMONIA"]
    slope = Estimate(value=None, reason="the scores separate the classes")
    splits = {
        **content.calibration.splits,
        "val": {"PNEUMONIA": replace(block, brief=replace(block.brief, slope=slope))},
    }
    table = tabulate_probabilities(replace(content, calibration=CalibrationSummary(splits)))[0]
    assert rows_of(table)[0]["Slope"] == "–"
    assert "The slope of PNEUMONIA on VAL is undefined: the scores separate" in table.notes[-1]


def test_a_run_that_was_not_judged_has_no_section(make_run: MakeRun) -> None:
    content = read_run(make_run().folder)
    assert tabulate_probabilities(content) == []
    assert 'id="probabilities"' not in render_report(content)
