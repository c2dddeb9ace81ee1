"""The forest plot: every site in it, what is pooled as a diamond, what is not in words."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from tests.plots.test_comparison import count_color
from tests.plots.test_layout import NAMES, drawn
from tests.records.site_samples import AUROCS, site_of, summary_of

from medimg_baseline_cls.plots import forest
from medimg_baseline_cls.plots.forest import draw_forest
from medimg_baseline_cls.plots.style import BLUE, PAGE, POSITIVE, SMALL
from medimg_baseline_cls.records.estimates import UNKNOWN
from medimg_baseline_cls.records.sites import SitesSummary, list_pooled

__all__ = ["drawn"]
AUROC, SENSITIVITY, SPECIFICITY = list_pooled("PNEUMONIA", "max_f1")


def texts_of(figure: Figure) -> list[str]:
    return [item.get_text() for item in figure.findobj(Text) if item.get_text()]


def draw(summary: SitesSummary, drawn: list[Figure], tmp_path: Path) -> Figure:
    draw_forest(summary, tmp_path / "forest.png")
    (figure,) = drawn
    return figure


def test_sites_are_blue_and_their_mean_is_a_diamond(tmp_path: Path) -> None:
    draw_forest(summary_of(), tmp_path / "three.png")
    assert {path.name for path in tmp_path.iterdir()} == {"three.png", "three.svg"}
    own = site_of("chest_run")
    draw_forest(summary_of([own]), tmp_path / "none.png")
    draw_forest(summary_of([own, site_of("north"), site_of("south")]), tmp_path / "two.png")
    names = ("none", "two", "three")
    blue, red = (
        [count_color(tmp_path / f"{name}.png", color) for name in names]
        for color in (BLUE, POSITIVE)
    )
    assert blue[0] == 0 and min(blue[1:]) > 20
    assert red[:2] == [0, 0] and red[2] > 20


def test_rows_are_named_with_test_of_the_run_first(drawn: list[Figure], tmp_path: Path) -> None:
    figure = draw(summary_of(), drawn, tmp_path)
    texts = texts_of(figure)
    rows = ["TEST of the run", "north", "south", "east", "Mean"]
    assert [text for text in texts if text in rows] == rows
    assert [text for text in texts if text in {"AUROC", "Sensitivity", "Specificity"}] == [
        "AUROC", "Sensitivity", "Specificity",
    ]  # fmt: skip
    assert texts.count("120") == len(AUROCS)
    assert "not pooled" not in texts and "undefined" not in texts


def test_the_diamond_and_the_line_are_where_the_numbers_are(
    drawn: list[Figure], tmp_path: Path
) -> None:
    summary = summary_of()
    panels = draw(summary, drawn, tmp_path).axes[1:]
    for axes, key in zip(panels, (AUROC, SENSITIVITY, SPECIFICITY), strict=True):
        pooled = summary.pooled[key]
        (diamond,) = axes.patches
        corners = diamond.get_xy()[:4]
        assert [corners[0][0], corners[2][0]] == pytest.approx(pooled.bounds)
        assert corners[1][0] == corners[3][0] == pytest.approx(pooled.value)
        spans = [tuple(line.get_xdata()) for line in axes.lines]
        assert pooled.prediction in spans
        for site in summary.sites:
            assert site.look_up(key).bounds in spans


def test_what_is_undefined_is_said_in_its_row(drawn: list[Figure], tmp_path: Path) -> None:
    odd = replace(site_of("west"), estimates={AUROC: UNKNOWN})
    sites = [site_of("chest_run"), site_of("north"), site_of("south"), odd]
    texts = texts_of(draw(summary_of(sites), drawn, tmp_path))
    assert texts.count("undefined") == 3
    assert texts.count("not pooled") == 3


def test_classes_are_blocks_with_a_heading(drawn: list[Figure], tmp_path: Path) -> None:
    summary = summary_of(classes=("Effusion", "Mass"))
    figure = draw(summary, drawn, tmp_path)
    texts = texts_of(figure)
    assert texts.index("Effusion") < texts.index("Mass")
    assert texts.count("Mean") == 2 and texts.count("north") == 2
    assert [len(axes.patches) for axes in figure.axes[1:]] == [2, 2, 2]


def test_long_names_and_many_findings_fit(drawn: list[Figure], tmp_path: Path) -> None:
    sites = [site_of("chest_run", NAMES), *(site_of(name, NAMES) for name in NAMES[:3])]
    figure = draw(summary_of(sites, classes=NAMES), drawn, tmp_path)
    assert any("more rows in sites.json" in text for text in texts_of(figure))
    assert figure.get_figheight() < 0.3 * forest.MAX_ROWS
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    width = PAGE * figure.dpi
    for item in figure.findobj(Text):
        if item.get_text() and item.get_visible():
            box = item.get_window_extent(renderer)
            assert box.x0 >= -1 and box.x1 <= width + 1
            assert item.get_fontsize() >= SMALL
