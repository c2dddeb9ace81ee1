"""Figures are ready for print: no key over a curve, no text cut off or too small, names whole."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image
from tests.conftest import draw_findings, draw_predictions
from tests.plots.test_odd_inputs import comparison_of, judged, subgroups_of

from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.plots import draw_evaluation, draw_training_curves, style
from medimg_baseline_cls.plots.calibration import draw_calibration
from medimg_baseline_cls.plots.comparison import draw_comparison
from medimg_baseline_cls.plots.decision_curve import draw_decision_curves
from medimg_baseline_cls.plots.style import COLUMN, PAGE, fit
from medimg_baseline_cls.plots.subgroups import draw_subgroups
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.probabilities import CalibrationSummary
from medimg_baseline_cls.records.summaries import MetricKey, SplitSummary
from medimg_baseline_cls.schema import Predictions

# Forty characters each: words, one word, and the widest letters.
LONG = ("pleural thickening with effusion (right)", "pneumonoultramicroscopicsilicovolcanosis")
NAMES = (*LONG, "W" * 40, *(f"finding_{k}_of_the_left_upper_lobe" for k in range(11)))
Drawn = list[Figure]


class Unpainted(FigureCanvasAgg):
    def draw(self) -> None:
        self.figure.draw_without_rendering()

    def buffer_rgba(self) -> Any:
        return np.zeros((1, 1, 4), dtype=np.uint8)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, print_dpi: int) -> Drawn:
    """Return a list that collects every figure, laid out as for its PNG but not painted."""
    figures: Drawn = []
    monkeypatch.setattr(style, "DPI", print_dpi)
    monkeypatch.setattr(style, "FigureCanvasAgg", Unpainted)
    monkeypatch.setattr(style, "_encode_svg", lambda figure: (figures.append(figure), b"")[1])
    return figures


def resampled(summary: SplitSummary) -> SplitSummary:
    def add(key: MetricKey, estimate: Estimate) -> Estimate:
        number = estimate.value or 0.0
        bounds = (0.91 * number, 0.91 * number + 0.0234)
        return estimate.with_interval(Interval(bounds=bounds, method="bootstrap"))

    return summary.change(add)


def evaluate(
    folder: Path, names: tuple[str, ...], *, is_multilabel: bool = False
) -> tuple[Predictions, dict[str, SplitSummary]]:
    make = draw_findings if is_multilabel else draw_predictions
    parts = [make(split, class_names=names, num_images=60) for split in ("val", "test")]
    positive = names[1] if len(names) == 2 and not is_multilabel else None
    classes = names if is_multilabel else evaluated_classes(names, positive)
    thresholds = choose_thresholds(parts[0], classes=classes, target_sensitivity=0.9)
    summaries = {
        part.split: resampled(summarize_predictions(part, thresholds, positive_class=positive))
        for part in parts
    }
    draw_evaluation(parts, folder, summaries=summaries)
    return parts[1], summaries


def words_of(figure: Figure) -> list[Text]:
    """Return what is written; matplotlib keeps labels of ticks outside the axis, undrawn."""
    hidden: set[int] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not (axes.axison and low <= tick.get_loc() <= high):
                    hidden |= {id(tick.label1), id(tick.label2)}
    texts: list[Any] = figure.findobj(lambda artist: isinstance(artist, Text))
    return [
        text
        for text in texts
        if id(text) not in hidden and text.get_visible() and text.get_text().strip()
    ]


def require_whole(figure: Figure) -> None:
    """Fail where a text leaves the canvas or is tiny."""
    width, height = figure.canvas.get_width_height()
    for text in words_of(figure):
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside and text.get_fontsize() >= 7, text.get_text()


def require_printable(figure: Figure) -> None:
    """Fail where a text leaves the canvas or is tiny, or a key covers a panel."""
    require_whole(figure)
    height = figure.get_figheight()
    panels = [axes.get_window_extent() for axes in figure.axes if axes.axison]
    assert panels and all(min(box.width, box.height) > figure.dpi / 2 for box in panels)
    legends: list[Any] = figure.findobj(lambda artist: isinstance(artist, Legend))
    boxes = [legend.get_window_extent() for legend in legends]
    for box in boxes:
        for other in [*panels, *(b for b in boxes if b is not box)]:
            is_apart = box.x1 <= other.x0 + 1 or other.x1 <= box.x0 + 1
            assert is_apart or box.y1 <= other.y0 + 1 or other.y1 <= box.y0 + 1
    assert figure.get_figwidth() in (COLUMN, PAGE) and height < 10.5


@pytest.mark.parametrize(
    ("number", "is_multilabel"), [(2, False), (4, False), (9, False), (1, True), (14, True)]
)
def test_keys_and_names_have_their_place(
    tmp_path: Path, drawn: Drawn, number: int, is_multilabel: bool
) -> None:
    names = NAMES[:number]
    test, summaries = evaluate(tmp_path, names, is_multilabel=is_multilabel)
    both = {name: judged(test, name) for name in summaries["test"].classes}
    found = {split: {n: content for n, (content, _) in both.items()} for split in ("val", "test")}
    after = {m: {n: f.bins for n, f in found["test"].items()} for m in ("platt", "isotonic")}
    draw_calibration(tmp_path / "c.png", CalibrationSummary(found), scores=test, after=after)
    draw_decision_curves(tmp_path / "d.png", {name: curve for name, (_, curve) in both.items()})
    assert len(drawn) == 5 + (number <= 9)
    for figure in drawn:
        if figure.axes[0].images:  # a matrix: its words are in its cells
            require_whole(figure)
            continue
        require_printable(figure)
        together = "".join(t.get_text() for t in words_of(figure)).replace("\n", "")
        for name in summaries["test"].classes:
            assert name.replace(" ", "") in together.replace(" ", "")


def test_curves_of_training_and_models_are_not_covered(tmp_path: Path, drawn: Drawn) -> None:
    row = {"stage": "head", "train_loss": 0.1, "val_loss": 0.2, "val_ap": 0.9, "val_auroc": 0.8}
    draw_training_curves([{**row, "epoch": k} for k in range(3)], tmp_path / "t.png")
    content = comparison_of(list(LONG), [0.1], classes=list(LONG))
    draw_comparison(content, tmp_path / "c.png", rule="max_f1")
    draw_subgroups(subgroups_of(LONG[0], {}), tmp_path / "s.png", class_name=LONG[0], rule="max_f1")
    for figure in drawn[:2]:
        require_printable(figure)
    assert all(text.get_fontsize() >= 7 for text in words_of(drawn[2]))


@pytest.mark.parametrize("names", [("no", "yes"), ("a", "b", "c")])
def test_areas_have_the_interval_of_the_summary(
    tmp_path: Path, drawn: Drawn, names: tuple[str, ...]
) -> None:
    _, summaries = evaluate(tmp_path, names)
    for figure, metric in zip(drawn[:2], ("auroc", "average_precision"), strict=True):
        texts = " ".join(text.get_text() for text in words_of(figure))
        for summary in summaries.values():
            for block in summary.classes.values():
                value, bounds = block.metrics[metric].value, block.metrics[metric].bounds
                assert value is not None and bounds is not None
                low, high = (np.format_float_positional(b + 1e-12, 3, min_digits=3) for b in bounds)
                assert f"{low}–{high})" in texts


def test_an_area_without_an_interval_has_no_brackets(tmp_path: Path, drawn: Drawn) -> None:
    part = draw_predictions("val")
    thresholds = choose_thresholds(part, classes=("PNEUMONIA",), target_sensitivity=0.9)
    summary = summarize_predictions(part, thresholds, positive_class="PNEUMONIA")
    draw_evaluation([part], tmp_path, summaries={"val": replace(summary, intervals={})})
    texts = [text.get_text() for text in words_of(drawn[0])]
    value = summary.classes["PNEUMONIA"].metrics["auroc"].value
    assert f"VAL (80 images): AUROC {value:.3f}" in texts


def test_a_name_is_broken_at_its_words_and_loses_its_middle_last() -> None:
    assert fit("atelectasis", 1.0) == "atelectasis"
    assert fit("left_upper_lobe", 0.8) == "left_upper_\nlobe"
    for name in NAMES:
        assert fit(name, 1.4, num_lines=4).replace("\n", "").replace(" ", "") == name.replace(
            " ", ""
        )
    assert "…" in fit("W" * 90, 1.0) and fit("W" * 90, 1.0).count("\n") == 2


def test_a_png_has_300_dots_per_inch(
    tmp_path: Path, print_dpi: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "DPI", print_dpi)
    with style.drawing(tmp_path / "f.png", width=COLUMN, height=1):
        pass
    with Image.open(tmp_path / "f.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert image.size == (1050, 300)
