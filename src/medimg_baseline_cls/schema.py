"""The frozen records that travel between rooms: plain values and NumPy arrays, never torch.

`ImageRecord` and `Split` say which image stands where; `Predictions` what the model
said of it; `Threshold` where a probability becomes a decision; `Mistake` which
decisions were wrong; `Stage` and `TrainSettings` how training goes.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image: a row of split.csv.

    `path` is relative to the data folder, with forward slashes; so is `image_id` for
    folder data. `group` is the patient (or the file itself where none is known).
    """

    image_id: str
    path: str
    label: str
    group: str
    split: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Split:
    """Every accepted image with its split, in the order of split.csv (sorted by path).

    An image's position in `records` is its *row*: the number that names it in the
    pixel array, in the loaders and in every random draw.
    """

    records: tuple[ImageRecord, ...]
    class_names: tuple[str, ...]

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split, ascending; shape (n,)."""
        return np.array([i for i, r in enumerate(self.records) if r.split == split], dtype=np.int64)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class index of each row, in the frozen class order; shape (n,)."""
        index = {name: i for i, name in enumerate(self.class_names)}
        return np.array([index[self.records[row].label] for row in rows], dtype=np.int64)

    def class_counts(self, split: str) -> dict[str, int]:
        """Return the number of images per class in one split."""
        counts = Counter(r.label for r in self.records if r.split == split)
        return {name: counts.get(name, 0) for name in self.class_names}

    def num_groups(self, split: str) -> int:
        """Return the number of distinct groups (patients) in one split."""
        return len({r.group for r in self.records if r.split == split})


@dataclass(frozen=True, slots=True)
class Predictions:
    """Probabilities of one split: the content of predictions_<split>.csv.

    Attributes:
        split: "train", "val", "test" or "new".
        class_names: the frozen class order, length C.
        image_ids, paths, groups: length N each.
        labels: class index of the reference standard, shape (N,), int64; -1 where unknown.
        probabilities: shape (N, C), float64, each in [0, 1], rows summing to 1.
    """

    split: str
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    paths: tuple[str, ...]
    groups: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def scores(self, class_name: str) -> NDArray[np.float64]:
        """Return the probability of one class, shape (N,)."""
        return self.probabilities[:, self.class_names.index(class_name)]

    def truth(self, class_name: str) -> NDArray[np.bool_]:
        """Return whether the reference standard names this class, shape (N,)."""
        return self.labels == self.class_names.index(class_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """An operating point of one class: positive means `probability >= value`."""

    rule: str
    value: float
    description: str
    class_name: str
    score_space: str = "probability"
    num_positive: int = 0
    num_negative: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One wrong decision: a row of mistakes.csv. `margin` is |probability - threshold|."""

    split: str
    rule: str
    class_name: str
    kind: Literal["FP", "FN"]
    rank: int
    image_id: str
    probability: float
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of training: "head" (backbone frozen) or "finetune" (everything).

    `batchnorm` says what stage "finetune" does with BatchNorm's running statistics: "train"
    uses and moves them with every batch (a must from random weights); "frozen" keeps the
    pretrained ones, so that the features the head was fitted to do not jump at the first
    step. In stage "head" they are always frozen.
    """

    name: Literal["head", "finetune"]
    epochs: int
    head_lr: float
    backbone_lr: float = 0.0
    warmup_fraction: float = 0.1
    augmented: bool = True
    batchnorm: Literal["train", "frozen"] = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Everything the training loop needs to know, as plain values."""

    stages: tuple[Stage, ...]
    class_names: tuple[str, ...]
    positive_class: str | None
    seed: int
    weight_decay: float
    label_smoothing: float
    imbalance: str
    ema_decay: float
    clip_norm: float
    patience: int
    checkpoint_header: Mapping[str, Any] = field(default_factory=dict[str, Any])
