"""The drawn validation size is the best that whole patients allow: against brute force."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.splitting.choose_test import SplitSettings, Strategy
from medimg_baseline_cls.data.splitting.split import split_images
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import ImageRecord, Split


def make_records(sizes: dict[str, list[int]], *, split: str = "train") -> list[ImageRecord]:
    """Patients of one class each: `sizes` says how many images each of them has."""
    records: list[ImageRecord] = []
    for label, patients in sizes.items():
        for patient, size in enumerate(patients):
            for _ in range(size):
                path = f"{split}/{label}/{len(records):04d}.png"
                record = ImageRecord(
                    image_id=path,
                    path=path,
                    label=label,
                    group=f"{label}{patient}",
                    split=split,
                    sha256=path,
                    width=1,
                    height=1,
                )
                records.append(record)
    return records


def divide(records: list[ImageRecord], strategy: Strategy, fraction: float, seed: int = 0) -> Split:
    """Divide records of train/; a patient in test/ stands beside where there is none."""
    names = sorted({record.label for record in records})
    has_test = any(record.split == "test" for record in records)
    beside = [] if has_test else make_records({"T": [1]}, split="test")
    settings = SplitSettings(strategy=strategy, val_fraction=fraction, seed=seed)
    split = split_images([*records, *beside], settings=settings, class_names=names).split
    return replace(split, records=tuple(r for r in split.records if r not in beside))


def every_sum(sizes: list[int]) -> set[int]:
    """Every number of images that some whole patients have together, one by one."""
    return {
        sum(size for size, chosen in zip(sizes, choice, strict=True) if chosen)
        for choice in product((False, True), repeat=len(sizes))
    }


def nearest(candidates: set[int], target: int) -> int | None:
    return min(candidates, key=lambda size: (abs(size - target), size), default=None)


patients = st.lists(st.integers(1, 9), min_size=1, max_size=7)
fractions = st.sampled_from([0.01, 0.1, 0.25, 0.4, 0.6, 0.95])


@given(patients, patients, fractions, st.integers(0, 50))
@settings(deadline=None, max_examples=150)
def test_balanced_size_is_the_nearest_that_both_classes_can_give(
    first: list[int], second: list[int], fraction: float, seed: int
) -> None:
    records = make_records({"A": first, "B": second})
    cap = min(sum(first), sum(second)) // 2
    target = min(max(1, round(fraction * (sum(first) + sum(second)) / 2)), cap)
    common = {size for size in every_sum(first) & every_sum(second) if 1 <= size <= cap}
    expected = nearest(common, target)
    if expected is None:
        with pytest.raises(DataError, match="no balanced validation split exists"):
            divide(records, "balanced", fraction, seed)
    else:
        counts = divide(records, "balanced", fraction, seed).class_counts("val")
        assert dict(counts) == {"A": expected, "B": expected}


@given(patients, patients, fractions, st.integers(0, 50))
@settings(deadline=None, max_examples=150)
def test_stratified_size_is_the_nearest_of_each_class_and_leaves_some_to_train(
    first: list[int], second: list[int], fraction: float, seed: int
) -> None:
    records = make_records({"A": first, "B": second})
    expected = {
        label: nearest(every_sum(sizes) - {0, sum(sizes)}, max(1, round(fraction * sum(sizes))))
        for label, sizes in (("A", first), ("B", second))
    }
    if None in expected.values():
        with pytest.raises(DataError, match="cannot be divided into train and val"):
            divide(records, "stratified", fraction, seed)
    else:
        assert dict(divide(records, "stratified", fraction, seed).class_counts("val")) == expected


@given(st.permutations(range(12)), st.sampled_from(["balanced", "stratified"]))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_records_is_of_no_account(order: list[int], strategy: Strategy) -> None:
    records = make_records({"A": [2, 1, 3], "B": [1, 1, 2, 2]})
    shuffled = [records[place] for place in order]
    assert divide(shuffled, strategy, 0.3) == divide(records, strategy, 0.3)


def test_every_patient_is_drawn_by_some_seed_and_as_often_as_its_equals() -> None:
    records = make_records({"A": [1] * 10, "B": [1] * 10})
    drawn: Counter[str] = Counter()
    for seed in range(300):
        split = divide(records, "balanced", 0.3, seed)
        drawn.update({record.group for record in split.records if record.split == "val"})
    assert len(drawn) == 20
    # 3 of 10 in 300 draws: 90, give or take four deviations of a binomial.
    assert all(abs(times - 90) < 4 * (300 * 0.3 * 0.7) ** 0.5 for times in drawn.values())


def test_a_patient_is_drawn_by_its_smallest_image_id_and_not_by_its_name() -> None:
    records = make_records({"A": [2] * 8, "B": [2] * 8})
    first = {r.group: r.image_id for r in reversed(records)}
    others = [
        replace(
            r,
            group=f"hash of {r.group}",  # as a keyed hash would be, by another key
            sha256=f"y{r.path}",
            image_id=r.image_id if r.image_id in first.values() else f"{r.image_id}z",
        )
        for r in records
    ]
    one, other = divide(records, "balanced", 0.25), divide(others, "balanced", 0.25)
    assert [r.split for r in one.records] == [r.split for r in other.records]
    moved = [replace(r, image_id=f"x{r.image_id}") for r in records]
    again = divide(moved, "balanced", 0.25)
    assert [r.split for r in one.records] != [r.split for r in again.records]


def test_test_images_count_for_nothing_in_the_draw() -> None:
    records = make_records({"A": [1] * 20, "B": [2] * 10})
    tested = make_records({"A": [1] * 7, "B": [1] * 90}, split="test")
    tested = [replace(record, group=f"t{record.group}") for record in tested]
    alone = divide(records, "balanced", 0.2)
    together = divide([*records, *tested], "balanced", 0.2)
    assert tuple(r for r in together.records if r.split != "test") == alone.records
