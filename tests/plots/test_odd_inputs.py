"""Figures of odd results: undefined metrics, one row or many, names of any script and length."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_findings, draw_predictions

from medimg_baseline_cls.plots.calibration import draw_calibration
from medimg_baseline_cls.plots.comparison import draw_comparison
from medimg_baseline_cls.plots.decision_curve import draw_decision_curves
from medimg_baseline_cls.plots.style import BLUE, CLASS_COLORS
from medimg_baseline_cls.plots.subgroups import draw_subgroups
from medimg_baseline_cls.records.comparisons import ComparedModel, Comparison, ModelDifference
from medimg_baseline_cls.records.estimates import Estimate, Interval, PairedDifference
from medimg_baseline_cls.records.probabilities import CalibrationSummary, ClassCalibration
from medimg_baseline_cls.records.subgroups import ColumnMetrics, Subgroup, SubgroupSummary
from medimg_baseline_cls.records.summaries import ClassMetrics, MetricKey, OperatingPoint
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.calibration import describe_calibration
from medimg_baseline_cls.statistics.decision_curve import DecisionCurve, draw_decision_curve

ODD_NAMES = ("cost_$5_and_$x$", "肺炎", "пневмония", "a" * 90, r"\frac{1}{0}", "R&D <b>")
Draw = Callable[[Path], None]
SMALL = Subgroup(num_images=3, num_groups=3, is_too_small=True, classes={})


def texts_of(png: Path) -> list[str]:
    """Return the texts of the SVG beside a figure."""
    root = ElementTree.fromstring(png.with_suffix(".svg").read_bytes())
    return [
        "".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def count_color(png: Path, color: str) -> int:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    with Image.open(png) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return int((np.abs(pixels - wanted).max(axis=2) <= 2).sum())


def height_of(png: Path) -> int:
    with Image.open(png) as image:
        return image.height


def estimate_of(value: float | None) -> Estimate:
    if value is None:
        return Estimate(value=None, reason="all images are of one class")
    interval = Interval(bounds=(value - 0.1, value + 0.1), method="bootstrap")
    return Estimate(value=value, interval=interval)


def block_of(name: str, value: float | None, *, num_images: int = 50) -> Subgroup:
    """Return a subgroup, or the whole, with one class."""
    scores = dict.fromkeys(("auroc", "average_precision"), estimate_of(value))
    calls = dict.fromkeys(("sensitivity", "specificity", "accuracy"), estimate_of(value))
    points = {"max_f1": OperatingPoint(metrics=calls)}
    classes = {name: ClassMetrics(metrics=scores, operating_points=points)}
    return replace(SMALL, num_images=num_images, is_too_small=False, classes=classes)


def subgroups_of(name: str, values: dict[str, Subgroup]) -> SubgroupSummary:
    site = ColumnMetrics(column="site", source="table", num_not_given=0, subgroups=values)
    return SubgroupSummary(
        split="test",
        positive_class=None,
        min_images=20,
        whole=block_of(name, 0.8, num_images=200),
        columns=(site,) if values else (),
    )


def gap_of(value: float | None, *, is_tested: bool) -> PairedDifference:
    if value is None:
        return PairedDifference(value=None, reason="undefined for one of the models")
    interval = estimate_of(value).interval
    p_value = 0.0004 if is_tested else None
    return PairedDifference(value=value, interval=interval, p_value=p_value, p_holm=p_value)


def comparison_of(names: list[str], gaps: list[float | None], *, classes: list[str]) -> Comparison:
    """Return a comparison: the same gaps for each class, p-values beside those of AUROC."""
    keys = [
        MetricKey(c, None, metric) for c in classes for metric in ("auroc", "average_precision")
    ]
    keys += [
        MetricKey(c, "max_f1", metric)
        for c in classes
        for metric in ("sensitivity", "specificity", "accuracy")
    ]
    estimates = dict.fromkeys(keys, estimate_of(0.7))
    return Comparison(
        split="test",
        task="multiclass",
        num_images=50,
        num_groups=50,
        class_names=tuple(classes),
        positive_class=classes[0] if len(classes) == 1 else None,
        intervals={},
        tests={},
        warnings=(),
        models=tuple(ComparedModel(name=n, thresholds={}, estimates=estimates) for n in names),
        differences=tuple(
            ModelDifference(
                name=name,
                is_identical=False,
                differences={k: gap_of(gap, is_tested=k.metric == "auroc") for k in keys},
            )
            for name, gap in zip(names[1:], gaps, strict=True)
        ),
    )


def judged(part: Predictions, name: str) -> tuple[ClassCalibration, DecisionCurve]:
    known = part.known(name)
    truth, scores = part.truth(name)[known], part.scores(name)[known]
    weights = np.random.default_rng(0).multinomial(
        len(truth), np.full(len(truth), 1 / len(truth)), size=30
    )
    ones = weights.astype(np.uint16)
    found = describe_calibration(truth, scores, weights=ones, seed=0)
    return found, draw_decision_curve(truth, scores, weights=ones)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_written_as_it_is(tmp_path: Path, name: str) -> None:
    shown = name if len(name) < 25 else "aaa…"
    png = tmp_path / "subgroups.png"
    draw_subgroups(
        subgroups_of(name, {name: block_of(name, 0.7)}), png, class_name=name, rule="max_f1"
    )
    assert sum(shown[:3] in text for text in texts_of(png)) >= 2  # a long name has several lines
    png = tmp_path / "comparison.png"
    content = comparison_of([name, f"{name} 2"], [0.1], classes=["yes"])
    draw_comparison(content, png, rule="max_f1")
    assert sum(shown[:3] in text for text in texts_of(png)) >= 3
    part = draw_predictions("test", class_names=("no", name))
    found, curve = judged(part, name)
    draw_calibration(
        tmp_path / "c.png", CalibrationSummary({"test": {name: found}}), scores=part, after={}
    )
    draw_decision_curves(tmp_path / "d.png", {name: curve})
    for path in (tmp_path / "c.png", tmp_path / "d.png"):
        assert any(shown[:3] in text for text in texts_of(path))
    assert all(len(text) < 200 for path in tmp_path.glob("*.png") for text in texts_of(path))


def test_a_subgroup_of_too_few_images_says_so_and_has_no_mark(tmp_path: Path) -> None:
    alone, both = tmp_path / "alone.png", tmp_path / "both.png"
    draw_subgroups(subgroups_of("yes", {"M": SMALL}), alone, class_name="yes", rule="max_f1")
    whole = {"M": SMALL, "F": block_of("yes", 0.7)}
    draw_subgroups(subgroups_of("yes", whole), both, class_name="yes", rule="max_f1")
    assert texts_of(alone).count("too few images") == texts_of(both).count("too few images") == 1
    assert {"M", "3", "All images", "200"} <= set(texts_of(alone))
    assert count_color(alone, BLUE) == 0 < count_color(both, BLUE)


def test_undefined_metrics_leave_a_row_without_a_mark(tmp_path: Path) -> None:
    png = tmp_path / "f.png"
    content = subgroups_of("yes", {"M": block_of("yes", None)})
    draw_subgroups(content, png, class_name="yes", rule="max_f1")
    assert "M" in texts_of(png) and count_color(png, BLUE) == 0
    assert "too few images" not in texts_of(png)


def test_the_whole_of_test_alone_is_one_row(tmp_path: Path) -> None:
    png = tmp_path / "f.png"
    draw_subgroups(subgroups_of("yes", {}), png, class_name="yes", rule="max_f1")
    assert "All images" in texts_of(png) and height_of(png) < 400


@pytest.mark.parametrize(("num_rows", "left"), [(40, 0), (58, 0), (59, 1), (200, 142)])
def test_rows_over_sixty_are_counted(tmp_path: Path, num_rows: int, left: int) -> None:
    png = tmp_path / "f.png"
    rows = {f"site {i:03d}": block_of("yes", 0.7) for i in range(num_rows)}
    draw_subgroups(subgroups_of("yes", rows), png, class_name="yes", rule="max_f1")
    texts = texts_of(png)
    assert sum(text.startswith("site ") for text in texts) == num_rows - left
    assert (f"{left} more rows in subgroups.csv" in texts) == (left > 0)


def test_an_absent_operating_point_leaves_the_auroc(tmp_path: Path) -> None:
    png, full = tmp_path / "f.png", tmp_path / "full.png"
    content = subgroups_of("yes", {"M": block_of("yes", 0.7)})
    draw_subgroups(content, png, class_name="yes", rule="none such")
    draw_subgroups(content, full, class_name="yes", rule="max_f1")
    assert 0 < count_color(png, BLUE) < count_color(full, BLUE) / 2


def test_undefined_differences_have_no_mark_and_no_p(tmp_path: Path) -> None:
    defined, png = tmp_path / "a.png", tmp_path / "b.png"
    for path, gap in ((defined, 0.05), (png, None)):
        draw_comparison(comparison_of(["a", "b"], [gap], classes=["yes"]), path, rule="max_f1")
    assert "&lt;0.001" not in texts_of(png) and "<0.001" in texts_of(defined)
    assert "<0.001" not in texts_of(png)
    marks = [count_color(path, CLASS_COLORS[1]) for path in (png, defined)]
    assert 0 < marks[0] < marks[1]


def test_a_clear_difference_is_drawn_stronger_than_an_unclear_one(tmp_path: Path) -> None:
    # Both intervals are as long; only the second leaves out 0.
    drawn: list[int] = []
    for number, gap in enumerate((0.05, 0.15)):
        png = tmp_path / f"{number}.png"
        draw_comparison(comparison_of(["a", "b"], [gap], classes=["yes"]), png, rule="max_f1")
        drawn.append(count_color(png, CLASS_COLORS[1]))
    assert drawn[0] < drawn[1]


def test_a_comparison_of_few_classes_and_of_many_fits(tmp_path: Path) -> None:
    heights: list[int] = []
    for number in (2, 40):
        png = tmp_path / f"{number}.png"
        classes = [f"finding {k}" for k in range(number)]
        draw_comparison(comparison_of(["a", "b"], [0.1], classes=classes), png, rule="max_f1")
        heights.append(height_of(png))
        rows = sum("AUROC" in text for text in texts_of(png))
        assert rows == min(number, 24)
    assert heights[0] < heights[1] < 4000


def test_one_class_alone_has_a_curve_without_a_slope(tmp_path: Path) -> None:
    part = draw_predictions("test", num_images=40)
    part.labels[:] = 1
    found, curve = judged(part, "PNEUMONIA")
    assert found.brief.slope.value is None
    png = tmp_path / "c.png"
    draw_calibration(png, CalibrationSummary({"test": {"PNEUMONIA": found}}), scores=part, after={})
    draw_decision_curves(tmp_path / "d.png", {"PNEUMONIA": curve})
    assert "TEST (40 images)" in texts_of(png)
    assert count_color(png, BLUE) > 50 and count_color(tmp_path / "d.png", BLUE) > 50


def test_few_images_make_one_bin(tmp_path: Path) -> None:
    part = draw_predictions("test", num_images=4)
    found, curve = judged(part, "PNEUMONIA")
    assert len(found.bins) == 1
    draw_calibration(
        tmp_path / "c.png",
        CalibrationSummary({"test": {"PNEUMONIA": found}}),
        scores=part,
        after={},
    )
    draw_decision_curves(tmp_path / "d.png", {"PNEUMONIA": curve})
    assert "TEST (4 images)" in texts_of(tmp_path / "c.png")


def test_recalibrations_are_named_and_one_without_a_map_is_left_out(tmp_path: Path) -> None:
    part = draw_predictions("test")
    one = judged(part, "PNEUMONIA")[0]
    found = CalibrationSummary({"test": {"PNEUMONIA": one}})
    after = {method: {"PNEUMONIA": one.bins} for method in ("platt", "beta")} | {"isotonic": {}}
    draw_calibration(tmp_path / "c.png", found, scores=part, after=after)
    texts = texts_of(tmp_path / "c.png")
    assert {"Platt", "Beta", "As predicted"} <= set(texts)
    assert "Isotonic" not in texts


@pytest.mark.parametrize(("number", "panels"), [(3, 3), (14, 14), (18, 16)])
def test_findings_have_sixteen_panels_at_most(tmp_path: Path, number: int, panels: int) -> None:
    names = tuple(f"finding {k}" for k in range(number))
    part = draw_findings("test", class_names=names)
    both = {name: judged(part, name) for name in names}
    found = CalibrationSummary({"test": {name: content for name, (content, _) in both.items()}})
    draw_calibration(tmp_path / "c.png", found, scores=part, after={})
    draw_decision_curves(tmp_path / "d.png", {name: curve for name, (_, curve) in both.items()})
    for path in (tmp_path / "c.png", tmp_path / "d.png"):
        texts = texts_of(path)
        assert sum("finding " in text for text in texts) == panels
        assert (f"first 16 of {number} classes" in texts) == (number > 16)


def draw_a_comparison(path: Path) -> None:
    draw_comparison(comparison_of(["a", "b"], [0.1], classes=["$x"]), path, rule="max_f1")


def draw_a_forest(path: Path) -> None:
    content = subgroups_of("$x", {"肺": block_of("$x", 0.7)})
    draw_subgroups(content, path, class_name="$x", rule="max_f1")


def draw_a_reliability(path: Path) -> None:
    part = draw_predictions("test")
    found = CalibrationSummary({"test": {"PNEUMONIA": judged(part, "PNEUMONIA")[0]}})
    draw_calibration(path, found, scores=part, after={})


def draw_a_decision(path: Path) -> None:
    draw_decision_curves(path, {"PNEUMONIA": judged(draw_predictions("test"), "PNEUMONIA")[1]})


@pytest.mark.parametrize(
    "draw_figure", [draw_a_comparison, draw_a_forest, draw_a_reliability, draw_a_decision]
)
def test_the_same_content_gives_the_same_bytes(tmp_path: Path, draw_figure: Draw) -> None:
    for name in ("a.png", "b.png"):
        draw_figure(tmp_path / name)
    for suffix in (".png", ".svg"):
        first, second = (tmp_path / f"{name}{suffix}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
