"""The panel of a volume shows the slice that says most, and its map."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from medimg_baseline_cls.interpret.methods import find_method
from medimg_baseline_cls.models.build import build_model
from medimg_baseline_cls.models.classifier import Classifier, SlicePooling
from medimg_baseline_cls.models.slices import SliceHead, pool_slices, weigh_slices
from medimg_baseline_cls.pipeline.steps import panel_drawing
from medimg_baseline_cls.pipeline.steps.panel_drawing import compute_maps
from medimg_baseline_cls.utils.log import SILENT

NUM_SLICES, SIZE = 5, 64
SESSION = cast(Any, SimpleNamespace(device=torch.device("cpu")))


class Images:
    """Three volumes, as an image set gives them."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.pixels = draw.integers(0, 256, (3, NUM_SLICES, SIZE, SIZE), dtype=np.uint8)

    def batch(self, positions: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(pixels=torch.from_numpy(self.pixels[positions]))


def build(pooling: SlicePooling) -> Classifier:
    images = build_model("test_resnet", image_size=SIZE, pretrained=False)
    model = pool_slices(images, num_slices=NUM_SLICES, pooling=pooling).eval()
    head = model.head_layer
    assert isinstance(head, SliceHead)
    torch.nn.init.normal_(head.linear.weight, generator=torch.manual_seed(0))
    if pooling == "attention":
        torch.nn.init.normal_(head.score.weight, std=5.0, generator=torch.manual_seed(1))
    return model


@pytest.mark.parametrize("pooling", ["attention", "mean", "max", "lse"])
def test_it_is_the_slice_with_the_highest_weight(pooling: SlicePooling) -> None:
    model, images = build(pooling), Images()
    targets = [0, 1, 1]
    pixels, evidence = compute_maps(
        SESSION, model, images=cast(Any, images), positions=np.arange(3), targets=targets
    )
    unit = torch.from_numpy(images.pixels).float() / 255
    best = weigh_slices(model, unit, targets=torch.tensor(targets)).argmax(dim=1).tolist()
    assert pixels.shape == (3, 1, SIZE, SIZE)
    for number, place in enumerate(best):
        np.testing.assert_allclose(pixels[number, 0], unit[number, place].numpy())
        assert evidence.views[number].startswith(f"Slice {place + 1} of 5 from below")
        assert ("attention" in evidence.views[number]) == (pooling == "attention")
    assert evidence.heats.shape == (3, SIZE, SIZE)


def test_its_map_is_that_of_the_whole_computation() -> None:
    model, images = build("attention"), Images()
    _, evidence = compute_maps(
        SESSION, model, images=cast(Any, images), positions=np.array([1]), targets=[1]
    )
    unit = torch.from_numpy(images.pixels[1:2]).float() / 255
    place = int(weigh_slices(model, unit, targets=torch.tensor([1])).argmax())
    method = find_method("gradcam")
    every = method.compute(model, unit, targets=torch.tensor([1]), layer=f"net.{model.cam_layer}")
    assert len(every.heats) == NUM_SLICES
    np.testing.assert_allclose(evidence.heats[0], every.heats[place])


def test_a_method_with_one_map_per_volume_shows_it_on_that_slice() -> None:
    model, images = build("mean"), Images()
    pixels, evidence = compute_maps(
        SESSION,
        model,
        images=cast(Any, images),
        positions=np.array([0, 2]),
        targets=[0, 1],
        method=find_method("occlusion"),
    )
    assert (len(pixels), len(evidence.heats), len(evidence.views)) == (2, 2, 2)


def test_a_panel_names_the_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Painter:
        def draw(self, path: Path, *, image: Any, heat: Any, record: Any) -> None:
            assert image.shape == (1, SIZE, SIZE)
            shown.append(record.view)

    monkeypatch.setattr(panel_drawing, "PanelPainter", Painter)
    session = SimpleNamespace(device=torch.device("cpu"), log=SILENT)
    text = panel_drawing.PanelText(
        kind="FP", class_name="A", probability=0.7, threshold=0.5, label="B", image_id="x", rule=""
    )
    wanted = [panel_drawing.Explained(position=0, target=1, path=tmp_path / "a.png", text=text)]
    panel_drawing.draw_panels(
        cast(Any, session),
        build("mean"),
        images=cast(Any, Images()),
        wanted=wanted,
        method="gradcam",
    )
    (view,) = shown
    assert view.startswith("Slice ")
