"""Reliability and decision curves are drawn for one class, for many, and for odd ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_predictions

from medimg_baseline_cls.plots import style
from medimg_baseline_cls.plots.calibration import draw_calibration
from medimg_baseline_cls.plots.decision_curve import draw_decision_curves
from medimg_baseline_cls.records.probabilities import CalibrationSummary, ClassCalibration
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import draw_weights
from medimg_baseline_cls.statistics.calibration import describe_calibration
from medimg_baseline_cls.statistics.decision_curve import DecisionCurve, draw_decision_curve

MANY = tuple(f"finding $x_{k}$ with a long name" for k in range(11))


def judge(part: Predictions, name: str) -> tuple[ClassCalibration, DecisionCurve]:
    truth, scores = part.truth(name), part.scores(name)
    weights = draw_weights(
        part.groups, truth.astype(np.int64), num_resamples=50, seed=0, purpose="x"
    )
    found = describe_calibration(truth, scores, weights=weights, seed=0)
    return found, draw_decision_curve(truth, scores, weights=weights)


def draw_both(folder: Path, names: tuple[str, ...], *, shown: tuple[str, ...]) -> list[Path]:
    parts = [draw_predictions(split, class_names=names) for split in ("val", "test")]
    found = {part.split: {name: judge(part, name)[0] for name in shown} for part in parts}
    after = {
        method: {name: found["test"][name].bins for name in shown}
        for method in ("temperature", "platt")
    }
    paths = [folder / "calibration.png", folder / "decision_curve.png"]
    draw_calibration(paths[0], CalibrationSummary(found), scores=parts[1], after=after)
    draw_decision_curves(paths[1], {name: judge(parts[1], name)[1] for name in shown})
    return paths


@pytest.mark.parametrize("number", [1, 2, 4, 11])
def test_any_number_of_classes_is_drawn(tmp_path: Path, number: int) -> None:
    names = MANY[: max(number, 2)]
    for path in draw_both(tmp_path, names, shown=names[:number]):
        with Image.open(path) as image:
            assert image.width >= 3 * style.DPI and image.height >= 2 * style.DPI
            assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    pairs = zip(
        draw_both(first, MANY[:2], shown=MANY[:1]),
        draw_both(second, MANY[:2], shown=MANY[:1]),
        strict=True,
    )
    assert all(a.read_bytes() == b.read_bytes() for a, b in pairs)


def test_nothing_to_judge_draws_nothing(tmp_path: Path) -> None:
    part = draw_predictions("test")
    found = CalibrationSummary({"val": {}, "test": {}})
    draw_calibration(tmp_path / "a.png", found, scores=part, after={})
    draw_decision_curves(tmp_path / "b.png", {})
    assert list(tmp_path.iterdir()) == []
