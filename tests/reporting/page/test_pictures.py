"""Figures stand in their sections; each panel finds its mistake."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.page import pictures
from medimg_baseline_cls.reporting.page.pictures import list_errors, list_figures, read_picture

MULTI = ("COVID", "NORMAL", "PNEUMONIA")


def test_picture_is_the_very_bytes_of_the_file(make_run: Callable[..., Any]) -> None:
    path = make_run().folder / "figures" / "roc.png"
    picture = read_picture(path)
    head, _, body = picture.uri.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == path.read_bytes()
    assert (picture.width, picture.height) == (640, 480)
    assert not picture.is_wide


@pytest.mark.parametrize(
    ("size", "is_wide"),
    [((1050, 1250), False), ((1280, 1390), False), ((800, 400), True), ((2160, 2600), True)],
)
def test_a_figure_as_wide_as_a_printed_page_has_a_row(
    tmp_path: Path, size: tuple[int, int], is_wide: bool
) -> None:
    Image.new("1", size).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").is_wide == is_wide


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_a_png_is_refused(make_run: Callable[..., Any], data: bytes) -> None:
    path = make_run().folder / "figures" / "roc.png"
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"roc\.png is not a PNG"):
        read_picture(path)


def test_known_figures_stand_in_reading_order(make_run: Callable[..., Any]) -> None:
    run = make_run()
    figures = run.folder / "figures"
    for name in ("roc_A_B", "pr_val", "my_own"):
        shutil.copy(figures / "roc.png", figures / f"{name}.png")
    sections = list_figures(read_run(run.folder).figures)
    names = {key: [f.name for f in section] for key, section in sections.items()}
    assert names["data"] == ["train_batch.png"]
    assert names["training"] == ["training.png"]
    assert names["evaluation"] == [
        *("roc.png", "roc_A_B.png", "pr_val.png", "precision_recall.png"),
        *("confusion.png", "score_histogram.png", "my_own.png"),
    ]
    titles = [f.title for f in sections["evaluation"]]
    assert titles[0] == "ROC curve"
    assert titles[1] == "ROC curve: A B"
    assert titles[2] == "Precision-recall curve: val"
    assert titles[-1] == "My own"


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
@pytest.mark.parametrize("kind", ["FP", "FN"])
def test_each_panel_finds_its_mistake(
    make_run: Callable[..., Any], class_names: tuple[str, ...], kind: str
) -> None:
    run = make_run(class_names)
    content = read_run(run.folder)
    gallery = list_errors(content, kind)
    rows = [row for row in content.mistakes if row["kind"] == kind]
    assert {(e.class_name, e.image_id) for e in gallery.shown} == {
        (row["class"], row["image_id"]) for row in rows
    }
    assert all(error.picture is not None for error in gallery.shown)
    for error, path in zip(gallery.shown, content.panels[kind], strict=True):
        assert path.name.startswith(f"{int(error.anchor.split('-')[1]):02d}_")
        assert path.stem.endswith(error.image_id.split("/")[-1].removesuffix(".jpeg"))
        of_image = [
            r for r in rows if (r["class"], r["image_id"]) == (error.class_name, error.image_id)
        ]
        assert len(error.rules) == len(of_image)
        assert float(error.probability) == pytest.approx(
            float(of_image[0]["probability"]), abs=1e-3
        )
        assert error.label == error.image_id.split("/")[1]
    scores = [float(error.probability) for error in gallery.shown]
    assert scores == sorted(scores, reverse=kind == "FP")


def test_errors_without_panels_are_still_listed(make_run: Callable[..., Any]) -> None:
    run = make_run()
    with_panels = list_errors(read_run(run.folder), "FP")
    shutil.rmtree(run.folder / "gradcam")
    without = list_errors(read_run(run.folder), "FP")
    assert [e.image_id for e in without.shown] == [e.image_id for e in with_panels.shown]
    assert all(error.picture is None for error in without.shown)
    assert len({error.anchor for error in without.shown}) == len(without.shown)


def test_cut_name_of_a_long_file_finds_its_mistake(make_run: Callable[..., Any]) -> None:
    run = make_run(stem="y" * 100)
    gallery = list_errors(read_run(run.folder), "FP")
    assert {len(path.stem) for path in read_run(run.folder).panels["FP"]} == {90}
    assert all(error.image_id.startswith("test/") for error in gallery.shown)
    assert all(error.rules for error in gallery.shown)


def test_panel_without_a_mistake_says_what_its_name_says(make_run: Callable[..., Any]) -> None:
    run = make_run()
    folder = run.folder / "gradcam" / "FP"
    first = sorted(folder.glob("*.png"))[0]
    shutil.copy(first, folder / "90_p0.123_somebody_else.png")
    shutil.copy(first, folder / "by_hand.png")
    shown = list_errors(read_run(run.folder), "FP").shown
    assert [e.image_id for e in shown if e.image_id == "by_hand"]
    stranger = next(e for e in shown if e.image_id == "somebody_else")
    assert stranger.probability == "0.123"
    assert stranger.label == ""


def test_equal_scores_are_told_apart_by_the_image(make_run: Callable[..., Any]) -> None:
    run = make_run()
    header = ("split", "rule", "class", "kind", "rank", "image_id", "probability", "margin")
    ids = ("test/NORMAL/cba1.png", "test/NORMAL/ba1.png", "test/NORMAL/a1.png")
    rows = [
        ("test", "default", "PNEUMONIA", "FP", i, image_id, 0.9, 0.4)
        for i, image_id in enumerate(ids, start=1)
    ]
    run.write_csv("mistakes.csv", header, rows)
    folder = run.folder / "gradcam" / "FP"
    some = sorted(folder.glob("*.png"))[0].read_bytes()
    shutil.rmtree(folder)
    folder.mkdir()
    for number, name in enumerate(("cba1", "a1", "ba1"), start=1):
        (folder / f"{number:02d}_p0.900_test_NORMAL_{name}.png").write_bytes(some)
    shown = list_errors(read_run(run.folder), "FP").shown
    assert [e.image_id for e in shown] == [ids[0], ids[2], ids[1]]


def test_long_gallery_is_cut_and_says_so(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = read_run(make_run().folder)
    total = len(content.panels["FP"])
    assert total > 1
    monkeypatch.setattr(pictures, "MAX_PANELS", 1)
    gallery = list_errors(content, "FP")
    assert len(gallery.shown) == 1
    assert gallery.num_left_out == total - 1
