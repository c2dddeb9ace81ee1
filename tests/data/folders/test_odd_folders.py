"""Folders as users really have them: odd names, long lists, odd files; each thing said once."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.folders import image_files as listing_module
from medimg_baseline_cls.data.folders.image_files import Listing, list_images
from medimg_baseline_cls.data.folders.split_folders import shorten_list
from medimg_baseline_cls.data.read import SUFFIXES
from medimg_baseline_cls.errors import DataError

NOISE = (".DS_Store", "._a.png", "Thumbs.db", "DESKTOP.INI", "@eaDir", "__MACOSX", ".git")
MORE_SUFFIXES = (".dcm", ".dicom", ".ima", ".nii", ".nii.gz", ".npy")
OTHERS = ("notes.txt", "scan.dcm", "a.nii.gz", "README", "a.png.txt", "png")


def touch(data: Path, *paths: str) -> None:
    for path in paths:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(b"")


def lay_out(data: Path) -> Path:
    touch(data, *(f"{split}/{label}/0.png" for split in ("train", "test") for label in "AB"))
    return data


def walk(data: Path) -> dict[str, set[str]]:
    """What os.walk and a few lines say of the same tree: images, hidden entries, others."""
    held: dict[str, set[str]] = {
        "images": set(),
        "hidden": set(),
        "others": set(),
        "outside": set(),
    }
    system = {"thumbs.db", "desktop.ini", "@eadir", "__macosx"}
    for folder, folders, files in os.walk(data):
        place = Path(folder).relative_to(data)
        hidden = {n for n in [*folders, *files] if n.startswith(".") or n.lower() in system}
        folders[:] = [name for name in folders if name not in hidden]
        held["hidden"] |= {str(place / name) for name in hidden}
        for name in set(files) - hidden:
            is_image = name.lower().endswith((*SUFFIXES, *MORE_SUFFIXES))
            kind = "outside" if len(place.parts) == 1 else "images" if is_image else "others"
            held[kind].add((place / name).as_posix())
    return held


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_every_file_of_a_random_tree_is_listed_or_counted(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    data = lay_out(tmp_path_factory.mktemp("tree"))
    for number in range(rng.randint(0, 25)):
        deep = [
            rng.choice(["p1", "p 2", "ü", ".cache", "@eaDir"]) for _ in range(rng.randint(0, 3))
        ]
        name = rng.choice([f"{number}.png", f"{number}.JPG", *NOISE, *OTHERS])
        label = rng.choice(["A", "B", ""])
        folder = data / rng.choice(["train", "test"]) / label / "/".join(deep if label else [])
        if not any(place.is_file() for place in (folder, *folder.parents)):
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / name).exists():
                (folder / name).write_bytes(b"")
    found, held = list_images(data), walk(data)
    assert [file.path for file in found.files] == sorted(held["images"])
    assert found.num_ignored == len(held["hidden"])
    notes = "\n".join([*found.notes, *(item.found for item in found.inferences)])
    for kind, sentence in (
        ("others", "files that are not images left out"),
        ("outside", "files outside the class folders"),
        ("hidden", "hidden or system files"),
    ):
        if len(held[kind]) == 1:
            sentence = sentence.replace("files", "file")
            sentence = sentence.replace("are not images", "is not an image")
        assert (f"{len(held[kind])} {sentence}" in notes) == bool(held[kind])
    for file in found.files:
        assert (file.folder, file.label) == tuple(file.path.split("/")[:2])


def test_every_known_suffix_counts_in_any_case_and_only_the_last(tmp_path: Path) -> None:
    data = lay_out(tmp_path)
    names = [f"x{suffix}" for suffix in SUFFIXES] + [f"Y{suffix.upper()}" for suffix in SUFFIXES]
    touch(data, *(f"train/A/{name}" for name in names), "train/A/a.png.gz", "train/A/.png")
    listing = list_images(data)
    listed = {Path(file.path).name for file in listing.files if file.path.startswith("train/A")}
    assert listed == {*names, "0.png"}
    assert listing.notes == ("1 hidden or system file ignored",)
    (files,) = (item.found for item in listing.inferences if item.topic == "files")
    assert files == "1 file that is not an image left out: .gz (1)"


def test_names_of_any_script_and_with_blanks_stay_as_they_are(tmp_path: Path) -> None:
    names = ["Größe 1.png", "胸部 レントゲン.png", "a  b.png", "100%.png", "x'y\"z.png", "a#b?.png"]
    touch(lay_out(tmp_path), *(f"train/B/ward №5/{name}" for name in names))
    listed = {file.path for file in list_images(tmp_path).files}
    assert {f"train/B/ward №5/{name}" for name in names} <= listed


def test_files_are_in_the_order_of_their_paths_not_of_the_folders(tmp_path: Path) -> None:
    # "A B" sorts before "A/": the folders A, "A B" and A0 come out by path.
    touch(tmp_path, *(f"{s}/{c}/1.png" for s in ("test", "train") for c in ("A", "A B", "A0")))
    paths = [file.path for file in list_images(tmp_path).files]
    assert paths == sorted(paths)
    assert paths[0] == "test/A B/1.png" and paths[1] == "test/A/1.png"


def test_a_linked_data_folder_lists_as_the_real_one(tmp_path: Path) -> None:
    lay_out(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_images(tmp_path / "link") == list_images(tmp_path / "real")


def test_a_named_pipe_is_listed_and_hangs_nothing(tmp_path: Path) -> None:
    os.mkfifo(lay_out(tmp_path) / "train/A/pipe.png")
    assert "train/A/pipe.png" in {file.path for file in list_images(tmp_path).files}


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path)
    original = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "B":
            raise PermissionError(13, "Permission denied")
        return original(folder)

    monkeypatch.setattr(listing_module.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"test/B cannot be listed: Permission denied\.$"):
        list_images(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_no_folder(tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / "val").write_text("no folder")
    assert {file.folder for file in list_images(tmp_path).files} == {"train", "test"}
    with pytest.raises(DataError, match="is a file, not a folder"):
        list_images(tmp_path / "val")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is empty; expected train/"):
        list_images(tmp_path / "empty")


def test_every_spelling_of_a_split_folder_means_that_split(tmp_path: Path) -> None:
    spellings = {
        "train": ["Train", "TRAINING"],
        "val": ["VALID", "Validation"],
        "test": ["Testing"],
    }
    for split, names in spellings.items():
        for name in names:
            data = lay_out(tmp_path / name)
            touch(data, "val/A/9.png", "val/B/9.png")
            (data / split).rename(data / name)
            listing = list_images(data)
            counts = Counter(file.folder for file in listing.files)
            assert counts == {"train": 2, "val": 2, "test": 2}
            assert listing.notes == ()
            assert f"{name}/ as {split}/" in listing.inferences[0].found


def test_given_classes_make_a_class_without_train_images_no_error(tmp_path: Path) -> None:
    touch(lay_out(tmp_path), "test/C/1.png")
    with pytest.raises(DataError, match="class C has images in val/ or test/ but none in train/"):
        list_images(tmp_path)
    listing = list_images(tmp_path, class_names=["A", "B"])
    assert "class folder C is not among class_names: 1 image left out" in listing.notes
    with pytest.raises(DataError, match="1 class folder.*: A; expected two or more"):
        list_images(tmp_path, class_names=["A"])


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (1, "n0"), (10, "n8, n9"), (11, "n9 and 1 more"), (25, "n9 and 15 more")],
)
def test_long_lists_show_ten_and_count_the_rest(count: int, text: str) -> None:
    shown = shorten_list([f"n{number}" for number in range(count)])
    assert shown.endswith(text)
    assert len(shown.split(", ")) == max(1, min(count, 10)) and "\n" not in shown


def sample(data: Path, limit: int) -> tuple[Listing, set[str]]:
    listing = list_images(data, limit=limit)
    return listing, {file.path for file in listing.files}


def test_limit_keeps_shares_and_a_smaller_one_is_part_of_a_larger(tmp_path: Path) -> None:
    sizes = {"train/A": 60, "train/B": 30, "test/A": 20, "test/B": 10}
    touch(tmp_path, *(f"{place}/{n}.png" for place, size in sizes.items() for n in range(size)))
    before: set[str] = set()
    for limit in (1, 12, 36, 60, 119):
        listing, paths = sample(tmp_path, limit)
        counts = Counter(path.rsplit("/", 1)[0] for path in paths)
        assert counts == {place: max(2, round(limit * size / 120)) for place, size in sizes.items()}
        assert [file.path for file in listing.files] == sorted(paths)
        assert before <= paths
        before = paths
    everything, paths = sample(tmp_path, 500)
    assert len(paths) == 120 and everything.notes == ()


def test_limit_does_not_take_the_first_files_but_any(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"{s}/{c}/{n:03d}.png" for s in ("train", "test") for c in "AB" for n in range(100)),
    )
    _, paths = sample(tmp_path, 100)
    numbers = [int(Path(path).stem) for path in paths]
    assert sum(number < 50 for number in numbers) == pytest.approx(50, abs=20)
    for cell in ("train/A", "train/B", "test/A", "test/B"):
        assert max(int(Path(path).stem) for path in paths if path.startswith(cell)) > 60


def test_a_link_that_leads_in_a_circle_is_no_class(tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / "train/here").symlink_to(".")
    (tmp_path / "train/up").symlink_to("..")
    (tmp_path / "train/itself").symlink_to("itself")
    (tmp_path / "elsewhere").mkdir()
    touch(tmp_path / "elsewhere", "1.png")
    (tmp_path / "train/C").symlink_to(tmp_path / "elsewhere")
    listing = list_images(tmp_path)
    assert listing.class_names == ("A", "B", "C")
    note = "links to folders not followed: train/here, train/itself, train/up"
    assert note in listing.notes
