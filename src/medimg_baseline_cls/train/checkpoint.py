"""Writes and reads best.pt, best_head.pt and last.pt: plain dicts of tensors and values.

All of them load with weights_only=True. last.pt is written first and alone decides how
far a run has come: the others can be made from it when a run was killed in between.
Refuses to resume with other settings than the run began with.
"""

import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.models.build import describe_model
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.schema import TrainSettings
from medimg_baseline_cls.train.history import EpochRow, Progress
from medimg_baseline_cls.utils.files import open_atomic

FORMAT = 1
# What may change when a run goes on: it does not touch the finished epochs.
_MAY_CHANGE = ("patience",)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that a resumed run needs: the content of last.pt.

    Attributes:
        settings: of the run, from `plain_settings`.
        progress: the finished epochs.
        model: the learning weights and buffers.
        optimizer: its state dict.
        average: the moving average of the weights, or None.
    """

    settings: dict[str, Any]
    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor] | None


def plain_settings(settings: TrainSettings, **facts: int) -> dict[str, Any]:
    """Return the settings that a resumed run must share, as plain values.

    Args:
        settings: of the run.
        facts: what else must not change, such as the number of training images.
    """
    plain = asdict(settings)
    del plain["checkpoint_header"]
    plain["stages"] = list(plain["stages"])
    plain["class_names"] = list(plain["class_names"])
    return {**plain, **facts}


def copy_weights(net: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's state, as `copy_tensors` does."""
    return copy_tensors(net.state_dict())


def copy_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU in row-major order, so that equal values are equal bytes in a file.

    >>> turned = torch.zeros(2, 3, 1, 1).to(memory_format=torch.channels_last)
    >>> copy_tensors({"w": turned})["w"].stride()
    (3, 1, 1, 1)
    """
    # `contiguous` would leave strides of dimensions of one as they are.
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def write_best(
    path: Path,
    model: Classifier,
    *,
    weights: Mapping[str, Tensor],
    row: EpochRow,
    header: Mapping[str, Any],
) -> None:
    """Write best.pt or best_head.pt: the weights that `rebuild_model` takes.

    Args:
        path: the target.
        model: describes the network; its own weights are not looked at.
        weights: the state of `model.net` to keep.
        row: the epoch that the weights are of.
        header: what else the later stages need, as plain values.
    """
    content = {
        "format": FORMAT,
        **header,
        "model": dict(weights),
        "description": describe_model(model),
        "stage": row.stage,
        "epoch": row.epoch,
        "val_ap": row.val_ap,
        "val_loss": row.val_loss,
    }
    _save(path, content)


def write_last(path: Path, snapshot: Snapshot) -> None:
    """Write last.pt."""
    content = {
        "format": FORMAT,
        "settings": snapshot.settings,
        "progress": snapshot.progress.to_plain(),
        "model": snapshot.model,
        "optimizer": snapshot.optimizer,
        "average": snapshot.average,
    }
    _save(path, content)


def read_last(path: Path, *, settings: Mapping[str, Any]) -> Snapshot:
    """Read last.pt and check that the run goes on as it began.

    Args:
        path: last.pt.
        settings: of the run that goes on, from `plain_settings`.

    Raises:
        TrainingError: the file is missing or garbled, or a setting is another.
    """
    content = read_checkpoint(path)
    _check_settings(content["settings"], settings)
    return Snapshot(
        settings=content["settings"],
        progress=Progress.from_plain(content["progress"]),
        model=content["model"],
        optimizer=content["optimizer"],
        average=content["average"],
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing but tensors and plain values is accepted.

    Raises:
        TrainingError: the file is missing or garbled, or has another format.
    """
    if not path.is_file():
        raise TrainingError(f"{path} is missing: restore it, or start a new run.")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is not a readable checkpoint ({error}).") from error
    if not isinstance(content, dict) or "format" not in content:
        raise TrainingError(f"{path} is a file of torch, but not a checkpoint of this program.")
    checkpoint = cast(dict[str, Any], content)
    if checkpoint["format"] != FORMAT:
        raise TrainingError(
            f"{path} has format {checkpoint['format']}, but this version reads {FORMAT}; "
            f"use the version that wrote it."
        )
    return checkpoint


def _check_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    names = [name for name in {**old, **new} if name not in _MAY_CHANGE]
    changed = [
        f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
        for name in names
        if old.get(name) != new.get(name)
    ]
    if changed:
        raise TrainingError(
            f"A run goes on with the settings it began with (only {', '.join(_MAY_CHANGE)} may "
            f"change), but {'; '.join(changed)}. Start a new run for other settings."
        )


def _save(path: Path, content: dict[str, Any]) -> None:
    with open_atomic(path) as file:
        torch.save(content, file)
