"""Images of another data set that the run has seen: found, listed and left out.

The same file is known by its sha256, which split.csv has; the same pixels and near copies (scaled,
compressed again) by what is measured of the pixels, where those of the run can be found.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from medimg_baseline_cls.audit.duplicates import find_copies
from medimg_baseline_cls.audit.pixel_measures import ProgressMaker
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.run_images import MeasuredImages
from medimg_baseline_cls.schema import SPLIT_NAMES, SplitName
from medimg_baseline_cls.utils.files import write_csv

COPIES, MAX_LISTED = "duplicates.csv", 20
KINDS = ("same file", "same pixels", "nearly identical")


@dataclass(frozen=True, slots=True)
class Copy:
    """An image of the other data set that is a copy of one of the run's."""

    path: str
    copy_of: str
    split: str
    kind: str


def list_copies(
    other: MeasuredImages, own: MeasuredImages, *, progress: ProgressMaker
) -> tuple[Copy, ...]:
    """Return the images of another data set that are copies, each with one image of the run.

    Of several, that is the most alike, and one of TRAIN before one of VAL and TEST.
    """
    records, found = own.split.records, dict[int, tuple[int, int, int]]()

    def note(position: int, match: int, *, kind: int) -> None:
        key = (kind, SPLIT_NAMES.index(cast(SplitName, records[match].split)), match)
        found[position] = min(found.get(position, key), key)

    same: defaultdict[str, list[int]] = defaultdict(list)
    for match, record in enumerate(records):
        same[record.sha256].append(match)
    for position, record in enumerate(other.split.records):
        for match in same.get(record.sha256, ()):
            note(position, match, kind=0)
    if own.measures is not None and other.measures is not None:
        pairs = find_copies(other.measures, own.measures, progress=progress)
        for position, match in pairs.tolist():
            digests = other.measures.digests[position], own.measures.digests[match]
            note(position, match, kind=1 if np.array_equal(*digests) else 2)
    return tuple(
        Copy(
            other.split.records[position].path,
            records[match].path,
            records[match].split,
            KINDS[kind],
        )
        for position, (kind, _, match) in sorted(found.items())
    )


def leave_out(
    data: PreparedData, measured: MeasuredImages, *, copies: Sequence[Copy]
) -> tuple[PreparedData, MeasuredImages]:
    """Return the images that are not copies, and what was measured of them.

    Raises:
        DataError: every image is one.
    """
    paths = {copy.path for copy in copies}
    kept = np.flatnonzero([record.path not in paths for record in data.split.records])
    if not len(kept):
        raise DataError(
            f"all {len(data.split.records)} images are copies of images of the run: this is not "
            "another data set; nothing was scored."
        )
    found = measured.pick(kept)
    return replace(data, split=found.split, cache_rows=data.cache_rows[kept]), found


def write_copies(folder: Path, copies: Sequence[Copy]) -> None:
    """Write duplicates.csv, one row per image that was left out."""
    header = [field.name for field in fields(Copy)]
    write_csv(folder / COPIES, header, rows=[astuple(copy) for copy in copies])


def describe_copies(
    copies: Sequence[Copy], own: MeasuredImages, *, shown_name: Callable[[str], str]
) -> dict[str, Any]:
    """Return what external.json says of the copies, and of what could not be compared."""
    counts = Counter(copy.kind for copy in copies)
    return {
        "num_left_out": len(copies),
        "kinds": {kind: counts[kind] for kind in KINDS},
        "unchecked": own.reason and f"near copies could not be looked for: {own.reason}",
        "images": [
            {**asdict(copy), "path": shown_name(copy.path), "copy_of": shown_name(copy.copy_of)}
            for copy in copies[:MAX_LISTED]
        ],
    }
