"""A patient on two sides is an error; what may be one patient under two names is told."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_baseline_cls.audit.check_results import Finding
from medimg_baseline_cls.audit.images import AuditImages
from medimg_baseline_cls.audit.patients import check_groups, normalize_name
from medimg_baseline_cls.schema import ImageRecord

ImagesMaker = Callable[..., AuditImages]
RecordMaker = Callable[..., ImageRecord]


def by_name(images: AuditImages) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_groups(images).findings}


def test_whole_patients_give_no_finding(make_images: ImagesMaker) -> None:
    paths = ["train/A/p1_1.png", "train/A/p1_2.png", "train/B/p2_1.png", "test/A/p3_1.png"]
    images = make_images(paths)
    assert by_name(images) == {}
    assert check_groups(images).summary == "3 patients (groups) known by name, with 4 images."


def test_patient_on_two_sides_is_an_error_with_both_images(make_images: ImagesMaker) -> None:
    paths = ["train/A/p1_1.png", "train/A/p1_2.png", "val/A/p1_3.png", "test/A/p2_1.png"]
    finding = by_name(make_images(paths))["group_across_splits"]
    assert (finding.verdict, finding.count) == ("error", 1)
    (example,) = finding.examples
    assert example.paths[:2] == ("train/A/p1_1.png", "val/A/p1_3.png")
    assert example.text == "p1: train, val"


def test_images_that_a_pattern_misses_are_a_warning_with_their_names(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    missed = [record(f"train/A/scan{i}.png", group=f"train/A/scan{i}.png") for i in range(3)]
    images = make_images(["train/A/p1_1.png", "train/B/p2_1.png", *missed])
    lone = by_name(images)["some_without_patient"]
    assert (lone.verdict, lone.count) == ("warning", 3)
    assert lone.examples[0].paths == ("train/A/scan0.png",)


@pytest.mark.parametrize(
    ("classes", "verdict"), [(["A", "B"], "warning"), (["A", "B", "C"], "note")]
)
def test_several_labels_of_a_patient_matter_more_where_there_are_two(
    make_images: ImagesMaker, classes: list[str], verdict: str
) -> None:
    paths = ["train/A/p1_1.png", "train/B/p1_2.png", *(f"train/{c}/{c}_1.png" for c in classes)]
    finding = by_name(make_images(paths))["group_with_several_labels"]
    assert (finding.verdict, finding.count) == (verdict, 1)


def test_findings_may_differ_within_a_patient(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    records = [record("train/x/p1_1.png", label="Mass"), record("train/x/p1_2.png", label="")]
    assert by_name(make_images(records, class_names=["Mass"], task="multilabel")) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Patient7", "patient7"),
        ("patient 7", "patient_7"),
        ("patient007", "patient7"),
        ("P-0012 ", "p12"),
        ("7", "007"),
    ],
)
def test_two_spellings_of_a_patient_are_told(
    make_images: ImagesMaker, record: RecordMaker, one: str, other: str
) -> None:
    records = [
        record("train/A/1.png", group=one),
        record("test/A/2.png", group=other),
        record("test/A/3.png", group="somebody else"),
    ]
    finding = by_name(make_images(records))["group_with_two_spellings"]
    assert (finding.verdict, finding.count) == ("warning", 1)
    assert set(finding.examples[0].paths) == {"train/A/1.png", "test/A/2.png"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("patient7", "patient70"),
        ("person1_bacteria", "person1_virus"),
        ("IM-0115", "NORMAL2-IM-0115"),
        ("1-12", "11-2"),
        ("0", "00a"),
    ],
)
def test_other_patients_stay_others(one: str, other: str) -> None:
    assert normalize_name(one) != normalize_name(other)


@given(st.text(max_size=12))
def test_normal_form_of_a_name_is_its_own_normal_form(name: str) -> None:
    once = normalize_name(name)
    assert normalize_name(once) == once
    assert normalize_name(f"  {name.upper().lower()} ") == normalize_name(name.upper().lower())


def test_unknown_patients_are_said_and_never_compared_by_file_name(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    paths = ["train/A/1.png", "train/A/01.png", "test/A/001.png"]
    found = by_name(make_images([record(path, group=path) for path in paths]))
    assert set(found) == {"no_groups"}
    assert (found["no_groups"].verdict, found["no_groups"].count) == ("note", 3)


def test_images_without_a_patient_are_counted_apart(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    records = [record("train/A/p1_1.png"), record("train/A/x.png", group="train/A/x.png")]
    summary = check_groups(make_images(records)).summary
    assert summary.endswith("with 1 image; 1 image is of no known patient.")
