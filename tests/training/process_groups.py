"""A script of process groups on CPU (gloo), as torchrun would start them; writes what they find.

torch is imported once and every member forked, so that a group costs a second.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timm.layers import BatchNormAct2d
from toy import (
    build_toy,
    fork,
    free_port,
    make_data,
    make_settings,
    open_accelerator,
    train_toy,
    wait_for,
)

from medimg_baseline_cls.errors import RunInterrupted, TrainingError
from medimg_baseline_cls.training.interrupts import StopRequest
from medimg_baseline_cls.training.stages import open_stage
from medimg_baseline_cls.training.steps import TrainingContext, run_epoch, train_step
from medimg_baseline_cls.training.sync_norm import batchnorm_over_processes
from medimg_baseline_cls.training.validation import validate
from medimg_baseline_cls.utils.distributed import average_buffers
from medimg_baseline_cls.utils.log import SILENT

SHARES = (4, 3, 0)
VAL_SIZES = (1, 7, 13, 64)


def build_norms() -> dict[str, torch.nn.Module]:
    """Return layers in double precision: of torch, and of timm with an activation inside."""
    plain, timms = torch.nn.BatchNorm2d(5), BatchNormAct2d(5)
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(0.5, 2, 5))
        plain.bias.copy_(torch.linspace(-1, 1, 5))
    bare = torch.nn.BatchNorm2d(5, affine=False, momentum=None)
    return {"torch": plain.double(), "timm": timms.double(), "bare": bare.double()}


def draw_norm_batch(num_images: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(11)
    shape = (num_images, 5, 3, 4)
    x = 50 + torch.randn(shape, generator=draw, dtype=torch.float64)
    return x, torch.randn(shape, generator=draw, dtype=torch.float64)


def open_context(folder: Path) -> TrainingContext:
    return TrainingContext(
        run_dir=folder,
        accelerator=open_accelerator(),
        log=SILENT,
        stop=StopRequest(),
        seed=0,
        clip_norm=0.0,
        image_ids=(),
    )


def find_scores(folder: Path, shard: tuple[int, int]) -> list:
    """Validate sets of several sizes in both stages; each must count every image once."""
    context, model, scores = open_context(folder), build_toy(), []
    for size in VAL_SIZES:
        data, settings = make_data(num_val=size, shard=shard), make_settings()
        for stage in settings.stages:
            with open_stage(context, model, stage=stage, data=data, settings=settings) as setup:
                found = validate(context, setup, positive=1)
            scores.append([found.average_precision, found.auroc, found.log_loss])
    return scores


def find_gradients(folder: Path, shard: tuple[int, int]) -> list:
    """Return the gradients of a full step and of one with fewer images than processes."""
    context, model = open_context(folder), build_toy(has_norm=False, dropout=0.0)
    settings = make_settings(imbalance="class_weights", stage={"head_lr": 0.0, "backbone_lr": 0.0})
    data = replace(make_data(num_train=10, shard=shard), class_counts=(3, 7))
    gradients = []
    with open_stage(
        context, model, stage=settings.stages[1], data=data, settings=settings
    ) as setup:
        for step, batch in enumerate(setup.train.epoch("finetune", 1)):
            outcome = train_step(context, setup, batch=batch, epoch=1, step=step)
            parts = [p.grad.flatten() for p in setup.parameters]
            gradients.append(torch.cat([*parts, outcome.loss_sum[None], outcome.weight_sum[None]]))
    return gradients


def train_together(folder: Path, shard: tuple[int, int]) -> dict:
    """Return the weights after the head stage and after a whole training."""
    states = {}
    for name, epochs in (("head", 0), ("both", 2)):
        settings = make_settings(finetune_epochs=epochs, ema_decay=0.5)
        model = build_toy(has_norm=False, dropout=0.0)
        run_dir = folder / f"run_{name}_{shard[1]}"
        train_toy(run_dir, data=make_data(shard=shard), model=model, settings=settings)
        states[name] = model.net.state_dict()
    return states


JOBS = {
    "classes": {"norm": None},
    "findings": {"norm": None, "task": "multilabel"},
    "frozen": {"norm": "frozen"},
    "sync": {"norm": "sync"},
    "sync_findings": {"norm": "sync", "task": "multilabel"},
}


def train_steps(folder: Path, shard: tuple[int, int]) -> dict:
    """Return all weights and statistics after 24 steps, the last of an epoch with two images."""
    return {name: train_job(folder, shard, **job) for name, job in JOBS.items()}


def train_job(folder, shard, *, norm: str | None, task: str = "multiclass") -> dict:
    data, context = make_data(num_train=42, shard=shard, num_classes=3), open_context(folder)
    if task == "multilabel":
        draw = np.random.default_rng(5)
        data.train.labels = draw.integers(-1, 2, (42, 3))  # -1: unknown
        data.train.labels[3] = -1
        counts = [tuple((data.train.labels == sign).sum(axis=0).tolist()) for sign in (1, 0)]
        data = replace(data, class_counts=counts[0], negative_counts=counts[1])
    settings = make_settings(
        task=task,
        class_names=("A", "B", "C"),
        positive_class=None,
        imbalance="class_weights",
        finetune_epochs=4,
        stage={"batchnorm": norm or "train"},
    )
    model = build_toy(num_classes=3, has_norm=norm is not None, dropout=0.0)
    with open_stage(
        context, model, stage=settings.stages[1], data=data, settings=settings
    ) as setup:
        for epoch in range(1, 5):
            run_epoch(context, setup, epoch=epoch)
    return {name: tensor.clone() for name, tensor in model.net.state_dict().items()}


def norm_share(folder: Path, shard: tuple[int, int]) -> dict:
    """Pass a share of SHARES images far from 0 through synced layers, forward and backward."""
    context, results = open_context(folder), {}
    sizes = SHARES[: shard[1]]
    start = sum(sizes[: shard[0]])
    for name, layer in build_norms().items():
        x, target = draw_norm_batch(sum(sizes))
        x = x[start : start + sizes[shard[0]]].float().requires_grad_()
        with batchnorm_over_processes(context.accelerator):
            out = layer.float()(x)
        (out * target[start : start + len(x)]).sum().backward()
        results[name] = {"out": out.detach(), "grad": x.grad, "state": layer.state_dict()}
    return results


def train_last_weights(folder: Path, shard: tuple[int, int]) -> dict:
    """Return the learning weights that each process holds after epochs with BatchNorm."""
    context, model, settings = open_context(folder), build_toy(), make_settings()
    data = make_data(shard=shard)
    with open_stage(
        context, model, stage=settings.stages[1], data=data, settings=settings
    ) as setup:
        run_epoch(context, setup, epoch=1)
    return {name: tensor.clone() for name, tensor in model.net.state_dict().items()}


def find_changed(folder: Path, shard: tuple[int, int]) -> list[str]:
    """Return which tensors a head stage changes bit for bit."""
    context, model, settings = open_context(folder), build_toy(), make_settings()
    data, draw = make_data(shard=shard), torch.Generator().manual_seed(0)
    model.net.norm.running_mean.copy_(torch.rand(6, generator=draw))
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    with open_stage(
        context, model, stage=settings.stages[0], data=data, settings=settings
    ) as setup:
        run_epoch(context, setup, epoch=1)
    return [n for n, t in model.net.state_dict().items() if not torch.equal(t, before[n])]


def share_buffers(folder: Path, shard: tuple[int, int]) -> list[float]:
    """Return what becomes of BatchNorm statistics that are 0, 1, 2 ... by process."""
    context, model = open_context(folder), build_toy()
    model.net.norm.running_mean.fill_(float(shard[0]))
    average_buffers(model.net, context.accelerator)
    training = model.net.norm.running_mean.tolist()
    model.eval()
    model.net.norm.running_mean.fill_(float(shard[0]))
    average_buffers(model.net, context.accelerator)
    return training + model.net.norm.running_mean.tolist()


def stop_one(folder: Path, shard: tuple[int, int]) -> str:
    """Send SIGTERM to the last process alone, in its twelfth batch."""
    data, calls = make_data(shard=shard), iter(range(1000))

    def tick() -> None:
        if next(calls) == 11 and shard[0] == shard[1] - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    data.train.on_batch = tick
    try:
        train_toy(folder / f"stopped_{shard[1]}", data=data)
    except RunInterrupted as error:
        return str(error)
    return "not stopped"


def poison_one(folder: Path, shard: tuple[int, int]) -> str:
    """Let one image of one process have no finite loss."""
    data, bad_row = make_data(shard=shard), 3 * 4 + 5

    def poison(pixels: torch.Tensor, rows: np.ndarray, stage: str, epoch: int) -> torch.Tensor:
        is_bad = torch.from_numpy(rows == bad_row)[:, None, None, None]
        return torch.where(is_bad, torch.nan, pixels)

    try:
        train_toy(folder / f"poisoned_{shard[1]}", data=replace(data, augment=poison))
    except TrainingError as error:
        return str(error)
    return "not refused"


TASKS = (
    find_scores,
    find_gradients,
    train_together,
    train_steps,
    norm_share,
    train_last_weights,
    find_changed,
    share_buffers,
    stop_one,
    poison_one,
)


def start_group(world: int, task: Callable[[tuple[int, int]], None]) -> list[int]:
    """Start a task in a group of processes as torchrun would; returns their ids."""
    port = str(free_port())

    def member(rank: int) -> None:
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        os.environ.update({name: str(value) for name, value in places.items()})
        os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
        task((rank, world))
        torch.distributed.destroy_process_group()

    return [fork(lambda rank=rank: member(rank)) for rank in range(world)]


def run_group(world: int, task: Callable[[tuple[int, int]], None]) -> None:
    """Run a task in a group to its end."""
    codes = wait_for(*start_group(world, task))
    assert codes == [0] * world, f"processes ended with {codes}"


def run_tasks(folder: Path, shard: tuple[int, int]) -> None:
    rank, world = shard
    found = {task.__name__: task(folder, shard) for task in TASKS}
    torch.save(found, folder / f"found_{world}_{rank}.pt")


if __name__ == "__main__":
    for size in (1, 2, 3):
        run_group(size, lambda shard: run_tasks(Path(sys.argv[1]), shard))
