"""The two stages on volumes: the head with its pooling on stored features, then everything."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.toy import SIZE, ToySource, build_toy, make_settings, to_unit_range

from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.freeze import find_stem, parameter_groups
from medimg_baseline_cls.models.slices import pool_slices
from medimg_baseline_cls.training.fit import fit
from medimg_baseline_cls.training.history import read_history
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.utils.device import make_accelerator

NUM_SLICES = 4
HEAD = {
    f"head.{part}.{kind}"
    for part in ("linear", "value", "gate", "score")
    for kind in ("weight", "bias")
}


class ToyVolumes(ToySource):
    """Noise, and in class 1 a slice that is brighter in its upper half."""

    def __init__(self, num_images: int, *, seed: int = 0):
        super().__init__(num_images, seed=seed)
        draw = np.random.default_rng([seed, num_images, 1])
        shape = num_images, NUM_SLICES, SIZE, SIZE
        pixels = draw.normal(100, 20, shape)
        places = draw.integers(NUM_SLICES, size=num_images)
        for row, place in enumerate(places):
            pixels[row, place, : SIZE // 2] += 100.0 * self.labels[row]
        self.pixels = pixels.clip(0, 255).astype(np.uint8)


def make_volumes() -> TrainData:
    return TrainData(
        train=ToyVolumes(48, seed=1),
        val=ToyVolumes(24, seed=2),
        to_unit_range=to_unit_range,
        augment=None,
        class_counts=(24, 24),
    )


def build() -> Classifier:
    return pool_slices(build_toy(), num_slices=NUM_SLICES, pooling="attention")


def train(run_dir: Path, **changes: object) -> tuple[Classifier, dict[str, torch.Tensor]]:
    model = build()
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    run_dir.mkdir()
    settings = make_settings(**changes)
    accelerator = make_accelerator(torch.device("cpu"), "fp32")
    fit(model, make_volumes(), settings=settings, run_dir=run_dir, accelerator=accelerator)
    return model, before


def test_the_head_stage_trains_pooling_and_classifier_alone(tmp_path: Path) -> None:
    settings = make_settings()
    head_only = tuple(stage for stage in settings.stages if stage.name == "head")
    model, before = train(tmp_path / "run", stages=head_only)
    after = model.net.state_dict()
    changed = {name for name, value in before.items() if not value.equal(after[name])}
    assert changed <= HEAD
    assert {"head.linear.weight", "head.score.weight"} <= changed


def test_both_stages_learn_what_one_slice_shows(tmp_path: Path) -> None:
    model, before = train(tmp_path / "run")
    # The best epoch may be one of the head.
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    changed = {name for name, value in before.items() if not value.equal(after[name])}
    assert any(name.startswith("backbone.conv") for name in changed)
    history = read_history(tmp_path / "run")
    assert history is not None
    assert {row.stage for row in history.rows} == {"head", "finetune"}
    with torch.no_grad():
        pixels = torch.from_numpy(ToyVolumes(8, seed=3).pixels).float() / 255
        assert model.eval()(pixels).shape == (8, 2)


def test_pooling_and_classifier_have_the_rate_of_the_head() -> None:
    model = build()
    groups = parameter_groups(model, head_lr=0.1, backbone_lr=0.01, weight_decay=0.0)
    names = {id(parameter): name for name, parameter in model.net.named_parameters()}
    of_head = {names[id(p)] for group in groups if group["lr"] == 0.1 for p in group["params"]}
    assert of_head == HEAD
    of_backbone = {names[id(p)] for g in groups if g["lr"] == 0.01 for p in g["params"]}
    assert of_backbone == set(names.values()) - HEAD


@pytest.mark.parametrize("num_slices", [2, 7])
def test_the_stem_is_found_with_any_number_of_slices(num_slices: int) -> None:
    model = pool_slices(build_toy(), num_slices=num_slices, pooling="mean")
    images = find_stem(build_toy())
    assert [type(layer) for layer in find_stem(model)] == [type(layer) for layer in images]
