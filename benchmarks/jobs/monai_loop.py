"""MONAI as its classification tutorials use it: CacheDataset, dictionary transforms, trainer.

CacheDataset keeps the deterministic transforms' results in memory; SupervisedTrainer and
SupervisedEvaluator run the loop. The network is torchvision's, as everyone's.
"""

import copy
import time
from pathlib import Path
from typing import Any

import torch
from common import (
    BRIGHTNESS,
    CONTRAST,
    DEGREES,
    HEAD_RATE,
    MEAN,
    RATE,
    SHIFT,
    STD,
    WORKERS,
    ZOOM,
    Diary,
    Job,
    build_network,
    freeze_body,
    read_job,
)
from finish import draw_panels, judge_test
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.inferers import SimpleInferer
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandAdjustContrastd,
    RandAffined,
    RandShiftIntensityd,
    Resized,
    ScaleIntensityRanged,
)
from torch import nn


def load_parts(job: Job) -> dict[str, CacheDataset]:
    key, size = "image", (job.image_size, job.image_size)
    loading = [
        LoadImaged(key, image_only=True, converter=lambda film: film.convert("RGB")),
        EnsureChannelFirstd(key, channel_dim=-1),
        ScaleIntensityRanged(key, 0, 255, 0, 1),
        Resized(key, size, mode="bilinear"),
    ]
    change = [
        RandAffined(
            key,
            prob=1.0,
            rotate_range=DEGREES * torch.pi / 180,
            translate_range=SHIFT * job.image_size,
            scale_range=ZOOM,
            padding_mode="zeros",
        ),
        RandAdjustContrastd(key, prob=1.0, gamma=(1 - CONTRAST, 1 + CONTRAST)),
        RandShiftIntensityd(key, BRIGHTNESS, prob=1.0),
    ]
    ending = [NormalizeIntensityd(key, MEAN, STD, channel_wise=True)]
    parts = {}
    for split in ("train", "val", "test"):
        folders = sorted((Path(job.data) / split).iterdir())
        items = [
            {"image": str(film), "label": label}
            for label, folder in enumerate(folders)
            for film in sorted(folder.iterdir())
        ]
        steps = Compose([*loading, *(change if split == "train" else []), *ending])
        parts[split] = CacheDataset(items, steps, progress=False, num_workers=WORKERS)
    return parts


def make_loader(films: CacheDataset, *, job: Job, shuffle: bool) -> DataLoader:
    return DataLoader(films, batch_size=job.batch_size, shuffle=shuffle, num_workers=WORKERS)


def score(net: nn.Module, loader: DataLoader) -> tuple[list[int], list[float]]:
    found: list[tuple[list[int], list[float]]] = []
    evaluator = SupervisedEvaluator(torch.device("cpu"), loader, net, inferer=SimpleInferer())

    def keep(engine: Any) -> None:
        for item in engine.state.output:
            found.append(([int(item["label"])], [float(item["pred"].softmax(0)[1])]))

    evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
    evaluator.run()
    return [y for truth, _ in found for y in truth], [s for _, scores in found for s in scores]


def train(
    net: nn.Module, parts: dict[str, CacheDataset], *, job: Job, stage: str, diary: Diary
) -> tuple[float, dict[str, Any]]:
    """Train a stage; return the best average precision on VAL and its weights."""
    freeze_body(net, stage == "head")
    epochs, rate = (job.head_epochs, HEAD_RATE) if stage == "head" else (job.finetune_epochs, RATE)
    best = [-1.0, copy.deepcopy(net.state_dict())]
    if not epochs:
        return tuple(best)
    learning = [p for p in net.parameters() if p.requires_grad]
    val = make_loader(parts["val"], job=job, shuffle=False)
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        epochs,
        make_loader(parts["train"], job=job, shuffle=True),
        net,
        torch.optim.AdamW(learning, lr=rate),
        nn.CrossEntropyLoss(),
        inferer=SimpleInferer(),
    )
    marks: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: marks.append(time.perf_counter()))

    def judge() -> None:
        diary.note_epoch(stage, marks=marks, batch_size=job.batch_size)
        marks.clear()
        value = diary.note_validation(*score(net, val))
        if value > best[0]:
            best[:] = [value, copy.deepcopy(net.state_dict())]

    trainer.add_event_handler(Events.EPOCH_COMPLETED, judge)
    trainer.run()
    return tuple(best)


class _Films:
    """Gives what the panels need: one (pixels, label) after the other."""

    def __init__(self, films: CacheDataset) -> None:
        self.films = films

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        item = self.films[number]
        return torch.as_tensor(item["image"]).as_subclass(torch.Tensor), item["label"]


def main() -> None:
    job, diary = read_job(), Diary()
    parts, net = load_parts(job), build_network(job)
    results = [
        train(net, parts, job=job, stage=stage, diary=diary) for stage in ("head", "finetune")
    ]
    if job.panels:
        net.load_state_dict(max(results, key=lambda result: result[0])[1])
        loaders = (make_loader(parts[name], job=job, shuffle=False) for name in ("val", "test"))
        val, test = (score(net, loader) for loader in loaders)
        judge_test(diary, val=val, test=test, folder=Path(job.result).parent)
        draw_panels(net, _Films(parts["test"]), scored=test, job=job)
    diary.write(job)


if __name__ == "__main__":
    main()
