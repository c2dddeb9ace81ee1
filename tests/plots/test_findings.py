"""Figures of several findings are drawn of the images where each is known."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image
from tests.conftest import draw_odd_findings, flip_unknown, with_column

from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.plots import draw_evaluation
from medimg_baseline_cls.schema import Predictions

MakePredictions = Callable[..., Predictions]


def draw_all(parts: tuple[Predictions, ...], folder: Path, *, val: Predictions) -> tuple[Path, ...]:
    thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    summaries = {p.split: summarize_predictions(p, thresholds, positive_class=None) for p in parts}
    return draw_evaluation(parts, folder, summaries=summaries)


def test_unknown_images_change_no_figure(tmp_path: Path, findings: MakePredictions) -> None:
    val, other = findings("val"), findings("test")
    for name, part in (("one", other), ("other", flip_unknown(other))):
        draw_all((part,), tmp_path / name, val=val)
    paths = sorted((tmp_path / "one").iterdir())
    assert len(paths) > 3
    for path in paths:
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_a_single_finding_is_drawn(tmp_path: Path, findings: MakePredictions) -> None:
    val, other = (findings(split, class_names=("Mass",)) for split in ("val", "test"))
    written = draw_all((val, other), tmp_path, val=val)
    assert {"roc.png", "precision_recall.png"} <= {path.name for path in written}


def test_each_of_a_few_findings_has_its_matrix_of_known_images(
    tmp_path: Path, findings: MakePredictions
) -> None:
    val, other = findings("val"), findings("test")
    # What the network says of images where a finding is unknown changes no figure.
    drawn: list[dict[str, bytes]] = []
    for name, part in (("a", other), ("b", flip_unknown(other))):
        files = draw_all((val, part), tmp_path / name, val=val)
        drawn.append({path.name: path.read_bytes() for path in files})
    assert "confusion.png" in drawn[0]
    assert drawn[0] == drawn[1]
    never = with_column(other, 0, -1)
    draw_all((val, never), tmp_path / "c", val=val)
    assert (tmp_path / "c" / "confusion.png").read_bytes() != drawn[0]["confusion.png"]


def test_figures_of_many_are_drawn_without_a_matrix(tmp_path: Path) -> None:
    val, other = draw_odd_findings()
    written = draw_all((val, other), tmp_path, val=val)
    names = {"roc.png", "precision_recall.png", "score_histogram.png"}
    assert {path.name for path in written} == {p.name for p in tmp_path.glob("*.png")} == names
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 300
