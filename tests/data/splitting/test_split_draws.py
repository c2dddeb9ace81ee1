"""TEST is drawn where there is none, a fold or a site; findings are stratified too."""

import random as python_random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.splitting.choose_test import SplitSettings
from medimg_baseline_cls.data.splitting.split import (
    SplitResult,
    check_leakage,
    read_split,
    split_images,
    summarize_split,
    write_split,
)
from medimg_baseline_cls.errors import ConfigError, DataError, LeakageError, RunError
from medimg_baseline_cls.schema import ImageRecord, Split, Task

CLASSES = ("A", "B")
FINDINGS = ("Effusion", "Mass", "Nodule")


def make_record(
    number: int, label: str, group: str, *, split: str = "", site: str = "north"
) -> ImageRecord:
    name = f"{number:05d}.png"
    return ImageRecord(
        image_id=name,
        path=name,
        label=label,
        group=group,
        split=split,
        sha256=f"sha{number}",
        width=1,
        height=1,
        subgroups=("f", site),
    )


def lone_images(counts: dict[str, int], **more: str) -> list[ImageRecord]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [make_record(n, label, f"p{n}", **more) for n, label in enumerate(labels)]


def findings_table(seed: int, num_patients: int = 80) -> list[ImageRecord]:
    random = python_random.Random(seed)
    owners = [f"p{n}" for n in range(num_patients) for _ in range(random.randint(1, 3))]
    shares = dict(zip(FINDINGS, (0.4, 0.15, 0.03), strict=True))
    labels = ["|".join(f for f in FINDINGS if random.random() < shares[f]) for _ in owners]
    return [
        make_record(n, text, own) for n, (text, own) in enumerate(zip(labels, owners, strict=True))
    ]


def divide(
    records: list[ImageRecord], *, task: Task = "multiclass", **changes: object
) -> SplitResult:
    return split_images(
        records,
        settings=SplitSettings(**changes),  # type: ignore[arg-type]
        class_names=FINDINGS if task == "multilabel" else CLASSES,
        task=task,
        subgroup_names=("sex", "hospital"),
    )


def test_without_a_split_test_is_drawn_first_and_val_from_the_rest() -> None:
    result = divide(lone_images({"A": 100, "B": 300}))
    assert result.split.class_counts("test") == {"A": 20, "B": 60}
    assert result.split.class_counts("val") == {"A": 16, "B": 16}  # a tenth of 320, balanced
    assert result.strategy == "balanced"
    assert result.notes == ("the data have no split: 0.2 of the images become TEST",)
    stratified = divide(lone_images({"A": 100, "B": 300}), strategy="stratified")
    assert stratified.split.class_counts("val") == {"A": 8, "B": 24}
    places = [[r.path for r in s.split.records if r.split == "test"] for s in (result, stratified)]
    assert places[0] == places[1]


@given(st.integers(0, 500), st.sampled_from(["multiclass", "multilabel"]), st.randoms())
@settings(deadline=None, max_examples=60)
def test_a_drawn_split_keeps_patients_whole_in_any_order(
    seed: int, task: Task, random: python_random.Random
) -> None:
    records = findings_table(seed)
    if task == "multiclass":
        records = [replace(r, label=CLASSES["Effusion" in r.label]) for r in records]
    first = divide(records, task=task, seed=seed, strategy="stratified").split
    check_leakage(first)
    assert [replace(r, split="") for r in first.records] == records
    assert {r.split for r in first.records} == {"train", "val", "test"}
    shuffled = list(records)
    random.shuffle(shuffled)
    assert divide(shuffled, task=task, seed=seed, strategy="stratified").split == first


@pytest.mark.parametrize(
    ("marks", "named"),
    [
        ({"train", "val"}, "'train', 'val'"),
        ({"", "test"}, "'', 'test'"),
        ({"train", "tset"}, "'train', 'tset'"),
    ],
)
def test_a_split_without_test_or_of_some_images_only_is_refused(
    marks: set[str], named: str
) -> None:
    names = sorted(marks)
    records = [replace(r, split=names[n % 2]) for n, r in enumerate(lone_images({"A": 9, "B": 9}))]
    with pytest.raises(DataError, match=f"marked {named}: mark some of them"):
        divide(records)


@pytest.mark.parametrize("others", ["train", "val"])
def test_test_images_of_a_table_stay_and_val_is_cut_from_the_others(others: str) -> None:
    records = [
        replace(r, split="test" if n % 5 == 0 else others)
        for n, r in enumerate(lone_images({"A": 40, "B": 40}))
    ]
    split = divide(records, strategy="balanced").split
    assert {r.path for r in split.records if r.split == "test"} == {
        r.path for r in records if r.split == "test"
    }
    assert split.class_counts("val") == {"A": 3, "B": 3}


def test_nothing_left_to_train_on_is_refused() -> None:
    records = lone_images({"A": 40, "B": 40}, split="val")
    records = [
        *records,
        replace(records[0], image_id="t", path="t", split="test", sha256="t", group="t"),
    ]
    with pytest.raises(DataError, match="train would be without an image"):
        divide(records, strategy="folder")


@pytest.mark.parametrize("split", ["", "train"])
def test_each_image_is_in_test_in_one_fold(split: str) -> None:
    records = lone_images({"A": 33, "B": 50}, split=split)
    seen: Counter[str] = Counter()
    for fold in range(5):
        result = divide(records, num_folds=5, fold=fold, seed=7)
        seen.update(r.path for r in result.split.records if r.split == "test")
        assert result.split.class_counts("test")["A"] in (6, 7)
        assert result.split.class_counts("test")["B"] == 10
        assert result.split.class_counts("val") == {"A": 3, "B": 3}
        assert ("is ignored" in " ".join(result.notes)) == (split == "train")
    assert seen == Counter(r.path for r in records)
    again = divide(records, num_folds=5, fold=0, fold_repeat=1, seed=7).split
    assert again != divide(records, num_folds=5, fold=0, seed=7).split


def test_a_val_folder_is_of_no_use_for_folds() -> None:
    with pytest.raises(DataError, match='"folder" cannot be where TEST is a fold'):
        divide(lone_images({"A": 60, "B": 60}, split="val"), num_folds=3, strategy="folder")


def test_findings_are_stratified_by_auto_and_refuse_balanced() -> None:
    records = findings_table(3, 400)
    result = divide(records, task="multilabel")
    assert result.strategy == "stratified"
    for name in ("val", "test"):
        rows = [r for r in result.split.records if r.split == name]
        for finding in FINDINGS:
            share = sum(finding in r.label for r in rows) / len(rows)
            overall = sum(finding in r.label for r in records) / len(records)
            assert share == pytest.approx(overall, abs=0.06)
    with pytest.raises(DataError, match='several findings each: use "stratified"'):
        divide(records, task="multilabel", strategy="balanced")


def test_findings_vary_less_between_stratified_parts_than_between_random_ones() -> None:
    def spread(groups_of_part: list[set[str]], records: list[ImageRecord]) -> float:
        shares = []
        for names in groups_of_part:
            rows = [r for r in records if r.group in names]
            shares.append(sum("Nodule" in r.label for r in rows) / len(rows))
        mean = sum(shares) / len(shares)
        return sum((share - mean) ** 2 for share in shares)

    ours = random_ones = 0.0
    for seed in range(8):
        records = findings_table(seed, 200)
        parts = [
            {
                r.group
                for r in divide(records, task="multilabel", num_folds=4, fold=k).split.records
                if r.split == "test"
            }
            for k in range(4)
        ]
        names = sorted({r.group for r in records})
        python_random.Random(seed).shuffle(names)
        ours += spread(parts, records)
        random_ones += spread([set(names[k::4]) for k in range(4)], records)
    assert ours < 0.6 * random_ones


def test_a_big_enough_val_of_every_finding_is_used_as_it_is() -> None:
    records = [
        replace(r, split=("train", "val", "test")[int(r.group[1:]) % 3])
        for r in findings_table(0, 120)
    ]
    result = divide(records, task="multilabel")
    assert result.strategy == "folder"
    assert list(result.split.records) == records


def sites_table() -> list[ImageRecord]:
    return [
        replace(r, subgroups=("m", ("north", "south", "west")[n % 3]))
        for n, r in enumerate(lone_images({"A": 60, "B": 60}))
    ]


def test_a_site_that_is_left_out_is_test_and_no_other() -> None:
    split = divide(sites_table(), site_column="hospital", test_site="south").split
    assert {r.subgroups[1] for r in split.records if r.split == "test"} == {"south"}
    assert {r.subgroups[1] for r in split.records if r.split != "test"} == {"north", "west"}
    assert split.class_counts("val") == {"A": 4, "B": 4}
    assert split.subgroup_names == ("sex", "hospital")


def test_an_unknown_site_or_column_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="test_site = east .* expected one of north, south, west"):
        divide(sites_table(), site_column="hospital", test_site="east")
    with pytest.raises(ConfigError, match="site_column = clinic .* expected one of sex, hospital"):
        divide(sites_table(), site_column="clinic", test_site="north")


def test_a_site_that_alone_has_a_class_is_refused_by_its_name() -> None:
    records = [
        make_record(n, "AB"[n % 2], f"p{n}", site="north" if n % 2 else "south") for n in range(40)
    ]
    for site, lost in (("north", "B"), ("south", "A")):
        with pytest.raises(DataError, match=f"without hospital {site} no image of {lost} is left"):
            divide(records, site_column="hospital", test_site=site)


def test_a_class_of_one_image_is_told_as_such() -> None:
    with pytest.raises(
        DataError, match=r"it has 1 image; .* typing error, .* --class-names"
    ) as error:
        divide(lone_images({"A": 30, "B": 1}))
    assert "group_regex" not in str(error.value)


def test_a_class_of_one_patient_is_told_as_such() -> None:
    records = [make_record(n, "A", f"p{n}") for n in range(30)]
    records += [make_record(30 + n, "B", "q") for n in range(5)]
    with pytest.raises(DataError, match=r"its 5 images belong to one group \(patient\); add"):
        divide(records)


def test_a_patient_at_two_sites_is_refused() -> None:
    records = sites_table()
    records[1] = replace(records[1], group="p0")
    with pytest.raises(LeakageError, match="1 group.* p0 at north, south"):
        divide(records, site_column="hospital", test_site="south")
    divide(records, site_column="hospital", test_site="west")


def test_split_csv_keeps_findings_and_subgroups(tmp_path: Path) -> None:
    records = [replace(r, label=f"{r.label}|?Mass".strip("|")) for r in findings_table(1)]
    records = [r for r in records if r.label.count("Mass") == 1]
    split = divide(records, task="multilabel").split
    path = tmp_path / "split.csv"
    write_split(path, split)
    assert read_split(path, FINDINGS, task="multilabel") == split
    header = path.read_text(encoding="utf-8").splitlines()[0]
    assert header.endswith(",height,subgroup_sex,subgroup_hospital")
    with pytest.raises(RunError, match="label"):
        read_split(path, ("Effusion", "Mass"), task="multilabel")


def test_summary_of_findings_counts_images_once() -> None:
    records = [make_record(n, "Effusion|Mass", f"p{n}", split="train") for n in range(4)]
    _, rows = summarize_split(Split(tuple(records), FINDINGS, "multilabel"))
    assert rows[0] == ("train", "4", "4", "4 (100.0%)", "4 (100.0%)", "0 (0.0%)")


def test_files_of_unknown_content_are_not_taken_for_copies() -> None:
    records = [replace(r, sha256="") for r in lone_images({"A": 20, "B": 20})]
    assert divide(records).split.class_counts("test") == {"A": 4, "B": 4}


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_one_more_image_moves_few_patients(task: Task) -> None:
    shares: list[float] = []
    for seed in range(30):
        random = python_random.Random(seed)
        records = findings_table(seed, 300)
        if task == "multiclass":
            records = [replace(r, label=CLASSES["Effusion" in r.label]) for r in records]
        extra = replace(random.choice(records), image_id="x", path="x", sha256="x", group="new")
        before, after = (
            {
                r.group: r.split
                for r in divide(table, task=task, strategy="stratified", seed=seed).split.records
            }
            for table in (records, [*records, extra])
        )
        shares.append(sum(before[name] != after[name] for name in before) / len(before))
    assert sum(shares) / len(shares) < 0.02


def test_a_large_table_of_pairs_is_divided_exactly_in_seconds() -> None:
    """Two images each but for one patient: an odd number needs that very one."""
    records = [
        make_record(n, CLASSES[n % 4 == 0 or n % 4 == 1], f"p{n // 2}") for n in range(60001)
    ]
    counts = divide(records, strategy="stratified", test_fraction=0.25).split.class_counts("test")
    assert counts["A"] in (7500, 7501) and counts["B"] in (7500, 7501)
