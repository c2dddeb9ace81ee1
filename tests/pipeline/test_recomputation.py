"""Every number of a run's summaries and of its page, computed again from the CSV files alone."""

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import betabinom, binomtest
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
            assert all(point[name].get("interval") is None for name in SHOWN.values())
            continue
        hits, misses = int(expected["tp"]), int(expected["fn"])
        for key, method in (("wilson", "wilson"), ("clopper_pearson", "exact")):
            theirs = binomtest(hits, hits + misses).proportion_ci(0.95, method=method)
            assert point["sensitivity"][key] == pytest.approx([theirs.low, theirs.high], abs=1e-9)


def test_drawn_intervals_are_within_monte_carlo_error(finished_run: Path) -> None:
    parts = parts_of(finished_run)
    drawn = independent.draw_figures(**parts, target=0.95, times=200, seed=11)
    stored = independent.read_json(finished_run / "test_summary.json")
    block, resamples = stored["classes"][POSITIVE], stored["intervals"]["num_resamples"]
    figures = dict(block["metrics"])
    for rule, point in block["operating_points"].items():
        figures |= {f"{rule}/{name}": point[name] for name in SHOWN.values()}
    compared = 0
    for name, figure in figures.items():
        if figure.get("method") != "bootstrap" or not figure["interval"]:
            continue
        values = drawn[name].dropna().to_numpy()
        number = resamples - figure.get("num_undefined", 0)
        for bound, share in zip(figure["interval"], (0.025, 0.975), strict=True):
            rarity = rank_rarity(values, bound=bound, share=share, number=number)
            assert rarity > 1e-6, (name, share)
        compared += 1
    assert compared >= 10


def rank_rarity(values: NDArray[np.float64], *, bound: float, share: float, number: int) -> float:
    """Return how probable a rank as extreme as that of a bound is among independent resamples.

    A quantile of `number` resamples is between two neighbors in their order. How many of n
    other resamples are below the k-th of `number` is beta-binomial, whatever is drawn; values that
    many resamples share only leave fewer strictly below it, and more at or below it.
    """
    place = 1 + int(share * (number - 1))
    below, at_most = (values < bound - 1e-9).sum(), (values <= bound + 1e-9).sum()
    too_high = betabinom.sf(below - 1, len(values), place + 1, number - place)
    too_low = betabinom.cdf(at_most, len(values), place, number - place + 1)
    return float(min(too_high, too_low))


def test_ranks_of_a_wrong_bound_are_noticed_and_steps_are_not() -> None:
    rng = np.random.default_rng(5)
    smooth = rng.normal(size=(2, 200))
    steps = rng.choice([0.75, 1.0], size=(2, 200), p=[0.02, 0.98])
    for first, second in (smooth, steps):
        for share in (0.025, 0.975):
            right = float(np.quantile(first, share))
            assert rank_rarity(second, bound=right, share=share, number=200) > 1e-3
    for share, wrong in ((0.025, 0.25), (0.975, 0.75)):
        bound = float(np.quantile(smooth[0], wrong))
        assert rank_rarity(smooth[1], bound=bound, share=share, number=200) < 1e-6
    assert rank_rarity(steps[1], bound=0.9, share=0.975, number=200) < 1e-6


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
                assert row["Patients"] == str(len(set(own["group"])))
                assert row[POSITIVE] == str((own["label"] == POSITIVE).sum())
        else:
            continue
        seen.add(caption)
    assert len(seen) == 3
