"""The listing finds every image of the Kaggle layout and says what it left out."""

from pathlib import Path

import pytest

from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.errors import DataError


def touch(data: Path, *paths: str) -> None:
    for path in paths:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(b"")


def lay_out(data: Path) -> Path:
    touch(
        data,
        *("train/NORMAL/IM-0115-0001.jpeg", "train/NORMAL/IM-0117-0001.JPG"),
        *("train/PNEUMONIA/person1_bacteria_1.png", "train/PNEUMONIA/person1_bacteria_2.tiff"),
        *("test/NORMAL/IM-0001-0001.jpeg", "test/PNEUMONIA/person9_virus_1.bmp"),
    )
    return data


def test_listing_names_class_and_folder_of_each_image(tmp_path: Path) -> None:
    listing = list_images(lay_out(tmp_path))
    assert listing.class_names == ("NORMAL", "PNEUMONIA")
    assert [(f.path, f.label, f.folder) for f in listing.files] == [
        ("test/NORMAL/IM-0001-0001.jpeg", "NORMAL", "test"),
        ("test/PNEUMONIA/person9_virus_1.bmp", "PNEUMONIA", "test"),
        ("train/NORMAL/IM-0115-0001.jpeg", "NORMAL", "train"),
        ("train/NORMAL/IM-0117-0001.JPG", "NORMAL", "train"),
        ("train/PNEUMONIA/person1_bacteria_1.png", "PNEUMONIA", "train"),
        ("train/PNEUMONIA/person1_bacteria_2.tiff", "PNEUMONIA", "train"),
    ]
    assert listing.num_ignored == 0 and listing.notes == ()


def test_an_npz_file_is_an_image_only_where_volumes_are_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        touch(tmp_path, *(f"{split}/{name}/1.{end}" for name in "AB" for end in ("nii", "npz")))
    listing = list_images(tmp_path, has_volumes=True)
    assert {f.path for f in listing.files if f.label == "A" and f.folder == "test"} == {
        "test/A/1.nii",
        "test/A/1.npz",
    }
    images = list_images(tmp_path)
    assert all(f.path.endswith(".nii") for f in images.files)
    assert any(".npz (4)" in item.found for item in images.inferences)


@pytest.mark.parametrize("splits", [("train/", "test/"), ("",)])
@pytest.mark.parametrize(("num_images", "is_said"), [(10, True), (7, False)])
def test_folders_of_many_images_may_be_volumes(
    tmp_path: Path, splits: tuple[str, ...], num_images: int, is_said: bool
) -> None:
    for split in splits:
        for case in ("A/1", "A/2", "B/3", "B/x/4"):
            touch(tmp_path, *(f"{split}{case}/{i}.dcm" for i in range(num_images)))
    found = {i.topic: i.warning for i in list_images(tmp_path).inferences}
    assert ("pass --slices K" in found.get("slices", "")) == is_said
    assert "slices" not in {i.topic for i in list_images(tmp_path, has_volumes=True).inferences}


def test_many_images_of_a_class_are_no_volume(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/{name}/{i}.png" for name in "AB" for i in range(40)))
    touch(tmp_path, *(f"test/{name}/{i}.png" for name in "AB" for i in range(40)))
    assert "slices" not in {i.topic for i in list_images(tmp_path).inferences}


def test_hidden_and_system_files_are_ignored_and_counted(tmp_path: Path) -> None:
    lay_out(tmp_path)
    touch(
        tmp_path,
        *("train/NORMAL/.DS_Store", "train/NORMAL/._IM-0115-0001.jpeg", "test/NORMAL/Thumbs.db"),
        *("train/desktop.ini", "train/.hidden/x.png", "__MACOSX/train/NORMAL/._a.jpeg"),
    )
    listing = list_images(tmp_path)
    assert len(listing.files) == 6
    assert listing.num_ignored == 5
    assert listing.notes == ("5 hidden or system files ignored",)


def test_other_files_and_folders_are_counted_and_said(tmp_path: Path) -> None:
    lay_out(tmp_path)
    touch(
        tmp_path,
        *("train/NORMAL/notes.txt", "train/NORMAL/scan.xyz", "test/NORMAL/scan.xyz"),
        *("train/NORMAL/README", "train/labels.csv", "masks/train/NORMAL/a.png", "LICENSE"),
    )
    listing = list_images(tmp_path)
    notes = "\n".join(listing.notes)
    (files,) = (item.found for item in listing.inferences if item.topic == "files")
    assert files == "4 files that are not images left out: .xyz (2), .txt (1), no suffix (1)"
    assert "1 file outside the class folders left out" in notes
    assert "folders next to train/ and test/ left out: masks/" in notes


def test_images_in_subfolders_count_and_circular_links_do_not_hang(tmp_path: Path) -> None:
    lay_out(tmp_path)
    touch(tmp_path, "train/NORMAL/patient7/a.png", "train/NORMAL/odd.png/b.png")
    (tmp_path / "train/NORMAL/circle").symlink_to(tmp_path / "train")
    (tmp_path / "train/NORMAL/loop.png").symlink_to(tmp_path / "train/NORMAL/loop.png")
    (tmp_path / "train/loop").symlink_to(tmp_path / "train/loop")
    listing = list_images(tmp_path)
    new = {f.path for f in listing.files if f.label == "NORMAL" and f.folder == "train"}
    assert {"train/NORMAL/patient7/a.png", "train/NORMAL/odd.png/b.png"} <= new
    assert "train/NORMAL/loop.png" in new  # the cache finds out that it cannot be read
    notes = "\n".join(listing.notes)
    assert "2 images are in subfolders" in notes
    assert "folders named like images: train/NORMAL/odd.png" in notes
    assert "links to folders not followed: train/NORMAL/circle" in notes


def test_linked_class_folder_and_linked_files_are_followed(tmp_path: Path) -> None:
    lay_out(tmp_path / "real")
    (tmp_path / "data/train").mkdir(parents=True)
    (tmp_path / "data/test").symlink_to(tmp_path / "real/test")
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data/train" / name).symlink_to(tmp_path / "real/train" / name)
    link = tmp_path / "real/train/NORMAL/link.png"
    link.symlink_to(tmp_path / "real/train/PNEUMONIA/person1_bacteria_1.png")
    assert len(list_images(tmp_path / "data").files) == 7


@pytest.mark.parametrize("name", ["TRAIN", "Training"])
def test_other_names_of_the_split_folders_are_understood_and_said(
    tmp_path: Path, name: str
) -> None:
    lay_out(tmp_path)
    touch(tmp_path, "valid/NORMAL/v.png")
    (tmp_path / "train").rename(tmp_path / name)
    listing = list_images(tmp_path)
    assert {f.folder for f in listing.files} == {"train", "val", "test"}
    assert listing.inferences[0].found == (
        f"split folders {name}/ as train/, valid/ as val/, test/"
    )
    assert "val/ has no image of class PNEUMONIA" in listing.notes


def test_given_class_order_is_kept_and_others_are_left_out(tmp_path: Path) -> None:
    lay_out(tmp_path)
    touch(tmp_path, "train/COVID/a.png", "test/COVID/a.png")
    listing = list_images(tmp_path, class_names=["PNEUMONIA", "NORMAL"])
    assert listing.class_names == ("PNEUMONIA", "NORMAL")
    assert len(listing.files) == 6
    assert "class folder COVID is not among class_names: 2 images left out" in listing.notes


def remove_train(data: Path) -> None:
    (data / "train").rename(data / "fold1")


def remove_test(data: Path) -> None:
    (data / "test").rename(data / "other")


def empty_class_of_train(data: Path) -> None:
    (data / "train/PNEUMONIA").rename(data / "train/.PNEUMONIA")


def one_class(data: Path) -> None:
    for split in ("train", "test"):
        (data / split / "PNEUMONIA").rename(data / split / ".PNEUMONIA")


def two_trains(data: Path) -> None:
    (data / "Training").mkdir()


def nothing_in_test(data: Path) -> None:
    for name in ("NORMAL", "PNEUMONIA"):
        (data / "test" / name).rename(data / "test" / f".{name}")


def nest(data: Path) -> None:
    (data / "chest_xray").mkdir()
    for split in ("train", "test"):
        (data / split).rename(data / "chest_xray" / split)


BROKEN = {
    "no train": (remove_train, r"no train/ folder, found fold1/, test/; expected train/<CLASS>/"),
    "no test": (remove_test, r"no test/ folder"),
    "unseen class": (empty_class_of_train, r"class PNEUMONIA has images in val/ or test/ but none"),
    "one class": (one_class, r"1 class folder\(s\): NORMAL; expected two or more"),
    "two trains": (two_trains, r"Training/ and train/, which both mean train"),
    "empty test": (nothing_in_test, r"test/ contains no usable image"),
    "one folder too high": (nest, r"did you mean .*chest_xray\?"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_wrong_layout_is_one_sentence_that_helps(tmp_path: Path, kind: str) -> None:
    break_it, sentence = BROKEN[kind]
    break_it(lay_out(tmp_path))
    with pytest.raises(DataError, match=sentence) as caught:
        list_images(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        list_images(tmp_path / "nowhere")


def test_unknown_class_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"PNEUMONA has no images .*did you mean PNEUMONIA\?"):
        list_images(lay_out(tmp_path), class_names=["NORMAL", "PNEUMONA"])
    with pytest.raises(DataError, match="twice"):
        list_images(tmp_path, class_names=["NORMAL", "NORMAL"])


def test_limit_keeps_every_class_and_is_independent_of_the_place(tmp_path: Path) -> None:
    for place in ("a", "b/c"):
        names = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "XY" for i in range(40)]
        touch(tmp_path / place, *names)
    listing = list_images(tmp_path / "a", limit=20)
    assert listing == list_images(tmp_path / "b/c", limit=20)
    counts = {(f.folder, f.label): 0 for f in listing.files}
    for file in listing.files:
        counts[file.folder, file.label] += 1
    assert set(counts.values()) == {5} and len(counts) == 4
    assert "20 of 160" in [item.found for item in listing.inferences if item.warning]
    assert len(list_images(tmp_path / "a", limit=160).files) == 160
