"""From probabilities to a decision: by two classes, by many, by findings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.data.read import FileSorter
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.pipeline.steps.decisions import Decider
from medimg_baseline_cls.pipeline.steps.prediction_inputs import find_files
from medimg_baseline_cls.schema import Task, Threshold

NAMES = ("Effusion", "Mass", "Nodule")


def make_decider(
    cuts: dict[str, float],
    *,
    class_names: tuple[str, ...] = NAMES,
    positive_class: str | None = None,
    task: Task = "multilabel",
) -> Decider:
    thresholds = {
        name: Threshold(rule="max_f1", value=value, description="", class_name=name)
        for name, value in cuts.items()
    }
    return Decider(
        class_names=class_names, positive_class=positive_class, task=task, thresholds=thresholds
    )


def scores(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def test_two_classes_are_decided_by_the_positive_one() -> None:
    names = ("NORMAL", "PNEUMONIA")
    decider = make_decider(
        {"PNEUMONIA": 0.6}, class_names=names, positive_class="PNEUMONIA", task="multiclass"
    )
    assert decider.decide(scores(0.4, 0.6)) == ("PNEUMONIA", 0.6)
    assert decider.decide(scores(0.41, 0.59)) == ("NORMAL", 0.6)
    assert decider.explained(scores(0.9, 0.1)) == ["PNEUMONIA"]


@pytest.mark.parametrize("task", ["multiclass", "ordinal", "multilabel"])
def test_many_classes_are_each_decided_for_themselves(task: Task) -> None:
    decider = make_decider(dict.fromkeys(NAMES, 0.3), task=task)
    assert decider.decide(scores(0.3, 0.29, 0.41)) == ("Effusion|Nodule", None)
    assert decider.decide(scores(0.1, 0.1, 0.1)) == ("", None)


def test_two_classes_are_counted_both_with_the_threshold() -> None:
    names = ("NORMAL", "PNEUMONIA")
    decider = make_decider(
        {"PNEUMONIA": 0.615}, class_names=names, positive_class="PNEUMONIA", task="multiclass"
    )
    found = np.array([[0.7, 0.3], [0.39, 0.61], [0.38, 0.62]])
    assert decider.count(found) == ("decisions: 1 PNEUMONIA, 2 NORMAL at max_f1 threshold 0.615")
    assert decider.count(found[:1]).startswith("decisions: 0 PNEUMONIA, 1 NORMAL at")
    assert decider.describe(scores(0.754, 0.246)) == "NORMAL"


def test_decisions_on_many_classes_are_counted_as_they_were_made() -> None:
    found = np.array([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.34, 0.33, 0.33]])
    decider = make_decider(dict.fromkeys(NAMES, 0.4), task="multiclass")
    assert decider.count(found) == ("decisions: 2 Effusion, 1 Effusion, Mass, 1 no class at max_f1")
    assert decider.describe(found[3]) == "no class"


def test_findings_are_counted_each_and_images_without_any() -> None:
    found = np.array([[0.9, 0.9, 0.1], [0.9, 0.1, 0.1], [0.1, 0.1, 0.1]])
    decider = make_decider(dict.fromkeys(NAMES, 0.5))
    assert decider.count(found) == (
        "decisions: 2 Effusion, 1 Mass, 0 Nodule, 1 no finding at max_f1"
    )
    assert [decider.describe(row) for row in found] == ["Effusion, Mass", "Effusion", "no finding"]


def test_two_findings_are_not_two_classes() -> None:
    decider = make_decider({"Mass": 0.5, "Nodule": 0.5}, class_names=("Mass", "Nodule"))
    assert decider.decide(scores(0.9, 0.8)) == ("Mass|Nodule", None)
    assert decider.decide(scores(0.1, 0.2)) == ("", None)


@pytest.mark.parametrize("name", ["table.csv", "set.npz"])
def test_what_holds_many_images_is_refused_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="is not an image: predict takes image files"):
        find_files([tmp_path / name], sorter=FileSorter())


def test_an_npz_file_is_a_case_of_a_run_on_volumes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.nii", "c.csv"):
        (tmp_path / name).write_bytes(b"x")
    sorter = FileSorter(has_volumes=True)
    for path in (tmp_path, tmp_path / "*"):
        assert find_files([path], sorter=sorter) == [tmp_path / "a.npz", tmp_path / "b.nii"]
    assert find_files([tmp_path / "a.npz"], sorter=sorter) == [tmp_path / "a.npz"]
    with pytest.raises(DataError, match="is not an image"):
        find_files([tmp_path / "c.csv"], sorter=sorter)


def test_what_is_not_there_is_told_from_what_holds_no_image(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "nope.png", "is not there"), (tmp_path, "names no image")):
        with pytest.raises(DataError, match=words):
            find_files([path], sorter=FileSorter())


@pytest.mark.parametrize("path", ["", " "])
def test_an_unset_variable_is_not_the_current_folder(path: str) -> None:
    with pytest.raises(DataError, match="a path is empty"):
        find_files([path], sorter=FileSorter())


@pytest.mark.parametrize(
    ("image", "mask"), [("A/1.png", "A/1_mask.png"), ("images/1.png", "masks/1.png")]
)
def test_masks_are_not_predicted_unless_they_are_named(
    tmp_path: Path, image: str, mask: str
) -> None:
    for name in (image, mask):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x89PNG")
    for path in (tmp_path, tmp_path / "*" / "*"):
        sorter = FileSorter()
        assert find_files([path], sorter=sorter) == [tmp_path / image]
        assert sorter.left_out == {"masks or other companions": 1}
    for path in (tmp_path / mask, (tmp_path / mask).parent / f"*{Path(mask).name}"):
        assert find_files([path], sorter=FileSorter()) == [tmp_path / mask]


def test_readable_suffixes_are_listed_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there") as caught:
        find_files([tmp_path / "nothing"], sorter=FileSorter())
    assert str(caught.value).count(".dcm") == str(caught.value).count(".npy") == 1


def test_each_finding_that_is_called_is_explained() -> None:
    decider = make_decider(dict.fromkeys(NAMES, 0.5))
    assert decider.explained(scores(0.6, 0.1, 0.9)) == ["Effusion", "Nodule"]
    assert decider.explained(scores(0.1, 0.4, 0.2)) == ["Mass"]


def test_of_classes_the_likeliest_is_explained() -> None:
    decider = make_decider(dict.fromkeys(NAMES, 0.2), task="multiclass")
    assert decider.explained(scores(0.3, 0.5, 0.2)) == ["Mass"]


def test_a_class_without_a_threshold_is_neither_called_nor_explained() -> None:
    decider = make_decider({"Effusion": 0.5, "Nodule": 0.5})
    assert decider.decide(scores(0.6, 0.99, 0.1)) == ("Effusion", None)
    assert decider.explained(scores(0.1, 0.99, 0.2)) == ["Nodule"]


def test_plain_prediction_imports_neither_plots_nor_statistics() -> None:
    code = (
        "import sys\n"
        "from medimg_baseline_cls import predict\n"
        "heavy = {'matplotlib', 'monai', 'pandas', 'pydicom', 'scipy', 'sklearn'}\n"
        "assert callable(predict) and not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
