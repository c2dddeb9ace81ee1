"""The figure of a comparison: drawn for any number of models and classes, every model in it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.evaluation.aligned_models import AlignedModel
from medimg_baseline_cls.evaluation.comparison import compare_models
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes
from medimg_baseline_cls.plots.comparison import draw_comparison
from medimg_baseline_cls.plots.style import CLASS_COLORS
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.schema import Predictions

MakePredictions = Callable[..., Predictions]


def make_model(name: str, test: Predictions, positive: str | None) -> AlignedModel:
    classes = evaluated_classes(test.class_names, positive)
    val = replace(test, split="val")
    thresholds = choose_thresholds(val, classes=classes, target_sensitivity=0.9)
    return AlignedModel(name, test, thresholds, positive)


def count_color(path: Path, color: str) -> int:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return int((np.abs(pixels - wanted).max(axis=2) <= 2).sum())


@pytest.mark.parametrize(("num_models", "num_classes"), [(2, 2), (5, 2), (3, 4), (2, 30)])
def test_every_model_is_drawn(
    tmp_path: Path, draw: MakePredictions, num_models: int, num_classes: int
) -> None:
    names = tuple(f"class {n}" for n in range(num_classes))
    positive = names[1] if num_classes == 2 else None
    first = draw("test", class_names=names, num_images=90)
    others = [draw("test", class_names=names, num_images=90, seed=n + 1) for n in range(9)]
    tests = [first, *(replace(first, probabilities=other.probabilities) for other in others)]
    models = [make_model(f"run {n}", tests[n], positive) for n in range(num_models)]
    comparison = compare_models(models, resampling=Resampling(60, 0))
    draw_comparison(comparison, tmp_path / "comparison.png", rule="max_f1")
    for number in range(num_models):
        assert count_color(tmp_path / "comparison.png", CLASS_COLORS[number]) > 200
    assert count_color(tmp_path / "comparison.png", CLASS_COLORS[num_models]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.png", "comparison.svg"}


def test_an_undefined_metric_is_left_out(tmp_path: Path, draw: MakePredictions) -> None:
    test = draw("test", num_images=12)
    test = replace(test, labels=np.ones(12, dtype=np.int64))
    models = [make_model(name, test, "PNEUMONIA") for name in ("a", "b")]
    comparison = compare_models(models, resampling=Resampling(60, 0))
    gaps = comparison.differences[0].differences
    assert gaps[MetricKey("PNEUMONIA", None, "auroc")].value is None
    draw_comparison(comparison, tmp_path / "comparison.png", rule="max_f1")
    assert (tmp_path / "comparison.png").is_file()
