"""Every number about probabilities, in the files and on the page, computed again from the CSVs."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from tests import independent
from tests.independent import Figures, Part

POSITIVE = "PNEUMONIA"
TARGET = 0.95
METHODS = {"temperature": "Temperature", "platt": "Platt", "isotonic": "Isotonic"}
LINE = {"Slope": "slope", "Intercept": "intercept", "At slope 1": "intercept_at_slope_1"}
LEVELS = ("0.1", "0.3", "0.5")
SOURCES = {"TRAIN": "train", "VAL": "val", "TEST": "test"}
NUMBER = re.compile(r"[<>]?−?\d+\.\d+")


def parts_of(run: Path) -> dict[str, Part]:
    return {s: independent.read_part(run, s, positive=POSITIVE) for s in ("val", "test")}


def table_of(run: Path, caption: str) -> list[dict[str, str]]:
    page = (run / "report.html").read_text(encoding="utf-8")
    tables = dict(independent.read_tables(page, with_second_lines=True))
    return tables[caption]


def assert_shown(text: str, value: float | None) -> None:
    """Assert that a text is this value with three decimals; never "almost" as "exactly"."""
    if value is None:
        assert text == "–"
    elif text[0] in "<>":
        bound = float(text[1:].replace("−", "-"))
        assert bound in (0.001, -0.001, 0.999)
        assert (value < bound) if text[0] == "<" else (value > bound)
        assert round(value, 3) in (0.0, 1.0)
    else:
        assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.0005 + 1e-7)


def assert_cell(cell: str, value: float | None, interval: list[float] | None) -> None:
    """Assert that a cell holds a figure, and on its second line its interval, if it has one."""
    first, *second = cell.split("\n")
    assert_shown(first, value)
    assert len(second) == (interval is not None)
    for line in second:
        assert interval is not None
        for shown, bound in zip(NUMBER.findall(line), interval, strict=True):
            assert_shown(shown, bound)


def fit_map(method: str, val: Part) -> Callable[[NDArray[np.float64]], Any]:
    """Fit a recalibration on VAL by scikit-learn: Platt's targets as images of two kinds."""
    logits, truth = independent.logits_of(val.scores), val.truth
    if method == "before":
        return np.asarray
    if method == "isotonic":
        stairs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        stairs.fit(val.scores, truth.astype(float))

        def climb(scores: NDArray[np.float64]) -> NDArray[np.float64]:
            return (1 - 1e-6) * np.asarray(stairs.predict(scores)) + 1e-6 * scores

        return climb
    if method == "platt":
        high, low = (truth.sum() + 1) / (truth.sum() + 2), 1 / ((~truth).sum() + 2)
        share = np.where(truth, high, low)
        both = np.repeat([True, False], len(truth))
        line = independent.fit_line(
            both, np.tile(logits, 2), np.concatenate([share, 1 - share]).astype(np.float64)
        )
        return lambda scores: expit(
            line["intercept"] + line["slope"] * independent.logits_of(scores)
        )
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4001))
    signed = np.where(truth, logits, -logits)
    losses = np.logaddexp(0, -signed / grid[:, None]).mean(axis=1)
    best = grid[int(np.argmin(losses))]
    return lambda scores: expit(independent.logits_of(scores) / best)


def assert_figures(block: Mapping[str, Any], expected: Figures, *, rel: float = 1e-6) -> int:
    """Assert the figures that are defined, and return how many were compared."""
    compared = 0
    for name in set(expected) & set(block):
        value = block[name]["value"]
        if value is None:
            assert block[name]["reason"] and "interval" not in block[name]
            continue
        assert value == pytest.approx(expected[name], rel=rel, abs=rel), name
        compared += 1
    return compared


@pytest.mark.parametrize("split", ["val", "test"])
def test_calibration_is_that_of_scikit_learn_and_scipy(finished_run: Path, split: str) -> None:
    block = independent.read_json(finished_run / "calibration.json")[split][POSITIVE]
    part = parts_of(finished_run)[split]
    assert assert_figures(block, independent.calibration_figures(part)) >= 3
    assert block["num_images"] == len(part.truth)
    assert block["prevalence"] == pytest.approx(part.truth.mean())
    assert block["mean_probability"] == pytest.approx(part.scores.mean())
    assert block["brier"] == pytest.approx(independent.brier_parts(part), abs=1e-9)
    log_loss = independent.score_figures(part)["log_loss"]
    assert block["log_loss"]["value"] == pytest.approx(log_loss)


@pytest.mark.parametrize("split", ["val", "test"])
def test_bins_hold_the_images_of_their_ranks(finished_run: Path, split: str) -> None:
    block = independent.read_json(finished_run / "calibration.json")[split][POSITIVE]
    part = parts_of(finished_run)[split]
    index = independent.mass_bins(part.scores)
    for found, number in zip(block["bins"], np.unique(index), strict=True):
        scores, truth = part.scores[index == number], part.truth[index == number]
        assert (found["num_images"], found["num_positive"]) == (len(truth), truth.sum())
        assert found["mean_probability"] == pytest.approx(scores.mean())
        assert (found["lowest"], found["highest"]) == (scores.min(), scores.max())
        assert found["share"]["value"] == pytest.approx(truth.mean())


@pytest.mark.parametrize("split", ["val", "test"])
def test_errors_by_chance_are_those_of_drawn_outcomes(finished_run: Path, split: str) -> None:
    block = independent.read_json(finished_run / "calibration.json")[split][POSITIVE]
    scores, random = parts_of(finished_run)[split].scores, np.random.default_rng(4)
    for name, bins in (
        ("ece_equal_mass", independent.mass_bins(scores)),
        ("ece_equal_width", independent.width_bins(scores)),
    ):
        gaps = (random.random((4000, len(scores))) < scores) - scores
        errors = sum(np.abs(gaps[:, bins == b].sum(axis=1)) for b in np.unique(bins)) / len(scores)
        # Four standard errors of a mean of 1,000 draws, and of the difference of two.
        slack = 4 * np.std(errors) * np.sqrt(1 / 1000 + 1 / 4000)
        assert block[name]["expected"] == pytest.approx(np.mean(errors), abs=slack)
        low, high = np.quantile(errors, (0.92, 0.975))
        assert low <= block[name]["percentile_95"] <= high


def test_calibration_intervals_are_within_monte_carlo_error(finished_run: Path) -> None:
    found, compared = independent.read_json(finished_run / "calibration.json"), 0
    for split, part in parts_of(finished_run).items():
        block, random = found[split][POSITIVE], np.random.default_rng(8)
        bins = {
            "ece_equal_mass": independent.mass_bins(part.scores),
            "ece_equal_width": independent.width_bins(part.scores),
        }
        # The bins stay those of the split, as a bin by its scores is what an image is in.
        at = {
            name: dict(zip(part.scores.tolist(), b.tolist(), strict=True))
            for name, b in bins.items()
        }
        shown = [name for name in (*LINE.values(), *bins) if is_compared(block[name])]
        drawn: dict[str, list[float]] = {name: [] for name in shown}
        for _ in range(200):
            other = independent.draw_patients(part, random)
            line = independent.calibration_figures(other, with_line="slope" in shown)
            for name, place in at.items():
                own = np.array([place[s] for s in other.scores.tolist()])
                line[name] = independent.calibration_error(other, own)
            for name in set(shown) & set(line):
                drawn[name].append(line[name])
        for name, values in drawn.items():
            assert_interval(block[name]["interval"], values, name=name)
            compared += 1
    assert compared >= 6


def is_compared(figure: Mapping[str, Any]) -> bool:
    """Return whether a figure has a drawn interval that no undefined resample has bent."""
    has_interval = figure["value"] is not None and bool(figure["interval"])
    return has_interval and figure["method"] == "bootstrap" and "num_undefined" not in figure


def assert_interval(interval: Sequence[float], values: Sequence[float], *, name: str) -> None:
    """Assert both ends to be quantiles of the values, within what so many draws leave open."""
    for bound, share in zip(interval, (0.025, 0.975), strict=True):
        error = 3 * np.sqrt(2 * share * (1 - share) / len(values))
        low, high = np.quantile(values, np.clip((share - error, share + error), 0, 1))
        slack = 1e-9 + 0.1 * float(np.ptp(interval))
        assert low - slack <= bound <= high + slack, name


def test_recalibration_is_that_of_scikit_learn(finished_run: Path) -> None:
    stored = independent.read_json(finished_run / "recalibration.json")
    block, parts, compared = stored["classes"][POSITIVE], parts_of(finished_run), 0
    assert stored["fitted_on"] == "val"
    for method in ("before", *METHODS):
        if method not in block:
            continue
        apply = fit_map(method, parts["val"])
        for split, part in parts.items():
            after = Part(part.truth, apply(part.scores), part.groups)
            # A grid of 4,001 temperatures finds the best one to a thousandth.
            rel = 5e-3 if method == "temperature" else 1e-4
            entry = block[method][split]
            for name in ("brier_score", "log_loss"):
                expected = independent.score_figures(after)[name]
                key = name.removesuffix("_score")
                assert entry[key]["value"] == pytest.approx(expected, rel=rel), (method, split)
            if method != "isotonic":  # its steps put equal scores on either side of an edge
                compared += assert_figures(entry, independent.calibration_figures(after), rel=rel)
    assert compared >= 6


def test_carried_thresholds_are_the_maps_of_the_thresholds(finished_run: Path) -> None:
    block = independent.read_json(finished_run / "recalibration.json")["classes"][POSITIVE]
    cuts = independent.choose_thresholds(parts_of(finished_run)["val"], target=TARGET)
    for method in METHODS.keys() & block.keys():
        apply = fit_map(method, parts_of(finished_run)["val"])
        for rule, cut in cuts.items():
            carried = block[method]["thresholds"][rule]["threshold"]
            assert carried == pytest.approx(float(apply(np.array([cut]))[0]), abs=2e-3)


def test_figures_at_each_prevalence_are_those_of_weighted_images(finished_run: Path) -> None:
    found = independent.read_json(finished_run / "prevalence.json")[POSITIVE]
    parts = parts_of(finished_run)
    rows = independent.read_rows(finished_run / "split.csv")
    for source, block in found.items():
        share = block["prevalence"]
        own = [row["label"] == POSITIVE for row in rows if row["split"] == source]
        assert share == pytest.approx(np.mean(own))
        precision = independent.average_precision_at(parts["test"], prevalence=share)
        assert block["average_precision"] == pytest.approx({"value": precision, "baseline": share})
        best = independent.max_f1_at(parts["val"], prevalence=share)
        assert block["max_f1_at_prevalence"]["threshold"] == best
        cuts = independent.choose_thresholds(parts["val"], target=TARGET)
        assert {r: p["threshold"] for r, p in block["operating_points"].items()} == cuts
        for point in (block["max_f1_at_prevalence"], *block["operating_points"].values()):
            expected = independent.figures_at(
                parts["test"], threshold=point["threshold"], prevalence=share
            )
            for name in ("sensitivity", "specificity", "ppv", "npv", "f1_score"):
                value = point[name]["value"]
                assert (value is None) == (name not in expected)
                assert value is None or value == pytest.approx(expected[name], abs=1e-9)


def test_prevalence_and_net_benefit_intervals_are_within_monte_carlo_error(
    finished_run: Path,
) -> None:
    parts, random = parts_of(finished_run), np.random.default_rng(2)
    found = independent.read_json(finished_run / "prevalence.json")[POSITIVE]
    curve = {
        row["threshold"]: row
        for row in independent.read_rows(finished_run / "decision_curve.csv")
        if row["split"] == "test"
    }
    drawn: dict[str, list[float]] = {}
    for _ in range(400):
        val, test = (independent.draw_patients(parts[s], random) for s in ("val", "test"))
        line = {level: independent.net_benefit(test, float(level)) for level in LEVELS}
        for rule, cut in independent.choose_thresholds(val, target=TARGET).items():
            for source, block in found.items():
                at = independent.figures_at(test, threshold=cut, prevalence=block["prevalence"])
                line |= {f"{source}/{rule}/{key}": value for key, value in at.items()}
        for name, value in line.items():
            drawn.setdefault(name, []).append(value)
    intervals: dict[str, Sequence[float]] = {
        f"{source}/{rule}/{key}": point[key]["interval"]
        for source, block in found.items()
        for rule, point in block["operating_points"].items()
        for key in ("ppv", "npv")
        if is_compared(point[key])
    }
    assert len(intervals) >= 4
    for level in LEVELS:
        value = independent.net_benefit(parts["test"], float(level))
        assert float(curve[level]["net_benefit"]) == pytest.approx(value, abs=1e-9)
        intervals[level] = (float(curve[level]["lower"]), float(curve[level]["upper"]))
    for name, interval in intervals.items():
        assert_interval(interval, drawn[name], name=name)


def test_the_page_shows_the_calibration(finished_run: Path) -> None:
    rows = table_of(finished_run, f"Calibration, {POSITIVE}")
    found = independent.read_json(finished_run / "calibration.json")
    parts = parts_of(finished_run)
    assert [row["Split"] for row in rows] == ["VAL", "TEST"]
    for row in rows:
        split = row["Split"].lower()
        block, part = found[split][POSITIVE], parts[split]
        expected = independent.calibration_figures(part)
        for title, name in {**LINE, "ECE": "ece_equal_mass"}.items():
            value = expected[name] if block[name]["value"] is not None else None
            assert_cell(row[title], value, block[name].get("interval"))
        error = block["ece_equal_mass"]
        for text, value in zip(
            NUMBER.findall(row["If calibrated"]),
            (error["expected"], error["percentile_95"]),
            strict=True,
        ):
            assert_shown(text, value)
        brier = independent.brier_parts(part)
        assert_shown(row["Brier"], brier["value"])
        for name in ("reliability", "resolution", "uncertainty"):
            assert_shown(row[name.capitalize()], brier[name])


def test_the_page_shows_the_recalibration(finished_run: Path) -> None:
    rows = table_of(finished_run, f"Recalibration of {POSITIVE} on TEST, fitted on VAL")
    block = independent.read_json(finished_run / "recalibration.json")["classes"][POSITIVE]
    titles = [title for method, title in METHODS.items() if method in block]
    assert [row["Probabilities"] for row in rows] == ["As predicted", *titles]
    rule = independent.read_json(finished_run / "config.json")["operating_point"]
    cut = independent.choose_thresholds(parts_of(finished_run)["val"], target=TARGET)[rule]
    for row, method in zip(rows, block, strict=True):
        entry = block[method]["test"]
        for title, name in {
            "Slope": "slope",
            "Intercept": "intercept",
            "ECE": "ece_equal_mass",
        }.items():
            assert_cell(row[title], entry[name]["value"], entry[name].get("interval"))
        assert_shown(row["Brier"], entry["brier"]["value"])
        assert_shown(row["Log loss"], entry["log_loss"]["value"])
        if method != "before":
            cut = block[method]["thresholds"][rule]["threshold"]
        assert float(row["Threshold"]) == pytest.approx(cut, abs=0.0005)


def test_the_page_shows_the_prevalences(finished_run: Path) -> None:
    rows = table_of(finished_run, f"TEST at other prevalences of {POSITIVE}")
    found = independent.read_json(finished_run / "prevalence.json")[POSITIVE]
    rule = independent.read_json(finished_run / "config.json")["operating_point"]
    parts = parts_of(finished_run)
    cut = independent.choose_thresholds(parts["val"], target=TARGET)[rule]
    assert [SOURCES[row["Prevalence of"]] for row in rows] == list(found)
    for row in rows:
        block = found[SOURCES[row["Prevalence of"]]]
        share = block["prevalence"]
        assert_shown(row["Prevalence"], share)
        precision = independent.average_precision_at(parts["test"], prevalence=share)
        assert_shown(row["AP"], precision)
        at = independent.figures_at(parts["test"], threshold=cut, prevalence=share)
        for name in ("ppv", "npv"):
            interval = block["operating_points"][rule][name].get("interval")
            assert_cell(row[name.upper()], at.get(name), interval)
        best = independent.max_f1_at(parts["val"], prevalence=share)
        assert float(row["Max-F1 threshold"]) == pytest.approx(best, abs=0.0005)
        there = independent.figures_at(parts["test"], threshold=best, prevalence=share)
        for title, name in {
            "Its sensitivity": "sensitivity",
            "Its specificity": "specificity",
            "Its F1": "f1_score",
        }.items():
            assert_shown(row[title], there[name])
