"""What training is given: images in batches, settings, augmentation, and who is told how it goes.

All of it follows from the Config and the prepared data; what is about to be trained is announced
and drawn here too.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.augment import Augmenter, from_compose, make_augmenter
from medimg_baseline_cls.data.batches.loaders import to_unit_range
from medimg_baseline_cls.data.batches.stress import make_stresses
from medimg_baseline_cls.models.build import MONAI3D_PREFIX
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.freeze import find_stem
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.plots import draw_batch_grid, draw_training_curves
from medimg_baseline_cls.schema import Stage, TrainSettings
from medimg_baseline_cls.training.callbacks import Callback
from medimg_baseline_cls.training.history import EpochRow, FitResult
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.utils.device import describe_device
from medimg_baseline_cls.utils.files import read_csv

NUM_BATCH_PICTURES = 16
_CURVE_SECONDS = 30.0  # short epochs would spend more time on their picture than on themselves


def make_train_data(
    session: Session,
    data: PreparedData,
    *,
    augment: Augmenter | None,
    callbacks: Sequence[Callback],
) -> TrainData:
    """Return the images of TRAIN and VAL with their counts, and who is told of the training."""
    sampling = "balanced" if session.config.imbalance == "balanced_sampler" else "permute"
    counts = data.split.class_counts("train")
    negatives: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if data.split.has_findings:
        negatives = (data.split.labels(data.split.rows("train")) == 0).sum(axis=0)
    return TrainData(
        train=data.loader("train", session, sampling=sampling),
        val=data.loader("val", session),
        to_unit_range=to_unit_range,
        augment=augment,
        stresses=make_stresses() if session.config.select == "stressed_val" else (),
        class_counts=tuple(counts.values()),
        negative_counts=tuple(negatives.tolist()),
        image_ids=[record.image_id for record in data.split.records],
        groups=[record.group for record in data.split.records],
        callbacks=callbacks,
    )


def make_settings(session: Session, data: PreparedData, *, transform: Any) -> TrainSettings:
    """Return the two stages and the rest of what `fit` needs to know."""
    config = session.config
    given = {} if transform is None else {"augment": "a transform that was passed"}
    head = Stage(
        name="head",
        epochs=min(config.head_epochs, 1) if config.head_fit == "logistic" else config.head_epochs,
        head_lr=config.head_lr,
        augmented=config.head_augment,
        fit=config.head_fit,
    )
    finetune = Stage(
        name="finetune",
        epochs=config.finetune_epochs,
        head_lr=config.head_lr,
        backbone_lr=config.finetune_lr,
        augmented=True,
        batchnorm=choose_batchnorm(config),
        frozen_stem=keeps_stem(session),
    )
    return TrainSettings(
        stages=(head, finetune),
        class_names=data.split.class_names,
        positive_class=data.positive_class,
        task=data.split.task,
        seed=config.seed,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        imbalance=config.imbalance,
        ema_decay=config.ema_decay,
        clip_norm=config.clip_norm,
        patience=config.patience,
        inputs={
            "arch": config.arch,
            "augment": config.augment,
            "horizontal_flip": config.horizontal_flip,
            **data.settings.to_plain(),
            **given,
        },
        checkpoint_header={
            "class_names": list(data.split.class_names),
            "positive_class": data.positive_class,
            "task": data.split.task,
            "pixels": data.settings.to_plain(),
            "split_sha256": data.provenance.get("split_sha256"),
        },
    )


def choose_batchnorm(config: Config) -> Literal["train", "frozen", "sync"]:
    """Return what fine-tuning does with BatchNorm's statistics; random ones must move."""
    # Kept statistics depend on neither batch size nor number of processes (decision 0006).
    if config.batchnorm == "auto":
        return "frozen" if config.pretrained else "train"
    return config.batchnorm


def keeps_stem(session: Session) -> bool:
    """Return whether the first layers stay as they are: those that are known to be pretrained."""
    # A network that was passed may be random in part; what it may keep, its user can freeze.
    config = session.config
    return config.frozen_stem and config.pretrained and session.module is None


def choose_augmenter(config: Config, transform: Any) -> Augmenter | None:
    """Return the augmentation of the settings, or the transform that is given instead."""
    if transform is not None:
        return from_compose(transform, seed=config.seed)
    return make_augmenter(
        config.augment,
        horizontal_flip=config.horizontal_flip,
        seed=config.seed,
        moves_depth=config.arch.startswith(MONAI3D_PREFIX),
    )


def announce_training(session: Session, model: Classifier) -> None:
    """Log the network, the data and the place of the results."""
    config, log = session.config, session.log
    report = model.weights_report
    num_parameters = sum(p.numel() for p in model.parameters())
    origin = "random weights" if report.kind == "random" else f"{report.kind} {report.source}"
    how = f" (tensors matched {report.renamed})" if report.renamed else ""
    log.info(f"model: {config.arch}, {num_parameters / 1e6:.1f} M parameters, from {origin}{how}")
    if config.slices:
        pooled = "" if model.facts.is_3d else f", pooled by {config.slice_pooling}"
        side = config.image_size
        log.info(f"volumes: {config.slices} slices of {side} x {side} px{pooled}")
    log.info(f"device: {describe_device(session.device, session.precision)}")
    head, rest = (
        f"{number} {'epoch' if number == 1 else 'epochs'}"
        for number in (config.head_epochs, config.finetune_epochs)
    )
    alone = "head by logistic regression" if config.head_fit == "logistic" else f"{head} head only"
    stem = find_stem(model) if keeps_stem(session) else []
    what = f"everything but the first {len(stem)} layers" if stem else "everything"
    log.info(
        f"training: {alone}, {rest} {what}, batches of {config.batch_size}, seed {config.seed}"
    )
    log.info(f"results: {session.run_dir}")
    if report.kind == "random" and config.head_epochs:
        log.hint(
            "the head-only stage learns on random features",
            fix="use pretrained weights"
            + (", or add --head-epochs 0" if config.head_fit == "adamw" else ""),
        )


def draw_first_batch(session: Session, data: PreparedData, *, augment: Augmenter | None) -> None:
    """Write figures/train_batch.png: what the network will see of the first batch."""
    batch = next(iter(data.loader("train", session).epoch("finetune", 1)))
    pixels = to_unit_range(batch.pixels[:NUM_BATCH_PICTURES], session.device)
    rows: NDArray[np.int64] = batch.rows[:NUM_BATCH_PICTURES]
    if augment is not None:
        pixels = augment(pixels, rows, "finetune", 1)
    captions = [data.split.label_text(row) for row in rows.tolist()]
    folder = session.run_dir / "figures"
    folder.mkdir(exist_ok=True)
    pictures = data.settings.picture(pixels.cpu().numpy())
    draw_batch_grid(pictures, captions, path=folder / "train_batch.png")


class CurveDrawer(Callback):
    """figures/training.png: drawn from time to time, and when training ends."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._last = time.monotonic()

    def on_epoch(self, row: EpochRow) -> None:
        """Draw if the last drawing is a while ago."""
        if time.monotonic() - self._last > _CURVE_SECONDS:
            self.on_end(None)

    def on_end(self, result: FitResult | None) -> None:
        """Draw, however training has ended."""
        history = self._run_dir / "history.csv"  # not there before the first epoch ends
        if history.is_file():
            draw_training_curves(read_csv(history), self._run_dir / "figures" / "training.png")
        self._last = time.monotonic()
