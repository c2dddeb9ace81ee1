"""Drop from training what TEST or VAL has as well: TEST stays unchanged.

A patient, or a byte-identical file, in more than one split is an error unless this is asked
for. Whole patients are left out, never single images of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medimg_baseline_cls.schema import ImageRecord

_RANKS = {"train": 0, "val": 1, "test": 2}
_REASONS = {
    "sha256": "left out of {side}: an identical file is in {kept} (--on-leak)",
    "group": "left out of {side}: the patient is also in {kept} (--on-leak)",
    "near": "left out of {side}: the patient has a nearly identical image in {kept} (--on-leak)",
}


@dataclass(frozen=True, slots=True)
class LeakFree:
    """Records without leaks, and (path, reason) of those that were left out."""

    records: tuple[ImageRecord, ...]
    left_out: tuple[tuple[str, str], ...]


def drop_leaks(records: Sequence[ImageRecord], *, near: Iterable[tuple[int, int]] = ()) -> LeakFree:
    """Leave out of train and val every patient that a later split has: test before val.

    Args:
        records: `split` is the side that the data provide; "" is in no split.
        near: positions of near-duplicates; their patients are treated as one.
    """
    kept = {"sha256": _last_sides(records, "sha256"), "group": _last_sides(records, "group")}
    kept["near"] = _near_sides(records, near)
    left_out = {record.path: reason for record in records if (reason := _find_reason(record, kept))}
    return LeakFree(
        tuple(record for record in records if record.path not in left_out),
        tuple(left_out.items()),
    )


def _find_reason(record: ImageRecord, kept: dict[str, dict[str, str]]) -> str:
    for kind, sides in kept.items():
        key = record.sha256 if kind == "sha256" else record.group
        side = sides.get(key, record.split)
        if _RANKS.get(side, -1) > _RANKS.get(record.split, -1):
            return _REASONS[kind].format(side=record.split, kept=side)
    return ""


def _last_sides(records: Sequence[ImageRecord], attribute: str) -> dict[str, str]:
    """Return the side that keeps each value of an attribute: test before val before train."""
    sides: dict[str, str] = {}
    for record in records:
        _raise_side(sides, key=getattr(record, attribute), side=record.split)
    return sides


def _near_sides(records: Sequence[ImageRecord], near: Iterable[tuple[int, int]]) -> dict[str, str]:
    sides: dict[str, str] = {}
    for pair in near:
        one, other = (records[position] for position in pair)
        _raise_side(sides, key=one.group, side=other.split)
        _raise_side(sides, key=other.group, side=one.split)
    return sides


def _raise_side(sides: dict[str, str], *, key: str, side: str) -> None:
    if key and _RANKS.get(side, -1) > _RANKS.get(sides.get(key, ""), -1):
        sides[key] = side
