"""The images of an audit: records, facts about their files, and a pixel array.

Plain values, whether they come from a folder, a table or a run. Nothing is decoded here.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.folders.cases import list_case_files
from medimg_baseline_cls.data.read import Geometry, sniff_format
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.schema import ImageRecord, Inference, Split, index_labels

_HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class FileLook:
    """What is known of a file before it is decoded.

    Attributes:
        num_bytes: file size; 0 for an image without a file of its own.
        content: the format by the first bytes, such as "JPEG"; "" where unknown.
        mode: the color mode in Pillow's terms; "" where unknown.
        geometry: of a volume.
    """

    num_bytes: int = 0
    content: str = ""
    mode: str = ""
    geometry: Geometry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditImages:
    """A data set as the audit sees it.

    Attributes:
        split: the readable images, classes and task; `group` is the patient as named,
            before patients with equal files are merged. A record's `split` is "" before
            the images are split.
        rows: for each record, its row in `pixels`, shape (N,).
        pixels: shape (M, C, S, S), uint8 or uint16, often a memory map.
        looks: one per record; empty where only records are known.
        rejected: (path, reason) of files that could not be read.
        bad_files_stop: whether training stops at them instead of skipping them.
        inferences: what was concluded without a setting.
        name_group: returns the name of a patient in texts.
        refusals: why training would stop before it decodes the first image.
        positive_class: of two classes; None where it is unknown or there are more.
    """

    split: Split
    rows: NDArray[np.int64]
    pixels: NDArray[Any]
    looks: tuple[FileLook, ...] = ()
    rejected: tuple[tuple[str, str], ...] = field(default=())
    bad_files_stop: bool = False
    inferences: tuple[Inference, ...] = ()
    name_group: Callable[[str], str] = str
    positive_class: str | None = None
    refusals: tuple[str, ...] = ()

    @property
    def contrasted_classes(self) -> tuple[str, ...]:
        """Return the classes to compare with the rest: the positive one of two, else each.

        Of two classes, the second where the positive one is unknown.
        """
        names = self.split.class_names
        if len(names) != 2 or self.split.has_findings:
            return names
        return names[1:] if self.positive_class is None else (self.positive_class,)

    @property
    def paths(self) -> list[str]:
        """Return the path of each record."""
        return [record.path for record in self.split.records]

    @property
    def splits(self) -> NDArray[np.str_]:
        """Return the split of each record, shape (N,)."""
        return np.array([record.split for record in self.split.records], dtype=np.str_)

    @property
    def groups(self) -> NDArray[np.str_]:
        """Return the group (patient) of each record, shape (N,)."""
        return np.array([record.group for record in self.split.records], dtype=np.str_)


def look_at_file(path: Path, *, mode: str = "", geometry: Geometry | None = None) -> FileLook:
    """Return size and format of a file by its first bytes; an empty look if it cannot be read.

    The size of a case of several files is that of all of them, the format that of the first.
    """
    try:
        files = [path] if path.is_file() else list_case_files(path)
        with files[0].open("rb") as file:
            head = file.read(_HEAD_BYTES)
        num_bytes = sum(file.stat().st_size for file in files)
        return FileLook(num_bytes, sniff_format(head), mode, geometry)
    except (OSError, BadImageError, IndexError):
        return FileLook(mode=mode, geometry=geometry)


def paths_of_each(
    records: Sequence[ImageRecord], key: Callable[[ImageRecord], Hashable]
) -> list[str]:
    """Return the paths of images, the first one of each key (split, label) before the others."""
    first: dict[Hashable, str] = {}
    for record in records:
        first.setdefault(key(record), record.path)
    return list(dict.fromkeys([*first.values(), *(record.path for record in records)]))


def class_truths(split: Split) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return (whether positive, whether known) of each image, for each class: (N,), (N,)."""
    labels = index_labels([record.label for record in split.records], split)
    if split.has_findings:
        return {n: (labels[:, i] == 1, labels[:, i] >= 0) for i, n in enumerate(split.class_names)}
    known = np.ones(len(labels), dtype=np.bool_)
    return {name: (labels == i, known) for i, name in enumerate(split.class_names)}
