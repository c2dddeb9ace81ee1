"""Panels: one per mistaken image, with a threshold on whose wrong side it lies."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg_baseline_cls import predict, report
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.evaluation.mistakes import read_mistakes
from medimg_baseline_cls.interpret.cam import Evidence
from medimg_baseline_cls.interpret.panels import PanelText
from medimg_baseline_cls.pipeline.commands.explain import describe_panels, explain
from medimg_baseline_cls.pipeline.steps import panel_drawing
from medimg_baseline_cls.pipeline.steps.panel_drawing import (
    Explained,
    _describe_map,
    compute_maps,
    safe_name,
)
from medimg_baseline_cls.pipeline.steps.prepare import reopen_data
from medimg_baseline_cls.pipeline.steps.run_model import load_model
from medimg_baseline_cls.pipeline.steps.session import read_provenance, reopen_session


class NotingPainter:
    """Notes what it is asked to draw."""

    drawn: list[tuple[Path, PanelText]]

    def draw(
        self, path: Path, *, image: object, heat: object, record: PanelText, below: object
    ) -> None:
        assert below is None  # of images nothing is
        type(self).drawn.append((path, record))


@pytest.fixture
def drawn(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, PanelText]]:
    """Explain the run with a painter that draws nothing; the panels are made again after."""
    NotingPainter.drawn = []
    monkeypatch.setattr(panel_drawing, "PanelPainter", NotingPainter)
    explain(finished_run)
    monkeypatch.undo()
    explain(finished_run)
    return NotingPainter.drawn


def test_panel_shows_a_threshold_that_the_image_is_wrong_at(
    drawn: list[tuple[Path, PanelText]],
) -> None:
    assert drawn
    for _, text in drawn:
        is_called = text.probability >= text.threshold
        assert is_called == (text.kind == "FP")
        assert (text.label == text.class_name) == (text.kind == "FN")


def test_panel_is_of_a_mined_mistake(
    drawn: list[tuple[Path, PanelText]], finished_run: Path
) -> None:
    mined = {
        (m.kind, m.image_id, m.rule, m.probability)
        for m in read_mistakes(finished_run / "mistakes.csv")
    }
    assert all((t.kind, t.image_id, t.rule, t.probability) in mined for _, t in drawn)
    images = {(kind, image_id) for kind, image_id, _, _ in mined}
    assert len(drawn) == len(images)


def test_names_sort_by_confidence(drawn: list[tuple[Path, PanelText]]) -> None:
    for kind, sign in (("FP", -1), ("FN", 1)):
        ours = sorted((path.name, text) for path, text in drawn if text.kind == kind)
        scores = [sign * text.probability for _, text in ours]
        assert scores == sorted(scores)


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ([], "explained 0 mistaken images, of"),
        ([3], "explained 1 mistaken image, of"),
        ([3, 4, 9], "explained 3 mistaken images, of"),
        ([3, 4, 3, 3], "explained 2 mistaken images in 4 panels, of"),
    ],
)
def test_images_are_counted_and_not_their_panels(positions: list[int], words: str) -> None:
    text = PanelText(
        kind="FP", image_id="x", class_name="A", probability=0.9, label="B", threshold=0.5, rule="r"
    )
    drawn = [Explained(position, 0, Path("x.png"), text) for position in positions]
    assert describe_panels(drawn).startswith(words)


def test_panels_of_an_earlier_evaluation_go(finished_run: Path) -> None:
    stale = finished_run / "gradcam" / "FP" / "99_p0.999_stale.png"
    stale.write_bytes(b"")
    explain(finished_run)
    assert not stale.exists()
    assert list((finished_run / "gradcam").glob("F?/*.png"))


def test_maps_have_the_size_and_range_of_the_image(finished_run: Path) -> None:
    session = reopen_session(finished_run)
    data = reopen_data(session, read_provenance(finished_run))
    model, _ = load_model(session, "best.pt")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pixels, evidence = compute_maps(
        session,
        model,
        images=data.image_set("test"),
        positions=np.arange(5),
        targets=[0, 1, 0, 1, 1],
    )
    assert pixels.shape == (5, 1, 64, 64)
    maps = evidence.heats
    assert maps.shape == (5, 64, 64)
    assert evidence.grid[0] == evidence.grid[1] < 64
    assert evidence.is_found.shape == (5,)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert all(before[k].equal(v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("grid", "is_found", "note", "words"),
    [
        ((3, 3), False, "3 × 3 cells at 96 px input", "no place in the image"),
        ((7, 7), True, "7 × 7 cells at 96 px input", "every place"),
        ((1, 1), True, "1 cell at 96 px input", "single cell"),
    ],
)
def test_an_empty_map_is_explained_by_what_it_is_made_of(
    grid: tuple[int, int], is_found: bool, note: str, words: str
) -> None:
    text = PanelText(
        kind="", image_id="x", class_name="A", probability=0.9, label=None, threshold=0.5
    )
    heats = np.zeros((1, 96, 96), np.float32)
    said = _describe_map(text, Evidence(heats, grid, np.array([is_found])), number=0)
    assert said.map_note == note
    assert words in said.empty_note


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


def test_another_method_has_its_own_folder_names_and_place_in_the_report(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    before, page = names_below(run / "gradcam"), (run / "report.html").read_text()
    assert "The maps are Grad-CAM: they show what raised the score" in page
    drawn: list[PanelText] = []
    genuine = panel_drawing.PanelPainter.draw

    def note(self: object, path: Path, **parts: object) -> None:
        assert isinstance(parts["record"], PanelText)
        drawn.append(parts["record"])
        genuine(self, path, **parts)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(panel_drawing.PanelPainter, "draw", note)
    explain(run, method="eigencam")
    assert {text.method for text in drawn} == {"Eigen-CAM"} and not drawn[0].is_of_class
    assert names_below(run / "gradcam") == before
    names = names_below(run / "eigencam")
    panels = {name for name in names if not name.startswith("nearest/")}
    assert panels and all("_eigencam_" in name for name in panels)
    assert {name.replace("_eigencam_", "_") for name in names} == before
    report(run)
    page = (run / "report.html").read_text()
    assert "The maps are Eigen-CAM: they show the strongest pattern of the layer" in page
    assert "Grad-CAM panel of" not in page
    assert "Eigen-CAM panel of" in page
    assert "Eigen-CAM of" in (run / "checklist.md").read_text()
    explain(run)
    assert not (run / "explained.json").exists() and names_below(run / "eigencam") == names


def test_an_unknown_method_is_refused_before_anything_is_touched(finished_run: Path) -> None:
    before = names_below(finished_run)
    with pytest.raises(ConfigError, match="method=scorecam: expected one of gradcam"):
        explain(finished_run, method="scorecam")
    assert names_below(finished_run) == before


def test_predict_names_the_method_of_its_panels(
    finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    image = next((phantoms / "test").rglob("*.png"))
    with pytest.raises(ConfigError, match="--method layercam would do nothing: add --explain"):
        predict(finished_run, [image], output=tmp_path / "p.csv", method="layercam")
    with pytest.raises(ConfigError, match="method=cam: expected one of"):
        predict(finished_run, [image], output=tmp_path / "p.csv", method="cam", explain=True)
    assert not (tmp_path / "p.csv").exists()
    predict(finished_run, [image], output=tmp_path / "p.csv", method="gradcam++", explain=True)
    (panel,) = (tmp_path / "p").glob("*.png")
    assert panel.name.endswith(f"_gradcampp_{image.stem}.png")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test/NORMAL/IM-0001.jpeg", "IM-0001"),
        ("a\\b\\c d.png", "c_d"),
        ("x/../../etc/passwd", "passwd"),
        ("weird:*?<>|.png", "weird_"),
        ("", "image"),
        ("n" * 300 + ".png", "n" * 80),
    ],
)
def test_file_names_are_safe(text: str, expected: str) -> None:
    assert safe_name(text) == expected
