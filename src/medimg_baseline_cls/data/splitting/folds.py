"""Turn groups (patients) into k folds, or into a part and the rest: whole, and stratified.

Each stratum (see `form_strata`) is divided separately. A part's quota of a stratum is its exact
share rounded down or up; sizes of whole parts are rounded only once too. Whole groups then come as
near to the quotas as they can: see `divide_into_folds` for the bound. Impossible divisions are
refused.
"""

from collections.abc import Sequence

from medimg_baseline_cls.data.splitting.grouping import Group, GroupSums, form_strata, leave_out
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.seed import derive_key, permutation


def divide_into_folds(
    groups: Sequence[Group], num_folds: int, *, class_names: Sequence[str], seed: int, repeat: int
) -> list[list[Group]]:
    """Return the groups of each fold; every group is in exactly one.

    With n images in a stratum whose largest group has g of them, each fold has less than
    g + 1 images more or fewer than n / num_folds; less than 1, the best there is, where each
    group is one image. Proof: quotas are n / num_folds rounded down or up, and the running
    total after each fold is the nearest to the running quota that whole groups allow, so at
    most g / 2 away, as the groups in any order pass no number by more than that.

    Args:
        groups: in a drawn order, as `collect_groups` returns them.
        num_folds: 2 or more.
        class_names: the class order.
        seed: of the draw.
        repeat: which drawing of the folds this is.

    Raises:
        DataError: A fold would be empty.
    """
    folds: list[list[Group]] = [[] for _ in range(num_folds)]
    extras = [0] * num_folds
    for name, members in form_strata(groups, class_names).items():
        share, extra = divmod(sum(group.size for group in members), num_folds)
        # A new order in each stratum, as the last fold takes what is left over.
        order = _shuffle(num_folds, seed, repeat, name)
        # The folds with the fewest images too many so far take the images left over.
        takers = set(sorted(order, key=extras.__getitem__)[:extra])
        quotas = [share + (fold in takers) for fold in range(num_folds)]
        extras = [extras[fold] + (fold in takers) for fold in range(num_folds)]
        parts = _cut(members, [quotas[fold] for fold in order])
        for fold, part in zip(order, parts, strict=True):
            folds[fold] += part
    if not all(folds):
        raise DataError(
            f"num_folds = {num_folds} folds cannot be made: {len(groups)} groups (patients) leave "
            f"{sum(not fold for fold in folds)} fold(s) empty; use fewer folds."
        )
    return folds


def draw_share(
    groups: Sequence[Group], fraction: float, *, class_names: Sequence[str], seed: int, parts: str
) -> list[Group]:
    """Return the groups of one part that takes the same share of every stratum.

    With g images in the largest group of a stratum, the part has less than g / 2 + 1 images
    more or fewer of it than its exact share; less than 1 where each group is one image. What
    is lost or won by rounding in one stratum is carried to the next, so strata of a few images are
    drawn as often as they should be, and not all or none of them.

    Args:
        groups: in a drawn order, as `collect_groups` returns them.
        fraction: share of the images, in (0, 1).
        class_names: the class order.
        seed: of the draw.
        parts: what is divided from what, for the rounding and the message: "train and val".

    Raises:
        DataError: The part, or the rest, would be empty.
    """
    # A random start in [0, 1), as in systematic sampling (decision 0007).
    carried = derive_key(seed, "split", "rounding", parts) / 2**64
    taken: list[Group] = []
    for members in form_strata(groups, class_names).values():
        exact = fraction * sum(group.size for group in members) + carried
        carried = exact % 1
        taken += _cut(members, [int(exact), 0])[0]
    if not 0 < len(taken) < len(groups):
        raise DataError(
            f"{len(groups)} groups (patients) cannot be divided into {parts}; add images, "
            "or change group_regex or the fraction."
        )
    return taken


def _cut(groups: Sequence[Group], quotas: Sequence[int]) -> list[list[Group]]:
    """Return one part per quota; the last one gets what is left."""
    rest = list(groups)
    parts: list[list[Group]] = []
    wanted = held = 0
    for quota in quotas[:-1]:
        wanted += quota
        largest = max((group.size for group in rest), default=0)
        target = max(0, wanted - held)
        # The nearest sum is at most half of the largest group away.
        part = GroupSums(rest, limit=target + largest).take_nearest(target)
        held += sum(group.size for group in part)
        rest = leave_out(rest, part)
        parts.append(part)
    return [*parts, rest]


def _shuffle(count: int, seed: int, *purpose: str | int) -> list[int]:
    """Return 0 .. count-1 in an order of its own for each purpose."""
    return permutation(seed, "split", "folds", *purpose, size=count).tolist()
