"""A folder that is no data set is refused with the true reason, and the place that was meant."""

from pathlib import Path

import pytest

from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.data.folders.split_folders import find_split_folders, require_test
from medimg_baseline_cls.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


WRONG = {
    "empty folder": ([], "", r"data is empty; expected train/<CLASS>/"),
    "hidden files": ([".DS_Store"], "", r"data is empty"),
    "no images": (["a/x.txt", "b/y.txt"], "", r"no class folder with images, found a/, b/"),
    "one empty class": (["a/1.png", "b/x.txt"], "", r"in a/ alone, and none in b/; two class"),
    "one class": (["a/1.png"], "", r"in a/ alone; two class folders are needed, or, .* TABLE\.$"),
    "class itself": (
        ["a/1.png", "b/1.png"],
        "a",
        r"no class folders.*--manifest TABLE \(next to it: b/; did you mean .*data\?\)",
    ),
    "class of a split": (
        ["train/a/1.png", "train/b/1.png", "test/a/1.png"],
        "train/a",
        r"next to it: b/; did you mean .*data\?\)",
    ),
    "one folder too high": (["x/a/1.png", "x/b/1.png"], "", r"did you mean .*data/x\?"),
    "two data sets": (
        [f"{x}/{s}/{c}/1.png" for x in "xy" for s in ("train", "test") for c in "ab"],
        "",
        r"has no train/ folder, found x/ \(did you mean .*data/x\?\)",
    ),
    "images alone": (["1.png"], "", r"contains images, but no class .*--manifest TABLE\.$"),
    "table": (["t.csv"], "t.csv", r"is a table, not a folder: pass --manifest .*data/t\.csv"),
    "image": (["a/1.png"], "a/1.png", r"1\.png is a file, not a folder"),
    "nothing": ([], "nowhere", r"nowhere does not exist\.$"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_place_is_told_with_the_true_reason(tmp_path: Path, kind: str) -> None:
    names, place, words = WRONG[kind]
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(DataError, match=words) as caught:
        list_images(touch(data, *names) / place)
    assert "\n" not in str(caught.value)


def test_classes_that_hold_a_split_each_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/{s}/1.png" for c in "ab" for s in ("train", "test")))
    assert list_images(tmp_path).class_names == ("a", "b")


def test_train_folder_by_itself_is_taken_with_a_hint_at_its_parent(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png")
    layout = list_images(tmp_path / "train").inferences[0]
    assert layout.certainty == "guess" and f"test/; did you mean {tmp_path}?" in layout.warning
    touch(tmp_path, "other/train/a/1.png", "other/train/b/1.png")
    assert list_images(tmp_path / "other" / "train").inferences[0].warning == ""


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("trian", "test"), "trian/ looks like train/: rename it"),
        (("train", "tets"), "tets/ looks like test/: rename it"),
    ],
)
def test_a_split_folder_that_is_typed_wrongly_is_named(
    tmp_path: Path, folders: tuple[str, ...], words: str
) -> None:
    for name in folders:
        for label in ("A", "B"):
            (tmp_path / name / label).mkdir(parents=True)
    with pytest.raises(DataError, match=words):
        require_test(tmp_path, find_split_folders(tmp_path))
