"""What this program has written is known by a marker, or by files that only it writes."""

from pathlib import Path

import pytest

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.own_output import (
    DATA,
    MARKER,
    OwnFolders,
    find_own,
    is_marked_output,
    is_own,
    looks_own,
    mark_own,
    require_foreign,
)

OLD = {
    "a run": ("config.json", "split.csv", "log.txt"),
    "an array of pixels": ("pixels.npy", "contents.csv"),
    "an audit": ("audit.json", "audit.html"),
    "a sweep": ("seeds.json", "log.txt"),
    "a sweep over settings": ("sweep.json", "log.txt"),
    "a cross-validation": ("cv.json", "log.txt"),
    "a comparison": ("comparison.json", "comparison.csv", "comparison.png"),
    "an output folder": ("runs", "cache"),
    "an output folder of check": ("audits",),
}
FOREIGN = {
    "images": ("a.png", "b.png"),
    "a project": ("config.json", "data", "outputs"),
    "classes": ("NORMAL", "PNEUMONIA", "runs"),
    "a table with images": ("split.csv", "images"),
    "nothing": (),
    "other comparisons": ("compare",),
}


def fill(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("names", OLD.values(), ids=OLD)
def test_output_from_before_the_markers_is_known(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert is_own(fill(tmp_path / "x", (*names, ".DS_Store")))
    assert looks_own({*names, ".DS_Store"})


@pytest.mark.parametrize("names", FOREIGN.values(), ids=FOREIGN)
def test_folders_of_users_are_not_taken_for_output(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = fill(tmp_path / "x", names)
    assert not is_own(folder) and not looks_own(set(names)) and find_own(folder) is None
    require_foreign(folder)


def test_a_marked_folder_is_ours_and_so_is_all_below(tmp_path: Path) -> None:
    own = fill(tmp_path / "panels", ("0001.png",))
    mark_own(own)
    assert is_own(own) and looks_own({MARKER}) and is_marked_output(own)
    (own / "sub").mkdir()
    for path in (own, own / "0001.png", own / "sub" / "a.png"):
        assert find_own(path) == own
        with pytest.raises(DataError, match="panels, which medimg has written"):
            require_foreign(path)


def test_phantoms_are_left_out_where_they_are_found_and_read_where_they_are_named(
    tmp_path: Path,
) -> None:
    folder = fill(tmp_path / "phantoms", ("train", "test"))
    mark_own(folder, kind=DATA)
    assert is_own(folder) and not is_marked_output(folder)
    require_foreign(folder / "train")


def test_files_that_others_write_together_make_no_folder_ours(tmp_path: Path) -> None:
    project = fill(tmp_path / "project", ("status.json", "log.txt", "config.json"))
    assert not is_own(project)
    require_foreign(project / "data")


def test_a_link_to_output_is_output(tmp_path: Path) -> None:
    mark_own(fill(tmp_path / "run", ("a.png",)))
    (tmp_path / "link").symlink_to(tmp_path / "run", target_is_directory=True)
    assert is_own(tmp_path / "link") and find_own(tmp_path / "link" / "a.png") == tmp_path / "run"


def test_each_folder_is_looked_at_once(tmp_path: Path) -> None:
    asked: list[Path] = []

    def look(folder: Path) -> bool:
        asked.append(folder)
        return folder.name == "own"

    own = OwnFolders(tmp_path, look=look)
    images = ("a.png", "x/b.png", "x/c.png", "x/own/d.png", "x/own/deep/e.png")
    assert [own.has(tmp_path / image) for image in images] == [False] * 3 + [True] * 2
    assert sorted(asked) == sorted(
        [tmp_path / "x", tmp_path / "x" / "own", tmp_path / "x" / "own" / "deep"]
    )
    assert not OwnFolders(Path()).has(Path("somewhere/a.png"))
