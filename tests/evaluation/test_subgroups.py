"""Each subgroup is measured as if it were all of TEST, or not at all, as scikit-learn has it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as oracle

from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.evaluation.subgroup_columns import SubgroupColumn, part_column
from medimg_baseline_cls.evaluation.subgroups import (
    SubgroupSettings,
    measure_subgroups,
    select_images,
    write_subgroups,
)
from medimg_baseline_cls.plots import style
from medimg_baseline_cls.plots.subgroups import draw_subgroups
from medimg_baseline_cls.records.subgroups import SubgroupSummary
from medimg_baseline_cls.schema import Predictions

MakePredictions = Callable[..., Predictions]
POSITIVE = "PNEUMONIA"
SETTINGS = SubgroupSettings(20, 0.9, Resampling(200, 5))


def column_of(name: str, values: list[str]) -> SubgroupColumn:
    return part_column(name, values, train=[], edges=None)


def measure(
    val: Predictions, test: Predictions, *columns: SubgroupColumn, positive: str | None = POSITIVE
) -> SubgroupSummary:
    names = [positive] if positive else list(val.class_names)
    thresholds = choose_thresholds(val, classes=names, target_sensitivity=0.9)
    return measure_subgroups(
        (val, test), columns, thresholds=thresholds, positive_class=positive, settings=SETTINGS
    )


def sexes_of(test: Predictions) -> list[str]:
    return [("F", "M", "")[i % 3] for i in range(len(test.labels))]


def test_every_figure_is_that_of_the_subgroup_alone(draw: MakePredictions) -> None:
    val, test = draw("val"), draw("test", num_images=200)
    content = measure(val, test, column_of("sex", sexes_of(test))).to_json()
    table = pd.DataFrame(
        {"sex": sexes_of(test), "y": test.truth(POSITIVE), "p": test.scores(POSITIVE)}
    ).assign(group=test.groups)
    (column,) = content["columns"]
    assert column["num_not_given"] == (table["sex"] == "").sum()
    for value, part in table[table["sex"] != ""].groupby("sex"):
        block = column["subgroups"][value]
        assert block["num_images"] == len(part)
        assert block["num_groups"] == len(set(part["group"]))
        found = block["classes"][POSITIVE]
        assert found["prevalence"] == pytest.approx(part["y"].mean())
        expected = {
            "auroc": oracle.roc_auc_score(part["y"], part["p"]),
            "average_precision": oracle.average_precision_score(part["y"], part["p"]),
            "brier_score": oracle.brier_score_loss(part["y"], part["p"]),
            "calibration_in_the_large": part["p"].mean() - part["y"].mean(),
        }
        assert {k: f["value"] for k, f in found["metrics"].items()} == pytest.approx(expected)
        for point in found["operating_points"].values():
            call = part["p"] >= point["threshold"]
            assert point["sensitivity"]["value"] == pytest.approx(call[part["y"]].mean())
            assert point["specificity"]["value"] == pytest.approx((~call)[~part["y"]].mean())
            assert point["ppv"]["value"] == pytest.approx(part["y"][call].mean())
            assert point["npv"]["value"] == pytest.approx((~part["y"])[~call].mean())


def test_intervals_hold_their_values_and_those_of_all_are_the_summary_s(
    draw: MakePredictions,
) -> None:
    val, test = draw("val"), draw("test", num_images=160)
    summary = measure(val, test, column_of("sex", sexes_of(test)))
    for _, _, subgroup in summary.items():
        for found in subgroup.classes[POSITIVE].metrics.values():
            assert found.bounds is not None and found.value is not None
            assert found.bounds[0] <= found.value <= found.bounds[1]
    thresholds = choose_thresholds(val, classes=[POSITIVE], target_sensitivity=0.9)
    summaries = {
        part.split: summarize_predictions(part, thresholds, positive_class=POSITIVE)
        for part in (val, test)
    }
    whole = add_intervals(
        summaries, (val, test), target_sensitivity=0.9, resampling=SETTINGS.resampling
    )["test"].to_json()["classes"][POSITIVE]
    found = summary.to_json()["all"]["classes"][POSITIVE]
    assert found["metrics"]["auroc"] == whole["metrics"]["auroc"]
    point = found["operating_points"]["max_f1"]
    assert point["sensitivity"] == whole["operating_points"]["max_f1"]["sensitivity"]


def test_a_smaller_subgroup_has_wider_intervals(draw: MakePredictions) -> None:
    val, test = draw("val"), draw("test", num_images=600)
    values = ["few" if i % 12 == 0 else "many" for i in range(600)]
    (column,) = measure(val, test, column_of("site", values)).to_json()["columns"]
    widths = {
        value: np.diff(block["classes"][POSITIVE]["metrics"]["auroc"]["interval"]).item()
        for value, block in column["subgroups"].items()
    }
    assert widths["few"] > 2 * widths["many"]


def test_few_images_are_listed_without_a_figure(draw: MakePredictions, tmp_path: Path) -> None:
    val, test = draw("val"), draw("test", num_images=100)
    values = ["a"] * 19 + ["b"] * 20 + ["c"] * 61
    summary = measure(val, test, column_of("device", values))
    subgroups = summary.to_json()["columns"][0]["subgroups"]
    assert {v: b["is_too_small"] for v, b in subgroups.items()} == {
        "a": True,
        "b": False,
        "c": False,
    }
    assert subgroups["a"] == {
        "num_images": 19,
        "num_groups": 10,
        "is_too_small": True,
        "classes": {},
    }
    write_subgroups(tmp_path / "subgroups.csv", summary)
    table = pd.read_csv(tmp_path / "subgroups.csv", keep_default_na=False)
    rows = table.loc[table["subgroup"] == "a", ["num_images", "value", "reason"]]
    assert rows.to_numpy().tolist() == [[19, "", "too few images"]]


def test_a_subgroup_of_one_class_has_sensitivity_or_specificity_alone(
    binary: MakePredictions,
) -> None:
    # 30 images each; at 0.5: bacteria 27 of 30, virus 15 of 30, NORMAL 24 of 30 rightly called
    scores = [0.9] * 27 + [0.1] * 3 + [0.9] * 15 + [0.1] * 15 + [0.9] * 6 + [0.1] * 24
    truth = [True] * 60 + [False] * 30
    kinds = ["bacteria"] * 30 + ["virus"] * 30 + ["NORMAL"] * 30
    test = binary("test", truth, scores)
    content = measure(binary("val", truth, scores), test, column_of("etiology", kinds))
    subgroups = content.to_json()["columns"][0]["subgroups"]
    expected = {"bacteria": ("sensitivity", 27), "virus": ("sensitivity", 15)}
    for value, (metric, hits) in {**expected, "NORMAL": ("specificity", 24)}.items():
        found = subgroups[value]["classes"][POSITIVE]
        point = found["operating_points"]["default"]
        assert point[metric]["value"] == pytest.approx(hits / 30)
        others = [f for k, f in point.items() if isinstance(f, dict) and k != metric]
        for figure in (*others, *found["metrics"].values()):
            assert figure["value"] is None and "images only" in figure["reason"]


def test_findings_are_measured_where_they_are_known(findings: MakePredictions) -> None:
    val, test = findings("val"), findings("test", num_images=120)
    content = measure(val, test, column_of("sex", sexes_of(test)), positive=None)
    mask = np.array(sexes_of(test)) == "M"
    part = select_images(test, mask)
    found = content.to_json()["columns"][0]["subgroups"]["M"]["classes"]["Mass"]
    known = part.known("Mass")
    truth, scores = part.truth("Mass")[known], part.scores("Mass")[known]
    assert found["num_positive"] + found["num_negative"] == known.sum()
    auroc = oracle.roc_auc_score(truth, scores)
    assert found["metrics"]["auroc"]["value"] == pytest.approx(auroc)


def test_the_csv_holds_every_figure_of_the_json(draw: MakePredictions, tmp_path: Path) -> None:
    val, test = draw("val"), draw("test", num_images=120)
    content = measure(val, test, column_of("sex", sexes_of(test)))
    write_subgroups(tmp_path / "subgroups.csv", content)
    table = pd.read_csv(tmp_path / "subgroups.csv", keep_default_na=False)
    assert len(table) == 3 * (4 + 3 * 4)  # all, F, M; 4 scores and 3 points of 4 figures
    rows = table[(table["subgroup"] == "M") & (table["rule"] == "max_f1")].set_index("metric")
    block = content.to_json()["columns"][0]["subgroups"]["M"]["classes"][POSITIVE]
    points = block["operating_points"]
    for metric in ("sensitivity", "npv"):
        figure = points["max_f1"][metric]
        found = [float(rows.loc[metric, key]) for key in ("value", "low", "high")]
        assert found == [figure["value"], *figure["interval"]]


@pytest.mark.parametrize("num_subgroups", [2, 20, 90])
def test_the_forest_plot_grows_with_its_rows(
    draw: MakePredictions, tmp_path: Path, num_subgroups: int
) -> None:
    val, test = draw("val"), draw("test", num_images=400)
    values = [f"site ${i % num_subgroups}" for i in range(400)]
    content = measure(val, test, column_of("site", values))
    draw_subgroups(content, tmp_path / "f.png", class_name=POSITIVE, rule="max_f1")
    with Image.open(tmp_path / "f.png") as image:
        height = image.height / style.DPI
    assert 0.65 + 0.13 * min(num_subgroups, 55) < height < 15  # inches
