"""Score the network on the validation images, each counted exactly once.

Each process predicts its share; the shares are joined by row before any metric is computed.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.evaluation.inference import (
    BatchLike,
    ToUnitRange,
    activation_of,
    predict_probabilities,
)
from medimg_baseline_cls.schema import TrainSettings
from medimg_baseline_cls.statistics.metrics import ValidationScores, validation_scores
from medimg_baseline_cls.statistics.multilabel import finding_validation_scores
from medimg_baseline_cls.training.sources import BatchSource
from medimg_baseline_cls.training.steps import StageSetup, TrainingContext, stop_message
from medimg_baseline_cls.utils.distributed import gather_items, wait_for_all


def validate(
    context: TrainingContext, setup: StageSetup, *, positive: int | None
) -> ValidationScores:
    """Return the metrics of the validation images, the same in every process.

    Args:
        context: of the training.
        setup: its module is scored on its validation images.
        positive: index of the positive class; None averages over the classes, or over the
            findings that VAL defines.

    Raises:
        RunInterrupted: a stop signal has come.
        TrainingError: an image is missing or counted twice.
    """
    return _score(context, setup, val=setup.val, to_inputs=setup.to_inputs, positive=positive)


def validate_stressed(
    context: TrainingContext, setup: StageSetup, *, positive: int | None
) -> float | None:
    """Return the mean AP of the validation images under each of the stresses.

    None where there are no stresses, or VAL defines no AP. Arguments and errors are those of
    `validate`.
    """
    found = [
        _score(context, setup, val=val, to_inputs=to_inputs, positive=positive).average_precision
        for val, to_inputs in setup.stressed
    ]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def _score(
    context: TrainingContext,
    setup: StageSetup,
    *,
    val: BatchSource,
    to_inputs: ToUnitRange,
    positive: int | None,
) -> ValidationScores:
    labels: list[Tensor] = []
    rows, probabilities = predict_probabilities(
        setup.module,
        _noting_labels(stoppable(context, val.ordered(), where="validation"), labels),
        to_unit_range=to_inputs,
        device=context.device,
        precision=context.precision,
        activation=activation_of(setup.task),
    )
    own = (rows, np.concatenate([part.numpy() for part in labels]) if labels else rows)
    wait_for_all(context.accelerator)
    parts = gather_items([(*own, probabilities)], context.accelerator)
    filled = [part for part in parts if len(part[0])]
    all_rows, all_labels, all_probabilities = (
        np.concatenate(column) for column in zip(*filled, strict=True)
    )
    order = _order_once(all_rows, num_images=val.num_images)
    if setup.has_findings:
        return finding_validation_scores(all_labels[order], all_probabilities[order])
    return validation_scores(all_labels[order], all_probabilities[order], positive=positive)


def positive_index(settings: TrainSettings) -> int | None:
    """Return the class whose AP chooses the best epoch; None for the mean of several."""
    if settings.positive_class is None or len(settings.class_names) != 2:
        return None
    return settings.class_names.index(settings.positive_class)


def stoppable(
    context: TrainingContext, batches: Iterable[BatchLike], *, where: str
) -> Iterator[BatchLike]:
    """Yield batches until a stop signal comes.

    Not with several processes: the others would wait forever for one that has stopped. They
    agree at the next training step.
    """
    if context.accelerator.num_processes > 1:
        return iter(batches)
    return context.stop.stopping(batches, message=stop_message(context, where))


def _noting_labels(batches: Iterable[BatchLike], labels: list[Tensor]) -> Iterator[BatchLike]:
    for batch in batches:
        labels.append(batch[1])
        yield batch


def _order_once(rows: NDArray[np.int64], *, num_images: int) -> NDArray[np.int64]:
    """Return the order by row, after checking that each row comes once."""
    order = np.argsort(rows, kind="stable")
    if len(np.unique(rows)) != len(rows) or len(rows) != num_images:
        raise TrainingError(
            f"Expected each of {num_images} images once, but got {len(rows)} rows, "
            f"{len(np.unique(rows))} of them different; check how the processes share them."
        )
    return order
