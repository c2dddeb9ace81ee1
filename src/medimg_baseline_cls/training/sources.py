"""The input of training: batches of pixels, or of features that were computed once.

A `BatchSource` yields the batches of an epoch and its images in order, such as
data.batches.loaders.Loader. A `FeatureSource` wraps another source: it yields the same
batches, with the backbone's features in place of the pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medimg_baseline_cls.evaluation.inference import BatchLike, ToUnitRange
from medimg_baseline_cls.training.callbacks import Callback

Augmenter = Callable[[Tensor, NDArray[np.int64], str, int], Tensor]
"""Maps (pixels (B, C, S, S), rows (B,), stage, epoch) to pixels of the same shape."""


class BatchSource(Protocol):
    """The images of one split. With several processes, each has its share."""

    @property
    def batch_size(self) -> int:
        """Images per step, over all processes."""
        ...

    @property
    def num_images(self) -> int:
        """Images of the split, over all processes."""
        ...

    @property
    def num_batches(self) -> int:
        """Steps of an epoch, the same in every process."""
        ...

    def epoch(self, stage: str, epoch: int) -> Iterator[BatchLike]:
        """Yield this process's part of each batch of an epoch, in random order."""
        ...

    def ordered(self) -> Iterator[BatchLike]:
        """Yield this process's images, each once."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainData:
    """The input of training besides its settings: images and callbacks.

    Attributes:
        train: the training images.
        val: the images on which the best epoch is chosen.
        to_unit_range: moves stored pixels to a device as float32 in [0, 1].
        augment: changes training pixels, or None.
        stresses: fixed changes of validation pixels (B, C, S, S) in [0, 1]; if there are some, the
            mean AP under each chooses the best epoch.
        class_counts: training images per class or with each finding, in the frozen class order.
        negative_counts: training images known to be without each finding; empty for classes.
        image_ids: the name of each row, for messages; may be empty.
        groups: the patient of each row; only a head that is solved needs them.
        callbacks: called in this order, only in the main process.
        is_hopeless: asked after an epoch that is not the last, in a trial of a sweep alone; True
            stops the training.
    """

    train: BatchSource
    val: BatchSource
    to_unit_range: ToUnitRange
    augment: Augmenter | None
    stresses: Sequence[Callable[[Tensor], Tensor]] = ()
    class_counts: tuple[int, ...]
    negative_counts: tuple[int, ...] = ()
    image_ids: Sequence[str] = ()
    groups: Sequence[str] = ()
    callbacks: Sequence[Callback] = ()
    is_hopeless: Callable[[], bool] | None = None


class FeatureBatch(NamedTuple):
    """A batch of features from the backbone."""

    features: Tensor  # (B, D), float32, on the device
    labels: Tensor  # (B,), or (B, C) of several findings, int64
    rows: NDArray[np.int64]  # (B,)


class FeatureSource:
    """The features of every image of a source, in the batches of that source."""

    def __init__(
        self,
        source: BatchSource,
        features: Tensor,
        *,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        shard: tuple[int, int],
    ) -> None:
        """Index the features by row.

        Args:
            source: gives the order of the batches.
            features: shape (N, D), of the images of all processes.
            rows: the row of each, shape (N,), all different.
            labels: class index of each, shape (N,); or its findings, shape (N, C).
            shard: (rank, world) of this process.
        """
        order = np.argsort(rows, kind="stable")
        self._source = source
        self._rows = rows[order]
        self._labels = torch.from_numpy(labels[order])
        self._features = features[torch.from_numpy(order).to(features.device)]
        self._shard = shard

    @property
    def batch_size(self) -> int:
        """Images per step, over all processes."""
        return self._source.batch_size

    @property
    def num_images(self) -> int:
        """Images of the split, over all processes."""
        return self._source.num_images

    @property
    def num_batches(self) -> int:
        """Steps of an epoch, the same in every process."""
        return self._source.num_batches

    def everything(self) -> FeatureBatch:
        """Return the features of the images of all processes, in the order of rows."""
        return FeatureBatch(self._features, self._labels, self._rows)

    def epoch(self, stage: str, epoch: int) -> Iterator[BatchLike]:
        """Yield the features of this process's part of each batch of an epoch."""
        for _, _, rows in self._source.epoch(stage, epoch):
            yield self._batch(np.searchsorted(self._rows, rows))

    def ordered(self) -> Iterator[BatchLike]:
        """Yield the features of this process's images, each once, in the order of rows."""
        rank, world = self._shard
        positions = np.arange(rank, len(self._rows), world)
        for start in range(0, len(positions), self.batch_size):
            yield self._batch(positions[start : start + self.batch_size])

    def _batch(self, positions: NDArray[np.int64]) -> FeatureBatch:
        index = torch.from_numpy(positions)
        features = self._features[index.to(self._features.device)]
        return FeatureBatch(features, self._labels[index], self._rows[positions])
