"""Turn records into train, val and test: patients whole, balance exact, nothing shared.

A split is a pure function of (seed, ids): images and patients are ordered by a hash of
their names under the seed, never by listing order. test/ stays test. Where the user's own
folders put a patient or a byte-identical file on two sides, that is an error.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from medimg_baseline_cls.errors import DataError, LeakageError, RunError
from medimg_baseline_cls.schema import SPLIT_NAMES, ImageRecord, Split, Task, parse_findings
from medimg_baseline_cls.utils.files import read_csv, write_csv
from medimg_baseline_cls.utils.seed import derive_key

Strategy = Literal["auto", "folder", "balanced", "stratified"]

MIN_VAL_IMAGES = 50  # a smaller val/ folder is too small to choose an epoch or a threshold by

_COLUMNS = ("image_id", "path", "label", "group", "split", "sha256", "width", "height")
_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A split, the strategy that made it ("folder", "balanced" or "stratified"), and notes."""

    split: Split
    strategy: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """A patient: the number of images per class; `label` is None where there are several."""

    name: str
    counts: Mapping[str, int]

    @property
    def label(self) -> str | None:
        return next(iter(self.counts)) if len(self.counts) == 1 else None


def split_images(
    records: Sequence[ImageRecord],
    *,
    strategy: Strategy,
    val_fraction: float,
    seed: int,
    class_names: Sequence[str],
) -> SplitResult:
    """Divide the images into train, val and test.

    Args:
        records: their `split` says which folder they come from.
        strategy: "folder" uses val/; "balanced" takes the same number of images per class
            from train; "stratified" the same share of each class; "auto" is "folder" where
            val/ holds 50 images or more and every class, else "balanced". Unless val/ is
            used, its images join train before the draw.
        val_fraction: share of val in train, in (0, 1). "balanced" takes at most half of
            the smallest class.
        seed: of the draw.
        class_names: the class order.

    Raises:
        DataError: The strategy is impossible with these images.
        LeakageError: A group or a sha256 stands on two sides.
    """
    ordered = sorted(records, key=_get_path)
    chosen, notes = _choose_strategy(ordered, strategy, class_names=class_names)
    if chosen == "folder":
        placed = ordered
    else:
        pool = [record for record in ordered if record.split != "test"]
        groups = _sort_groups(pool, seed)
        if chosen == "balanced":
            names, more = _draw_balanced(groups, val_fraction, class_names=class_names)
        else:
            names, more = _draw_stratified(groups, val_fraction, class_names=class_names)
        notes += more
        placed = [_place(record, names) for record in ordered]
    split = Split(records=tuple(placed), class_names=tuple(class_names))
    check_leakage(split)
    return SplitResult(split, chosen, tuple(notes))


def check_leakage(split: Split) -> None:
    """Refuse a split in which a group or a byte-identical file stands on two sides.

    Raises:
        LeakageError: The text lists the files.
    """
    for kind in ("group", "sha256"):
        sides: defaultdict[str, set[str]] = defaultdict(set)
        for record in split.records:
            sides[getattr(record, kind)].add(record.split)
        shared = {key for key, names in sides.items() if len(names) > 1}
        if shared:
            raise LeakageError(_describe_leakage(split.records, kind, shared=shared))


def write_split(path: Path, split: Split) -> None:
    """Write split.csv, one row per image."""
    rows = [[getattr(record, name) for name in _COLUMNS] for record in split.records]
    write_csv(path, _COLUMNS, rows=rows)


def read_split(path: Path, class_names: Sequence[str], *, task: Task = "multiclass") -> Split:
    """Read split.csv back.

    Raises:
        RunError: The file is missing, or is not a split of these classes.
    """
    rows = read_csv(path)
    if rows and set(rows[0]) != set(_COLUMNS):
        raise RunError(f"{path} has the columns {', '.join(rows[0])}; it is no split.csv.")
    for number, row in enumerate(rows, start=2):
        if row["split"] not in SPLIT_NAMES or not _is_label(row["label"], class_names, task=task):
            raise RunError(
                f"{path}, row {number}: split {row['split']!r} and label {row['label']!r}; "
                f"expected {', '.join(SPLIT_NAMES)} and {', '.join(class_names)}."
            )
    try:
        records = tuple(_parse_record(row) for row in rows)
    except ValueError as error:
        raise RunError(f"{path} holds a size that is no number ({error}).") from error
    return Split(records=records, class_names=tuple(class_names), task=task)


def summarize_split(split: Split) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of a table: images, groups, per class count and prevalence.

    The prevalence of a finding is its share of the images where it is known.
    """
    header = ("split", "images", "groups", *split.class_names)
    rows: list[tuple[str, ...]] = []
    for name in SPLIT_NAMES:
        counts, indices = split.class_counts(name), split.rows(name)
        totals = [len(indices)] * len(counts)
        if split.task == "multilabel":
            totals = (split.labels(indices) >= 0).sum(axis=0).tolist()
        cells = [
            f"{n} ({100 * n / total:.1f}%)" if total else "0"
            for n, total in zip(counts.values(), totals, strict=True)
        ]
        rows.append((name, str(len(indices)), str(split.num_groups(name)), *cells))
    return header, rows


def _choose_strategy(
    records: Sequence[ImageRecord], strategy: Strategy, *, class_names: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the strategy that "auto" means, and notes on the use of val/."""
    held = Counter(record.label for record in records if record.split == "val")
    missing = [name for name in class_names if held[name] == 0]
    if strategy == "folder":
        if missing:
            raise DataError(
                f'val_strategy "folder" needs val/ with images of every class; {missing[0]} has '
                'none there: add some, or use "balanced".'
            )
        return "folder", []
    if strategy == "auto" and not missing and held.total() >= MIN_VAL_IMAGES:
        return "folder", [f"val/ is used as it is ({held.total()} images)"]
    chosen = "balanced" if strategy == "auto" else strategy
    if not held:
        return chosen, []
    reason = "is not used" if strategy != "auto" else f"has fewer than {MIN_VAL_IMAGES} images"
    if strategy == "auto" and held.total() >= MIN_VAL_IMAGES:
        reason = f"has no image of {missing[0]}"
    return chosen, [f"val/ {reason}: its {held.total()} images join train before the draw"]


def _sort_groups(pool: Iterable[ImageRecord], seed: int) -> list[_Group]:
    """Return the groups of the pool in an order drawn by the seed."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in pool:
        counts[record.group][record.label] += 1
    names = sorted(counts, key=partial(_draw_key, seed))
    return [_Group(name, counts[name]) for name in names]


def _draw_key(seed: int, name: str) -> tuple[int, str]:
    return derive_key(seed, "split", name), name


def _draw_balanced(
    groups: Sequence[_Group], val_fraction: float, *, class_names: Sequence[str]
) -> tuple[set[str], list[str]]:
    """Return the groups of val with exactly the same number of images of each class."""
    totals = _count_images(groups)
    cap = min(totals[name] for name in class_names) // 2
    wanted = max(1, round(val_fraction * totals.total() / len(class_names)))
    target = min(wanted, cap)
    pools = [_Pool(groups, name, limit=cap) for name in class_names]
    best: tuple[int, int, int] | None = None  # (distance to target, -number of mixed, size)
    mixed = _take_mixed(groups, val_fraction, room=dict.fromkeys(class_names, target))
    for number in range(len(mixed), -1, -1):
        used = _count_images(mixed[:number])
        size = _nearest(_intersect([pool.sums << used[pool.label] for pool in pools], cap), target)
        if size is not None:
            candidate = (abs(size - target), -number, size)
            best = candidate if best is None else min(best, candidate)
        if best is not None and best[0] == 0:
            break
    if best is None:
        raise DataError(
            "no balanced validation split exists: whole groups (patients) do not add up to the "
            'same number of images per class; use val_strategy "stratified", or a group_regex '
            "that makes smaller groups."
        )
    _, negative, size = best
    drawn = mixed[:-negative]
    used = _count_images(drawn)
    names = {group.name for group in drawn}
    for pool in pools:
        names |= pool.take(size - used[pool.label])
    return names, _note_size(size, wanted, cap=cap)


def _note_size(size: int, wanted: int, *, cap: int) -> list[str]:
    if size == wanted:
        return []
    reason = "half of the smallest class" if size == cap else "as groups stay whole"
    return [f"{size} validation images per class instead of {wanted}: {reason}"]


def _draw_stratified(
    groups: Sequence[_Group], val_fraction: float, *, class_names: Sequence[str]
) -> tuple[set[str], list[str]]:
    """Return the groups of val with about the same share of each class."""
    totals = _count_images(groups)
    targets = {name: max(1, round(val_fraction * totals[name])) for name in class_names}
    drawn = _take_mixed(groups, val_fraction, room=targets)
    used = _count_images(drawn)
    names = {group.name for group in drawn}
    for name in class_names:
        pool = _Pool(groups, name, limit=totals[name] - 1)
        fits = _intersect([pool.sums << used[name]], totals[name] - 1)
        size = _nearest(fits, targets[name])
        if size is None:
            raise DataError(
                f"class {name} cannot be divided into train and val: its {totals[name]} images "
                "belong to one group (patient); add images or change group_regex."
            )
        names |= pool.take(size - used[name])
    return names, []


def _take_mixed(
    groups: Sequence[_Group], val_fraction: float, *, room: Mapping[str, int]
) -> list[_Group]:
    """Return the drawn share of the groups with several classes, as far as they fit."""
    mixed = [group for group in groups if group.label is None]
    left = Counter(room)
    taken: list[_Group] = []
    for group in mixed[: round(val_fraction * len(mixed))]:
        if all(left[label] >= count for label, count in group.counts.items()):
            left.subtract(group.counts)
            taken.append(group)
    return taken


class _Pool:
    """The groups of one class, and every number of images that whole groups add up to.

    `sums` has bit s set where some groups hold s images together. `_last[s]` is the last
    group, in drawn order, of the first such choice: the earliest groups are preferred.
    """

    def __init__(self, groups: Sequence[_Group], label: str, *, limit: int) -> None:
        self.label = label
        self.sums = 1
        self._groups = [group for group in groups if group.label == label]
        self._last: dict[int, int] = {}
        everything = (1 << (limit + 1)) - 1
        for number, group in enumerate(self._groups):
            new = (self.sums << group.counts[label]) & everything & ~self.sums
            self.sums |= new
            self._last.update(dict.fromkeys(_bits(new), number))
            if self.sums == everything:
                break

    def take(self, size: int) -> set[str]:
        """Return the names of groups that hold exactly `size` images."""
        names: set[str] = set()
        while size > 0:
            group = self._groups[self._last[size]]
            names.add(group.name)
            size -= group.counts[self.label]
        return names


def _bits(number: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, ascending."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _intersect(sums: Sequence[int], limit: int) -> int:
    """Return the sums from 1 to `limit` that all have."""
    common = ((1 << (limit + 1)) - 1) & ~1 if limit > 0 else 0
    for bits in sums:
        common &= bits
    return common


def _nearest(bits: int, target: int) -> int | None:
    """Return the set bit nearest to the target, the lower of two; None where none is set."""
    below = bits & ((1 << (target + 1)) - 1)
    above = bits >> (target + 1)
    lower = below.bit_length() - 1
    upper = target + (above & -above).bit_length()
    if not below:
        return upper if above else None
    return lower if not above or target - lower <= upper - target else upper


def _count_images(groups: Iterable[_Group]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group.counts)
    return counts


def _place(record: ImageRecord, val_groups: set[str]) -> ImageRecord:
    if record.split == "test":
        return record
    return replace(record, split="val" if record.group in val_groups else "train")


def _describe_leakage(records: Sequence[ImageRecord], kind: str, *, shared: set[str]) -> str:
    what = "group(s) (patients)" if kind == "group" else "byte-identical file(s)"
    lines: list[str] = []
    for key in sorted(shared)[:_NUM_SHOWN]:
        held = [record for record in records if getattr(record, kind) == key]
        sides = {record.split: record.path for record in reversed(held)}
        places = ", ".join(f"{sides[name]} in {name}" for name in SPLIT_NAMES if name in sides)
        lines.append(f"  {key[:48]}: {places}")
    if len(shared) > _NUM_SHOWN:
        lines.append(f"  ... and {len(shared) - _NUM_SHOWN} more")
    return (
        f"{len(shared)} {what} stand on two sides of the split; move or remove these files, or "
        "correct group_regex:\n" + "\n".join(lines)
    )


def _is_label(text: str, class_names: Sequence[str], *, task: Task) -> bool:
    if task != "multilabel":
        return text in class_names
    try:
        parse_findings(text, class_names)
    except KeyError:
        return False
    return True


def _parse_record(row: Mapping[str, str]) -> ImageRecord:
    return ImageRecord(
        image_id=row["image_id"],
        path=row["path"],
        label=row["label"],
        group=row["group"],
        split=row["split"],
        sha256=row["sha256"],
        width=int(row["width"]),
        height=int(row["height"]),
    )


def _get_path(record: ImageRecord) -> str:
    return record.path
