"""Write and read best.pt, best_head.pt and last.pt: plain dicts of tensors and values.

All of them load with weights_only=True, after their checksums are verified. last.pt is written
first and alone decides how far a run has come: if a run is killed after that, the others are
rebuilt from it. Refuses a file that is damaged or belongs to another run (decision 0020), and
to resume with other settings.
"""

import sys
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
from medimg_baseline_cls.training.history import EpochRow, Progress
from medimg_baseline_cls.utils.files import open_atomic
from medimg_baseline_cls.utils.tensor_files import UnreadableFileError, read_torch_archive

FORMAT = 1
# May change when a run resumes: it has no effect on the finished epochs.
_MAY_CHANGE = ("patience",)
# Names of the settings that users know, of what has another one here.
_USUAL_NAMES = {
    "head.epochs": "head_epochs",
    "head.augmented": "head_augment",
    "head.fit": "head_fit",
    "finetune.epochs": "finetune_epochs",
    "finetune.backbone_lr": "finetune_lr",
    "finetune.batchnorm": "batchnorm",
    "finetune.frozen_stem": "frozen_stem",
    "head.head_lr": "head_lr",
    "finetune.head_lr": "head_lr",
}
# Of a stage, as it was before there were these settings.
_EARLIER_STAGE = {"frozen_stem": False, "fit": "adamw"}
_IMPLIED = {"head_fit": "head_epochs", "select": "num_stresses"}
_Parts = Mapping[str, type | tuple[type, ...]]
_NUMBER, _NUMBER_OR_NONE = (int, float), (int, float, type(None))
_BEST: _Parts = {
    **dict.fromkeys(("model", "description"), dict),
    "stage": str,
    "epoch": int,
    "val_ap": _NUMBER_OR_NONE,
    "val_loss": _NUMBER,
}
_DESCRIPTION: _Parts = {
    **dict.fromkeys(("arch", "cam_layer"), str),
    **dict.fromkeys(("num_classes", "image_size"), int),
    **dict.fromkeys(("mean", "std"), list),
}
_LAST: _Parts = {
    **dict.fromkeys(("settings", "model", "optimizer"), dict),
    "progress": list,
    "average": (dict, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that a resumed run needs: the content of last.pt.

    Attributes:
        settings: of the run, from `plain_settings`.
        progress: the finished epochs.
        model: the weights and buffers being trained.
        optimizer: its state dict.
        average: the moving average of the weights, or None.
    """

    settings: dict[str, Any]
    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor] | None


def plain_settings(settings: TrainSettings, **facts: int) -> dict[str, Any]:
    """Return the settings that must be the same when a run is resumed, as plain values.

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


def estimate_bytes(
    net: nn.Module, *, has_head_stage: bool, learns_everything: bool, is_averaged: bool
) -> int:
    """Return the disk space of a run's checkpoints, with the temporary copy of last.pt.

    AdamW keeps two more values for each weight that is trained.
    """
    weights = sum(tensor.nbytes for tensor in net.state_dict().values())
    learning = sum(weight.nbytes for weight in net.parameters()) if learns_everything else 0
    last = weights + 2 * learning + weights * is_averaged
    return weights * (2 if has_head_stage else 1) + 2 * last


def write_best(
    path: Path,
    model: Classifier,
    *,
    weights: Mapping[str, Tensor],
    row: EpochRow,
    header: Mapping[str, Any],
) -> None:
    """Write best.pt or best_head.pt, from which `rebuild_model` makes the network.

    Args:
        path: the target.
        model: describes the network; its own weights are ignored.
        weights: the state of `model.net` to save.
        row: the epoch of the weights.
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


def read_last(path: Path, *, settings: Mapping[str, Any], history: Progress | None) -> Snapshot:
    """Read last.pt and check that it belongs to this run with its settings.

    Args:
        path: last.pt.
        settings: of the resumed run, from `plain_settings`.
        history: from history.csv, which may be an epoch behind; None where there is none.

    Raises:
        TrainingError: the file is missing, damaged or of another run, or a setting has changed.
    """
    content = _read_checkpoint(path, parts=_LAST)
    _check_settings(content["settings"], settings)
    try:
        progress = Progress.from_plain(content["progress"])
    except ValueError:
        progress = Progress()
    if not progress.rows:
        raise TrainingError(f"{path} has no finished epoch: restore it, or start a new run.")
    for row, written in zip(progress.rows, history.rows if history else (), strict=False):
        if row != written:
            raise TrainingError(
                f"{path} is not of this run: its {_name_epoch(row)} differs from history.csv; "
                "restore it, or start a new run."
            )
    return Snapshot(
        settings=content["settings"],
        progress=progress,
        model=content["model"],
        optimizer=content["optimizer"],
        average=content["average"],
    )


def read_best(path: Path, *, row: EpochRow | None) -> dict[str, Any]:
    """Read best.pt or best_head.pt and check that it is the run's best epoch.

    Args:
        path: the checkpoint.
        row: the best epoch by history.csv; None where unknown.

    Raises:
        TrainingError: the file is missing, damaged, of another kind or of another epoch.
    """
    content = _read_checkpoint(path, parts=_BEST)
    if not _has_parts(content["description"], _DESCRIPTION):
        raise TrainingError(f"{path} does not describe its network: restore it, or train again.")
    if row is not None and any(
        content[name] != getattr(row, name) for name in ("stage", "epoch", "val_ap", "val_loss")
    ):
        raise TrainingError(
            f"{path} is not of this run, or not of its best epoch: it contains "
            f"stage {content['stage']}, epoch {content['epoch']} (VAL loss "
            f"{content['val_loss']:.6g}), but history.csv has {_name_epoch(row)}; restore the "
            "file, or train again."
        )
    return content


def _read_checkpoint(path: Path, *, parts: _Parts) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; only tensors and plain values are accepted."""
    if not path.exists():
        raise TrainingError(f"{path} is missing: restore it, or start a new run.")
    try:
        content: Any = read_torch_archive(path)
    except UnreadableFileError as error:
        raise TrainingError(
            f"{path} is not a readable checkpoint: {error}; restore it, or start a new run."
        ) from error
    checkpoint = cast(dict[str, Any], content if isinstance(content, dict) else {})
    if not _has_parts(checkpoint, {"format": int}):
        raise TrainingError(f"{path} is a PyTorch file, but not a checkpoint of this program.")
    if checkpoint["format"] != FORMAT:
        raise TrainingError(
            f"{path} has format {checkpoint['format']}, but this version reads {FORMAT}; "
            f"use the version that wrote it."
        )
    if not (_has_parts(checkpoint, parts) and _are_tensors(checkpoint["model"])):
        raise TrainingError(
            f"{path} is a checkpoint of another kind: expected {', '.join(parts)} in it, found "
            f"{', '.join(map(str, checkpoint))}; restore it, or start a new run."
        )
    return checkpoint


def _are_tensors(state: Any) -> bool:
    return all(isinstance(name, str) and isinstance(t, Tensor) for name, t in state.items())


def _has_parts(content: Mapping[Any, Any], parts: _Parts) -> bool:
    return all(name in content and isinstance(content[name], kind) for name, kind in parts.items())


def _name_epoch(row: EpochRow) -> str:
    return f"stage {row.stage}, epoch {row.epoch} (VAL loss {row.val_loss:.6g})"


def _check_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse a changed setting; an input that an old checkpoint does not name is not compared.

    Raises:
        TrainingError: with the old and the new value of each.
    """
    was, now = _flatten(old), _flatten(new)
    unknown = new["inputs"].keys() - was.keys()
    changed = {
        _USUAL_NAMES.get(name, name): f"was {was.get(name)!r} and is {now.get(name)!r}"
        for name in {**was, **now}
        if was.get(name) != now.get(name) and name not in (*_MAY_CHANGE, *unknown)
    }
    for name, implied in _IMPLIED.items():
        if name in changed:
            changed.pop(implied, None)
    if changed:
        named = ", ".join(f"{name} {values}" for name, values in changed.items())
        raise TrainingError(
            f"A run resumes with the settings it began with (only {', '.join(_MAY_CHANGE)} may "
            f"change), but {named}: restore config.json, or start a new run for other settings."
        )


def _flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of `plain_settings` with one value for each name, and the usual ones."""
    flat = {name: value for name, value in settings.items() if name not in ("stages", "inputs")}
    flat |= settings.get("inputs", {})
    flat["select"] = "stressed_val" if flat.get("num_stresses") else "val_ap"
    for stage in settings.get("stages", ()):
        values = {**_EARLIER_STAGE, **stage}
        flat |= {f"{values.get('name')}.{name}": value for name, value in values.items()}
    return flat


def _save(path: Path, content: dict[str, Any]) -> None:
    with open_atomic(path) as file:
        torch.save(_share_texts(content), file)


def _share_texts(value: Any) -> Any:
    """Return plain values in which equal strings are one object.

    A pickle writes a string that it has seen as a reference, an equal copy in full: a resumed
    run, whose strings come from files, would write a checkpoint with another sha256.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        items = cast(dict[Any, Any], value).items()
        return {_share_texts(key): _share_texts(item) for key, item in items}
    if type(value) in (list, tuple):
        return type(value)(map(_share_texts, value))
    return value
