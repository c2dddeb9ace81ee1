"""Folds: whole patients, each in TEST once, shares as near as whole patients allow."""

import random as python_random
from collections import Counter
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.splitting.folds import divide_into_folds, draw_share
from medimg_baseline_cls.data.splitting.grouping import (
    Group,
    GroupSums,
    collect_groups,
    form_strata,
)
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import ImageRecord, Task

CLASSES = ("A", "B", "C")


def make_record(number: int, label: str, group: str) -> ImageRecord:
    name = f"{number:05d}.png"
    return ImageRecord(
        image_id=name,
        path=name,
        label=label,
        group=group,
        split="",
        sha256=f"sha{number}",
        width=1,
        height=1,
    )


@st.composite
def tables(draw: st.DrawFn, *, most: int = 6) -> list[ImageRecord]:
    """Images of patients of one class each, whose names and places are of no meaning."""
    sizes = draw(st.lists(st.integers(1, most), min_size=6, max_size=50))
    records = [
        make_record(0, draw(st.sampled_from(CLASSES)), f"p{patient}")
        for patient, size in enumerate(sizes)
        for _ in range(size)
    ]
    labels = {record.group: record.label for record in records}
    order = draw(st.permutations(range(len(records))))
    return [
        make_record(number, labels[record.group], record.group)
        for number, record in zip(order, records, strict=True)
    ]


def groups_of(
    records: list[ImageRecord], *, seed: int = 0, task: Task = "multiclass"
) -> list[Group]:
    return collect_groups(records, class_names=CLASSES, task=task, seed=seed, purpose=("folds",))


def folds_of(
    records: list[ImageRecord], num_folds: int, *, seed: int = 0, task: Task = "multiclass"
) -> list[list[Group]]:
    groups = groups_of(records, seed=seed, task=task)
    return divide_into_folds(groups, num_folds, class_names=CLASSES, seed=seed, repeat=0)


def count(groups: list[Group], label: str) -> int:
    return sum(group.size for group in groups if group.label == label)


def mixed_table(seed: int, num_patients: int, *, most: int, task: Task) -> list[ImageRecord]:
    """Patients of several images, of which some have several classes or findings."""
    random = python_random.Random(seed)
    owners = [p for p in range(num_patients) for _ in range(random.randint(1, most))]
    random.shuffle(owners)
    homes = [random.choice("AAB") for _ in range(num_patients)]
    records: list[ImageRecord] = []
    for number, owner in enumerate(owners):
        label = random.choice(CLASSES) if random.random() < 0.05 else homes[owner]
        if task == "multilabel":
            label = "|".join(name for name in CLASSES if random.random() < 0.25)
        records.append(make_record(number, label, f"p{owner}"))
    return records


@given(tables(), st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=200)
def test_each_patient_is_in_one_fold_and_shares_keep_the_stated_bound(
    records: list[ImageRecord], num_folds: int, seed: int
) -> None:
    try:
        folds = folds_of(records, num_folds, seed=seed)
    except DataError:
        assume(False)
        return
    held = Counter(group.name for fold in folds for group in fold)
    assert held == Counter({record.group for record in records})
    for name in CLASSES:
        sizes = Counter(r.group for r in records if r.label == name).values()
        for fold in folds:
            away = abs(count(fold, name) - sum(sizes) / num_folds)
            assert away < max(sizes, default=0) + 1


@given(tables(most=1), st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=200)
def test_lone_images_come_out_even_in_each_class_and_in_all(
    records: list[ImageRecord], num_folds: int, seed: int
) -> None:
    folds = folds_of(records, num_folds, seed=seed)
    for name in CLASSES:
        counts = [count(fold, name) for fold in folds]
        assert max(counts) - min(counts) <= 1  # the least there is
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(1, 5), min_size=3, max_size=8), st.integers(2, 3), st.integers(0, 20))
@settings(deadline=None, max_examples=100)
def test_folds_are_near_the_best_of_all_divisions(
    sizes: list[int], num_folds: int, seed: int
) -> None:
    """Against brute force: every way to hand out the patients of one class."""
    records = [
        make_record(100 * patient + number, "A", f"p{patient}")
        for patient, size in enumerate(sizes)
        for number in range(size)
    ]
    try:
        folds = folds_of(records, num_folds, seed=seed)
    except DataError:
        assume(False)
        return
    share = sum(sizes) / num_folds

    def worst(loads: list[int]) -> float:
        return max(abs(load - share) for load in loads)

    best = min(
        worst(
            [sum(s for s, f in zip(sizes, choice, strict=True) if f == k) for k in range(num_folds)]
        )
        for choice in product(range(num_folds), repeat=len(sizes))
    )
    assert best <= worst([count(fold, "A") for fold in folds]) < max(best + 1, max(sizes) + 1)
    if num_folds == 2:  # one cut alone: it is the best one
        assert worst([count(fold, "A") for fold in folds]) <= best + 0.5


@given(tables(), st.integers(0, 99), st.randoms())
@settings(deadline=None, max_examples=60)
def test_folds_are_a_function_of_seed_and_image_ids(
    records: list[ImageRecord], seed: int, random: python_random.Random
) -> None:
    def partition(table: list[ImageRecord]) -> list[set[str]]:
        ids: dict[str, set[str]] = {}
        for record in table:
            ids.setdefault(record.group, set()).add(record.image_id)
        folds = folds_of(table, 3, seed=seed)
        return [set().union(*(ids[group.name] for group in fold)) for fold in folds]

    try:
        first = partition(records)
    except DataError:
        assume(False)
        return
    groups = sorted({record.group for record in records})
    random.shuffle(groups)
    names = {group: f"{number}" for number, group in enumerate(groups)}  # as another key would
    other = [make_record(int(r.path[:5]), r.label, names[r.group]) for r in records]
    random.shuffle(other)
    assert partition(other) == first


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("most", [1, 4])
def test_one_more_image_moves_few_patients(task: Task, most: int) -> None:
    shares: list[float] = []
    for seed in range(30):
        records = mixed_table(seed, 300, most=most, task=task)
        random = python_random.Random(-seed)
        owner = f"p{random.randrange(300)}" if seed % 2 else "new"
        extra = make_record(random.randrange(10**5), random.choice(CLASSES), owner)
        before, after = (
            {g.name: n for n, fold in enumerate(folds_of(table, 5, task=task)) for g in fold}
            for table in (records, [*records, extra])
        )
        shares.append(sum(before[name] != after[name] for name in before) / len(before))
    assert sum(shares) / len(shares) < 0.05


def test_repeats_and_seeds_draw_other_folds_and_each_patient_meets_all_of_them() -> None:
    groups = groups_of([make_record(n, "AB"[n % 2], f"p{n}") for n in range(40)])
    drawn = set()
    places: dict[str, Counter[int]] = {group.name: Counter() for group in groups}
    for repeat in range(100):
        records = [make_record(int(g.identity[:5]), str(g.label), g.name) for g in groups]
        ordered = collect_groups(
            records, class_names=CLASSES, task="multiclass", seed=1, purpose=("folds", repeat)
        )
        folds = divide_into_folds(ordered, 4, class_names=CLASSES, seed=1, repeat=repeat)
        drawn.add(tuple(frozenset(group.name for group in fold) for fold in folds))
        for number, fold in enumerate(folds):
            for group in fold:
                places[group.name][number] += 1
    assert len(drawn) == 100
    # 1 of 4 folds in 100 draws: 25, give or take five deviations of a binomial.
    assert all(
        abs(seen[k] - 25) < 5 * (100 * 0.25 * 0.75) ** 0.5
        for seen in places.values()
        for k in range(4)
    )


def test_more_folds_than_patients_are_refused() -> None:
    records = [make_record(n, "A", f"p{n // 5}") for n in range(10)]
    with pytest.raises(DataError, match="2 groups .patients. leave 1 fold"):
        folds_of(records, 3)


def test_strata_are_the_rarest_finding_of_a_patient() -> None:
    findings = {"p0": ["A", "A|B"], "p1": ["A"], "p2": [""], "p3": ["?B"], "p4": ["C", ""]}
    records = [
        make_record(n, label, group)
        for n, (group, label) in enumerate(
            (g, text) for g, texts in findings.items() for text in texts
        )
    ]
    strata = form_strata(groups_of(records, task="multilabel"), CLASSES)
    named = {name: {group.name for group in members} for name, members in strata.items()}
    # A is seen three times, B and C once; p3's B is not known, so that it counts for nothing.
    assert named == {"": {"p2", "p3"}, "A": {"p1"}, "B +": {"p0"}, "C": {"p4"}}


@given(st.integers(0, 200), st.sampled_from([0.1, 0.2, 0.5]), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_a_share_of_findings_is_within_its_bound_in_every_stratum(
    seed: int, fraction: float, most: int
) -> None:
    groups = groups_of(mixed_table(seed, 60, most=most, task="multilabel"), task="multilabel")
    part = draw_share(groups, fraction, class_names=CLASSES, seed=seed, parts="train and val")
    taken = {group.name for group in part}
    assert len(taken) == len(part)
    for members in form_strata(groups, CLASSES).values():
        sizes = {group.name: group.size for group in members}
        drawn = sum(size for name, size in sizes.items() if name in taken)
        assert abs(drawn - fraction * sum(sizes.values())) < max(sizes.values()) / 2 + 1
    if most == 1:
        assert abs(len(part) - fraction * len(groups)) < 1


def test_tiny_strata_do_not_all_land_in_the_same_part() -> None:
    """Ten findings, one patient each, a fifth of them to draw: two, and not none."""
    names = [f"F{n}" for n in range(10)]
    records = [make_record(n, name, f"p{n}") for n, name in enumerate(names)]
    groups = collect_groups(records, class_names=names, task="multilabel", seed=0, purpose=())
    sizes = {
        len(draw_share(groups, 0.2, class_names=names, seed=seed, parts="train and val"))
        for seed in range(20)
    }
    assert sizes == {2}
    folds = divide_into_folds(groups, 5, class_names=names, seed=0, repeat=0)
    assert [len(fold) for fold in folds] == [2] * 5


def test_one_patient_cannot_be_shared() -> None:
    groups = groups_of([make_record(n, "A", "p") for n in range(9)], task="multilabel")
    with pytest.raises(DataError, match="1 groups .patients. cannot be divided into train and val"):
        draw_share(groups, 0.5, class_names=CLASSES, seed=0, parts="train and val")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 60))
@settings(deadline=None, max_examples=150)
def test_sums_are_those_of_brute_force_and_each_can_be_taken(sizes: list[int], limit: int) -> None:
    groups = [Group(f"p{n}", f"{n}", size) for n, size in enumerate(sizes)]
    every = {
        sum(size for size, chosen in zip(sizes, choice, strict=True) if chosen)
        for choice in product((False, True), repeat=len(sizes))
    }
    sums = GroupSums(groups, limit=limit)
    found = {number for number in range(limit + 99) if sums.sums >> number & 1}
    assert found == {number for number in every if number <= limit}
    for number in found:
        assert sum(group.size for group in sums.take(number)) == number
