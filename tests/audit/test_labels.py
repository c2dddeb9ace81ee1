"""Classes that are missing, few, misspelt or shifted are found; sound labels are not."""

from collections.abc import Callable

import pytest

from medimg_baseline_cls.audit.check_results import Finding
from medimg_baseline_cls.audit.images import AuditImages
from medimg_baseline_cls.audit.labels import check_labels, count_classes
from medimg_baseline_cls.schema import ImageRecord

ImagesMaker = Callable[..., AuditImages]
RecordMaker = Callable[..., ImageRecord]


def paths(counts: dict[str, int]) -> list[str]:
    """Return paths by "split/class": number of images."""
    return [f"{cell}/{i}_1.png" for cell, count in counts.items() for i in range(count)]


def by_name(images: AuditImages) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_labels(images).findings}


def texts(finding: Finding) -> list[str]:
    return [example.text for example in finding.examples]


SOUND = {"train/A": 40, "train/B": 60, "test/A": 12, "test/B": 18}


def test_sound_labels_give_no_finding(make_images: ImagesMaker) -> None:
    assert by_name(make_images(paths(SOUND))) == {}


def test_table_counts_what_is_there(make_images: ImagesMaker) -> None:
    (table,) = check_labels(make_images(paths(SOUND))).figures
    assert table.header == ("Split", "Images", "Patients", "A", "B")
    assert table.rows == (
        ("train", 100, 60, "40 (40.0 %)", "60 (60.0 %)"),
        ("test", 30, 18, "12 (40.0 %)", "18 (60.0 %)"),
    )


def test_one_class_alone_is_an_error(make_images: ImagesMaker) -> None:
    found = by_name(make_images(paths({"train/A": 20, "test/A": 20})))
    assert found["one_class"].verdict == "error"


def test_class_without_images_is_an_error(make_images: ImagesMaker) -> None:
    found = by_name(make_images(paths(SOUND), class_names=["A", "B", "C"]))
    assert found["empty_class"].verdict == "error"
    assert texts(found["empty_class"]) == ["C"]


def test_class_of_test_that_train_lacks_is_an_error(make_images: ImagesMaker) -> None:
    found = by_name(make_images(paths(SOUND | {"test/C": 12})))
    assert found["unseen_class"].verdict == "error"
    assert texts(found["unseen_class"]) == ["C"]


def test_class_without_a_split_is_not_unseen(make_images: ImagesMaker, record: RecordMaker) -> None:
    records = [record(f"x/{c}/{i}_1.png", split="") for c in "AB" for i in range(12)]
    images = make_images(records)
    assert by_name(images) == {}
    assert check_labels(images).figures[0].rows[0][0] == "all"


@pytest.mark.parametrize(("count", "is_few"), [(9, True), (10, False), (0, True)])
def test_fewer_than_ten_are_few(make_images: ImagesMaker, count: int, is_few: bool) -> None:
    found = by_name(make_images(paths(SOUND | {"val/A": count, "val/B": 20})))
    assert ("few_images" in found) == is_few
    if is_few:
        assert found["few_images"].verdict == "warning"
        assert texts(found["few_images"]) == [f"VAL A {count}"]


def test_other_share_in_test_is_warned_of_and_in_val_is_not(make_images: ImagesMaker) -> None:
    found = by_name(make_images(paths(SOUND | {"test/A": 40})))
    assert found["prevalence_differs"].verdict == "warning"
    assert texts(found["prevalence_differs"])[0] == "A: 69% in test, 40% in train"
    balanced = paths(SOUND | {"val/A": 20, "val/B": 20})
    assert by_name(make_images(balanced)) == {}


@pytest.mark.parametrize(
    ("names", "finding"),
    [
        (("A", "B "), "label_with_spaces"),
        ((" A", "B"), "label_with_spaces"),
        (("Covid", "COVID", "B"), "label_with_two_spellings"),
        (("no finding", "No_Finding"), "label_with_two_spellings"),
        (("B", "B "), "label_with_two_spellings"),
    ],
)
def test_names_that_differ_by_spaces_or_case_are_warned_of(
    make_images: ImagesMaker, names: tuple[str, ...], finding: str
) -> None:
    cells = {f"{split}/{name}": 20 for split in ("train", "test") for name in names}
    assert by_name(make_images(paths(cells)))[finding].verdict == "warning"


def test_findings_are_counted_among_the_known_alone(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    labels = ["Mass", "Mass|Effusion", "?Mass", "", "Effusion"]
    records = [record(f"train/x/{i}_1.png", label=label) for i, label in enumerate(labels)]
    images = make_images(records, class_names=["Effusion", "Mass"], task="multilabel")
    assert count_classes(images.split) == {"train": {"Effusion": (2, 5), "Mass": (2, 4)}}
    rows = check_labels(images).figures[0].rows
    assert rows[0][3:] == ("2 (40.0 %)", "2 (50.0 %)")


def test_one_finding_alone_is_no_error(make_images: ImagesMaker, record: RecordMaker) -> None:
    records = [record(f"train/x/{i}_1.png", label="Mass" if i % 2 else "") for i in range(40)]
    images = make_images(records, class_names=["Mass"], task="multilabel")
    assert by_name(images) == {}
