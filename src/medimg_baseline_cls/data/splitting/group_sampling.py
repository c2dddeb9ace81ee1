"""Draw a part of the groups (patients), one class per image: balanced or stratified, exactly.

"balanced" takes the same number of images of each class, "stratified" the same share. Sizes
are the nearest to what was wanted that whole groups allow. Groups of several classes are
drawn first, as far as they fit; the groups of one class then make up the exact numbers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from medimg_baseline_cls.data.splitting.grouping import Group, GroupSums, count_images, find_nearest
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.quantities import say_count


def draw_balanced(
    groups: Sequence[Group], fraction: float, *, class_names: Sequence[str]
) -> tuple[list[Group], list[str]]:
    """Return groups of VAL with exactly the same number of images of each class, and notes.

    Raises:
        DataError: Whole groups do not add up to the same number.
    """
    totals = count_images(groups)
    # At most half of the smallest class, so that train keeps the other half.
    cap = min(totals[name] for name in class_names) // 2
    wanted = max(1, round(fraction * totals.total() / len(class_names)))
    target = min(wanted, cap)
    pools = {name: GroupSums(_pure_groups(groups, name), limit=cap) for name in class_names}
    mixed = _take_mixed(groups, fraction, room=dict.fromkeys(class_names, target))
    best: tuple[int, int, int] | None = None  # (distance to target, -number of mixed, size)
    used = count_images(mixed)
    # Without some groups of several classes the others may add up to equal numbers.
    for number in range(len(mixed), -1, -1):
        sums = [pool.sums << used[name] for name, pool in pools.items()]
        size = find_nearest(_intersect(sums, cap), target)
        if size is not None:
            candidate = (abs(size - target), -number, size)
            best = candidate if best is None else min(best, candidate)
        if best is not None and best[0] == 0:
            break
        used.subtract(mixed[number - 1].counts if number else {})
    if best is None:
        raise DataError(
            "no balanced validation split exists: whole groups (patients) do not add up to the "
            'same number of images per class; use val_strategy "stratified", or a group_regex '
            "that makes smaller groups."
        )
    _, negative, size = best
    drawn = mixed[:-negative]
    used = count_images(drawn)
    for name, pool in pools.items():
        drawn += pool.take(size - used[name])
    return drawn, _note_size(size, wanted, cap=cap)


def draw_stratified(
    groups: Sequence[Group], fraction: float, *, class_names: Sequence[str], parts: str
) -> list[Group]:
    """Return groups with about the same share of each class.

    Args:
        groups: in a drawn order.
        fraction: share of the images of each class.
        class_names: the class order.
        parts: what is divided from what, for the message: "train and val".

    Raises:
        DataError: The images of a class all belong to one group.
    """
    totals = count_images(groups)
    targets = {name: max(1, round(fraction * totals[name])) for name in class_names}
    drawn = _take_mixed(groups, fraction, room=targets)
    used = count_images(drawn)
    for name in class_names:
        # One image less than all, so that the other part has the class too.
        pool = GroupSums(_pure_groups(groups, name), limit=totals[name] - 1)
        fits = _intersect([pool.sums << used[name]], totals[name] - 1)
        size = find_nearest(fits, targets[name])
        if size is None:
            num_patients = sum(name in group.counts for group in groups)
            raise DataError(_describe_undivided(name, parts, counts=(totals[name], num_patients)))
        drawn += pool.take(size - used[name])
    return drawn


def _describe_undivided(name: str, parts: str, *, counts: tuple[int, int]) -> str:
    """Return why a class of so many images and patients cannot be divided, and what to do."""
    num_images, num_patients = counts
    start = f"class {name} cannot be divided into {parts}: "
    leave_out = "leave the class out with --class-names"
    if num_images == 0:
        return f"{start}no image of it is left here; add some, or {leave_out}."
    if num_images == 1:
        return (
            f"{start}it has 1 image; add some, correct its label if that is a typing error, or "
            f"{leave_out}."
        )
    if num_patients == 1:
        return (
            f"{start}its {num_images} images belong to one group (patient); add images of other "
            f"patients, correct what names the patient, or {leave_out}."
        )
    return (
        f"{start}its {num_images} images belong to {num_patients} groups (patients) with images "
        f"of other classes too; add patients, correct what names the patient, or {leave_out}."
    )


def _pure_groups(groups: Sequence[Group], name: str) -> list[Group]:
    return [group for group in groups if group.label == name]


def _take_mixed(
    groups: Sequence[Group], fraction: float, *, room: Mapping[str, int]
) -> list[Group]:
    """Return the drawn share of the groups with several classes, as far as they fit."""
    mixed = [group for group in groups if group.label is None]
    left = Counter(room)
    taken: list[Group] = []
    for group in mixed[: round(fraction * len(mixed))]:
        if all(left[label] >= count for label, count in group.counts.items()):
            left.subtract(group.counts)
            taken.append(group)
    return taken


def _intersect(sums: Sequence[int], limit: int) -> int:
    """Return the sums from 1 to `limit` that all have."""
    common = ((1 << (limit + 1)) - 1) & ~1 if limit > 0 else 0
    for bits in sums:
        common &= bits
    return common


def _note_size(size: int, wanted: int, *, cap: int) -> list[str]:
    if size == wanted:
        return []
    reason = "that is half of the smallest class" if size == cap else "patients stay whole"
    return [f"VAL has {say_count(size, 'images')} of each class instead of {wanted}: {reason}"]
