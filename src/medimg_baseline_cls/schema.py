"""The frozen records that travel between rooms: plain values and NumPy arrays, never torch.

`ImageRecord` and `Split` list the images of each split; `Predictions` contains their probabilities;
`Threshold` is an operating point; `Mistake` is a wrong decision; `Stage` and `TrainSettings`
describe training.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")
Task = Literal["multiclass", "ordinal", "multilabel"]
FINDING_SEPARATOR, UNKNOWN_MARK = "|", "?"


class TaskFacts:
    """What the task of a record means: the one place that compares its name.

    A record with a `task` inherits this. A new task says here what its labels are.
    """

    __slots__ = ()
    task: Task

    @property
    def has_findings(self) -> bool:
        """Return whether an image may have several findings, or none; else it has one class."""
        return self.task == "multilabel"

    @property
    def has_grades(self) -> bool:
        """Return whether the classes have an order."""
        return self.task == "ordinal"


Certainty = Literal["set", "sure", "guess", "unknown"]


SENTENCE_CHECKS = ("inferences", "training")
"""The checks of an audit whose findings are sentences of their own, and not counts of something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """Something inferred from names, tables or file headers, not set by the user.

    Attributes:
        topic: what it is about, such as "positive class" or "patients".
        found: what was inferred.
        reason: from what.
        certainty: "set" by the user, "sure", a "guess", or "unknown" where nothing was found.
        flag: what overrides it, such as "--positive-class NAME"; "" if nothing does.
        warning: one sentence if this may invalidate the result; "" otherwise. It is logged,
            and repeated in eval_summary.json, the report and the model card.
    """

    topic: str
    found: str
    reason: str
    certainty: Certainty = "sure"
    flag: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image: a row of split.csv.

    `path` is relative to the data folder, with forward slashes; so is `image_id` for
    folder data. `label` is the class, or the findings as `format_findings` writes them.
    `group` is the patient (or the file itself where none is known). `subgroups` belong to
    the `subgroup_names` of the split. `masks` are files next to the image, listed in masks.csv.
    """

    image_id: str
    path: str
    label: str
    group: str
    split: str
    sha256: str
    width: int
    height: int
    subgroups: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Split(TaskFacts):
    """Every accepted image with its split, in the order of split.csv (sorted by path).

    An image's position in `records` is its *row*: its index in the pixel array, in the loaders and
    in every random draw.
    """

    records: tuple[ImageRecord, ...]
    class_names: tuple[str, ...]
    task: Task = "multiclass"
    subgroup_names: tuple[str, ...] = ()

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split, ascending; shape (n,)."""
        return np.array([i for i, r in enumerate(self.records) if r.split == split], dtype=np.int64)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the reference standard of each row, in the frozen class order.

        One class per image: its index, shape (n,). Several findings per image: 1, 0 or
        -1 (unknown) for each class, shape (n, C).
        """
        return index_labels([self.records[row].label for row in rows], self)

    def label_text(self, row: int) -> str:
        """Return the reference standard of one row for a panel; of many findings the first."""
        label = self.records[row].label
        return describe_findings(label, max_shown=2) if self.has_findings else label

    def class_counts(self, split: str) -> dict[str, int]:
        """Return the number of images per class in one split; of positive ones per finding."""
        labels = [record.label for record in self.records if record.split == split]
        if self.has_findings:
            positive = index_labels(labels, self) == 1
            return dict(zip(self.class_names, positive.sum(axis=0).tolist(), strict=True))
        counts = Counter(labels)
        return {name: counts.get(name, 0) for name in self.class_names}

    def num_groups(self, split: str) -> int:
        """Return the number of distinct groups (patients) in one split."""
        return len({r.group for r in self.records if r.split == split})


@dataclass(frozen=True, slots=True)
class Predictions(TaskFacts):
    """Probabilities of one split: the content of predictions_<split>.csv.

    Attributes:
        split: "train", "val", "test" or "new".
        class_names: the frozen class order, length C.
        image_ids, paths, groups: length N each.
        labels: the reference standard, int64; -1 where unknown. Its class index, shape (N,);
            for task "multilabel" 1 or 0 for each class, shape (N, C).
        probabilities: shape (N, C), float64, each in [0, 1]; rows sum to 1 unless the task is
            "multilabel".
        task: "multiclass", "ordinal" or "multilabel".
        score_space: "probability" as the network gives it, or the recalibration it went through.
    """

    split: str
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    paths: tuple[str, ...]
    groups: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    task: Task = "multiclass"
    score_space: str = "probability"

    def scores(self, class_name: str) -> NDArray[np.float64]:
        """Return the probability of one class, shape (N,)."""
        return self.probabilities[:, self.class_names.index(class_name)]

    def truth(self, class_name: str) -> NDArray[np.bool_]:
        """Return whether the reference standard names this class, shape (N,)."""
        index = self.class_names.index(class_name)
        return self.labels[:, index] == 1 if self.has_findings else self.labels == index

    def known(self, class_name: str) -> NDArray[np.bool_]:
        """Return whether the reference standard of this class is known, shape (N,)."""
        if self.has_findings:
            return self.labels[:, self.class_names.index(class_name)] >= 0
        return self.labels >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """An operating point of one class: positive means `probability >= value`.

    `target` is the value that the rule must reach, such as a sensitivity; None if it has no target.
    """

    rule: str
    value: float
    description: str
    class_name: str
    score_space: str = "probability"
    num_positive: int = 0
    num_negative: int = 0
    target: float | None = None


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

    `batchnorm` sets what stage "finetune" does with BatchNorm's running statistics: "train"
    updates them with every batch (required from random weights); "frozen" keeps the pretrained
    ones, because an update would change the features that the head was fitted to; "sync" is
    "train" over the images of all processes. In stage "head" they are always frozen.
    `frozen_stem` keeps the first layers as they are, see `find_stem`. `fit` of stage "head" may
    be "logistic": solved in one epoch instead of learned, see `fit_logistic`.
    """

    name: Literal["head", "finetune"]
    epochs: int
    head_lr: float
    backbone_lr: float = 0.0
    warmup_fraction: float = 0.1
    augmented: bool = True
    batchnorm: Literal["train", "frozen", "sync"] = "train"
    frozen_stem: bool = False
    fit: Literal["adamw", "logistic"] = "adamw"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings(TaskFacts):
    """Everything the training loop needs to know, as plain values.

    `inputs` are settings of what is passed to the loop, such as the augmentation: a run resumes
    with the same ones.
    """

    stages: tuple[Stage, ...]
    class_names: tuple[str, ...]
    positive_class: str | None
    task: Task = "multiclass"
    seed: int
    weight_decay: float
    label_smoothing: float
    imbalance: str
    ema_decay: float
    clip_norm: float
    patience: int
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    checkpoint_header: Mapping[str, Any] = field(default_factory=dict[str, Any])


def format_findings(values: Sequence[int], class_names: Sequence[str]) -> str:
    """Return the findings of one image as one text: the positive ones, then the unknown.

    Args:
        values: 1, 0 or -1 (unknown) for each class.
        class_names: their names, without "|" and without a leading "?".

    >>> format_findings([1, 0, -1], ["Effusion", "Mass", "Nodule"])
    'Effusion|?Nodule'
    """
    pairs = list(zip(class_names, values, strict=True))
    unknown = [f"{UNKNOWN_MARK}{name}" for name, value in pairs if value < 0]
    return FINDING_SEPARATOR.join([*(name for name, value in pairs if value > 0), *unknown])


def parse_findings(text: str, class_names: Sequence[str]) -> list[int]:
    """Return 1, 0 or -1 (unknown) for each class of a text that `format_findings` wrote.

    Raises:
        KeyError: The text names something that is not a class.

    >>> parse_findings("Effusion|?Nodule", ["Effusion", "Mass", "Nodule"])
    [1, 0, -1]
    """
    values = dict.fromkeys(class_names, 0)
    for part in filter(None, text.split(FINDING_SEPARATOR)):
        name = part.removeprefix(UNKNOWN_MARK)
        if name not in values:
            raise KeyError(name)
        values[name] = -1 if part.startswith(UNKNOWN_MARK) else 1
    return list(values.values())


def describe_findings(text: str, *, max_shown: int | None = None) -> str:
    """Return a text of `format_findings` for readers, with the unknown mark at the end of a name.

    >>> describe_findings("Effusion|?Nodule"), describe_findings("")
    ('Effusion, Nodule?', 'no finding')
    >>> describe_findings("Effusion|Mass|?Nodule|?Hernia", max_shown=2)
    'Effusion, Mass, +2'
    """
    words = [
        f"{part.removeprefix(UNKNOWN_MARK)}?" if part.startswith(UNKNOWN_MARK) else part
        for part in filter(None, text.split(FINDING_SEPARATOR))
    ]
    if max_shown is not None and len(words) > max_shown:
        words[max_shown:] = [f"+{len(words) - max_shown}"]
    return ", ".join(words) or "no finding"


def index_labels(labels: Sequence[str], split: Split) -> NDArray[np.int64]:
    """Return label texts as `Split.labels` does: shape (n,), or (n, C) for several findings."""
    if split.has_findings:
        rows = {text: parse_findings(text, split.class_names) for text in set(labels)}
        table = [rows[text] for text in labels]
        return np.array(table, dtype=np.int64).reshape(len(labels), len(split.class_names))
    index = {name: i for i, name in enumerate(split.class_names)}
    return np.array([index[text] for text in labels], dtype=np.int64)
