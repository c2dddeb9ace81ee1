"""Turn records into groups (patients) in a drawn order, and add up whole groups exactly.

`collect_groups` orders groups by a hash of their smallest image id under the seed: never by
listing order, and never by their names, which may be keyed hashes that differ between users.
`GroupSums` has every number of images that some whole groups have together, and picks groups that
have exactly one of them. Nothing here ever cuts a group.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from medimg_baseline_cls.schema import ImageRecord, Task, parse_findings
from medimg_baseline_cls.utils.seed import derive_key


@dataclass(slots=True)
class Group:
    """A patient: number of images, and how many of them show each class or finding."""

    name: str
    identity: str  # the smallest image id: what the draw knows a group by
    size: int = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def label(self) -> str | None:
        """Return the only class of its images; None where there are several, or no finding."""
        return next(iter(self.counts)) if len(self.counts) == 1 else None


def collect_groups(
    records: Iterable[ImageRecord],
    *,
    class_names: Sequence[str],
    task: Task,
    seed: int,
    purpose: Sequence[str | int],
) -> list[Group]:
    """Return the groups in an order drawn for one purpose: a function of (seed, image ids).

    Args:
        records: the images to draw from.
        class_names: the class order.
        task: how to read their labels.
        seed: of the draw.
        purpose: words and numbers that identify this draw.
    """
    groups: dict[str, Group] = {}
    shown: dict[str, tuple[str, ...]] = {}
    for record in records:
        group = groups.get(record.group)
        if group is None:
            group = groups[record.group] = Group(record.group, record.image_id)
        elif record.image_id < group.identity:
            group.identity = record.image_id
        group.size += 1
        text = record.label
        if text not in shown:
            shown[text] = _labels_of(text, class_names=class_names, task=task)
        for label in shown[text]:
            group.counts[label] = group.counts.get(label, 0) + 1
    # By image id, as names may be keyed hashes that differ between users (decision 0007).
    keys = {name: derive_key(seed, *purpose, group.identity) for name, group in groups.items()}
    return sorted(groups.values(), key=lambda group: (keys[group.name], group.identity))


def count_images(groups: Iterable[Group]) -> Counter[str]:
    """Return the number of images of each class, or with each finding, in some groups."""
    counts: Counter[str] = Counter()
    for group in groups:
        for label, number in group.counts.items():
            counts[label] += number
    return counts


def form_strata(groups: Sequence[Group], class_names: Sequence[str]) -> dict[str, list[Group]]:
    """Return groups that are alike, by name, each in the order it came in.

    A group belongs to the rarest class, or positive finding, of its images; "" has none.
    Groups of several classes are strata of their own: "A +" contains A and others.
    """
    totals = count_images(groups)
    ranks = {name: (totals[name], place) for place, name in enumerate(class_names)}
    strata: dict[str, list[Group]] = {"": []}
    for name in class_names:
        strata |= {name: [], f"{name} +": []}
    for group in groups:
        rarest = min(group.counts, key=ranks.__getitem__, default="")
        strata[f"{rarest} +" if len(group.counts) > 1 else rarest].append(group)
    return {name: members for name, members in strata.items() if members}


class GroupSums:
    """Every number of images, up to a limit, that some whole groups have together.

    `sums` has bit s set where some groups have s images together (0 always). Groups of one size are
    alike, so the work grows with the number of different sizes.
    """

    def __init__(self, groups: Sequence[Group], *, limit: int) -> None:
        self._groups = groups
        self._available = Counter(group.size for group in groups)
        self._sizes = sorted(size for size in self._available if size <= limit)
        self._layers = [1]
        for size in self._sizes:
            more = _add_multiples(self._layers[-1], size, count=self._available[size], limit=limit)
            self._layers.append(more)

    @property
    def sums(self) -> int:
        """Return the sums that all groups together allow, as bits."""
        return self._layers[-1]

    def take(self, size: int) -> list[Group]:
        """Return groups that have exactly `size` images, in the drawn order.

        The first groups are preferred: as many of each size as are among the first groups that fit
        into `size`, except for the few that must differ to reach it.
        """
        wanted = _count_first(self._groups, size)
        chosen: Counter[int] = Counter()
        left = size
        # Back through the layers: each has the sums that smaller sizes allow.
        for place in range(len(self._sizes) - 1, -1, -1):
            each = self._sizes[place]
            most = min(self._available[each], left // each)
            for number in _outwards(wanted[each], most):
                if self._layers[place] >> (left - number * each) & 1:
                    break
            else:
                raise AssertionError(f"no groups have {size} images together")
            chosen[each] = number
            left -= number * each
        return _take_first(self._groups, chosen)

    def take_nearest(self, target: int) -> list[Group]:
        """Return groups with a number of images as near to the target as whole groups allow."""
        size = find_nearest(self.sums, max(0, target))
        return self.take(size or 0)


def find_nearest(bits: int, target: int) -> int | None:
    """Return the set bit nearest to the target, the lower of two; None where none is set."""
    below = bits & ((1 << (target + 1)) - 1)
    above = bits >> (target + 1)
    lower = below.bit_length() - 1
    upper = target + (above & -above).bit_length()
    if not below:
        return upper if above else None
    return lower if not above or target - lower <= upper - target else upper


def leave_out(groups: Iterable[Group], taken: Collection[Group]) -> list[Group]:
    """Return the groups that were not taken, in the order they have."""
    names = {group.name for group in taken}
    return [group for group in groups if group.name not in names]


def _labels_of(text: str, *, class_names: Sequence[str], task: Task) -> tuple[str, ...]:
    if task != "multilabel":
        return (text,)
    values = parse_findings(text, class_names)
    return tuple(name for name, value in zip(class_names, values, strict=True) if value > 0)


def _add_multiples(sums: int, size: int, *, count: int, limit: int) -> int:
    """Return the sums that up to `count` more groups of one size allow, by doubling steps."""
    everything = (1 << (limit + 1)) - 1  # sums above the limit would only cost time
    step = 1
    count = min(count, limit // size)
    while count > 0 and sums != everything:
        step = min(step, count)
        sums |= (sums << (size * step)) & everything
        count -= step
        step *= 2
    return sums


def _count_first(groups: Iterable[Group], size: int) -> Counter[int]:
    """Count, by their size, the first groups that together have at most `size` images."""
    counts: Counter[int] = Counter()
    held = 0
    for group in groups:
        held += group.size
        if held > size:
            break
        counts[group.size] += 1
    return counts


def _take_first(groups: Iterable[Group], numbers: Mapping[int, int]) -> list[Group]:
    left = Counter(numbers)
    taken: list[Group] = []
    for group in groups:
        if left[group.size] > 0:
            left[group.size] -= 1
            taken.append(group)
    return taken


def _outwards(middle: int, most: int) -> Iterator[int]:
    """Yield 0 to `most`, the nearest to the middle first."""
    middle = min(middle, most)
    yield middle
    for distance in range(1, most + 1):
        if middle + distance <= most:
            yield middle + distance
        if middle - distance >= 0:
            yield middle - distance
