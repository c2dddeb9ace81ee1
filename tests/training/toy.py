"""A tiny network, tiny radiographs and tiny settings, and processes to try them in."""

import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medimg_baseline_cls.models.classifier import Classifier, NetworkFacts, WeightsReport
from medimg_baseline_cls.schema import Stage, TrainSettings
from medimg_baseline_cls.training.fit import fit
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.utils.device import make_accelerator
from medimg_baseline_cls.utils.seed import permutation, torch_randomness

SIZE = 8


class TinyNet(nn.Module):
    """Convolution, BatchNorm, dropout, linear: one of everything that keeps a state."""

    def __init__(self, *, num_classes: int = 2, has_norm: bool = True, dropout: float = 0.2):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=not has_norm)
        self.norm = nn.BatchNorm2d(6) if has_norm else nn.Identity()
        self.conv2 = nn.Conv2d(6, 8, 1)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        x = torch.relu(self.conv2(x))
        return self.fc(self.drop(x.mean(dim=(2, 3))))


def build_toy(*, seed: int = 0, num_classes: int = 2, **net: object) -> Classifier:
    with torch_randomness(seed, "toy"):
        network = TinyNet(num_classes=num_classes, **net)
    facts = NetworkFacts(
        arch="toy",
        num_classes=num_classes,
        image_size=SIZE,
        cam_layer="conv2",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return Classifier(network, facts, head_name="fc", report=WeightsReport(kind="random"))


class ToySource:
    """Images whose upper half is brighter in class 1, with an order drawn per epoch."""

    def __init__(
        self,
        num_images: int,
        *,
        seed: int = 0,
        batch_size: int = 8,
        shard: tuple[int, int] = (0, 1),
        num_classes: int = 2,
    ):
        draw = np.random.default_rng([seed, num_images])
        self.labels = np.arange(num_images) % num_classes
        pixels = draw.normal(100, 30, (num_images, 1, SIZE, SIZE))
        pixels[:, :, : SIZE // 2] += 25.0 * self.labels[:, None, None, None]
        self.pixels = pixels.clip(0, 255).astype(np.uint8)
        self.rows = np.arange(num_images) * 3 + 5  # rows of split.csv are not 0, 1, 2
        self.num_images, self.batch_size, self.shard = num_images, batch_size, shard
        self.on_batch: Callable[[], None] | None = None

    @property
    def num_batches(self) -> int:
        return -(-self.num_images // self.batch_size)

    def epoch(self, stage: str, epoch: int) -> Iterator[tuple]:
        order = permutation(0, "order", stage, epoch, size=self.num_images)
        rank, world = self.shard
        for start in range(0, self.num_images, self.batch_size):
            if self.on_batch is not None:
                self.on_batch()
            yield self.batch(order[start : start + self.batch_size][rank::world])

    def ordered(self) -> Iterator[tuple]:
        rank, world = self.shard
        positions = np.arange(rank, self.num_images, world)
        for start in range(0, len(positions), self.batch_size):
            yield self.batch(positions[start : start + self.batch_size])

    def batch(self, at: np.ndarray) -> tuple:
        pixels, labels = torch.from_numpy(self.pixels[at]), torch.from_numpy(self.labels[at])
        return pixels, labels, self.rows[at]


def to_unit_range(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    return pixels.to(device).float().div_(255)


def add_noise(pixels: torch.Tensor, rows: np.ndarray, stage: str, epoch: int) -> torch.Tensor:
    if not len(rows):
        return pixels
    keys = [np.random.default_rng([int(row), epoch, len(stage)]) for row in rows]
    noise = np.stack([key.normal(0, 0.05, pixels.shape[1:]) for key in keys])
    return (pixels + torch.from_numpy(noise).float()).clamp(0, 1)


def make_data(
    *,
    num_train: int = 40,
    num_val: int = 21,
    batch_size: int = 8,
    shard: tuple[int, int] = (0, 1),
    num_classes: int = 2,
) -> TrainData:
    shape = {"batch_size": batch_size, "shard": shard, "num_classes": num_classes}
    train = ToySource(num_train, seed=1, **shape)
    return TrainData(
        train=train,
        val=ToySource(num_val, seed=2, **shape),
        to_unit_range=to_unit_range,
        augment=add_noise,
        class_counts=tuple(np.bincount(train.labels, minlength=num_classes).tolist()),
    )


def make_settings(
    *, head_epochs: int = 3, finetune_epochs: int = 3, stage: dict | None = None, **changes: object
) -> TrainSettings:
    head = Stage(name="head", epochs=head_epochs, head_lr=0.05, augmented=False)
    rates = {"head_lr": 0.01, "backbone_lr": 0.01}
    finetune = Stage(name="finetune", epochs=finetune_epochs, **(rates | (stage or {})))
    settings = TrainSettings(
        stages=(head, finetune),
        class_names=("NORMAL", "PNEUMONIA"),
        positive_class="PNEUMONIA",
        seed=7,
        weight_decay=0.01,
        label_smoothing=0.0,
        imbalance="none",
        ema_decay=0.0,
        clip_norm=1.0,
        patience=0,
        checkpoint_header={"class_names": ["NORMAL", "PNEUMONIA"]},
    )
    return replace(settings, **changes)


def open_accelerator(precision: str = "fp32"):
    return make_accelerator(torch.device("cpu"), precision)


def train_toy(run_dir: Path, *, data=None, model=None, settings=None, **fit_keywords):
    """Run `fit` with toy parts for whatever is not given; returns (result, model)."""
    model = model or build_toy()
    keywords = {"accelerator": open_accelerator(), **fit_keywords}
    result = fit(
        model,
        data or make_data(),
        settings=settings or make_settings(),
        run_dir=run_dir,
        **keywords,
    )
    return result, model


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fork(task: Callable[[], None]) -> int:
    """Run a task in a fresh process; returns its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        torch.set_num_threads(1)
        task()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait_for(*pids: int) -> list[int]:
    """Return the exit codes, negative for signals."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
