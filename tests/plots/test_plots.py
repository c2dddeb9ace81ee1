"""Every figure is drawn for every shape of data, repeatably, and shows what it claims."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn import metrics as oracle

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.plots import (
    Scored,
    draw_batch_grid,
    draw_confusion,
    draw_evaluation,
    draw_precision_recall,
    draw_roc,
    draw_score_histograms,
    draw_training_curves,
    style,
)
from medimg_baseline_cls.plots.roc_pr import trace_precision_recall, trace_roc
from medimg_baseline_cls.plots.style import BLUE, ORANGE, drawing
from medimg_baseline_cls.plots.training import find_best_epoch
from medimg_baseline_cls.schema import Predictions

MakePredictions = Callable[..., Predictions]
DRAWERS = [draw_roc, draw_precision_recall, draw_confusion, draw_score_histograms]


def score(parts: list[Predictions], positive: str | None) -> list[Scored]:
    """Return splits, the first of them VAL, with what is measured of them."""
    classes = evaluated_classes(parts[0].class_names, positive)
    thresholds = choose_thresholds(parts[0], classes=classes, target_sensitivity=0.95)
    return [
        Scored(part, summarize_predictions(part, thresholds, positive_class=positive))
        for part in parts
    ]


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def count_color(path: Path, color: str) -> int:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels_of(path).astype(int) - wanted).max(axis=2) <= 2).sum())


def test_a_png_of_few_colors_has_a_palette_that_keeps_the_frequent_ones(tmp_path: Path) -> None:
    rng, side = np.random.default_rng(3), 2 * style.DPI
    for name, number in (("few", 300), ("many", 20_000)):
        with drawing(tmp_path / f"{name}.png", width=2, height=2) as figure:
            figure.set_layout_engine("none")
            colors = rng.integers(0, 256, (number, 3)).astype(np.uint8)
            shown = np.tile(colors[0], (side, side, 1))
            shown.reshape(-1, 3)[:number] = colors
            figure.figimage(shown, origin="upper")
        drawn = pixels_of(tmp_path / f"{name}.png").reshape(-1, 3)
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.mode == ("P" if name == "few" else "RGB")
        same = (drawn == shown.reshape(-1, 3)).all(axis=1)
        assert same[number:].all()
        assert 250 <= same[:number].sum() < 300 if name == "few" else same.all()


@pytest.mark.parametrize("num_classes", [2, 3, 10, 18])
def test_all_figures_of_an_evaluation(
    tmp_path: Path, draw: MakePredictions, num_classes: int
) -> None:
    names = tuple(f"class_{i}_with_a_long_name" for i in range(num_classes))
    positive = names[1] if num_classes == 2 else None
    val, other = (draw(split, class_names=names, num_images=90) for split in ("val", "test"))
    summaries = {s.summary.split: s.summary for s in score([val, other], positive)}
    paths = draw_evaluation([val, other], tmp_path / "figures", summaries=summaries)
    expected = ["roc.png", "precision_recall.png", "confusion.png", "score_histogram.png"]
    assert [path.name for path in paths] == expected
    for path in paths:
        pixels = pixels_of(path)
        assert min(pixels.shape[:2]) > 2 * style.DPI
        assert pixels.min() < 60 and pixels.max() == 255
    both = [name.replace(".png", suffix) for name in expected for suffix in (".png", ".svg")]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(both)


@pytest.mark.parametrize("drawer", DRAWERS)
def test_a_positive_class_of_many_does_not_hide_the_others(
    tmp_path: Path, draw: MakePredictions, drawer: Callable[..., None]
) -> None:
    val = draw("val", class_names=("a", "b", "c"))
    thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.95)
    for name, positive in (("a.png", None), ("b.png", "b")):
        summary = summarize_predictions(val, thresholds, positive_class=positive)
        drawer([Scored(val, summary)], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("drawer", DRAWERS)
@pytest.mark.parametrize("truth", [[True, True, True], [False, False, False]])
def test_a_split_of_one_class_is_drawn(
    tmp_path: Path, binary: MakePredictions, drawer: Callable[..., None], truth: list[bool]
) -> None:
    val = binary("val", [True, False, False], [0.9, 0.9, 0.9])
    other = binary("test", truth, [0.0, 0.5, 1.0])
    path = tmp_path / "figure.png"
    drawer(score([val, other], "PNEUMONIA"), path)
    assert path.is_file()


@pytest.mark.parametrize("drawer", DRAWERS)
def test_class_names_are_drawn_as_they_are(
    tmp_path: Path, draw: MakePredictions, drawer: Callable[..., None]
) -> None:
    names = ("$x_1$ & 100 %", "肺炎", "_hidden\nline")
    val = draw("val", class_names=names)
    drawer(score([val], None), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize("drawer", DRAWERS)
def test_a_figure_is_repeatable_and_leaves_no_trace(
    tmp_path: Path, draw: MakePredictions, drawer: Callable[..., None]
) -> None:
    val, other = draw("val", num_images=600), draw("test", num_images=600)
    splits, before = score([val, other], "PNEUMONIA"), dict(mpl.rcParams)
    for name in ("a.png", "b.png"):
        drawer(splits, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import sys, medimg_baseline_cls.plots as plots\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("drawer", [draw_roc, draw_precision_recall])
def test_both_splits_have_their_curve(
    tmp_path: Path, val: Predictions, held_out: Predictions, drawer: Callable[..., None]
) -> None:
    splits, path = score([val, held_out], "PNEUMONIA"), tmp_path / "figure.png"
    drawer(splits, path)
    assert count_color(path, ORANGE) > 30 and count_color(path, BLUE) > 30
    drawer(splits[:1], path)
    assert count_color(path, ORANGE) > 30 and count_color(path, BLUE) == 0


@pytest.mark.parametrize("seed", range(4))
def test_curves_are_those_of_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.random(50) < 0.4
    scores = np.round(generator.random(50), 1)
    x, y = trace_roc(truth, scores) or ([], [])
    fpr, tpr, _ = oracle.roc_curve(truth, scores, drop_intermediate=False)
    assert np.allclose(x, fpr) and np.allclose(y, tpr)
    recall, precision = trace_precision_recall(truth, scores) or ([], [])
    area = np.trapezoid(precision, recall)
    assert area == pytest.approx(oracle.average_precision_score(truth, scores))


def test_curves_of_one_class_are_undefined() -> None:
    scores = np.array([0.1, 0.9])
    for truth in (np.array([True, True]), np.array([False, False])):
        assert trace_roc(truth, scores) is None
    assert trace_precision_recall(np.array([False, False]), scores) is None


def make_history(num_head: int, num_finetune: int) -> list[dict[str, str | float | None]]:
    rows: list[dict[str, str | float | None]] = []
    for stage, count in (("head", num_head), ("finetune", num_finetune)):
        for epoch in range(1, count + 1):
            loss = 1 / (len(rows) + 1)
            values = {"train_loss": loss, "val_loss": loss, "val_ap": 1 - loss, "val_auroc": ""}
            rows.append({"stage": stage, "epoch": str(epoch), **values})
    return rows


@pytest.mark.parametrize(("head", "finetune"), [(1, 0), (0, 3), (2, 5), (3, 80), (0, 0)])
def test_training_curves_of_any_length(tmp_path: Path, head: int, finetune: int) -> None:
    history = make_history(head, finetune)
    draw_training_curves(history, tmp_path / "training.png")
    first = pixels_of(tmp_path / "training.png")
    draw_training_curves([*history, *make_history(0, 1)], tmp_path / "training.png")
    assert not np.array_equal(first, pixels_of(tmp_path / "training.png"))


def test_training_curves_without_a_figure(tmp_path: Path) -> None:
    history = [{**row, "val_ap": None, "val_loss": "nan"} for row in make_history(1, 2)]
    draw_training_curves(history, tmp_path / "training.png")
    assert find_best_epoch(history) is None


def test_best_epoch_is_the_highest_ap_then_the_lowest_loss() -> None:
    rows = [("0.8", "0.1"), ("0.9", "0.4"), ("0.9", "0.3"), ("", "0.0")]
    history = [{"val_ap": ap, "val_loss": loss} for ap, loss in rows]
    assert find_best_epoch(history) == 2
    assert find_best_epoch([]) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_batch_grid_shows_every_image(tmp_path: Path, channels: int, count: int) -> None:
    images = np.linspace(0.2, 0.8, count)[:, None, None, None] * np.ones((1, channels, 8, 8))
    path = tmp_path / "train_batch.png"
    draw_batch_grid(images, ["NORMAL"] * count, path=path)
    shades = set(np.round(np.unique(pixels_of(path)[:, :, 0]) / 255, 2).tolist())
    assert {round(float(image.max()), 2) for image in images} <= {
        s + d for s in shades for d in (-0.01, 0, 0.01)
    } | shades


def test_batch_grid_keeps_the_orientation_and_clips(tmp_path: Path) -> None:
    image = np.zeros((1, 1, 8, 8))
    image[0, 0, :4, :4] = 7.0  # top left, far above 1
    draw_batch_grid(image, [""], path=tmp_path / "a.png")
    pixels = pixels_of(tmp_path / "a.png")[:, :, 0]
    side = pixels.shape[1]
    assert pixels[side // 4, side // 4] == 255
    assert pixels[side // 4, 3 * side // 4] == 0
    assert pixels[3 * side // 4, side // 4] == 0


@pytest.mark.parametrize(
    ("shape", "captions"), [((2, 8, 8), ["a", "b"]), ((1, 2, 8, 8), ["a"]), ((2, 1, 8, 8), ["a"])]
)
def test_a_batch_that_is_none_is_refused(
    tmp_path: Path, shape: tuple[int, ...], captions: list[str]
) -> None:
    with pytest.raises(DataError, match="captions"):
        draw_batch_grid(np.zeros(shape), captions, path=tmp_path / "a.png")


def test_a_failed_drawing_keeps_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with drawing(path, width=1, height=1):
        pass
    before = path.read_bytes()
    with pytest.raises(RuntimeError), drawing(path, width=2, height=1):
        raise RuntimeError("stop")
    assert path.read_bytes() == before
    assert pixels_of(path).shape == (style.DPI, style.DPI, 3)


@pytest.mark.parametrize("draw_figure", DRAWERS, ids=lambda f: f.__name__)
def test_svg_lies_beside_the_png_with_its_text_as_text(
    tmp_path: Path, draw: MakePredictions, draw_figure: Callable[..., None]
) -> None:
    names = ("NORMAL", "<script>&\x07'")
    val, other = (draw(split, class_names=names, num_images=90) for split in ("val", "test"))
    splits = score([val, other], names[1])
    written: list[bytes] = []
    for folder in ("first", "second"):
        path = tmp_path / folder / "figure.png"
        draw_figure(splits, path)
        written.append(path.with_suffix(".svg").read_bytes())
    assert written[0] == written[1]
    root = ElementTree.fromstring(written[0])
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "script" not in tags
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("}text")]
    assert any("TEST" in text for text in texts)
    assert not any(element.tag.endswith("}date") for element in root.iter())
    with Image.open(tmp_path / "first" / "figure.png") as image:
        width, height = (float(str(root.get(k)).removesuffix("pt")) for k in ("width", "height"))
        assert image.width / image.height == pytest.approx(width / height, rel=0.01)
