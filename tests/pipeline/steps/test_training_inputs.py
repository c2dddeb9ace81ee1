"""A run resumes only with the settings that decide on its training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import nn

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData, pixel_settings
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.pipeline.steps.training_inputs import make_settings
from medimg_baseline_cls.training.checkpoint import plain_settings

CONFIG = Config(data_dir=Path("x"), augment="light")


def identify(
    config: Config, *, transform: Any = None, module: nn.Module | None = None
) -> dict[str, Any]:
    """Return what last.pt has of the settings of a run."""
    pixels: PixelSettings = pixel_settings(config, "grey")
    split = SimpleNamespace(class_names=("A", "B"), task="multiclass")
    data = SimpleNamespace(split=split, positive_class="B", settings=pixels, provenance={})
    session = cast(Session, SimpleNamespace(config=config, module=module))
    return plain_settings(make_settings(session, cast(PreparedData, data), transform=transform))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("augment", "acquisition"), ("horizontal_flip", True), ("head_augment", True)),
        *(("arch", "resnet"), ("image_size", 64), ("keep_aspect", True), ("intensity", "min_max")),
        *(("head_fit", "logistic"), ("batchnorm", "train"), ("imbalance", "class_weights")),
    ],
)
def test_a_checkpoint_tells_other_training_apart(name: str, value: Any) -> None:
    other = Config(**({"data_dir": Path("x"), "augment": "light"} | {name: value}))
    assert identify(CONFIG) == identify(CONFIG)
    assert identify(CONFIG) != identify(other)


def test_a_checkpoint_tells_a_transform_that_was_passed_from_the_augmentation() -> None:
    own = identify(CONFIG, transform=object())
    assert own == identify(CONFIG, transform=object()) != identify(CONFIG)


def test_the_first_layers_of_a_network_that_was_passed_are_not_kept() -> None:
    own = identify(CONFIG, module=nn.Linear(1, 1))
    assert identify(CONFIG)["stages"][1]["frozen_stem"]
    assert not own["stages"][1]["frozen_stem"]
