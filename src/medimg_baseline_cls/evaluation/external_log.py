"""Keeps the log of every evaluation on other data sets, as test_log.csv is that of TEST.

A line of external_log.csv is on disk before the predictions that it is about can be read.
"""

from dataclasses import astuple, dataclass, fields
from pathlib import Path

from medimg_baseline_cls.evaluation.evaluation_log import LogLine, append_line, read_lines

EXTERNAL_LOG = "external_log.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalEntry(LogLine):
    """One evaluation on another data set: a row of external_log.csv.

    Its number counts the evaluations on all data sets of this log; split.csv is that of the
    results.

    Attributes:
        run: the name of the run folder.
        name: of the data set, and of the folder with the results.
        predictions_sha256: of the predictions.
        num_images, num_left_out: scored, and left out as copies of the run's images.
        maps: which label was taken for which class.
    """

    run: str
    name: str
    predictions_sha256: str
    num_images: int
    num_left_out: int
    maps: str


_HEADER = tuple(field.name for field in fields(ExternalEntry))


def count_entries(folder: Path) -> int:
    """Return how many evaluations the log of a folder lists.

    Raises:
        RunError: the log was edited or cut off.
    """
    return len(read_lines(folder / EXTERNAL_LOG, _HEADER))


def append_external(folder: Path, entry: ExternalEntry) -> None:
    """Add one row to external_log.csv; it is on the disk when this returns."""
    append_line(folder / EXTERNAL_LOG, _HEADER, cells=astuple(entry))
