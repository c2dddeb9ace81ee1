"""Scores the network on the validation images, each counted exactly once.

Several processes predict their share each; the shares are joined by row before anything
is computed from them.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.evaluation.findings import finding_validation_scores
from medimg_baseline_cls.evaluation.inference import BatchLike, activation_of, predict_probabilities
from medimg_baseline_cls.schema import TrainSettings
from medimg_baseline_cls.statistics.metrics import ValidationScores, validation_scores
from medimg_baseline_cls.training.steps import Lesson, Workplace, stop_message
from medimg_baseline_cls.utils.distributed import gather_items, wait_for_all


def validate(place: Workplace, lesson: Lesson, *, positive: int | None) -> ValidationScores:
    """Return the figures of the validation images, the same in every process.

    Args:
        place: where.
        lesson: whose module is judged on whose validation images.
        positive: index of the positive class; None averages over the classes, or over the
            findings that VAL defines.

    Raises:
        RunInterrupted: a stop signal has come.
        TrainingError: an image is missing or comes twice.
    """
    labels: list[Tensor] = []
    rows, probabilities = predict_probabilities(
        lesson.module,
        _noting_labels(stoppable(place, lesson.val.ordered(), where="validation"), labels),
        to_unit_range=lesson.to_inputs,
        device=place.device,
        precision=place.precision,
        activation=activation_of(lesson.task),
    )
    own = (rows, np.concatenate([part.numpy() for part in labels]) if labels else rows)
    wait_for_all(place.accelerator)
    parts = gather_items([(*own, probabilities)], place.accelerator)
    filled = [part for part in parts if len(part[0])]
    all_rows, all_labels, all_probabilities = (
        np.concatenate(column) for column in zip(*filled, strict=True)
    )
    order = _order_once(all_rows, num_images=lesson.val.num_images)
    if lesson.task == "multilabel":
        return finding_validation_scores(all_labels[order], all_probabilities[order])
    return validation_scores(all_labels[order], all_probabilities[order], positive=positive)


def positive_index(settings: TrainSettings) -> int | None:
    """Return the class whose AP chooses the best epoch: that of two; None for the mean of many."""
    if settings.positive_class is None or len(settings.class_names) != 2:
        return None
    return settings.class_names.index(settings.positive_class)


def stoppable(place: Workplace, batches: Iterable[BatchLike], *, where: str) -> Iterator[BatchLike]:
    """Yield batches until a stop signal comes.

    Not with several processes: one of them would wait for ever for another that has
    stopped. They agree at the next training step.
    """
    if place.accelerator.num_processes > 1:
        return iter(batches)
    return place.stop.stopping(batches, message=stop_message(place, where))


def _noting_labels(batches: Iterable[BatchLike], labels: list[Tensor]) -> Iterator[BatchLike]:
    for batch in batches:
        labels.append(batch[1])
        yield batch


def _order_once(rows: NDArray[np.int64], *, num_images: int) -> NDArray[np.int64]:
    """Return the order by row, after checking that each row comes once."""
    order = np.argsort(rows, kind="stable")
    if len(np.unique(rows)) != len(rows) or len(rows) != num_images:
        raise TrainingError(
            f"{num_images} images were to be counted once each, but {len(rows)} rows came, "
            f"{len(np.unique(rows))} of them different; check how the processes share them."
        )
    return order
