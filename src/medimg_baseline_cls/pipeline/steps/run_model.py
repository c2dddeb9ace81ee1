"""A run's checkpoint as a network on the run's device, and its predictions."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.loaders import ImageSet, Loader, to_unit_range
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.evaluation.inference import (
    INFERENCE_BATCH_SIZE,
    activation_of,
    predict_probabilities,
)
from medimg_baseline_cls.models.build import MONAI3D_PREFIX, build_model, rebuild_model
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.own_module import has_new_statistics, name_module, wrap_module
from medimg_baseline_cls.models.slices import pool_slices
from medimg_baseline_cls.pipeline.steps.listing import find_root
from medimg_baseline_cls.pipeline.steps.prepare import pixel_settings
from medimg_baseline_cls.pipeline.steps.session import Session, read_provenance
from medimg_baseline_cls.schema import Task
from medimg_baseline_cls.training.checkpoint import read_best
from medimg_baseline_cls.training.history import read_history
from medimg_baseline_cls.utils.files import read_json, sha256_file


def name_own_network(config: Config, module: nn.Module) -> Config:
    """Return the settings of a run with a passed network: its class replaces `arch`.

    Raises:
        ConfigError: a setting names another network or other weights, or calls random weights
            pretrained; or images are volumes.
    """
    if config.slices:
        raise ConfigError(
            f"slices = {config.slices} is for networks that have a name (arch): a network that is "
            "passed is not taken apart to join slices; leave one of them out."
        )
    own = name_module(module)
    if config.arch not in (Config().arch, own):
        raise ConfigError(f"arch={config.arch} and model={own} are two networks: leave one out.")
    if config.weights is not None:
        raise ConfigError(
            f"weights={config.weights} would not be used: load them into model before it is passed."
        )
    if config.pretrained and config.batchnorm == "auto" and has_new_statistics(module):
        raise ConfigError(
            f"pretrained=True, but no image has moved the BatchNorm statistics of model={own}: set "
            "pretrained=False if its weights are random, to let fine-tuning update them, or choose "
            "batchnorm."
        )
    return replace(config, arch=own)


def build_network(
    config: Config, num_classes: int, *, module: nn.Module | None = None
) -> Classifier:
    """Return the network of the settings, before its training.

    Args:
        config: name, image size, CAM layer and weights.
        num_classes: number of logits.
        module: the network itself where it is not one that has a name.

    Raises:
        ModelError: name, image size, CAM layer or weights do not fit, or cannot be had.
    """
    if module is not None:
        return wrap_module(
            module,
            num_classes=num_classes,
            image_size=config.image_size,
            cam_layer=config.cam_layer,
            is_pretrained=config.pretrained,
        )
    is_3d = config.arch.startswith(MONAI3D_PREFIX)
    model = build_model(
        config.arch,
        num_classes=num_classes,
        seed=config.seed,
        image_size=(config.slices, config.image_size) if is_3d else config.image_size,
        pretrained=config.pretrained,
        weights=config.weights,
        cam_layer=config.cam_layer,
    )
    if is_3d or not config.slices:
        return model
    return pool_slices(
        model,
        num_slices=config.slices,
        pooling=config.slice_pooling,
        neighbors=config.slice_neighbors,
        slices_per_pass=config.slices_per_pass,
        seed=config.seed,
    )


def try_network(config: Config) -> Classifier | None:
    """Build the network for two classes, to find what does not fit before any decoding.

    None where there is no data folder: that is said first.

    Raises:
        ModelError: as `build_network`.
    """
    # The number of classes is not known yet; what does not fit shows with two as well.
    return build_network(config, 2) if find_root(config).exists() else None


def load_model(session: Session, name: str) -> tuple[Classifier, Mapping[str, Any]]:
    """Return the network of a checkpoint of the run, in eval mode, and the checkpoint itself.

    Args:
        session: the open run.
        name: "best.pt" or "best_head.pt".

    Raises:
        TrainingError: the run has no such checkpoint, or it is damaged or of another epoch.
        RunError: the checkpoint is not of this run.
    """
    path, history = session.run_dir / name, read_history(session.run_dir)
    stage = "head" if name == "best_head.pt" else None
    checkpoint = read_best(path, row=None if history is None else history.best(stage))
    _require_own(session, checkpoint, path=path)
    model = rebuild_model(
        checkpoint["description"], checkpoint["model"], source=str(path), module=session.module
    )
    # As in training: both compute the same bits.
    return model.move(session.device).eval(), checkpoint


def _require_own(session: Session, checkpoint: Mapping[str, Any], *, path: Path) -> None:
    """Refuse a checkpoint that was trained on other data, or as something else.

    What a file of an earlier version does not have is not compared.

    Raises:
        RunError: config.json and the checkpoint differ in what both must share.
    """
    provenance = read_provenance(session.run_dir)
    names = ("class_names", "task", "positive_class", "split_sha256")
    settings = {
        **{name: provenance.get(name) for name in names},
        **asdict(pixel_settings(session.config, provenance["color"])),
        "arch": session.config.arch,
    }
    trained = {**checkpoint, **checkpoint.get("pixels", {}), **checkpoint["description"]}
    for name, value in settings.items():
        if None not in (value, trained.get(name)) and value != trained[name]:
            raise RunError(
                f"{path} was trained with {name} = {_show(trained[name])}, but config.json has "
                f"{_show(value)}: restore the file that was changed; nothing was scored."
            )


def _show(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def score_images(
    session: Session,
    model: Classifier,
    *,
    images: ImageSet,
    task: Task,
    change: Callable[[Tensor], Tensor] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (rows, probabilities) of a set of images by the one inference path.

    `change` is of pixels (B, C, S, S) in [0, 1], before they are scored.
    """

    def to_inputs(pixels: Tensor, device: torch.device) -> Tensor:
        inputs = to_unit_range(pixels, device)
        return inputs if change is None else change(inputs)

    loader = Loader(images, batch_size=INFERENCE_BATCH_SIZE, seed=session.config.seed)
    return predict_probabilities(
        model,
        loader.ordered(),
        to_unit_range=to_inputs,
        device=session.device,
        precision=session.precision,
        activation=activation_of(task),
    )


def warn_of_checkpoint(session: Session, consequence: str) -> None:
    """Warn if best.pt is not the network that was evaluated in the run folder.

    Nothing is refused: TEST is not scored by it.

    Args:
        session: the open run.
        consequence: what that means for the command, as a clause.
    """
    path = session.run_dir / "thresholds.json"
    evaluated = read_json(path).get("checkpoint_sha256") if path.is_file() else None
    if evaluated and evaluated != sha256_file(session.run_dir / "best.pt"):
        session.log.warn(
            f"best.pt is no longer the checkpoint that was evaluated: {consequence}; "
            "`medimg evaluate` names what has changed."
        )
