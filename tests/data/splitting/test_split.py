"""Patients stay whole, balance is exact, and the split is a function of (seed, ids) alone."""

import random as python_random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.splitting.choose_test import SplitSettings, Strategy
from medimg_baseline_cls.data.splitting.split import (
    MIN_VAL_IMAGES,
    SplitResult,
    check_leakage,
    list_one_sided,
    read_split,
    split_images,
    summarize_split,
    write_split,
)
from medimg_baseline_cls.errors import DataError, LeakageError, RunError
from medimg_baseline_cls.schema import ImageRecord, Split
from medimg_baseline_cls.utils.log import format_table

CLASSES = ("NORMAL", "PNEUMONIA")
STRATEGIES: tuple[Strategy, ...] = ("balanced", "stratified")


def make_record(
    number: int, label: str, group: str | None = None, *, split: str = "train", sha: str = ""
) -> ImageRecord:
    path = f"{split}/{label}/{number:05d}.png"
    return ImageRecord(
        image_id=path,
        path=path,
        label=label,
        group=group or path,
        split=split,
        sha256=sha or f"sha{split}{number}",
        width=10,
        height=12,
    )


def make_records(counts: dict[str, int], *, split: str = "train") -> list[ImageRecord]:
    """Lone images: each is a group of its own."""
    numbers = iter(range(10**6))
    return [
        make_record(next(numbers), label, split=split)
        for label, count in counts.items()
        for _ in range(count)
    ]


def divide(
    records: list[ImageRecord],
    strategy: Strategy = "auto",
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    class_names: tuple[str, ...] = CLASSES,
) -> SplitResult:
    """Divide records of train/ and val/; two images in test/ stand beside where there are none."""
    has_test = any(record.split == "test" for record in records)
    beside = [] if has_test else [make_record(n, class_names[0], split="test") for n in (1, 2)]
    settings = SplitSettings(strategy=strategy, val_fraction=val_fraction, seed=seed)
    result = split_images([*records, *beside], settings=settings, class_names=class_names)
    kept = tuple(r for r in result.split.records if r not in beside)
    return replace(result, split=replace(result.split, records=kept))


@st.composite
def patients(draw: st.DrawFn, *, mixed: bool = True) -> list[ImageRecord]:
    """Train images of patients with one to six images, some with both classes, and a test."""
    records: list[ImageRecord] = []
    sizes = draw(st.lists(st.integers(1, 6), min_size=4, max_size=40))
    for patient, size in enumerate(sizes):
        home = draw(st.sampled_from(CLASSES))
        both = mixed and draw(st.integers(0, 5)) == 0
        for _ in range(size):
            label = draw(st.sampled_from(CLASSES)) if both else home
            records.append(make_record(len(records), label, f"p{patient}"))
    records += [
        make_record(10000 + n, CLASSES[n % 2], f"t{n // 2}", split="test") for n in range(4)
    ]
    return records


fractions = st.sampled_from([0.05, 0.1, 0.2, 0.33, 0.5, 0.9])


@given(patients(), st.sampled_from(STRATEGIES), fractions, st.integers(0, 99))
@settings(deadline=None, max_examples=200)
def test_groups_stay_whole_and_every_image_is_kept(
    records: list[ImageRecord], strategy: Strategy, val_fraction: float, seed: int
) -> None:
    try:
        split = divide(records, strategy, val_fraction=val_fraction, seed=seed).split
    except DataError as error:
        assert not isinstance(error, LeakageError)
        assume(False)
        return
    check_leakage(split)
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for record in split.records:
        sides[record.group].add(record.split)
    assert all(len(names) == 1 for names in sides.values())
    assert [replace(r, split="") for r in split.records] == sorted(
        (replace(r, split="") for r in records), key=lambda r: r.path
    )
    before = {r.path for r in records if r.split == "test"}
    assert {r.path for r in split.records if r.split == "test"} == before


@given(patients(), fractions, st.integers(0, 99))
@settings(deadline=None, max_examples=200)
def test_balanced_val_has_exactly_the_same_number_per_class(
    records: list[ImageRecord], val_fraction: float, seed: int
) -> None:
    try:
        split = divide(records, "balanced", val_fraction=val_fraction, seed=seed).split
    except DataError:
        assume(False)
        return
    val, train = split.class_counts("val"), split.class_counts("train")
    assert val["NORMAL"] == val["PNEUMONIA"] > 0
    assert all(val[name] <= train[name] for name in CLASSES)  # at most half of the smallest


@given(st.integers(4, 60), st.integers(4, 60), fractions, st.integers(0, 9))
@settings(deadline=None, max_examples=100)
def test_balanced_size_of_lone_images_is_the_fraction_or_half_the_smallest(
    first: int, second: int, val_fraction: float, seed: int
) -> None:
    records = make_records({"NORMAL": first, "PNEUMONIA": second})
    split = divide(records, "balanced", val_fraction=val_fraction, seed=seed).split
    wanted = max(1, round(val_fraction * (first + second) / 2))
    assert split.class_counts("val")["NORMAL"] == min(wanted, min(first, second) // 2)


@given(st.integers(2, 80), st.integers(2, 80), fractions, st.integers(0, 9))
@settings(deadline=None, max_examples=100)
def test_stratified_share_of_lone_images_is_that_of_each_class(
    first: int, second: int, val_fraction: float, seed: int
) -> None:
    records = make_records({"NORMAL": first, "PNEUMONIA": second})
    counts = divide(records, "stratified", val_fraction=val_fraction, seed=seed).split
    for name, total in zip(CLASSES, (first, second), strict=True):
        wanted = min(max(1, round(val_fraction * total)), total - 1)
        assert counts.class_counts("val")[name] == wanted


@given(patients(mixed=False), st.integers(0, 99))
@settings(deadline=None, max_examples=100)
def test_stratified_misses_its_share_by_less_than_a_patient(
    records: list[ImageRecord], seed: int
) -> None:
    try:
        split = divide(records, "stratified", val_fraction=0.25, seed=seed).split
    except DataError:
        assume(False)
        return
    totals = Counter(r.label for r in records if r.split == "train")
    for name in CLASSES:
        biggest = max(
            Counter(r.group for r in records if r.label == name and r.split == "train").values()
        )
        missed = abs(split.class_counts("val")[name] - 0.25 * totals[name])
        assert missed <= biggest / 2 + 1 or split.class_counts("val")[name] == biggest


@given(patients(), st.sampled_from(STRATEGIES), st.integers(0, 99), st.randoms())
@settings(deadline=None, max_examples=80)
def test_split_is_a_function_of_seed_and_ids(
    records: list[ImageRecord], strategy: Strategy, seed: int, random: python_random.Random
) -> None:
    try:
        first = divide(records, strategy, val_fraction=0.3, seed=seed)
    except DataError:
        assume(False)
        return
    shuffled = [replace(r, width=99, height=7) for r in records]
    random.shuffle(shuffled)
    python_random.seed(random.random())
    second = divide(shuffled, strategy, val_fraction=0.3, seed=seed)
    assert [(r.path, r.split) for r in first.split.records] == [
        (r.path, r.split) for r in second.split.records
    ]
    assert first.notes == second.notes


def test_seeds_draw_different_patients_and_each_as_often() -> None:
    records = make_records({"NORMAL": 40, "PNEUMONIA": 40})
    drawn: Counter[str] = Counter()
    splits = set()
    for seed in range(200):
        split = divide(records, "balanced", val_fraction=0.25, seed=seed).split
        held = frozenset(r.path for r in split.records if r.split == "val")
        splits.add(held)
        drawn.update(held)
    assert len(splits) == 200
    # Each image is drawn with p = 1/4 in 200 draws: 50 +- 6.1; five deviations of slack.
    assert len(drawn) == 80 and min(drawn.values()) >= 19 and max(drawn.values()) <= 81


def test_one_more_image_moves_hardly_any_other() -> None:
    records = make_records({"NORMAL": 100, "PNEUMONIA": 100})
    before = {r.path: r.split for r in divide(records, "balanced").split.records}
    extra = [*records, make_record(999, "NORMAL")]
    after = {r.path: r.split for r in divide(extra, "balanced").split.records}
    assert sum(before[path] != after[path] for path in before) <= 2


def test_byte_identical_files_of_one_group_stay_together() -> None:
    records = [
        make_record(n, CLASSES[n % 2], f"g{n // 4}", sha=f"s{n // 4}{n % 2}") for n in range(80)
    ]
    for seed in range(20):
        split = divide(records, "balanced", val_fraction=0.25, seed=seed).split
        sides: defaultdict[str, set[str]] = defaultdict(set)
        for record in split.records:
            sides[record.sha256].add(record.split)
        assert all(len(names) == 1 for names in sides.values())


def test_patients_with_both_classes_are_drawn_too() -> None:
    """Both eyes of each patient, one ill: no patient has a single class."""
    records = [make_record(n, CLASSES[n % 2], f"p{n // 2}") for n in range(200)]
    for strategy in STRATEGIES:
        split = divide(records, strategy, val_fraction=0.2).split
        assert split.class_counts("val") == {"NORMAL": 20, "PNEUMONIA": 20}
        assert split.num_groups("val") == 20


def test_big_patients_are_used_as_near_to_the_fraction_as_they_allow() -> None:
    records = [make_record(n, CLASSES[n // 100], f"p{n // 20}") for n in range(200)]
    result = divide(records, "balanced", val_fraction=0.1)
    assert result.split.class_counts("val") == {"NORMAL": 20, "PNEUMONIA": 20}
    assert result.notes == ("VAL has 20 images of each class instead of 10: patients stay whole",)


def test_impossible_balance_is_refused_with_a_way_out() -> None:
    records = [make_record(n, "NORMAL", f"n{n // 3}") for n in range(9)]
    records += [make_record(100 + n, "PNEUMONIA", f"p{n // 2}") for n in range(4)]
    with pytest.raises(DataError, match=r'no balanced validation split exists.*"stratified"'):
        divide(records, "balanced")
    stratified = divide(records, "stratified")
    assert stratified.split.class_counts("val") == {"NORMAL": 3, "PNEUMONIA": 2}
    records += make_records(dict.fromkeys(CLASSES, 2), split="test")
    automatic = divide(records, "auto")
    assert automatic.strategy == "stratified"
    assert automatic.split.class_counts("val") == stratified.split.class_counts("val")
    assert "whole patients allow no balanced VAL: each class is drawn at its share" in (
        automatic.notes
    )


def test_class_of_a_single_patient_cannot_be_divided() -> None:
    records = make_records({"NORMAL": 10})
    records += [make_record(100 + n, "PNEUMONIA", "one") for n in range(10)]
    for strategy in STRATEGIES:
        with pytest.raises(DataError):
            divide(records, strategy)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_any_number_of_classes(num_classes: int) -> None:
    names = tuple(f"grade{n}" for n in range(num_classes))
    records = make_records({name: 20 + 5 * n for n, name in enumerate(names)})
    for strategy in STRATEGIES:
        split = divide(records, strategy, class_names=names).split
        assert split.class_names == names
        assert all(count > 0 for count in split.class_counts("val").values())
    counts = divide(records, "balanced", class_names=names).split.class_counts("val")
    assert len(set(counts.values())) == 1


def with_val(count: int) -> list[ImageRecord]:
    half = count // 2
    val = make_records({"NORMAL": half, "PNEUMONIA": count - half}, split="val")
    return [*make_records({"NORMAL": 100, "PNEUMONIA": 200}), *val]


def test_big_val_folder_is_used_as_it_is() -> None:
    records = with_val(MIN_VAL_IMAGES)
    result = divide(records)
    assert result.strategy == "folder"
    assert result.split.records == tuple(sorted(records, key=lambda r: r.path))
    assert result.notes == ("val/ is used as it is (50 images)",)


def test_small_val_folder_joins_the_draw_and_this_is_said() -> None:
    result = divide(with_val(16))
    assert result.strategy == "balanced"
    assert result.notes == (
        "val/ has fewer than 50 images: its 16 images join train before the draw",
    )
    assert result.split.class_counts("val") == {"NORMAL": 16, "PNEUMONIA": 16}
    old = [r.split for r in result.split.records if r.path.startswith("val/")]
    assert set(old) <= {"train", "val"} and "train" in old


def test_val_folder_without_a_class_is_not_used_by_auto() -> None:
    records = make_records({"NORMAL": 80, "PNEUMONIA": 80})
    records += make_records({"NORMAL": 60}, split="val")
    result = divide(records)
    assert result.strategy == "balanced"
    assert result.notes[0].startswith("val/ has no image of PNEUMONIA: its 60 images join train")
    with pytest.raises(DataError, match="PNEUMONIA has none there"):
        divide(records, "folder")


def test_folder_uses_even_a_small_val_folder() -> None:
    result = divide(with_val(4), "folder")
    assert result.strategy == "folder"
    assert result.split.class_counts("val") == {"NORMAL": 2, "PNEUMONIA": 2}


def test_unused_val_folder_is_said() -> None:
    (note,) = divide(with_val(60), "stratified").notes
    assert note == "val/ is not used: its 60 images join train before the draw"


@pytest.mark.parametrize(
    ("num_val", "strategy", "found", "certainty"),
    [
        (60, "auto", "val/, 60 images", "sure"),
        (16, "auto", "32 images drawn from train, the same number of each class", "sure"),
        (0, "balanced", "30 images drawn from train, the same number of each class", "set"),
        (0, "stratified", "30 images drawn from train, each class at its share", "set"),
        (4, "folder", "val/, 4 images", "set"),
    ],
)
def test_how_val_was_made_is_said_to_the_user(
    num_val: int, strategy: Strategy, found: str, certainty: str
) -> None:
    said = divide(with_val(num_val), strategy).inference
    assert (said.topic, said.found, said.certainty) == ("VAL", found, certainty)
    assert ("--val-strategy" in said.flag) == (certainty == "sure")
    is_small = "val/ has 16 images, not 50 of every class, which joined train"
    assert (said.reason == is_small) == (num_val == 16)


@pytest.mark.parametrize("other", ["val", "test"])
@pytest.mark.parametrize("kind", ["group", "sha256"])
def test_leakage_between_the_users_folders_is_refused_with_the_files(other: str, kind: str) -> None:
    records = [*with_val(MIN_VAL_IMAGES), *make_records({"NORMAL": 5}, split="test")]
    mine = next(n for n, r in enumerate(records) if r.split == "train")
    theirs = next(n for n, r in enumerate(records) if r.split == other)
    for number in (mine, theirs):
        records[number] = replace(records[number], **{kind: "shared"})
    with pytest.raises(LeakageError) as caught:
        divide(records)
    text = str(caught.value)
    assert "shared" in text and records[mine].path in text and records[theirs].path in text
    assert f"in {other}" in text


def test_equal_files_are_told_as_such_and_not_as_a_wrong_pattern() -> None:
    records = [*with_val(MIN_VAL_IMAGES), *make_records({"NORMAL": 5}, split="test")]
    for number in (0, len(records) - 1):  # as the index does: equal files make one group
        records[number] = replace(records[number], sha256="same", group="united")
    with pytest.raises(LeakageError, match=r"^1 byte-identical file.*remove all copies") as caught:
        divide(records)
    assert "medimg check" in str(caught.value) and "regex" not in str(caught.value)


def test_leakage_to_a_val_folder_that_joins_train_is_none() -> None:
    records = with_val(10)
    for number in (0, len(records) - 1):
        records[number] = replace(records[number], group="same")
    assert divide(records).strategy == "balanced"


def test_leakage_to_test_is_refused_by_every_strategy() -> None:
    records = [
        *make_records({"NORMAL": 20, "PNEUMONIA": 20}),
        make_record(7, "NORMAL", "train/NORMAL/00003.png", split="test"),
    ]
    for strategy in STRATEGIES:
        with pytest.raises(LeakageError, match="1 group"):
            divide(records, strategy)


def test_long_leakage_lists_ten_and_counts_the_rest() -> None:
    records = [make_record(n, "NORMAL", f"g{n:02d}") for n in range(14)]
    records += [make_record(n, "NORMAL", f"g{n:02d}", split="test") for n in range(14)]
    with pytest.raises(LeakageError) as caught:
        check_leakage(Split(tuple(records), CLASSES))
    assert "g09" in str(caught.value) and "g10" not in str(caught.value)
    assert "and 4 more" in str(caught.value)


def test_split_csv_reads_back_to_the_same_split(tmp_path: Path) -> None:
    split = divide(with_val(10)).split
    odd = replace(split.records[0], path='train/a,"b"\nü.png', image_id="x,y")
    split = Split((odd, *split.records[1:]), split.class_names)
    write_split(tmp_path / "split.csv", split)
    assert read_split(tmp_path / "split.csv", CLASSES) == split
    header = (tmp_path / "split.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "image_id,path,label,group,split,sha256,width,height"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (",train,", ",training,", "training"),
        (",NORMAL,", ",normal,", "normal"),
        (",10,12", ",ten,12", "not a number"),
        ("image_id,", "id,", "not a split.csv"),
    ],
)
def test_edited_split_csv_is_refused(tmp_path: Path, old: str, new: str, word: str) -> None:
    path = tmp_path / "split.csv"
    write_split(path, divide(with_val(10)).split)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RunError, match=word):
        read_split(path, CLASSES)


def test_missing_split_csv_is_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing"):
        read_split(tmp_path / "split.csv", CLASSES)


def test_summary_counts_images_groups_and_prevalence() -> None:
    records = [make_record(n, CLASSES[n % 4 == 0], f"g{n // 2}") for n in range(8)]
    records += [make_record(50, "NORMAL", "t", split="test")]
    header, rows = summarize_split(Split(tuple(records), CLASSES))
    assert header == ("split", "images", "groups", "NORMAL", "PNEUMONIA")
    assert rows == [
        ("train", "8", "4", "6 (75.0%)", "2 (25.0%)"),
        ("val", "0", "0", "0", "0"),
        ("test", "1", "1", "1 (100.0%)", "0 (0.0%)"),
    ]
    assert len(format_table(header, rows)) == 5


FINDINGS = ("Effusion", "Mass")


def make_finding_split() -> Split:
    labels = ("Effusion|Mass", "?Effusion", "", "Mass|?Effusion")
    records = tuple(make_record(n, "x", f"g{n // 2}") for n in range(4))
    records = tuple(replace(r, label=text) for r, text in zip(records, labels, strict=True))
    return Split(records, FINDINGS, task="multilabel")


def test_findings_read_back_as_they_were(tmp_path: Path) -> None:
    split = make_finding_split()
    write_split(tmp_path / "split.csv", split)
    again = read_split(tmp_path / "split.csv", FINDINGS, task="multilabel")
    assert again == split
    expected = [[1, 1], [-1, 0], [0, 0], [-1, 1]]
    assert again.labels(again.rows("train")).tolist() == expected
    with pytest.raises(RunError, match="row 2"):
        read_split(tmp_path / "split.csv", FINDINGS)
    with pytest.raises(RunError, match="row 2"):
        read_split(tmp_path / "split.csv", ("Effusion", "Nodule"), task="multilabel")


def test_summary_counts_a_finding_among_the_images_where_it_is_known() -> None:
    header, rows = summarize_split(make_finding_split())
    assert header == ("split", "images", "groups", "Effusion", "Mass")
    assert rows[0] == ("train", "4", "2", "1 (50.0%)", "2 (50.0%)")
    assert rows[1] == ("val", "0", "0", "0", "0")


def test_split_of_a_large_data_set_takes_seconds() -> None:
    records = [
        make_record(n, CLASSES[n % 3 == 0], f"p{n // 4 if n % 5 else n}") for n in range(30000)
    ]
    counts = divide(records, "balanced").split.class_counts("val")
    assert counts == {"NORMAL": 1500, "PNEUMONIA": 1500}


def test_findings_without_both_sides_in_val_are_named() -> None:
    split = make_finding_split()
    # The first two: Effusion is there once and unknown once, Mass is there once and absent once.
    held = tuple(replace(r, split="val" if n < 2 else "train") for n, r in enumerate(split.records))
    assert list_one_sided(replace(split, records=held)) == ["negative images of Effusion"]
    everything = ["positive images of", "negative images of"]
    nothing_held = replace(split, records=tuple(replace(r, split="train") for r in split.records))
    assert list_one_sided(nothing_held) == [f"{w} {n}" for n in FINDINGS for w in everything]
