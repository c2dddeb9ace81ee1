"""One rule for folders and tables: the order of classes, and what so many of them may be."""

from pathlib import Path

import pytest

from medimg_baseline_cls.data.classes import (
    find_missing_grades,
    judge_class_count,
    judge_stray_classes,
)
from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.data.tables.labels import LabelRule, read_labels
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Inference


def of_folders(folder: Path, num_classes: int, num_images: int) -> tuple[Inference, ...]:
    for c in range(num_classes):
        (folder / f"class{c:02}").mkdir()
        for i in range(num_images):
            (folder / f"class{c:02}" / f"{i}.png").touch()
    return list_images(folder).inferences


def of_table(num_classes: int, num_images: int) -> tuple[Inference, ...]:
    cells = [f"class{c:02}" for c in range(num_classes)] * num_images
    return read_labels({"label": cells}, LabelRule(columns=("label",))).inferences


@pytest.mark.parametrize(
    ("num_classes", "num_images", "certainties"),
    [(20, 1, []), (21, 3, ["guess"]), (21, 10, ["sure"])],
)
def test_many_classes_are_judged_alike_in_folders_and_tables(
    tmp_path: Path, num_classes: int, num_images: int, certainties: list[str]
) -> None:
    for found in (
        of_folders(tmp_path, num_classes, num_images),
        of_table(num_classes, num_images),
    ):
        judged = [item for item in found if item.topic == "classes"]
        assert [item.certainty for item in judged] == certainties
        assert [bool(item.warning) for item in judged] == [c == "guess" for c in certainties]


def test_classes_of_one_image_each_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="21 different classes.*single image"):
        of_table(21, 1)
    with pytest.raises(DataError, match="21 different classes.*single image"):
        of_folders(tmp_path, 21, 1)
    half = dict.fromkeys(range(11), 1) | dict.fromkeys(range(11, 22), 2)
    assert judge_class_count({str(c): n for c, n in half.items()}, where="the column x")


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        *((("0", "1", "2", "4"), "3"), (("4", "2", "1", "0"), "3"), (("0", "2", "4"), "1, 3")),
        *((("0", "4"), "1 to 3"), (("1", "2", "6", "8"), "3 to 5, 7"), (("-2", "0"), "-1")),
    ],
)
def test_a_grade_that_no_image_has_is_named(names: tuple[str, ...], gap: str) -> None:
    (item,) = find_missing_grades(names)
    assert f"no image has grade {gap}:" in item.warning


@pytest.mark.parametrize(
    "names", [("0", "1", "2"), ("2", "3"), ("0", "20", "40"), ("none", "mild"), ("0", "2", "many")]
)
def test_grades_without_a_gap_need_no_warning(names: tuple[str, ...]) -> None:
    assert find_missing_grades(names) == ()


def test_a_missing_grade_is_named_for_a_table() -> None:
    rule = LabelRule(columns=("grade",), task="ordinal")
    labels = read_labels({"grade": ["0.0", "1,0", "4", "2"]}, rule)
    assert [item.topic for item in labels.inferences] == ["grades"]
    plain = read_labels({"grade": ["0", "1", "4", "2"]}, LabelRule(columns=("grade",)))
    assert plain.inferences == ()


@pytest.mark.parametrize(
    ("name", "count", "is_stray"),
    [
        ("misc", 2, True),
        ("unsorted", 8, True),
        ("Other findings", 3, True),
        ("Nromal", 1, True),
        ("Norml", 4, True),
        ("misc", 30, False),  # a class of its own
        ("abnormal", 2, False),
        ("tumor", 2, False),
    ],
)
def test_a_small_class_that_is_left_over_or_typed_wrongly_is_warned_of(
    name: str, count: int, is_stray: bool
) -> None:
    found = judge_stray_classes({"Normal": 40, "Sick": 60, name: count})
    assert bool(found) == is_stray
    for item in found:
        assert name in item.warning and "--class-names Normal Sick" in item.warning


def test_a_typing_error_of_a_large_class_does_not_hide_that_class() -> None:
    assert judge_stray_classes({"Normal": 40, "Sick": 60}) == ()
    (only,) = judge_stray_classes({"Benign": 90, "Bening": 2, "Sick": 50})
    assert "Bening is a class" in only.warning and "--class-names Benign Sick" in only.warning
