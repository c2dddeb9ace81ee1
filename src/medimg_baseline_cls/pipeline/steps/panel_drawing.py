"""Panels of some images: maps computed in batches, captions, and drawing.

For the mistakes of a run and for new images alike.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medimg_baseline_cls.data.batches.loaders import ImageSet, to_unit_range
from medimg_baseline_cls.evaluation.inference import INFERENCE_BATCH_SIZE
from medimg_baseline_cls.interpret.cam import Evidence
from medimg_baseline_cls.interpret.methods import DEFAULT, METHODS, CamMethod, find_method
from medimg_baseline_cls.interpret.panels import CLASS_NAME, PanelPainter, PanelText
from medimg_baseline_cls.interpret.volume_maps import ATTENTION, VolumeMap, spread_map
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.slices import weigh_slices
from medimg_baseline_cls.pipeline.steps.prepare import pixel_settings
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.pipeline.steps.volume_panels import (
    ReadBytes,
    draw_views,
    find_grid,
    write_overlay,
)
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.visible import show_hidden

_FEW_CELLS = 5  # rows or columns of a map


@dataclass(frozen=True)
class Explained:
    """An image to explain: its position in a set, and the text of its panel."""

    position: int
    target: int
    path: Path
    text: PanelText


def draw_panels(
    session: Session,
    model: Classifier,
    *,
    images: ImageSet,
    wanted: Sequence[Explained],
    method: str,
    read: ReadBytes | None = None,
) -> None:
    """Compute the maps in batches and draw one panel each; note maps that show little.

    Panels of volumes have three planes, and the map is written for viewers next to them.

    Args:
        session: the open run.
        model: the network.
        images: the set that positions are of.
        wanted: what to draw, and where.
        method: the kind of map.
        read: gives the bytes of a file by its position in the set, for the grids of volumes.
    """
    kind = find_method(method)
    painter, num_empty = PanelPainter(), 0
    with session.log.progress("drawing panels", len(wanted)) as bar:
        for start in range(0, len(wanted), INFERENCE_BATCH_SIZE):
            chunk = wanted[start : start + INFERENCE_BATCH_SIZE]
            positions = np.array([item.position for item in chunk], dtype=np.int64)
            pixels, evidence = compute_maps(
                session,
                model,
                images=images,
                positions=positions,
                targets=[i.target for i in chunk],
                method=kind,
            )
            wholes = [volume.heats for volume in evidence.volumes] or evidence.heats
            num_empty += sum(not whole.any() for whole in wholes)
            for i, (item, image) in enumerate(zip(chunk, pixels, strict=True)):
                text = _describe_map(item.text, evidence, number=i, method=kind)
                volume = evidence.volumes[i] if evidence.volumes else None
                below = _draw_volume(session, item, found=volume, read=read)
                painter.draw(
                    item.path, image=image, heat=evidence.heats[i], record=text, below=below
                )
                bar.advance()
            if min(evidence.grid[-2:]) < _FEW_CELLS:
                session.log.hint(
                    f"the maps have {_shape(evidence)}: too few to distinguish places",
                    fix="train with a larger --image-size",
                )
    if num_empty:
        empty = say_count(num_empty, f"of {len(wanted)} maps are empty")
        session.log.info(f"{empty}; each panel says why")


def _draw_volume(
    session: Session, item: Explained, *, found: VolumeMap | None, read: ReadBytes | None
) -> NDArray[np.uint8] | None:
    """Write the map of a volume for viewers, and return the lower part of its panel."""
    if found is None:
        return None
    settings, grid = pixel_settings(session.config, "grey"), find_grid(read, item.position)
    write_overlay(item.path, found, grid=grid, settings=settings)
    return draw_views(found, grid, settings=settings)


def compute_maps(
    session: Session,
    model: Classifier,
    *,
    images: ImageSet,
    positions: NDArray[np.int64],
    targets: Sequence[int],
    method: CamMethod = METHODS[DEFAULT],
) -> tuple[NDArray[np.float32], Evidence]:
    """Return the pixels (n, C, S, S) of some images of a set and their maps.

    Of a volume these are the slice that says most about the class, and its map.
    """
    pixels = to_unit_range(images.batch(positions).pixels, session.device)
    compute = partial(method.compute, model, layer=f"net.{model.cam_layer}")
    if not model.facts.num_slices:
        return pixels.cpu().numpy(), compute(pixels, targets=torch.tensor(targets))
    found = [
        _map_volume(model, volume[None], target=target, compute=compute)
        for volume, target in zip(pixels, targets, strict=True)
    ]
    heats = np.concatenate([item.heats for item in found])
    is_found = np.concatenate([item.is_found for item in found])
    volumes = tuple(volume for item in found for volume in item.volumes)
    slices = np.stack([volume.pixels[volume.best][None] for volume in volumes])
    return slices, Evidence(heats, found[0].grid, is_found, volumes)


def _map_volume(
    model: Classifier, pixels: Tensor, *, target: int, compute: Callable[..., Evidence]
) -> Evidence:
    """Return the map of the slice that says most, and that of its volume (1, K, S, S)."""
    targets = torch.tensor([target])
    evidence = compute(pixels, targets=targets)
    if model.facts.is_3d:
        return _take_whole_map(evidence, pixels)
    weights = weigh_slices(model, pixels, targets=targets)[0].cpu().numpy()
    heats = evidence.heats
    volume = VolumeMap(
        pixels=pixels[0].cpu().numpy(),
        heats=heats if len(heats) > 1 else spread_map(heats[0], weights),
        curve=weights,
        measure=ATTENTION if model.facts.pooling == "attention" else "share in the score",
    )
    is_found = evidence.is_found.any() and (len(heats) > 1 or weights.max() > 0)
    shown = volume.heats[[volume.best]]
    return Evidence(shown, evidence.grid, np.array([is_found], dtype=np.bool_), (volume,))


def _take_whole_map(evidence: Evidence, pixels: Tensor) -> Evidence:
    """Return the map of a 3D network for a volume (1, K, S, S) and that of its strongest slice."""
    heats = np.broadcast_to(evidence.heats.squeeze(0), tuple(pixels.shape[1:]))
    volume = VolumeMap(
        pixels=pixels[0].cpu().numpy(),
        heats=heats,
        curve=heats.max(axis=(1, 2)),
        measure="highest evidence",
    )
    return Evidence(heats[[volume.best]], evidence.grid, evidence.is_found, (volume,))


def _describe_map(
    text: PanelText, evidence: Evidence, *, number: int, method: CamMethod = METHODS[DEFAULT]
) -> PanelText:
    """Return the text of a panel: kind and resolution of the map, and why it may be empty."""
    volume = evidence.volumes[number] if evidence.volumes else None
    if volume is not None and volume.heats.any():
        place = f"slice {volume.peak[0] + 1} of {len(volume.heats)}"
        reason = f"Empty: no place in this slice\nhas evidence. The strongest\nis in {place}."
    elif not method.is_of_class:
        reason = "Empty: all places are alike."
    elif set(evidence.grid) == {1}:
        reason = f"Empty: at this input size the map\nof {CLASS_NAME}\nhas a single cell."
    elif evidence.is_found[number]:
        reason = f"Empty: every place raised the score\nof {CLASS_NAME}\nalike."
    else:
        where = "image" if volume is None else "volume"
        reason = f"Empty: no place in the {where}\nraised the score of\n{CLASS_NAME}."
    return replace(
        text,
        method=method.label,
        is_of_class=method.is_of_class,
        shows=method.shows,
        map_note=_shape(evidence),
        view=text.view if volume is None else volume.view,
        empty_note=reason,
    )


def _shape(evidence: Evidence) -> str:
    sides = " × ".join(map(str, evidence.grid))
    cells = "1 cell" if set(evidence.grid) == {1} else f"{sides} cells"
    return f"{cells} at {evidence.heats.shape[-1]} px input"


def safe_name(text: str) -> str:
    """Return a text as a part of a file name: its last path component, plain characters.

    >>> safe_name("test/NORMAL/IM 0001.jpeg")
    'IM_0001'
    """
    stem = Path(text.replace("\\", "/")).stem
    return re.sub(r"[^\w.-]+", "_", show_hidden(stem))[:80] or "image"
