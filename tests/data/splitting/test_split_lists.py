"""Official lists place each image once, by the fullest reading of each name."""

from pathlib import Path

import pytest

from medimg_baseline_cls.data.folders.image_files import ListedFile
from medimg_baseline_cls.data.splitting.split_lists import apply_lists
from medimg_baseline_cls.errors import DataError

PATHS = ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.x.png", "6.png")


def place(
    folder: Path, *, paths: tuple[str, ...] = PATHS, **lists: str
) -> tuple[dict[str, str], list[str]]:
    """Return the split of each path by lists called as the keywords, and the notes."""
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    files = [ListedFile(path, "x", "") for path in paths]
    placed, notes = apply_lists(files, [folder / f"{name}.txt" for name in lists])
    return {file.path: file.folder for file in placed}, notes


def test_names_are_paths_file_names_or_either_without_suffix(tmp_path: Path) -> None:
    splits, notes = place(
        tmp_path, train_val_list="a/1.png\n2\r\n\n 3.png \n", TEST_list="b\\4\n5.x\n"
    )
    assert splits == {
        "a/1.png": "train",
        "a/2.png": "train",
        "b/3.png": "train",
        "b/4.png": "test",
        "b/5.x.png": "test",
    }
    assert notes == ["1 image is in no list of split_files: left out"]


def test_a_list_may_be_utf_16_and_a_name_contain_what_looks_like_a_line_end(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\u2028b.png\r2.png\r\n", encoding="utf-16")
    (tmp_path / "test.txt").write_text("ü.png\n", encoding="utf-8-sig")
    files = [ListedFile(path, "x", "") for path in ("a\u2028b.png", "2.png", "ü.png")]
    placed, _ = apply_lists(files, [tmp_path / "train.txt", tmp_path / "test.txt"])
    assert [file.folder for file in placed] == ["train", "train", "test"]
    (tmp_path / "test.txt").write_bytes("ü.png\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"test\.txt is not UTF-8 text: save it as UTF-8"):
        apply_lists(files, [tmp_path / "test.txt"])


def test_the_fullest_reading_of_a_name_counts(tmp_path: Path) -> None:
    paths = ("1.png", "a/1.png", "a/1.png.tif")
    splits, _ = place(tmp_path, paths=paths, train="1.png\n", test="a/1.png\na/1.png.tif\n")
    assert splits == {"1.png": "train", "a/1.png": "test", "a/1.png.tif": "test"}


def test_a_name_of_several_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^1\.png .* several images, a/1\.png, b/1\.png: write"):
        place(tmp_path, paths=("a/1.png", "b/1.png"), train="1.png\n", test="")
    with pytest.raises(DataError, match=r"^1 .* several images, a/1\.png, a/1\.tif"):
        place(tmp_path, paths=("a/1.png", "a/1.tif"), train="1\n", test="")


@pytest.mark.parametrize("name", ["a/1.png", "1.png", "a/1", "1"])
def test_an_image_in_two_lists_is_refused_however_it_is_spelt(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"a/1\.png is in the lists of train and test"):
        place(tmp_path, train="a/1.png\n", test=f"{name}\n")
    splits, _ = place(tmp_path, train=f"a/1.png\n{name}\n", test="6\n")
    assert splits == {"a/1.png": "train", "6.png": "test"}


def test_names_without_an_image_are_counted_and_shown(tmp_path: Path) -> None:
    _, notes = place(tmp_path, train="a/1.png\ngone.png\n", val="", test="6.png\nlost\n")
    assert "2 names of split_files without an image: gone.png, lost" in notes
    with pytest.raises(DataError, match=r"none of the 1 names in .*train\.txt.* such as a/1\.png"):
        place(tmp_path, train="gone\n")


def test_a_list_is_a_text_file_whose_name_holds_its_split(tmp_path: Path) -> None:
    for name in ("names", "train_test"):
        with pytest.raises(DataError, match="must contain one of train, val or test"):
            place(tmp_path, **{name: "6.png\n"})
    with pytest.raises(DataError, match=r"the list .*test\.txt cannot be read"):
        apply_lists([ListedFile("a.png", "x", "")], [tmp_path / "test.txt"])
