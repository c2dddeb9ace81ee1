from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.interpret import panels
from medimg_baseline_cls.interpret.methods import METHODS, CamMethod
from medimg_baseline_cls.interpret.panels import PanelPainter, PanelText

RECORD = PanelText(
    kind="FP",
    class_name="PNEUMONIA",
    probability=0.973,
    label="NORMAL",
    threshold=0.612,
    image_id="test/NORMAL/IM-0001-0001.jpeg",
    rule="max_f1",
)


def corner_heat(size: int = 32) -> NDArray[np.float32]:
    """Return a map with its evidence in the upper left quarter."""
    heat = np.zeros((size, size), dtype=np.float32)
    heat[: size // 2, : size // 2] = 1.0
    return heat


def ramp(height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def draw(path: Path, image: object, heat: object, record: PanelText = RECORD) -> NDArray[np.int16]:
    PanelPainter().draw(path, image=image, heat=heat, record=record)  # type: ignore[arg-type]
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
        return np.asarray(picture).astype(np.int16)


def picture_of(drawn: NDArray[np.int16], number: int) -> NDArray[np.int16]:
    """Cut one of the three pictures out of a panel, a pixel short of its edges."""
    dpi = panels._DPI
    left = (panels._LEFT + number * (panels._SIDE + panels._GAP)) * dpi
    top = drawn.shape[0] - (panels._BOTTOM + panels._SIDE) * dpi
    side = panels._SIDE * dpi
    rows = slice(round(top) + 2, round(top + side) - 2)
    return drawn[rows, round(left) + 2 : round(left + side) - 2]


def test_heat_lies_where_the_evidence_is_on_map_and_overlay(tmp_path: Path) -> None:
    image = np.full((32, 32), 80, dtype=np.uint8)
    drawn = draw(tmp_path / "p.png", image, corner_heat())
    original, heat, overlay = (picture_of(drawn, i) for i in range(3))
    half = len(heat) // 2
    warm, cold = slice(10, half - 20), slice(half + 20, -10)
    assert np.abs(original[10:-10, 10:-10] - 80).max() <= 1
    assert heat[warm, warm].mean() > 150
    assert heat[cold, cold].mean() < 5
    assert heat[warm, cold].mean() < 5
    assert heat[cold, warm].mean() < 5
    assert np.abs(overlay[cold, cold] - 80).max() <= 1
    assert overlay[warm, warm, 0].mean() > 150


def test_original_and_overlay_are_aligned_to_the_pixel(tmp_path: Path) -> None:
    drawn = draw(tmp_path / "p.png", ramp(), np.zeros((32, 32)))
    original, _, overlay = (picture_of(drawn, i) for i in range(3))
    assert np.abs(original - overlay).max() <= 1
    assert np.ptp(original) > 240


@pytest.mark.parametrize(
    "arrange",
    [
        lambda grey: grey,
        lambda grey: grey[None],
        lambda grey: grey[..., None],
        lambda grey: np.repeat(grey[None], 3, axis=0),
        lambda grey: np.repeat(grey[..., None], 3, axis=-1),
        lambda grey: grey.astype(np.uint16) * 16,
        lambda grey: grey / np.float32(255),
    ],
    ids=["hw", "1hw", "hw1", "3hw", "hw3", "uint16", "float"],
)
def test_every_layout_and_depth_of_an_image_looks_the_same(
    tmp_path: Path, arrange: Callable[[NDArray[np.uint8]], NDArray[np.generic]]
) -> None:
    expected = draw(tmp_path / "a.png", ramp(), corner_heat())
    assert np.array_equal(draw(tmp_path / "b.png", arrange(ramp()), corner_heat()), expected)


def test_colors_of_an_rgb_image_are_kept(tmp_path: Path) -> None:
    image = np.zeros((3, 20, 20), dtype=np.uint8)
    image[0], image[2] = 200, 120
    original = picture_of(draw(tmp_path / "p.png", image, np.zeros((20, 20))), 0)
    assert np.abs(original[10:-10, 10:-10] - [200, 0, 120]).max() <= 1


def test_wide_image_stands_undistorted_on_black(tmp_path: Path) -> None:
    image = np.full((20, 40), 200, dtype=np.uint8)
    original = picture_of(draw(tmp_path / "p.png", image, corner_heat()), 0)
    side = len(original)
    is_black = (original.max(axis=-1) == 0).mean(axis=1)
    assert (is_black == 1).sum() == pytest.approx(side / 2, abs=6)
    assert original[side // 2].min() > 190


def test_painter_carries_nothing_over_from_the_panel_before(tmp_path: Path) -> None:
    painter = PanelPainter()
    other = replace(RECORD, kind="FN", probability=0.01, label=None, rule="", class_name="x" * 90)
    long_id = replace(other, image_id="folder/" * 60 + "x.png")
    painter.draw(tmp_path / "a.png", image=ramp(40, 90), heat=corner_heat(), record=long_id)
    painter.draw(tmp_path / "b.png", image=ramp(), heat=np.zeros((8, 8)), record=RECORD)
    PanelPainter().draw(tmp_path / "c.png", image=ramp(), heat=np.zeros((8, 8)), record=RECORD)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize("kind", ["FP", "FN", "TP", "TN", ""])
def test_kinds_and_long_texts_stay_within_their_places(tmp_path: Path, kind: str) -> None:
    long = "Pleural effusion, left-sided, moderate to large, with loculation"
    record = replace(
        RECORD, kind=kind, class_name=long, label=long, image_id="deep/" * 50 + "last_name.png"
    )
    painter = PanelPainter()
    painter.draw(tmp_path / "p.png", image=ramp(), heat=corner_heat(), record=record)
    ends = [painter._right_end(text) for text in (painter._kind, painter._score, painter._label)]
    assert ends == sorted(ends)
    assert painter._score.get_position()[0] > ends[0]
    assert painter._label.get_position()[0] > ends[1]
    assert ends[2] <= panels._GAUGE_LEFT
    assert painter._image_id.get_text().endswith("last_name.png")
    assert painter._right_end(painter._image_id) <= panels._GAUGE_LEFT - 0.5
    assert painter._score.get_text().startswith("p(Pleural eff")
    assert "…" in painter._score.get_text()
    assert painter._score.get_text().endswith(") = 0.973")


def written(record: PanelText, heat: NDArray[np.float32], path: Path) -> dict[str, str]:
    """Draw a panel and return its texts."""
    painter = PanelPainter()
    painter.draw(path, image=ramp(), heat=heat, record=record)
    return {
        "badge": painter._kind.get_text(),
        "score": painter._score.get_text(),
        "label": painter._label.get_text(),
        "map": painter._captions[1].get_text(),
        "empty": painter._empty.get_text(),
    }


PREDICTED = replace(RECORD, kind="", label=None, probability=0.246, decision="NORMAL")


def test_the_badge_of_a_prediction_is_its_decision(tmp_path: Path) -> None:
    said = written(PREDICTED, corner_heat(), tmp_path / "p.png")
    assert said["badge"] == "Called NORMAL"
    assert said["score"] == "p(PNEUMONIA) = 0.246"
    assert said["label"] == ""
    many = replace(PREDICTED, decision="Atelectasis, Cardiomegaly, Effusion, Infiltration, Mass")
    said = written(many, corner_heat(), tmp_path / "p.png")
    assert said["badge"].startswith("Called Atel")
    assert "…" in said["badge"]


def test_a_mistake_says_what_was_called_beside_the_label(tmp_path: Path) -> None:
    missed = replace(RECORD, kind="FN", label="COVID", class_name="COVID", decision="Opacity")
    said = written(missed, corner_heat(), tmp_path / "p.png")
    assert (said["badge"], said["label"]) == ("FALSE NEGATIVE", "label COVID, called Opacity")


def test_an_empty_map_says_why_and_another_does_not(tmp_path: Path) -> None:
    record = replace(PREDICTED, map_note="3 × 3 cells at 96 px input", empty_note="Empty: because")
    said = written(record, np.zeros((8, 8), np.float32), tmp_path / "a.png")
    assert said["empty"] == "Empty: because"
    assert said["map"] == f"Grad-CAM for {record.class_name}, 3 × 3 cells at 96 px input"
    black = picture_of(np.asarray(Image.open(tmp_path / "a.png")).astype(np.int16), 1)
    assert black.max() > 200  # white words on it
    assert written(record, corner_heat(), tmp_path / "b.png")["empty"] == ""


@pytest.mark.parametrize("name", ["A", "PNEUMONIA", "Pleural_thickening_" * 9, "W" * 90])
def test_the_class_of_the_map_is_named_and_fits(tmp_path: Path, name: str) -> None:
    notes = f"Empty: no place\nraised {panels.CLASS_NAME}."
    note = "28 × 28 cells at 1024 px input"
    record = replace(PREDICTED, class_name=name, map_note=note, empty_note=notes)
    painter = PanelPainter()
    heat = np.zeros((8, 8), np.float32)
    painter.draw(tmp_path / "p.png", image=ramp(), heat=heat, record=record)
    caption, empty = painter._captions[1], painter._empty
    middle = panels._LEFT + panels._GAP + panels._SIDE
    assert painter._right_end(caption) <= middle + panels._SIDE + 0.02
    assert painter._right_end(empty) <= middle + panels._SIDE
    for text in (caption.get_text(), empty.get_text()):
        assert name[:2].rstrip("_") in text and panels.CLASS_NAME not in text
        assert (name in text) or "…" in text
    assert caption.get_text().endswith(note) and empty.get_text().startswith("Empty: no place\n")


def test_a_map_is_called_what_it_is(tmp_path: Path) -> None:
    painter = PanelPainter()
    record = replace(RECORD, method="Eigen-CAM", is_of_class=False, shows="a strong pattern")
    for text, caption, note in (
        (RECORD, "Grad-CAM for PNEUMONIA", "Attribution: what raised the score"),
        (record, "Eigen-CAM, of no class", "Map: a strong pattern"),
    ):
        painter.draw(tmp_path / "p.png", image=ramp(), heat=corner_heat(), record=text)
        assert painter._captions[1].get_text() == caption
        assert painter._note.get_text() == f"{note}. Not a localization, not a cause."


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_note_of_each_method_leaves_room_for_the_name_of_the_image(
    tmp_path: Path, method: CamMethod
) -> None:
    painter = PanelPainter()
    record = replace(
        RECORD,
        image_id="W" * 200,
        method=method.label,
        is_of_class=method.is_of_class,
        shows=method.shows,
    )
    painter.draw(tmp_path / "p.png", image=ramp(), heat=corner_heat(), record=record)
    note = painter._note.get_window_extent(painter._canvas.get_renderer())
    assert painter._right_end(painter._image_id) < note.x0 / panels._DPI


@pytest.mark.parametrize("threshold", [0.0, 0.003, 0.5, 0.999, 1.0])
def test_threshold_stands_at_its_place_and_its_words_within_the_gauge(
    tmp_path: Path, threshold: float
) -> None:
    painter = PanelPainter()
    record = replace(RECORD, threshold=threshold, rule="target_sensitivity")
    painter.draw(tmp_path / "p.png", image=ramp(), heat=corner_heat(), record=record)
    place = painter._tick.get_x() + painter._tick.get_width() / 2
    assert place == pytest.approx(panels._GAUGE_LEFT + threshold * panels._SIDE)
    assert painter._threshold.get_position()[0] >= panels._GAUGE_LEFT - 1e-6
    assert painter._right_end(painter._threshold) <= panels._RIGHT + 0.02
    assert painter._threshold.get_text() == f"threshold {threshold:.3f} (target sensitivity)"


@pytest.mark.parametrize(
    ("probability", "threshold", "shown"),
    [
        (0.973, 0.612, ("0.973", "0.612")),
        (0.61204, 0.61196, ("0.61204", "0.61196")),
        (0.61204, 0.6119, ("0.6120", "0.6119")),
        (0.5, 0.5, ("0.500", "0.500")),
        (0.3, 0.1 + 0.2, ("0.3", "0.30000000000000004")),
    ],
)
def test_numbers_show_which_side_of_the_threshold_they_are_on(
    probability: float, threshold: float, shown: tuple[str, str]
) -> None:
    assert panels._format_distinct(probability, threshold) == shown


def test_letters_that_the_font_lacks_and_formulas_are_no_error(tmp_path: Path) -> None:
    record = replace(
        RECORD, image_id="bild_$x^2$\n_肺\udcff.png", class_name="肺炎", label="$\\frac$"
    )
    painter = PanelPainter()
    painter.draw(tmp_path / "p.png", image=ramp(), heat=corner_heat(), record=record)
    assert painter._image_id.get_text() == r"bild_$x^2$\n_?\xff.png"
    assert painter._label.get_text() == "label $\\frac$"


def test_drawing_leaves_matplotlib_and_its_settings_alone(tmp_path: Path) -> None:
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    draw(tmp_path / "p.png", ramp(), corner_heat())
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures


def test_large_film_is_drawn_at_the_size_of_the_panel(tmp_path: Path) -> None:
    drawn = draw(tmp_path / "p.png", ramp(1200, 1600), corner_heat(7))
    assert drawn.shape == (496, 1186, 3)


@pytest.mark.parametrize(
    ("image", "heat", "message"),
    [
        (np.zeros((2, 8, 8)), np.zeros((8, 8)), "neither gray nor RGB"),
        (np.zeros((8, 8, 4)), np.zeros((8, 8)), "neither gray nor RGB"),
        (np.zeros((0, 8)), np.zeros((8, 8)), "neither gray nor RGB"),
        (np.zeros(8), np.zeros((8, 8)), "neither gray nor RGB"),
        (np.zeros((8, 8)), np.zeros((1, 8, 8)), "expected \\(h, w"),
        (np.zeros((8, 8)), np.zeros((0, 0)), "expected \\(h, w"),
    ],
)
def test_arrays_of_another_shape_are_refused(
    tmp_path: Path, image: NDArray[np.float64], heat: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PanelPainter().draw(tmp_path / "p.png", image=image, heat=heat, record=RECORD)
    assert not (tmp_path / "p.png").exists()


def test_unknown_kind_is_refused(tmp_path: Path) -> None:
    record = replace(RECORD, kind="false")
    with pytest.raises(ValueError, match="expected one of FP, FN, TP, TN"):
        PanelPainter().draw(tmp_path / "p.png", image=ramp(), heat=corner_heat(), record=record)


def test_a_picture_is_put_below_and_nothing_else_changes(tmp_path: Path) -> None:
    plain = draw(tmp_path / "p.png", ramp(), corner_heat())
    below = np.random.default_rng(0).integers(0, 256, (40, panels.PANEL_WIDTH, 3), dtype=np.uint8)
    PanelPainter().draw(
        tmp_path / "q.png", image=ramp(), heat=corner_heat(), record=RECORD, below=below
    )
    with Image.open(tmp_path / "q.png") as picture:
        both = np.asarray(picture)
    np.testing.assert_array_equal(both, np.concatenate([plain, below]))


def test_a_blend_is_as_opaque_as_the_evidence_is_strong() -> None:
    image = np.full((8, 8), 0.5, dtype=np.float32)
    blended = panels.blend_heat(image, corner_heat(8))
    np.testing.assert_allclose(blended[4:], 0.5)
    hottest = np.array(mpl.colormaps["inferno"](1.0)[:3])
    np.testing.assert_allclose(blended[0, 0], 0.3 * 0.5 + 0.7 * hottest, rtol=1e-5)
