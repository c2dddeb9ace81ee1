"""The dossier of mistakes: what a reader needs to review each, and columns for the reading.

dossier.csv has the rows and columns of mistakes.csv, then the reference standard, the patient,
the subgroups, the three nearest training images in feature space, and two columns for the
reader. Readings are never lost: they are copied into the next dossier by image, class, operating
point and kind, and kept at the end where that mistake is no longer listed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.mistakes import MISTAKE_COLUMNS, mistake_cells
from medimg_baseline_cls.schema import Mistake
from medimg_baseline_cls.utils.files import write_csv
from medimg_baseline_cls.utils.spreadsheet_cells import guard_cell, read_guarded_csv

DOSSIER_NAME = "dossier.csv"
NUM_NEAREST = 3
READINGS = ("label wrong", "poor image", "real miss")
_KEY = ("image_id", "class", "rule", "kind")
_READER = ("reader", "reader_comment")

Key = tuple[str, ...]
Readings = Mapping[Key, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A training image near a mistaken one: `distance` is 1 minus the cosine, 0 to 2."""

    image_id: str
    label: str
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A mistake and the facts of its image; `subgroups` are in the order of the split's columns."""

    mistake: Mistake
    label: str
    group: str
    threshold: float
    subgroups: tuple[str, ...]
    nearest: tuple[Neighbor, ...]


def cosine_distances(
    features: NDArray[np.float32], queries: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return 1 minus the cosine between each feature and each query, shape (n, q).

    A vector of zeros has no direction: its distance to all others is 1.

    Args:
        features: shape (n, D).
        queries: shape (q, D).

    >>> cosine_distances(np.eye(2, dtype=np.float32), np.array([[3, 0]], dtype=np.float32)).tolist()
    [[0.0], [1.0]]
    """
    return 1.0 - _unit(features) @ _unit(queries).T


def rank_nearest(distances: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Return the positions of the nearest features of one query, ties by position; shape (k,)."""
    return np.argsort(distances, kind="stable")[:number]


def read_readings(run_dir: Path) -> dict[Key, dict[str, str]]:
    """Return the rows of dossier.csv that a reader has filled in, keyed by mistake.

    Raises:
        RunError: the file was saved in another format, so that readings would be lost.
    """
    path = run_dir / DOSSIER_NAME
    if not path.is_file():
        return {}
    rows = read_guarded_csv(path)
    missing = [name for name in (*_KEY, *_READER) if rows and name not in rows[0]]
    if missing:
        raise RunError(
            f"{path} lacks the columns {', '.join(missing)}, so that its readings cannot be read: "
            "save it as CSV with commas in UTF-8, or move it away. Nothing was overwritten."
        )
    filled = [row for row in rows if any(row[name].strip() for name in _READER)]
    return {tuple(row[name] for name in _KEY): row for row in filled}


def list_odd_readings(readings: Readings) -> list[str]:
    """Return the image_id of each reading that is none of `READINGS`."""
    words = {"", *READINGS}
    return [r["image_id"] for r in readings.values() if r["reader"].strip().lower() not in words]


def write_dossier(
    path: Path,
    cases: Sequence[Case],
    *,
    subgroup_names: Sequence[str],
    readings: Readings,
) -> None:
    """Write dossier.csv: one row per mistake, then the readings of those no longer listed.

    Args:
        path: dossier.csv; replaced whole.
        cases: in the order of mistakes.csv.
        subgroup_names: of the subgroups of each case.
        readings: from `read_readings`, of the file that is replaced.
    """
    nearest = [
        f"nearest_{i}_{part}"
        for i in range(1, NUM_NEAREST + 1)
        for part in ("image_id", "label", "distance")
    ]
    header = (
        *MISTAKE_COLUMNS,
        *("label", "group", "threshold"),
        *(f"subgroup_{name}" for name in subgroup_names),
        *nearest,
        *_READER,
    )
    rows = _list_rows(header, cases, readings=readings)
    # Opened in spreadsheets, which would run a cell that looks like a formula (decision 0014).
    write_csv(path, header, rows=(tuple(map(guard_cell, row)) for row in rows))


def _list_rows(
    header: Sequence[str], cases: Iterable[Case], *, readings: Readings
) -> Iterator[tuple[object, ...]]:
    left = dict(readings)
    for case in cases:
        m = case.mistake
        reading = left.pop((m.image_id, m.class_name, m.rule, m.kind), {})
        near: list[object] = []
        for neighbor in case.nearest:
            near += (neighbor.image_id, neighbor.label, neighbor.distance)
        near += [""] * (3 * NUM_NEAREST - len(near))
        yield (
            *mistake_cells(m),
            *(case.label, case.group, case.threshold),
            *case.subgroups,
            *near,
            *(reading.get(name, "") for name in _READER),
        )
    for row in left.values():
        # Without a rank, as it is no longer among the listed mistakes.
        yield tuple("" if name == "rank" else row.get(name, "") for name in header)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
