"""Put the slices of a series in order by their positions, and find what does not belong to it.

Left out, and said so: localizers, a few images of another size, spacing or orientation, copies of
a slice. Said: missing slices, uneven distances, slices displaced in their plane. Refused: several
sizes, spacings or orientations, several acquisitions, different images at one position, absurd
positions. Directions are those of DICOM: to the patient's left, posterior and superior (PS3.3
C.7.6.2.1.1).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.read.image import Geometry, Remark
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.utils.quantities import say_count

Turn = tuple[tuple[int, bool], tuple[int, bool], tuple[int, bool]]
"""For slices, rows and columns of the canonical orientation: the axis of the file, and whether it
runs the other way there."""

AS_STORED: Turn = ((0, False), (1, False), (2, False))
_ODD_SHARE = 0.25
_ALIKE = 0.02  # of cosines: about one degree
_TOLERANCE = 0.1  # of the usual distance between slices
_HALF = 0.5  # of a voxel: slices that are further from a regular grid have none
_SAME_PLACE_MM = 0.01
_FURTHEST_MM = 100_000
AXIS_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """What orders a slice.

    Attributes:
        size: rows and columns.
        directions: of the columns along a row, and of the rows along a column, six cosines; None
            where the file does not give them.
        position: of its first pixel in millimeters; None as well.
        number: InstanceNumber.
        spacing: between rows and between columns in millimeters.
        is_localizer: whether it is an image to plan others on.
        content: the same for slices with equal pixels.
    """

    size: tuple[int, int]
    directions: tuple[float, ...] | None
    position: tuple[float, ...] | None
    number: float | None
    spacing: tuple[float, float] | None
    is_localizer: bool
    content: bytes


@dataclass(frozen=True, slots=True)
class SliceOrder:
    """The slices of one volume.

    Attributes:
        rows: which slices, in the order of their positions.
        turn: from (slices, rows, columns) in this order to the canonical orientation.
        geometry: of the volume.
        remarks: what was found.
    """

    rows: tuple[int, ...]
    turn: Turn
    geometry: Geometry
    remarks: tuple[Remark, ...]


def order_slices(slices: Sequence[SliceFacts]) -> SliceOrder:
    """Return the slices of a volume in the order of their positions.

    Raises:
        BadImageError: they are not one volume.
    """
    remarks: list[Remark] = []
    kept = _leave_out_odd(slices, remarks)
    first = slices[kept[0]]
    if first.directions is None:
        places, unit, turn, axes = _read_numbers([slices[i] for i in kept]), "", AS_STORED, ""
        why = "as the files do not give position and orientation"
        remarks.append(("order", f"by InstanceNumber, {why}"))
    else:
        directions = find_directions(first.directions)
        places = np.array([slices[i].position for i in kept]) @ directions[0]
        unit, (turn, axes) = " mm", find_turn(directions)
    order = np.argsort(places, kind="stable")
    places, kept = places[order], [kept[i] for i in order]
    copies = _find_copies([slices[i].content for i in kept], places, unit=unit)
    if copies:
        remarks.append(("copies of slices", f"{len(copies)} left out"))
    places, kept = np.delete(places, copies), np.delete(kept, copies).tolist()
    if len(kept) < 2:
        found = f"1 image and {say_count(len(copies), 'copies')} of it" if copies else "1 image"
        raise BadImageError(
            f"the series has {found}, expected the slices of a volume: put all of them into one "
            "folder, and name this folder"
        )
    usual, is_regular = _judge_gaps(places, unit=unit, remarks=remarks)
    stored = None if not unit or first.spacing is None else (usual, *first.spacing)
    spacing = stored and (stored[turn[0][0]], stored[turn[1][0]], stored[turn[2][0]])
    lengths = (len(kept), *first.size)
    is_straight = _judge_offsets([slices[i] for i in kept], remarks=remarks)
    affine = _find_affine([slices[i] for i in kept]) if is_regular and is_straight else None
    geometry = Geometry(lengths[turn[0][0]], spacing, axes, affine)
    return SliceOrder(tuple(kept), turn, geometry, tuple(remarks))


def _judge_offsets(slices: Sequence[SliceFacts], *, remarks: list[Remark]) -> bool:
    """Return whether slices are above each other to half a pixel; remark on it if they are not.

    A tilted gantry displaces each a little more than the one before.
    """
    first = slices[0]
    if first.directions is None or first.position is None:
        return False
    offsets = np.array([item.position for item in slices]) - first.position  # (N, 3)
    aside = offsets @ find_directions(first.directions)[1:].T  # along columns and rows, (N, 2)
    if (np.abs(aside) <= _HALF * np.array(first.spacing or (1, 1))).all():
        return True
    most = np.linalg.norm(aside, axis=1).max()
    remarks.append(("slices displaced in their plane", f"by up to {most:.3g} mm"))
    return False


def _find_affine(slices: Sequence[SliceFacts]) -> tuple[tuple[float, ...], ...] | None:
    """Return where the voxels of sorted slices are, as in `Geometry`."""
    first, last = slices[0], slices[-1]
    if not (first.directions and first.position and last.position and first.spacing):
        return None
    along_row, along_column = np.array(first.directions).reshape(2, 3)
    start, step = np.array(first.position), np.subtract(last.position, first.position)
    matrix = np.stack(
        [
            along_row * first.spacing[1],
            along_column * first.spacing[0],
            step / (len(slices) - 1),
            start,
        ],
        axis=1,
    )
    return tuple(tuple(row) for row in matrix.tolist())


def find_directions(cosines: Sequence[float]) -> _Array:
    """Return the unit vectors along slices, rows and columns as the axes of an array, (3, 3).

    Raises:
        BadImageError: the cosines are not those of two directions at right angles.
    """
    along_row, along_column = np.array(cosines).reshape(2, 3)
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(along_row @ along_column)) > _ALIKE:
        raise BadImageError("ImageOrientationPatient is not two directions at right angles")
    return np.stack([np.cross(along_row, along_column), along_column, along_row])


def find_turn(directions: _Array) -> tuple[Turn, str]:
    """Return the turn to the canonical orientation by the nearest axes, and where axes run.

    >>> find_turn(find_directions((0, 1, 0, 0, 0, -1)))  # a sagittal series, front to the left
    (((1, True), (2, False), (0, True)), 'PIR')
    """
    nearest = max(
        permutations(range(3)),
        key=lambda order: sum(abs(directions[axis, i]) for i, axis in enumerate(order)),
    )  # for left, posterior, superior the axis of the file
    of_patient = {axis: i for i, axis in enumerate(nearest)}
    runs = [bool(directions[axis, i] > 0) for i, axis in enumerate(nearest)]
    x, y, z = ((axis, not runs[i]) for i, axis in enumerate(nearest))
    letters = [AXIS_LETTERS[of_patient[axis]][runs[of_patient[axis]]] for axis in (2, 1, 0)]
    return (z, y, x), "".join(letters)


def _leave_out_odd(slices: Sequence[SliceFacts], remarks: list[Remark]) -> list[int]:
    """Return the slices without localizers and a few of another size, spacing or orientation."""
    kept = [i for i, item in enumerate(slices) if not item.is_localizer]
    num_localizers = len(slices) - len(kept)
    if not kept:
        raise BadImageError("the series consists of localizers, expected the slices of a volume")
    furthest = max(abs(mm) for i in kept for mm in slices[i].position or (0.0,))
    if furthest > _FURTHEST_MM:
        raise BadImageError(
            f"an ImagePositionPatient of the series is {furthest:.3g} mm from the origin, expected "
            f"at most {_FURTHEST_MM:,} mm"
        )
    keys = np.array([_key(slices[i]) for i in kept])  # (N, 10)
    alike = [np.abs(keys - key).max(axis=1) <= _ALIKE for key in np.unique(keys, axis=0)]
    is_usual = max(alike, key=lambda found: int(found.sum()))
    num_odd = int((~is_usual).sum())
    if num_odd > _ODD_SHARE * len(kept):
        raise BadImageError(
            f"{num_odd} of {len(kept)} images of the series have another size, spacing or "
            "orientation than the others: keep those of one volume in the folder"
        )
    if num_localizers:
        remarks.append(("localizers", f"{num_localizers} left out"))
    if num_odd:
        remarks.append(("images of another size, spacing or orientation", f"{num_odd} left out"))
    return [i for i, usual in zip(kept, is_usual, strict=True) if usual]


def _key(item: SliceFacts) -> tuple[float, ...]:
    return (*item.size, *(item.directions or (9.0,) * 6), *(item.spacing or (0.0, 0.0)))


def _read_numbers(slices: Sequence[SliceFacts]) -> _Array:
    """Return InstanceNumber of each slice."""
    numbers = [item.number for item in slices if item.number is not None]
    if len(numbers) < len(slices):
        raise BadImageError(
            "the order of the slices is unknown: some files have neither a position nor an "
            "InstanceNumber"
        )
    return np.array(numbers, dtype=np.float64)


def _find_copies(contents: Sequence[bytes], places: _Array, *, unit: str) -> list[int]:
    """Return the slices that are copies of others at their place; refuse different ones there."""
    held: defaultdict[int, dict[bytes, int]] = defaultdict(dict)  # by place
    copies: list[int] = []
    steps = np.diff(places, prepend=places[:1]) > _SAME_PLACE_MM
    for row, place in enumerate(np.cumsum(steps).tolist()):
        first = held[place].setdefault(contents[row], row)
        copies += [row] if first != row else []
    counts = {len(found) for found in held.values()}
    if counts == {1}:
        return copies
    if len(held) == 1:
        shared = f"are at one position ({places[0]:g} mm)" if unit else "have one InstanceNumber"
        raise BadImageError(
            f"all {counts.pop()} images of the series {shared}, expected one for each slice"
        )
    if len(counts) == 1:
        raise BadImageError(
            f"the series has {counts.pop()} different images at each of {len(held)} positions, "
            "such as acquisitions, echoes or time points: keep one of them in the folder"
        )
    place = next(places[min(found.values())] for found in held.values() if len(found) > 1)
    raise BadImageError(
        f"the series has different images at the same position ({place:g}{unit}): keep one"
    )


def _judge_gaps(places: _Array, *, unit: str, remarks: list[Remark]) -> tuple[float, bool]:
    """Return the usual distance between slices, and whether they are on a regular grid.

    That is, up to half a distance. Missing slices and uneven distances are remarked on.
    """
    gaps = np.diff(places)
    usual = _usual(gaps)
    steps = gaps / usual
    whole = np.maximum(np.rint(steps), 1)
    is_even = np.abs(steps - whole) <= _TOLERANCE
    missing = np.flatnonzero(is_even & (whole > 1))
    if len(missing):
        where = ", ".join(f"{whole[i] - 1:g} after {places[i]:g}{unit}" for i in missing)
        remarks.append(("missing slices", where))
    if not is_even.all():
        ends = f"{gaps.min():.3g} to {gaps.max():.3g}{unit}, mostly {usual:.3g}{unit}"
        remarks.append(("uneven distances between slices", ends))
    drift = np.abs(places - np.linspace(places[0], places[-1], len(places))).max()
    return usual, bool(is_even.all() and not len(missing) and drift <= _HALF * usual)


def _usual(gaps: _Array) -> float:
    """Return the lower median, which is a distance that occurs."""
    return float(np.sort(gaps)[(len(gaps) - 1) // 2])
