"""Turns a pixel array and its labels into batches, without worker processes or hidden state.

The order of an epoch is a function of (seed, stage, epoch) alone, so a resumed run, and every
process of a multi-process run, has the same batches. Refuses sets whose parts have different
lengths, unknown samplings and batches too small for the processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.seed import permutation

Sampling = Literal["permute", "balanced"]

_STORED_TYPES = ("uint8", "uint16")
_FULL_SCALE = {torch.uint8: 255.0, torch.int32: 65535.0}


class Batch(NamedTuple):
    """Some images of a set; `rows` are their positions in split.csv."""

    pixels: Tensor  # (B, C, S, S), uint8; int32 if the array is uint16
    labels: Tensor  # (B,), or (B, C) of several findings, int64
    rows: NDArray[np.int64]  # (B,)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """The images of one split, as rows of the pixel array of the data set.

    Attributes:
        pixels: shape (N, C, S, S), uint8 or uint16, often a memory map.
        cache_rows: the position of each image in `pixels`, shape (n,), int64.
        rows: which row of split.csv each image is, shape (n,), int64.
        labels: class index of each image, shape (n,), int64; or 1, 0 or -1 (unknown) for each
            finding, shape (n, C).
    """

    pixels: NDArray[Any]
    cache_rows: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {len(self.cache_rows), len(self.rows), len(self.labels)}
        if len(lengths) != 1:
            raise DataError(
                f"An image set needs one cache row, row and label per image, but has "
                f"{len(self.cache_rows)}, {len(self.rows)} and {len(self.labels)}."
            )
        if self.pixels.ndim != 4 or self.pixels.dtype.name not in _STORED_TYPES:
            raise DataError(
                f"The pixel array must be (N, C, S, S) of uint8 or uint16, "
                f"but is {self.pixels.shape} of {self.pixels.dtype}."
            )

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: NDArray[np.int64]) -> Batch:
        """Copy the images at these positions of the set into a batch."""
        pixels = np.ascontiguousarray(self.pixels[self.cache_rows[positions]])
        if pixels.dtype == np.uint16:
            # torch computes hardly anything on uint16.
            pixels = pixels.astype(np.int32)
        return Batch(
            torch.from_numpy(pixels),
            torch.from_numpy(self.labels[positions]),
            self.rows[positions],
        )


class Loader:
    """Batches of one split: shuffled in each training epoch, or in order.

    With several processes `batch_size` is that of the whole step: every process takes its slice of
    the same batches. The number of processes changes neither order nor number of steps.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        seed: int,
        sampling: Sampling = "permute",
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """Check the settings; nothing is read yet.

        Args:
            images: the images of one split, at least one.
            batch_size: images per step over all processes, at least one per process.
            seed: the run's seed.
            sampling: "permute" (each image once per epoch) or "balanced" (each class
                equally often: small classes repeat, large ones rotate).
            shard: (rank, world) of this process.

        Raises:
            DataError: when the set is empty or the settings do not fit together.
        """
        rank, world = shard
        if len(images) == 0:
            raise DataError("The split contains no images; check the data folder and val_fraction.")
        if sampling not in get_args(Sampling):
            raise DataError(f"sampling is {sampling!r}; choose 'permute' or 'balanced'.")
        if sampling == "balanced" and images.labels.ndim > 1:
            raise DataError(
                "Balanced sampling needs one class per image, but these images have several "
                "findings each: choose imbalance none, class_weights or focal."
            )
        if not 0 <= rank < world:
            raise DataError(f"The shard is (rank, world) with 0 <= rank < world, not {shard}.")
        if batch_size < world or len(images) < world:
            raise DataError(
                f"{len(images)} images in batches of {batch_size} cannot feed {world} processes; "
                f"start fewer processes or raise the batch size."
            )
        self._images = images
        self._seed = seed
        self._sampling = sampling
        self._rank = rank
        self._world = world
        self.batch_size = batch_size

    @property
    def num_images(self) -> int:
        """The number of images of the whole split, over all processes."""
        return len(self._images)

    @property
    def num_batches(self) -> int:
        """The number of steps of one epoch, the same in every process."""
        return len(self._batch_bounds())

    def epoch(self, stage: str, epoch: int) -> Iterator[Batch]:
        """Yield this process's slice of each batch, in the drawn order of this epoch."""
        order = self._draw_order(stage, epoch)
        for start, stop in self._batch_bounds():
            yield self._images.batch(order[start:stop][self._rank :: self._world])

    def ordered(self) -> Iterator[Batch]:
        """Yield every image of this process's shard once, in the order of the set.

        Image i belongs to process i modulo world, so all shards together contain each image exactly
        once. The last batch may be smaller.
        """
        positions = np.arange(self._rank, self.num_images, self._world, dtype=np.int64)
        for start in range(0, len(positions), self.batch_size):
            yield self._images.batch(positions[start : start + self.batch_size])

    def _draw_order(self, stage: str, epoch: int) -> NDArray[np.int64]:
        if self._sampling == "balanced":
            return _draw_balanced(self._images.labels, (self._seed, stage, epoch))
        order = permutation(self._seed, "order", stage, epoch, size=self.num_images)
        return np.asarray(order, dtype=np.int64)

    def _batch_bounds(self) -> list[tuple[int, int]]:
        # BatchNorm cannot learn from one image: a last batch that would leave a process
        # with fewer than two is added to the one before.
        bounds = [*range(0, self.num_images, self.batch_size), self.num_images]
        if len(bounds) > 2 and bounds[-1] - bounds[-2] < 2 * self._world:
            del bounds[-2]
        return list(pairwise(bounds))


def to_unit_range(pixels: Tensor, device: torch.device | str) -> Tensor:
    """Move stored pixels to a device and map them to [0, 1].

    Integers are copied and converted on the device: a quarter of the traffic.

    Args:
        pixels: shape (B, C, S, S), uint8 in [0, 255] or int32 in [0, 65535].
        device: device of the result.

    Returns:
        float32 of the same shape, in [0, 1].

    Raises:
        DataError: when the pixels are of another type.

    >>> to_unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8), "cpu")
    tensor([0.0000, 0.2000, 1.0000])
    """
    if pixels.dtype not in _FULL_SCALE:
        raise DataError(f"Stored pixels are uint8 or int32, but these are {pixels.dtype}.")
    moved = pixels.to(device, non_blocking=True)
    return moved.to(torch.float32).div_(_FULL_SCALE[pixels.dtype])


def _draw_balanced(labels: NDArray[np.int64], purpose: tuple[int, str, int]) -> NDArray[np.int64]:
    """Draw len(labels) positions, each class as often as any other (to within one).

    Each class is reshuffled after all of its images were drawn, so no image is drawn twice before
    every other one of its class was drawn once.
    """
    seed, stage, epoch = purpose
    classes = np.unique(labels)
    quota = np.full(len(classes), len(labels) // len(classes))
    # The classes take turns in getting one more image.
    quota[(np.arange(len(labels) % len(classes)) + epoch) % len(classes)] += 1
    drawn: list[NDArray[np.int64]] = []
    for label, wanted in zip(classes, quota, strict=True):
        members = np.flatnonzero(labels == label)
        num_decks = -(-int(wanted) // len(members))
        decks = [
            permutation(seed, "deck", stage, epoch, int(label), deck, size=len(members))
            for deck in range(num_decks)
        ]
        drawn.append(members[np.concatenate(decks)[:wanted]] if decks else members[:0])
    order = permutation(seed, "order", stage, epoch, size=len(labels))
    return np.concatenate(drawn)[order]
