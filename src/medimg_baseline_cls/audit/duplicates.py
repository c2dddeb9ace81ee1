"""Find images that are copies of each other, and judge in which splits, classes and patients.

Byte-identical, then pixel-identical, then nearly identical: perceptual hashes that differ in
at most 32 of 256 bits, confirmed by a correlation of at least 0.99 at 28 px, of volumes in each of
four parts of the depth. Copies across splits or classes invalidate a result; copies of one patient
in one split do not. Images of a single gray value are not compared.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.check_results import (
    MAX_EXAMPLES,
    Check,
    Example,
    Finding,
    Verdict,
    set_example,
)
from medimg_baseline_cls.audit.images import AuditImages, paths_of_each
from medimg_baseline_cls.audit.pixel_measures import SMALL_SIDE, Measures, ProgressMaker
from medimg_baseline_cls.schema import ImageRecord
from medimg_baseline_cls.utils.log import SILENT
from medimg_baseline_cls.utils.quantities import say_count

MAX_DISTANCE = 32
MIN_CORRELATION = 0.99
_BLOCK = 512
_PAIRS_AT_ONCE = 20_000

Pairs = NDArray[np.int64]
_KINDS = {
    "identical": "byte-identical files",
    "same_pixels": "files with the same pixels",
    "near": "nearly identical images",
}
_PLACES: dict[str, tuple[Verdict, str, str]] = {
    "across_splits": (
        "error",
        "in more than one split",
        "Remove the copies from all splits but one: the model is scored on images it has seen.",
    ),
    "across_classes": (
        "error",
        "with different labels",
        "Find out which label is right, and keep one image of each set.",
    ),
    "across_groups": (
        "warning",
        "under different patients",
        "Keep one image of each set, or assign them to one patient: a split may separate them.",
    ),
    "within_group": (
        "note",
        "of one patient",
        "Nothing needs to be done: they stay together, but count more than once.",
    ),
}


def check_duplicates(
    images: AuditImages, measures: Measures | None, *, progress: ProgressMaker = SILENT.progress
) -> Check:
    """Look for copies; without measures, for byte-identical files only."""
    records = images.split.records
    sets = _Sets(len(records))
    equal = _pairs_of_equals([record.sha256 for record in records])
    findings = _judge("identical", sets.join(equal), records=records)
    if measures is not None:
        usable = np.flatnonzero(~measures.is_constant[images.rows])
        rows = images.rows[usable]
        digests = [measures.digests[row].tobytes() for row in rows]
        pairs = [(int(usable[a]), int(usable[b])) for a, b in _pairs_of_equals(digests)]
        findings += _judge("same_pixels", sets.join(pairs), records=records)
        _, first = np.unique(measures.digests[rows], axis=0, return_index=True)
        places = usable[first]
        found = find_near_pairs(measures, images.rows[places], progress=progress)
        findings += _judge("near", sets.join(places[found].tolist()), records=records)
    looked = "bytes" if measures is None else "bytes, pixels and hashes"
    return Check(
        "duplicates",
        "Copies",
        f"{say_count(len(records), 'images')} compared by {looked}.",
        tuple(findings),
    )


def find_near_pairs(
    measures: Measures, rows: NDArray[np.int64], *, progress: ProgressMaker = SILENT.progress
) -> Pairs:
    """Return the pairs of images that are nearly identical.

    Every image is compared with every other by the bits of its hash, a block at a time.

    Args:
        measures: of all images.
        rows: the rows of `measures` to compare, shape (n,).
        progress: makes a progress bar.

    Returns:
        Positions in `rows`, first < second, shape (number of pairs, 2).
    """
    hashes, small = measures.hashes[rows], measures.small[rows]
    found: list[Pairs] = [np.empty((0, 2), np.int64)]
    with progress("near-duplicates", len(rows)) as bar:
        for start in range(0, len(rows), _BLOCK):
            block = hashes[start : start + _BLOCK]
            near = hamming_distances(block, hashes[start:]) <= MAX_DISTANCE
            first, second = np.nonzero(np.triu(near, 1))
            candidates = np.stack([first, second], axis=1) + start
            found += list(_confirm(candidates, small, others=small))
            bar.advance(len(block))
    return np.concatenate(found)


def find_copies(
    one: Measures, other: Measures, *, progress: ProgressMaker = SILENT.progress
) -> Pairs:
    """Return the pairs of nearly identical images between two sets.

    Images of one gray value alone are not compared.

    Returns:
        Positions in `one` and in `other`, shape (number of pairs, 2).
    """
    rows, others = (np.flatnonzero(~measures.is_constant) for measures in (one, other))
    found: list[Pairs] = [np.empty((0, 2), np.int64)]
    with progress("comparing images", len(rows)) as bar:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            near = hamming_distances(one.hashes[block], other.hashes[others]) <= MAX_DISTANCE
            first, second = np.nonzero(near)
            pairs = np.stack([block[first], others[second]], axis=1)
            found += list(_confirm(pairs, one.small, others=other.small))
            bar.advance(len(block))
    return np.concatenate(found)


def hamming_distances(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return the number of different bits of hashes (n, 4) and (m, 4), shape (n, m).

    >>> hamming_distances(np.array([[7]], np.uint64), np.array([[0], [6]], np.uint64)).tolist()
    [[3, 1]]
    """
    total = np.zeros((len(one), len(other)), np.uint16)
    for word in range(one.shape[1]):
        total += np.bitwise_count(one[:, word, None] ^ other[None, :, word])
    return total


def _confirm(
    candidates: Pairs, small: NDArray[np.uint8], *, others: NDArray[np.uint8]
) -> Iterator[Pairs]:
    """Yield the pairs of positions in `small` and in `others` whose small images correlate."""
    for start in range(0, len(candidates), _PAIRS_AT_ONCE):
        pairs = candidates[start : start + _PAIRS_AT_ONCE]
        sides = _standardize(small[pairs[:, 0]]), _standardize(others[pairs[:, 1]])
        is_alike = np.einsum("ntp,ntp->nt", *sides) >= MIN_CORRELATION
        is_flat = ~(sides[0].any(axis=2) | sides[1].any(axis=2))
        yield pairs[(is_alike | is_flat).all(axis=1) & is_alike.any(axis=1)]


def _standardize(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the tiles of small images, (n, 1 or 4, pixels), of mean 0 and norm 1."""
    side = small.shape[-1] // SMALL_SIDE
    tiles = small.reshape(len(small), side, SMALL_SIDE, side, SMALL_SIDE).swapaxes(2, 3)
    flat = tiles.reshape(len(small), side * side, -1).astype(np.float32)
    flat -= flat.mean(axis=2, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-6)


def _pairs_of_equals(keys: Sequence[str | bytes]) -> list[tuple[int, int]]:
    """Pair each position with the first that has the same key; "" equals nothing."""
    first: dict[str | bytes, int] = {}
    pairs = [(first.setdefault(key, i), i) for i, key in enumerate(keys) if key]
    return [(a, b) for a, b in pairs if a != b]


class _Sets:
    """Sets of positions that are joined step by step."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def join(self, pairs: Iterable[Sequence[int]]) -> list[list[int]]:
        """Join the positions of each pair; return the sets that grew, positions ascending."""
        grown: set[int] = set()
        for a, b in pairs:
            low, high = sorted((self._root(a), self._root(b)))
            if low != high:
                self._parents[high] = low
                grown.add(high)
        roots = {self._root(position) for position in grown}
        members: defaultdict[int, list[int]] = defaultdict(list)
        if roots:
            for position in range(len(self._parents)):
                members[self._root(position)].append(position)
        return [members[root] for root in sorted(roots)]

    def _root(self, position: int) -> int:
        while self._parents[position] != position:
            self._parents[position] = self._parents[self._parents[position]]
            position = self._parents[position]
        return position


def _judge(
    kind: str, sets: Sequence[Sequence[int]], *, records: Sequence[ImageRecord]
) -> list[Finding]:
    """Return a finding for each of `_PLACES` that has copies of one kind."""
    placed: defaultdict[str, list[list[ImageRecord]]] = defaultdict(list)
    for members in sets:
        held = [records[position] for position in members]
        for place in _places(held):
            placed[place].append(held)
    findings: list[Finding] = []
    for place, (verdict, where, advice) in _PLACES.items():
        if place in placed:
            surplus = sum(len(held) - 1 for held in placed[place])
            findings.append(
                Finding(
                    name=f"{kind}_{place}",
                    verdict=verdict,
                    count=surplus,
                    what=f"{_KINDS[kind]} {where}",
                    advice=advice,
                    examples=tuple(_show(held) for held in placed[place][:MAX_EXAMPLES]),
                )
            )
    return findings


def _places(held: Sequence[ImageRecord]) -> list[str]:
    """Return the `_PLACES` of a set: across splits, classes or both; else by its patients."""
    places = [
        place
        for place, values in (
            ("across_splits", {record.split for record in held}),
            ("across_classes", {record.label for record in held}),
        )
        if len(values) > 1
    ]
    if places:
        return places
    is_shared = len({record.group for record in held}) > 1
    return ["across_groups" if is_shared else "within_group"]


def _show(held: Sequence[ImageRecord]) -> Example:
    """Return a set as an example: one image of each split first; the labels if they differ."""
    labels = list(dict.fromkeys(record.label for record in held))
    text = f"labeled {' and '.join(labels)}" if len(labels) > 1 else ""
    return set_example(paths_of_each(held, attrgetter("split", "label")), text)
