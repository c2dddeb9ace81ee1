"""Every number of a run's summaries and of its page, computed again from the CSV files alone."""

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from tests import independent

POSITIVE = "PNEUMONIA"
SHOWN = {
    "Sens.": "sensitivity",
    "Spec.": "specificity",
    "PPV": "ppv",
    "NPV": "npv",
    "F1": "f1_score",
    "Acc.": "accuracy",
    "Bal. acc.": "balanced_accuracy",
    "MCC": "mcc",
}
SCORES = {
    "AUROC": "auroc",
    "AP": "average_precision",
    "Brier": "brier_score",
    "Log loss": "log_loss",
}


def parts_of(run: Path) -> dict[str, independent.Part]:
    return {s: independent.read_part(run, s, positive=POSITIVE) for s in ("val", "test")}


def text(value: float | None) -> str:
    if value is None:
        return "–"
    return str(Decimal(repr(float(value))).quantize(Decimal("0.001"), ROUND_HALF_UP)).replace(
        "-", "−"
    )


def test_thresholds_are_those_that_trying_every_score_finds(finished_run: Path) -> None:
    stored = independent.read_json(finished_run / "thresholds.json")["classes"][POSITIVE]
    expected = independent.choose_thresholds(parts_of(finished_run)["val"], target=0.95)
    assert {rule: stored[rule]["threshold"] for rule in expected} == expected


@pytest.mark.parametrize("split", ["val", "test"])
def test_values_and_closed_intervals_are_exact(finished_run: Path, split: str) -> None:
    block = independent.read_json(finished_run / f"{split}_summary.json")["classes"][POSITIVE]
    part = parts_of(finished_run)[split]
    for name, value in independent.score_figures(part).items():
        assert block["metrics"][name]["value"] == pytest.approx(value, abs=1e-9)
    for rule, point in block["operating_points"].items():
        expected = independent.point_figures(part, point["threshold"])
        for name in SHOWN.values():
            value = point[name]["value"]
            assert (value is None) == (name not in expected)
            assert value is None or value == pytest.approx(expected[name], abs=1e-9)
        if split == "val" and rule != "default":
            assert all(point[name]["interval"] is None for name in SHOWN.values())
            continue
        hits, misses = int(expected["tp"]), int(expected["fn"])
        for key, method in (("wilson", "wilson"), ("clopper_pearson", "exact")):
            theirs = binomtest(hits, hits + misses).proportion_ci(0.95, method=method)
            assert point["sensitivity"][key] == pytest.approx([theirs.low, theirs.high], abs=1e-9)


def test_drawn_intervals_are_within_monte_carlo_error(finished_run: Path) -> None:
    parts = parts_of(finished_run)
    drawn = independent.draw_figures(**parts, target=0.95, times=200, seed=11)
    block = independent.read_json(finished_run / "test_summary.json")["classes"][POSITIVE]
    figures = dict(block["metrics"])
    for rule, point in block["operating_points"].items():
        figures |= {f"{rule}/{name}": point[name] for name in SHOWN.values()}
    compared = 0
    for name, figure in figures.items():
        if figure.get("method") != "bootstrap" or not figure["interval"]:
            continue
        values = drawn[name].dropna()
        # The standard error of a quantile is sqrt(p (1 - p) / B) / density: take the values
        # at p plus and minus three of them, for both sides.
        for bound, share in zip(figure["interval"], (0.025, 0.975), strict=True):
            error = 3 * np.sqrt(2 * share * (1 - share) / len(values))
            low, high = np.quantile(values, np.clip((share - error, share + error), 0, 1))
            slack = 1e-9 + 0.1 * float(np.ptp(figure["interval"]))
            assert low - slack <= bound <= high + slack, name
        compared += 1
    assert compared >= 10


def test_the_page_shows_these_numbers(finished_run: Path) -> None:
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    parts, seen = parts_of(finished_run), set[str]()
    for caption, rows in independent.read_tables(page):
        if caption == f"Without a threshold, {POSITIVE}" and caption not in seen:
            for row in rows:
                expected = independent.score_figures(parts[row["Split"].lower()])
                assert {k: row[k] for k in SCORES} == {k: text(expected[SCORES[k]]) for k in SCORES}
        elif caption == f"Operating points, {POSITIVE} positive" and caption not in seen:
            stored = independent.read_json(finished_run / "thresholds.json")["classes"][POSITIVE]
            cuts = [entry["threshold"] for entry in stored.values() for _ in range(2)]
            for row, cut in zip(rows, cuts, strict=True):
                expected = independent.point_figures(parts[row["Split"].lower()], cut)
                counts = {k: f"{expected[k.lower()]:.0f}" for k in ("TP", "FP", "FN", "TN")}
                shown = {k: text(expected.get(name)) for k, name in SHOWN.items()}
                assert {k: row[k] for k in (*counts, *shown)} == counts | shown
        elif caption == "Images of each split":
            table = pd.read_csv(finished_run / "split.csv", dtype=str)
            for row in rows[:3]:
                own = table[table["split"] == row["Split"].lower()]
                assert row["Images"] == str(len(own))
                assert row["Groups"] == str(len(set(own["group"])))
                assert row[POSITIVE] == str((own["label"] == POSITIVE).sum())
        else:
            continue
        seen.add(caption)
    assert len(seen) == 3
