"""Keeps the log of every evaluation on other data sets, as test_log.csv is that of TEST.

A line of external_log.csv is on disk before the predictions that it is about can be read.
"""

from dataclasses import astuple, dataclass, fields
from pathlib import Path

from medimg_baseline_cls.evaluation.evaluation_log import append_line
from medimg_baseline_cls.utils.files import read_csv

EXTERNAL_LOG = "external_log.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalEntry:
    """One evaluation on another data set: a row of external_log.csv.

    Attributes:
        number: from 1, of all data sets of this log.
        when: UTC, ISO 8601.
        code: revision of the source tree, or "".
        version: of the package.
        run: the name of the run folder.
        name: of the data set, and of the folder with the results.
        checkpoint_sha256, thresholds_sha256: of the files that are locked.
        split_sha256: of split.csv of the results: which images, with which labels.
        class_order: the names, joined by " | ".
        predictions_sha256: of the predictions.
        num_images, num_left_out: scored, and left out as copies of the run's images.
        maps: which label was taken for which class.
    """

    number: int
    when: str
    code: str
    version: str
    run: str
    name: str
    checkpoint_sha256: str
    thresholds_sha256: str
    split_sha256: str
    class_order: str
    predictions_sha256: str
    num_images: int
    num_left_out: int
    maps: str


_HEADER = tuple(field.name for field in fields(ExternalEntry))


def count_entries(folder: Path) -> int:
    """Return how many evaluations the log of a folder lists."""
    path = folder / EXTERNAL_LOG
    return len(read_csv(path)) if path.is_file() else 0


def append_external(folder: Path, entry: ExternalEntry) -> None:
    """Add one row to external_log.csv; it is on the disk when this returns."""
    append_line(folder / EXTERNAL_LOG, _HEADER, cells=astuple(entry))
