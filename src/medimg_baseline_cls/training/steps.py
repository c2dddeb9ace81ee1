"""One epoch and one step of training: batches in, updated weights and a mean loss out.

A loss or gradient that is not finite stops the run and names the images of the batch; a
stop signal ends it after the current step.
"""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from medimg_baseline_cls.errors import RunInterrupted, TrainingError
from medimg_baseline_cls.evaluation.inference import BatchLike, ToUnitRange
from medimg_baseline_cls.schema import Stage, Task, TaskFacts
from medimg_baseline_cls.training.ema import WeightAverage
from medimg_baseline_cls.training.interrupts import StopRequest
from medimg_baseline_cls.training.losses import Criterion
from medimg_baseline_cls.training.optimizer import (
    clip_gradients,
    count_warmup,
    learning_rate_factor,
    set_learning_rates,
)
from medimg_baseline_cls.training.pace import Pace
from medimg_baseline_cls.training.sources import BatchSource
from medimg_baseline_cls.training.sync_norm import batchnorm_over_processes
from medimg_baseline_cls.utils.device import Precision, autocast
from medimg_baseline_cls.utils.distributed import (
    average_buffers,
    gather_items,
    sum_gradients,
    sum_over_processes,
)
from medimg_baseline_cls.utils.faults import is_out_of_memory
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.seed import torch_randomness

_LEAST_WEIGHT = 1e-30


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What is the same for the whole training: where it runs and where it writes."""

    run_dir: Path
    accelerator: Accelerator
    log: RunLog
    stop: StopRequest
    seed: int
    clip_norm: float
    image_ids: Sequence[str]

    @property
    def device(self) -> torch.device:
        """Return the device that computes."""
        return self.accelerator.device

    @property
    def precision(self) -> Precision:
        """Return the precision of forward passes."""
        return "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32"

    @property
    def shard(self) -> tuple[int, int]:
        """Return (rank, number of processes)."""
        return self.accelerator.process_index, self.accelerator.num_processes


@dataclass(frozen=True, kw_only=True)
class StageSetup(TaskFacts):
    """Everything that one training stage needs.

    Attributes:
        stage: its name, epochs and rates.
        task: one class per image, or several findings.
        module: maps inputs to logits: the whole network, or only its head.
        train: the training images, as pixels or features.
        val: the validation images, in the form that `to_inputs` takes.
        prepare: turns a training batch of an epoch into the module's inputs.
        to_inputs: turns validation images into the module's inputs.
        stressed: the validation images under each of the stresses, in the same form.
        set_modes: puts every module into train or eval mode.
        optimizer: over `parameters`.
        parameters: those that are trained.
        criterion: losses and weights of the images of a step.
        average: moving average of the weights, or None.
        solve: finds the parameters instead of an epoch of steps and returns the mean loss, or None.
    """

    stage: Stage
    task: Task
    module: nn.Module
    train: BatchSource
    val: BatchSource
    prepare: Callable[[BatchLike, int], Tensor]
    to_inputs: ToUnitRange
    stressed: Sequence[tuple[BatchSource, ToUnitRange]]
    set_modes: Callable[[], None]
    optimizer: Optimizer
    parameters: Sequence[nn.Parameter]
    criterion: Criterion
    average: WeightAverage | None
    solve: Callable[[], float] | None = None

    @property
    def is_synced(self) -> bool:
        """Return whether BatchNorm learns from the images of all processes."""
        return self.stage.name == "finetune" and self.stage.batchnorm == "sync"


class StepOutcome(NamedTuple):
    """The result of a step; its tensors stay on the device."""

    loss_sum: Tensor  # over the images of all processes
    weight_sum: Tensor
    finite_check: Tensor  # finite if and only if loss and gradients are
    stop: bool


def run_epoch(
    context: TrainingContext, setup: StageSetup, *, epoch: int, pace: Pace | None = None
) -> float:
    """Train for one epoch (from 1); `pace` counts the batches.

    Returns:
        The mean loss over the epoch's images, each at its own step.

    Raises:
        TrainingError: a loss or a gradient is NaN or infinite, or memory ran out.
        RunInterrupted: a stop signal has come; the current step was finished.
    """
    setup.set_modes()
    name, num_batches = setup.stage.name, setup.train.num_batches
    outcomes: list[StepOutcome] = []
    previous: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    with context.log.progress(f"{name} {epoch}/{setup.stage.epochs}", num_batches) as bar:
        for number, batch in enumerate(setup.train.epoch(name, epoch)):
            step = (epoch - 1) * num_batches + number
            with _explaining_full_memory(context, num_images=len(batch[1])):
                outcome = train_step(context, setup, batch=batch, epoch=epoch, step=step)
            # One step late, so that the CPU does not have to wait for the GPU.
            _check_finite(context, setup, outcomes=outcomes, rows=previous)
            outcomes.append(outcome)
            previous = batch[2]
            bar.advance()
            if pace is not None:
                pace.note(setup.train.batch_size)
            if outcome.stop:
                raise RunInterrupted(stop_message(context, f"stage {name}, epoch {epoch}"))
    _check_finite(context, setup, outcomes=outcomes, rows=previous)
    if not setup.is_synced:
        average_buffers(setup.module, context.accelerator)
    return _mean_loss(outcomes)


def train_step(
    context: TrainingContext, setup: StageSetup, *, batch: BatchLike, epoch: int, step: int
) -> StepOutcome:
    """Train on one batch: forward, backward, clip, update.

    Args:
        context: of the training.
        setup: of the stage.
        batch: this process's images of the step; may be empty with several processes.
        epoch: from 1.
        step: from 0, counted over the whole stage.
    """
    num_steps = setup.stage.epochs * setup.train.num_batches
    num_warmup = count_warmup(setup.stage, num_steps=num_steps)
    factor = learning_rate_factor(step, num_steps=num_steps, num_warmup=num_warmup)
    set_learning_rates(setup.optimizer, factor)
    setup.optimizer.zero_grad(set_to_none=True)

    local_loss, local_weight = _forward(context, setup, batch=batch, epoch=epoch, step=step)
    loss_sum, weight_sum, stop = _sum_up(context, loss=local_loss, weight=local_weight)
    if local_loss.requires_grad:
        # If no finding of any image is known, both are 0, and the gradient must be 0, not NaN.
        (local_loss / weight_sum.clamp(min=_LEAST_WEIGHT)).backward()
    sum_gradients(setup.parameters, context.accelerator)
    norm = clip_gradients(setup.parameters, context.clip_norm)
    setup.optimizer.step()
    if setup.average is not None:
        setup.average.update(step)
    # One value to check: a sum is finite only if both are (a gradient may overflow alone).
    finite_check = loss_sum if norm is None else loss_sum + norm
    return StepOutcome(loss_sum, weight_sum, finite_check, stop)


def stop_message(context: TrainingContext, where: str) -> str:
    """Return the message on where training stopped and how to resume the run."""
    return (
        f"stopped in {where}; resume from the last finished epoch, and complete the run, with: "
        f"medimg run --resume {context.run_dir}"
    )


@contextmanager
def _explaining_full_memory(
    context: TrainingContext, *, num_images: int
) -> Generator[None, None, None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"{context.device} does not have enough memory for {num_images} images per process; "
            f"halve the batch size (and with it the learning rates) or the image size."
        ) from error


def _forward(
    context: TrainingContext, setup: StageSetup, *, batch: BatchLike, epoch: int, step: int
) -> tuple[Tensor, Tensor]:
    """Return the summed loss and weight of this process's images."""
    # With synced BatchNorm, a process without images must still take part in the sums.
    if len(batch[1]) == 0 and not setup.is_synced:
        nothing = torch.zeros((), device=context.device)
        return nothing, nothing
    inputs = setup.prepare(batch, epoch)
    labels = batch[1].to(context.device, non_blocking=True)
    rank = context.accelerator.process_index
    norms = batchnorm_over_processes(context.accelerator) if setup.is_synced else nullcontext()
    with torch_randomness(context.seed, "layers", setup.stage.name, epoch, step, rank):
        with autocast(context.device, context.precision), norms:
            logits = setup.module(inputs)
        losses, weights = setup.criterion(logits, labels)
    return losses.sum(), weights.sum()


def _sum_up(
    context: TrainingContext, *, loss: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, bool]:
    """Return loss, weight and stop request over all processes."""
    if context.accelerator.num_processes == 1:
        return loss.detach(), weight, context.stop.is_set
    stop = torch.full_like(weight, float(context.stop.is_set))
    summed = sum_over_processes(torch.stack([loss.detach(), weight, stop]), context.accelerator)
    return summed[0], summed[1], bool(summed[2].item() > 0)


def _check_finite(
    context: TrainingContext,
    setup: StageSetup,
    *,
    outcomes: Sequence[StepOutcome],
    rows: NDArray[np.int64],
) -> None:
    """Refuse the last outcome if it is not finite, and name its images."""
    if not outcomes or math.isfinite(outcomes[-1].finite_check.item()):
        return
    loss = (outcomes[-1].loss_sum / outcomes[-1].weight_sum).item()
    all_rows: list[int] = gather_items(rows.tolist(), context.accelerator)
    names = [context.image_ids[row] for row in all_rows] if context.image_ids else all_rows
    step, stage = len(outcomes), setup.stage.name
    path = context.run_dir / "nonfinite_batch.json"
    if context.accelerator.is_main_process:
        found = {"stage": stage, "step_of_epoch": step, "loss": str(loss)}
        write_json(path, {**found, "rows": all_rows, "images": names})
    shown = ", ".join(str(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
    raise TrainingError(
        f"The loss is {loss} or its gradient is not finite in stage {stage}, step {step} of the "
        f"epoch. Images: {shown} (all of them in {path}). Lower the learning rate, set "
        f"clip_norm to 1, or try precision=fp32; if that does not help, look at the images."
    )


def _mean_loss(outcomes: Sequence[StepOutcome]) -> float:
    # On the CPU, as not every device has float64: float32 sums of many steps lose digits.
    loss = torch.stack([outcome.loss_sum for outcome in outcomes]).cpu().double().sum()
    weight = torch.stack([outcome.weight_sum for outcome in outcomes]).cpu().double().sum()
    return float(loss / weight)
