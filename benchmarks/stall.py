"""(d) Share of the training loop that is not spent in the model.

Time per step of an epoch from the memory-mapped array, with augmentation, against the same step on
one batch that is there already. Both in one process, epoch about; head-only training against one
pass over the data as well.

    python benchmarks/stall.py
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Answer, median, spread, write_answer

from medimg_baseline_cls.data.batches.augment import make_augmenter
from medimg_baseline_cls.data.batches.loaders import ImageSet, Loader, to_unit_range
from medimg_baseline_cls.models.build import build_model
from medimg_baseline_cls.schema import Stage, TrainSettings
from medimg_baseline_cls.training.features import extract_features
from medimg_baseline_cls.training.interrupts import StopRequest
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.training.stages import open_stage
from medimg_baseline_cls.training.steps import StageSetup, TrainingContext, run_epoch
from medimg_baseline_cls.utils.device import choose_precision, make_accelerator, tune_allocator
from medimg_baseline_cls.utils.log import SILENT

SIDE, BATCH = 224, 32


class Resident:
    """The same batch again and again."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._batch = next(iter(loader.epoch("finetune", 1)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def epoch(self, stage: str, epoch: int) -> Iterator[Any]:
        for _ in range(self._loader.num_batches):
            yield self._batch


def make_set(folder: Path, number: int) -> ImageSet:
    """Return random films in an array on disk."""
    pixels = np.random.default_rng(0).integers(0, 256, (number, 1, SIDE, SIDE), dtype=np.uint8)
    np.save(folder / "pixels.npy", pixels)
    rows = np.arange(number)
    mapped = np.load(folder / "pixels.npy", mmap_mode="r")
    return ImageSet(pixels=mapped, cache_rows=rows, rows=rows, labels=rows % 2)


def make_settings(stage: Stage) -> TrainSettings:
    return TrainSettings(
        stages=(stage,),
        class_names=("a", "b"),
        positive_class="b",
        seed=0,
        weight_decay=0.01,
        label_smoothing=0.0,
        imbalance="none",
        ema_decay=0.0,
        clip_norm=1.0,
        patience=0,
    )


def seconds_of(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    tune_allocator()
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loader = Loader(make_set(folder, options.images), batch_size=BATCH, seed=0)
        accelerator = make_accelerator(device, choose_precision("auto", device))
        context = TrainingContext(
            run_dir=folder,
            accelerator=accelerator,
            log=SILENT,
            stop=StopRequest(),
            seed=0,
            clip_norm=1.0,
            image_ids=(),
        )
        model = build_model("resnet18", pretrained=False)
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        data = TrainData(
            train=loader,
            val=loader,
            to_unit_range=to_unit_range,
            augment=make_augmenter("standard", horizontal_flip=False, seed=0),
            class_counts=(1, 1),
        )
        full, resident = measure_epochs(context, model, data, repeats=options.repeats)
        head, once = measure_head(context, model, data)
    stalls = [1 - r / f for f, r in zip(full, resident, strict=True)]
    steps = loader.num_batches
    rows = [
        ["medimg, from the array, augmented", spread([s / steps for s in full], 3)],
        ["medimg, one resident batch", spread([s / steps for s in resident], 3)],
    ]
    write_answer(
        Answer(
            name="stall",
            title="A training step with and without what feeds it, ResNet-18, 224 px, 32 images",
            header=["step", "seconds"],
            rows=rows,
            ratios={
                "share of the loop outside the model": (median(stalls), "<= 0.05"),
                "10 head epochs, to one pass over the data": (head / once, "<= 1.3"),
            },
            notes=[f"{options.repeats} epochs of each in turn, {options.images} images."],
            facts={"full": full, "resident": resident, "head": head, "one_pass": once},
        )
    )


def measure_epochs(
    context: TrainingContext, model: Any, data: TrainData, *, repeats: int
) -> tuple[list[float], list[float]]:
    """Return seconds of whole epochs from the array, and of epochs on one batch."""
    stage = Stage(
        name="finetune",
        epochs=2 * repeats + 3,
        head_lr=1e-4,
        backbone_lr=1e-5,
        augmented=True,
        batchnorm="train",
    )
    full, resident = list[float](), list[float]()
    with open_stage(context, model, stage=stage, data=data, settings=make_settings(stage)) as setup:
        kept = setup.prepare(next(iter(data.train.epoch("finetune", 1))), 1)
        still = replace(setup, train=Resident(data.train), prepare=lambda batch, epoch: kept)

        def walk(which: StageSetup, number: int) -> float:
            return seconds_of(lambda: run_epoch(context, which, epoch=number))

        walk(setup, 1)
        for number in range(repeats):
            full.append(walk(setup, 2 * number + 2))
            resident.append(walk(still, 2 * number + 3))
    return full, resident


def measure_head(context: TrainingContext, model: Any, data: TrainData) -> tuple[float, float]:
    """Return seconds of ten epochs of the head alone, and of one pass over the data."""
    stage = Stage(
        name="head",
        epochs=10,
        head_lr=1e-3,
        backbone_lr=0.0,
        augmented=False,
        batchnorm="frozen",
    )

    def train_head() -> None:
        settings = make_settings(stage)
        with open_stage(context, model, stage=stage, data=data, settings=settings) as setup:
            for epoch in range(1, 11):
                run_epoch(context, setup, epoch=epoch)

    def infer() -> None:
        model.eval()
        # The stage looks at TRAIN and at VAL, which is the same set here.
        for _ in range(2):
            for pixels, _, _ in data.train.ordered():
                extract_features(context, model, pixels=to_unit_range(pixels, context.device))

    infer()
    pairs = [(seconds_of(train_head), seconds_of(infer)) for _ in range(3)]
    return median([head for head, _ in pairs]), median([once for _, once in pairs])


if __name__ == "__main__":
    main()
