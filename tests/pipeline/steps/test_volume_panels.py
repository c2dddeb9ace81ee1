"""The panel of a volume shows the slice that says most, and its map."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import nibabel as nib
import numpy as np
import pytest
import torch
from torch.nn import functional

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.interpret.cam import Evidence
from medimg_baseline_cls.interpret.methods import METHODS, CamMethod, find_method
from medimg_baseline_cls.interpret.panels import PANEL_WIDTH
from medimg_baseline_cls.interpret.volume_maps import VolumeMap
from medimg_baseline_cls.models.build import build_model
from medimg_baseline_cls.models.classifier import (
    Classifier,
    NetworkFacts,
    SlicePooling,
    WeightsReport,
)
from medimg_baseline_cls.models.slices import SliceHead, pool_slices, weigh_slices
from medimg_baseline_cls.pipeline.steps import panel_drawing, volume_panels
from medimg_baseline_cls.pipeline.steps.panel_drawing import compute_maps
from medimg_baseline_cls.pipeline.steps.volume_panels import cut_planes, draw_views, find_grid
from medimg_baseline_cls.utils.log import SILENT, RunLog
from medimg_baseline_cls.utils.seed import torch_randomness

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
        assert evidence.volumes[number].view.startswith(f"Slice {place + 1} of 5 from below")
        assert ("attention" in evidence.volumes[number].view) == (pooling == "attention")
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


@pytest.mark.parametrize("name", METHODS)
def test_the_attention_is_in_every_map_but_that_of_eigen_cam(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices that are copies differ by their attention alone."""
    weights = np.array([0.1, 0.9, 0.0, 0.0, 0.0], np.float32)
    attention = torch.from_numpy(weights)
    monkeypatch.setattr(SliceHead, "attend", lambda _, slices: attention.expand(len(slices), -1))
    images = Images()
    images.pixels[:] = images.pixels[:, :1]
    _, evidence = compute_maps(
        SESSION,
        build("attention"),
        images=cast(Any, images),
        positions=np.array([0]),
        targets=[1],
        method=METHODS[name],
    )
    highest = evidence.volumes[0].heats.max(axis=(1, 2))
    expected = np.ones(5) if name == "eigencam" else weights / weights.max()
    np.testing.assert_allclose(highest, expected, rtol=0, atol=0.03)  # Grad-CAM++ bends them


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_map_for_all_slices_is_shown_as_far_as_its_slice_is_evidence(sign: float) -> None:
    """Features after a ReLU are not negative, so shares of a mean have the signs of the weights."""
    heat = np.random.default_rng(0).random((1, SIZE, SIZE), dtype=np.float32)
    one = Evidence(heat, (2, 2), np.array([True]))
    model, images = build("mean"), Images()
    head = model.head_layer
    assert isinstance(head, SliceHead)
    torch.nn.init.constant_(head.linear.weight, sign)
    _, evidence = compute_maps(
        SESSION,
        model,
        images=cast(Any, images),
        positions=np.array([0, 2]),
        targets=[0, 1],
        method=CamMethod(label="One", compute=lambda *_, **__: one),
    )
    assert len(evidence.heats) == 2
    for shown, volume in zip(evidence.heats, evidence.volumes, strict=True):
        assert (np.sign(volume.curve) == sign).all()
        np.testing.assert_array_equal(shown, volume.heats[volume.best])
        np.testing.assert_array_equal(shown, heat[0] * (sign > 0))
    assert evidence.is_found.tolist() == [sign > 0] * 2


def test_the_map_of_a_volume_is_the_grad_cam_of_its_slices_on_one_scale() -> None:
    model, images = build("attention"), Images()
    _, evidence = compute_maps(
        SESSION, model, images=cast(Any, images), positions=np.array([1]), targets=[1]
    )
    (volume,) = evidence.volumes
    unit = torch.from_numpy(images.pixels[1:2]).float() / 255
    weights = weigh_slices(model, unit, targets=torch.tensor([1]))[0].numpy()
    np.testing.assert_allclose(volume.curve, weights)
    np.testing.assert_array_equal(volume.pixels, unit[0].numpy())
    # By hand, from features (K, D, h, w) and the slopes of the logit of the volume.
    kept = list[torch.Tensor]()
    layer = model.net.get_submodule(model.cam_layer)
    handle = layer.register_forward_hook(lambda _layer, _inputs, found: kept.append(found))
    logit = model(unit)[0, 1]
    handle.remove()
    (slopes,) = torch.autograd.grad(logit, kept[0])
    maps = (slopes.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1, keepdim=True).relu()
    maps = functional.interpolate(maps, size=(SIZE, SIZE), mode="bilinear")[:, 0].detach().numpy()
    expected = (maps - maps.min()) / (maps.max() - maps.min())
    np.testing.assert_allclose(volume.heats, expected, atol=1e-5)
    assert volume.heats.max() == 1.0


class Small3D(torch.nn.Sequential):
    def __init__(self) -> None:
        nn = torch.nn
        last = nn.Linear(4 * NUM_SLICES * 16, 2)
        super().__init__(nn.Conv3d(1, 4, (3, 8, 8), (1, 16, 16), (1, 0, 0)), nn.Flatten(), last)


def build_3d() -> Classifier:
    sizes = {"num_classes": 2, "image_size": SIZE, "num_slices": NUM_SLICES}
    colors = {"mean": (0.5,), "std": (1.0,)}
    facts = NetworkFacts(arch="small", cam_layer="0", is_3d=True, **sizes, **colors)  # type: ignore[arg-type]
    with torch_randomness(0, "small"):
        return Classifier(Small3D(), facts, head_name="2", report=WeightsReport(kind="random"))


@pytest.mark.parametrize("method", ["gradcam", "occlusion"])
def test_a_3d_network_has_one_map_and_its_strongest_slice_is_shown(method: str) -> None:
    model = build_3d()
    images, kind = cast(Any, Images()), find_method(method)
    pixels, evidence = compute_maps(
        SESSION, model, images=images, positions=np.array([1]), targets=[1], method=kind
    )
    unit = torch.from_numpy(Images().pixels[1:2]).float() / 255
    whole = kind.compute(model, unit, targets=torch.tensor([1]), layer=f"net.{model.cam_layer}")
    (volume,) = evidence.volumes
    expected = np.broadcast_to(whole.heats.squeeze(0), (NUM_SLICES, SIZE, SIZE))
    np.testing.assert_array_equal(volume.heats, expected)
    assert len(np.unique(volume.curve)) > 1  # slices differ
    np.testing.assert_array_equal(evidence.heats[0], expected[volume.best])
    assert evidence.heats.max() == expected.max()
    np.testing.assert_allclose(pixels[0, 0], unit[0, volume.best].numpy())
    assert volume.view == f"Slice {volume.best + 1} of 5 from below"


class Painter:
    """Keeps what is to be drawn."""

    calls: ClassVar[list[dict[str, Any]]] = []

    def draw(self, path: Path, **call: Any) -> None:
        self.calls.append({"path": path, **call})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(panel_drawing, "PanelPainter", Painter)
    monkeypatch.setattr(Painter, "calls", [])
    return Painter.calls


def draw_one(tmp_path: Path, *, read: Callable[[int], bytes] | None = None) -> None:
    config = Config(image_size=SIZE, slices=NUM_SLICES)
    session = SimpleNamespace(device=torch.device("cpu"), log=SILENT, config=config)
    text = panel_drawing.PanelText(
        kind="FP", class_name="A", probability=0.7, threshold=0.5, label="B", image_id="x", rule=""
    )
    wanted = [panel_drawing.Explained(position=2, target=1, path=tmp_path / "a.png", text=text)]
    panel_drawing.draw_panels(
        cast(Any, session),
        build("mean"),
        images=cast(Any, Images()),
        wanted=wanted,
        method="gradcam",
        read=read,
    )


def test_a_panel_names_the_slice(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    draw_one(tmp_path)
    (call,) = drawn
    assert call["record"].view.startswith("Slice ")
    assert call["image"].shape == (1, SIZE, SIZE)
    assert call["below"].shape[1] == PANEL_WIDTH
    assert not list(tmp_path.iterdir())  # nothing is known of where its voxels are


def plant_map(place: tuple[int, int, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every map of the slices be empty but for one place."""
    heats = np.zeros((NUM_SLICES, SIZE, SIZE), np.float32)
    if place is not None:
        heats[place] = 1.0
    found = Evidence(heats, (8, 8), heats.any(axis=(1, 2)))
    method = CamMethod(label="Planted", compute=lambda *_, **__: found)
    monkeypatch.setattr(panel_drawing, "find_method", lambda _: method)


@pytest.mark.parametrize("is_evidence_elsewhere", [True, False])
def test_an_empty_slice_is_not_an_empty_volume(
    is_evidence_elsewhere: bool,
    tmp_path: Path,
    drawn: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = torch.from_numpy(Images().pixels[2:]).float() / 255
    best = int(weigh_slices(build("mean"), unit, targets=torch.tensor([1])).argmax())
    other = (best + 1) % NUM_SLICES
    said: list[str] = []
    monkeypatch.setattr(RunLog, "info", lambda _, text: said.append(text))
    plant_map((other, 20, 30) if is_evidence_elsewhere else None, monkeypatch)
    draw_one(tmp_path)
    (call,) = drawn
    assert not call["heat"].any()
    assert call["record"].view.startswith(f"Slice {best + 1} of 5")
    note = " ".join(call["record"].empty_note.split())
    if is_evidence_elsewhere:
        where = f"The strongest is in slice {other + 1} of 5."
        assert note == f"Empty: no place in this slice has evidence. {where}"
        assert not said
    else:
        assert note == "Empty: no place in the volume raised the score of {class}."
        assert said == ["1 of 1 maps is empty; each panel says why"]


def save_source(folder: Path) -> nib.Nifti1Image:
    stored = np.zeros((9, 7, 12), np.uint8)
    image = nib.Nifti1Image(stored, np.diag([-3.0, 2.0, 4.0, 1.0]))
    nib.save(image, folder / "source.nii.gz")
    return image


@pytest.mark.parametrize("place", [(2, 20, 30), None])
def test_a_map_without_evidence_is_not_written(
    place: tuple[int, int, int] | None,
    tmp_path: Path,
    drawn: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_source(tmp_path)
    plant_map(place, monkeypatch)
    draw_one(tmp_path, read=lambda _: (tmp_path / "source.nii.gz").read_bytes())
    assert (tmp_path / "a_map.nii.gz").is_file() == (place is not None)
    assert len(drawn) == 1


def test_the_map_is_written_over_the_voxels_of_the_file(
    tmp_path: Path, drawn: list[dict[str, Any]]
) -> None:
    image = save_source(tmp_path)
    asked: list[int] = []

    def read(position: int) -> bytes:
        asked.append(position)
        return (tmp_path / "source.nii.gz").read_bytes()

    draw_one(tmp_path, read=read)
    assert asked == [2]
    overlay = nib.load(tmp_path / "a_map.nii.gz")
    np.testing.assert_array_equal(overlay.affine, image.affine)
    assert overlay.shape == image.shape
    assert 0 < overlay.get_fdata().max() < 1.001
    assert len(drawn) == 1


@pytest.mark.parametrize("data", [b"", b"DICM" * 40])
def test_other_files_have_a_panel_and_no_overlay(
    data: bytes, tmp_path: Path, drawn: list[dict[str, Any]]
) -> None:
    def vanish(position: int) -> bytes:
        raise BadImageError("the file is not there")

    draw_one(tmp_path, read=lambda _: data)
    draw_one(tmp_path, read=vanish)
    assert [call["below"].shape[1] for call in drawn] == [PANEL_WIDTH] * 2
    assert not list(tmp_path.iterdir())


def make_map(place: tuple[int, int, int]) -> VolumeMap:
    heats = np.zeros((4, 6, 8), np.float32)
    heats[place] = 1.0
    pixels = np.random.default_rng(0).random(heats.shape, dtype=np.float32)
    curve = heats.max(axis=(1, 2))
    return VolumeMap(pixels=pixels, heats=heats, curve=curve, measure="share")


def test_planes_are_those_through_the_peak() -> None:
    found = make_map((3, 1, 6))
    axial, coronal, sagittal = cut_planes(found, (40.0, 60.0, 80.0), is_oriented=True)
    assert axial.title == "Axial, slice 4 of 4 from below"
    assert coronal.title == "Coronal, row 2 of 6 from the front"
    assert sagittal.title == "Sagittal, column 7 of 8 from the right"
    assert [plane.size for plane in (axial, coronal, sagittal)] == [(80, 60), (80, 40), (60, 40)]
    # The peak is hot, in the cross-hairs; the upper end is on top.
    for plane, letters in ((axial, "RLAP"), (coronal, "RLSI"), (sagittal, "APSI")):
        height, width = plane.picture.shape[:2]
        redness = plane.picture[..., 0] - plane.picture[..., 2]
        row, column = np.unravel_index(redness.argmax(), redness.shape)
        assert plane.cross == pytest.approx(((column + 0.5) / width, (row + 0.5) / height))
        assert plane.letters == letters
    assert coronal.cross[1] == pytest.approx(0.125)
    gray = found.pixels[::-1, 1]
    away = np.arange(8) != 6
    np.testing.assert_allclose(coronal.picture[:, away, 1], gray[:, away], atol=1e-6)


def test_the_marked_slice_is_the_one_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(volume_panels, "draw_planes", lambda _, **words: kept.update(words))
    alike = replace(make_map((0, 1, 2)), curve=np.full(4, 0.25, np.float32))
    draw_views(alike, None, settings=PixelSettings(image_size=8, slices=4))
    assert alike.view.startswith(f"Slice {kept['best'] + 1} of 4")


def test_sides_of_the_patient_are_not_guessed() -> None:
    planes = cut_planes(make_map((0, 1, 2)), (1.0, 1.0, 1.0), is_oriented=False)
    assert [p.title for p in planes] == ["Slice 1 of 4", "Row 2 of 6", "Column 3 of 8"]
    assert {plane.letters for plane in planes} == {""}


@pytest.mark.parametrize("code", [0, 1])
def test_sides_are_named_where_the_file_names_them(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = nib.Nifti1Image(np.zeros((8, 6, 4), np.uint8), np.diag([2.0, 3.0, 5.0, 1.0]))
    image.set_sform(image.affine, code)
    image.set_qform(None, 0)
    file = io.BytesIO()
    holder = nib.FileHolder(fileobj=file)
    image.to_file_map({"image": holder, "header": holder})
    kept: list[Any] = []
    monkeypatch.setattr(volume_panels, "draw_planes", lambda planes, **_: kept.extend(planes))
    grid = find_grid(lambda _: file.getvalue(), 0)
    settings = PixelSettings(image_size=8, slices=4)
    draw_views(make_map((0, 1, 2)), grid, settings=settings)
    assert [bool(plane.letters) for plane in kept] == [bool(code)] * 3
    assert kept[0].size == pytest.approx((16, 18))  # mm
    assert kept[1].size == pytest.approx((16, 20))
