"""fastai as its course shows it: ImageDataLoaders, aug_transforms, Learner, fit_one_cycle."""

import copy
import time
from pathlib import Path
from typing import Any

import torch
from common import (
    CONTRAST,
    DEGREES,
    HEAD_RATE,
    MEAN,
    RATE,
    STD,
    WORKERS,
    ZOOM,
    Diary,
    Job,
    build_network,
    head_of,
    read_job,
)
from fastai.callback.all import Callback
from fastai.vision.all import (
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    ResizeMethod,
    aug_transforms,
    params,
)
from finish import draw_panels, judge_test


class Watch(Callback):
    """Notes when each step ended and what VAL said after each epoch."""

    order = 60

    def __init__(self, diary: Diary, job: Job) -> None:
        super().__init__()
        self.diary, self.job, self.stage = diary, job, "head"
        self.marks: list[float] = []
        self.scored: list[tuple[Any, Any]] = []
        self.best, self.best_weights = -1.0, None

    def after_batch(self) -> None:
        if self.training:
            self.marks.append(time.perf_counter())
        else:
            self.scored.append(
                (self.learn.pred.softmax(1)[:, 1].tolist(), self.learn.yb[0].tolist())
            )

    def after_epoch(self) -> None:
        self.diary.note_epoch(self.stage, marks=self.marks, batch_size=self.job.batch_size)
        scores = [s for part, _ in self.scored for s in part]
        value = self.diary.note_validation([y for _, part in self.scored for y in part], scores)
        if value > self.best:
            self.best, self.best_weights = value, copy.deepcopy(self.learn.model.state_dict())
        self.marks, self.scored = [], []


class _Films:
    """Gives what the panels need: one (pixels, label) after the other."""

    def __init__(self, loader: Any) -> None:
        self.batches = [(x.cpu(), y) for x, y in loader]

    def __getitem__(self, number: int) -> tuple[Any, int]:
        size = len(self.batches[0][1])
        pixels, labels = self.batches[number // size]
        return pixels[number % size].as_subclass(torch.Tensor), int(labels[number % size])


def main() -> None:
    job, diary = read_job(), Diary()
    loaders = ImageDataLoaders.from_folder(
        Path(job.data),
        train="train",
        valid="val",
        item_tfms=Resize(job.image_size, method=ResizeMethod.Squish),
        batch_tfms=[
            *aug_transforms(
                do_flip=False,
                max_rotate=DEGREES,
                min_zoom=1.0,
                max_zoom=1 + ZOOM,
                max_lighting=CONTRAST,
                max_warp=0,
            ),
            Normalize.from_stats(MEAN, STD),
        ],
        bs=job.batch_size,
        num_workers=WORKERS,
    )
    net = build_network(job)

    def split(model: Any) -> list[list[Any]]:
        head = params(head_of(model))
        inside = {id(p) for p in head}
        return [[p for p in params(model) if id(p) not in inside], head]

    watch = Watch(diary, job)
    learner = Learner(loaders, net, loss_func=CrossEntropyLossFlat(), splitter=split, cbs=[watch])
    with learner.no_bar(), learner.no_logging():
        if job.head_epochs:
            learner.freeze()
            learner.fit_one_cycle(job.head_epochs, HEAD_RATE)
        watch.stage = "finetune"
        learner.unfreeze()
        learner.fit_one_cycle(job.finetune_epochs, RATE)
        if job.panels:
            learner.remove_cb(watch)
            net.load_state_dict(watch.best_weights)
            finish(learner, loaders, job=job, diary=diary)
    diary.write(job)


def finish(learner: Learner, loaders: Any, *, job: Job, diary: Diary) -> None:
    """Score VAL and TEST, then draw."""
    films = sorted(path for path in (Path(job.data) / "test").rglob("*") if path.is_file())
    test = loaders.test_dl(films, with_labels=True)
    parts = []
    for loader in (loaders.valid, test):
        scores, truth = learner.get_preds(dl=loader)
        parts.append((truth.tolist(), scores[:, 1].tolist()))
    judge_test(diary, val=parts[0], test=parts[1], folder=Path(job.result).parent)
    draw_panels(learner.model, _Films(test), scored=parts[1], job=job)


if __name__ == "__main__":
    main()
