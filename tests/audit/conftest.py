"""Small data sets for the audit, made of records and random pixels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.audit.images import AuditImages, FileLook
from medimg_baseline_cls.schema import ImageRecord, Split, Task

ImagesMaker = Callable[..., AuditImages]


def make_record(path: str, **changes: Any) -> ImageRecord:
    """Return the record of train/A/p1_1.png: split, class and patient from the path."""
    split, label, name = path.split("/", 2)
    values: dict[str, Any] = {
        "image_id": path,
        "path": path,
        "label": label,
        "group": name.split("_")[0],
        "split": split,
        "sha256": path,
        "width": 64,
        "height": 64,
    }
    return ImageRecord(**values | changes)


@pytest.fixture
def make_images() -> ImagesMaker:
    def make(
        records: Sequence[ImageRecord | str],
        *,
        pixels: NDArray[Any] | None = None,
        class_names: Sequence[str] | None = None,
        task: Task = "multiclass",
        looks: Sequence[FileLook] = (),
        rejected: Sequence[tuple[str, str]] = (),
    ) -> AuditImages:
        listed = tuple(make_record(r) if isinstance(r, str) else r for r in records)
        names = class_names or sorted({record.label for record in listed})
        if pixels is None:
            shape = (len(listed), 1, 32, 32)
            pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return AuditImages(
            split=Split(listed, tuple(names), task),
            rows=np.arange(len(listed), dtype=np.int64),
            pixels=pixels,
            looks=tuple(looks),
            rejected=tuple(rejected),
        )

    return make


@pytest.fixture
def record() -> Callable[..., ImageRecord]:
    return make_record
