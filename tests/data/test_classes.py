"""One rule for folders and tables: the order of classes, and what so many of them may be."""

from pathlib import Path

import pytest

from medimg_baseline_cls.data.classes import judge_class_count
from medimg_baseline_cls.data.labels import LabelRule, read_labels
from medimg_baseline_cls.data.listing import list_images
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
