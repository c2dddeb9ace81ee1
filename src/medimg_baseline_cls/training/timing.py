"""Time a few steps of training on a copy of the network, before training starts."""

import copy
import statistics
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from accelerate import Accelerator

from medimg_baseline_cls.evaluation.inference import activation_of, predict_probabilities
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.schema import TrainSettings
from medimg_baseline_cls.training.interrupts import catch_stop_signals
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.training.stages import open_context, open_stage
from medimg_baseline_cls.training.steps import train_step
from medimg_baseline_cls.utils.distributed import gather_items
from medimg_baseline_cls.utils.log import SILENT

_NUM_WARMUP, _NUM_STEPS = 2, 6


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds that one image takes, with all processes at work.

    Attributes:
        train: in a step of the last stage: loading, augmentation, forward and backward.
        forward: in a prediction.
    """

    train: float
    forward: float


def time_steps(
    model: Classifier,
    data: TrainData,
    *,
    settings: TrainSettings,
    run_dir: Path,
    accelerator: Accelerator,
) -> StepTimes:
    """Return how long an image takes, as the median over a few batches.

    The network stays as it is, and no random number of the training is used up, since each is a
    function of seed, stage, epoch and row.

    Args:
        model: copied.
        data: the images of the training.
        settings: of the training; its last stage is timed.
        run_dir: only for messages.
        accelerator: of the training; all processes take the same steps.
    """
    stage, network = settings.stages[-1], copy.deepcopy(model)
    network.move(accelerator.device)
    trained: list[float] = []
    predicted: list[float] = []
    with catch_stop_signals() as stop:
        context = open_context(
            data, settings, run_dir=run_dir, accelerator=accelerator, log=SILENT, stop=stop
        )
        with open_stage(context, network, stage=stage, data=data, settings=settings) as setup:
            batches, start = setup.train.epoch(stage.name, 1), time.perf_counter()
            for step, batch in enumerate(islice(batches, _NUM_WARMUP + _NUM_STEPS)):
                outcome = train_step(context, setup, batch=batch, epoch=1, step=step)
                outcome.finite_check.item()  # waits for a device that computes meanwhile
                middle = time.perf_counter()
                predict_probabilities(
                    setup.module,
                    [batch],
                    to_unit_range=setup.to_inputs,
                    device=context.device,
                    precision=context.precision,
                    activation=activation_of(setup.task),
                )
                setup.set_modes()
                end = time.perf_counter()
                trained.append(middle - start)
                predicted.append(end - middle)
                start = end
    num_images = min(data.train.batch_size, data.train.num_images)
    times = _take_median(trained), _take_median(predicted)
    # The same in all processes: the slowest decides.
    slowest = [max(column) for column in zip(*gather_items([times], accelerator), strict=True)]
    return StepTimes(*(seconds / num_images for seconds in slowest))


def _take_median(seconds: list[float]) -> float:
    """Leave out the first steps: kernels are chosen, and memory is taken, in them."""
    return statistics.median(seconds[_NUM_WARMUP:] or seconds)
