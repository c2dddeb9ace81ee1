"""Several data sets: their names, the folder of the comparison, and the files they share."""

from pathlib import Path

import pytest

from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.pipeline.steps.external_data import require_name
from medimg_baseline_cls.pipeline.steps.external_sites import (
    list_shared,
    name_sets,
    open_joint,
)
from medimg_baseline_cls.utils.files import write_csv
from medimg_baseline_cls.utils.own_output import is_marked_output


def make_folders(root: Path, *names: str) -> list[Path]:
    folders = [root / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def test_data_sets_are_named_as_their_folders_and_files_in_the_order_given(tmp_path: Path) -> None:
    north, south = make_folders(tmp_path, "north", "Site South")
    table = tmp_path / "east.csv"
    table.touch()
    named = name_sets([south, table, north])
    assert list(named.items()) == [("Site-South", south), ("east", table), ("north", north)]


@pytest.mark.parametrize("names", [("a/train", "b/train"), ("a/Train", "b/train")])
def test_two_of_the_same_name_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    folders = make_folders(tmp_path, *names)
    with pytest.raises(ConfigError, match=r"have the same name, train, .*nothing was scored") as no:
        name_sets(folders)
    assert all(str(folder) in str(no.value) for folder in folders)


def test_the_same_folder_twice_is_refused(tmp_path: Path) -> None:
    (folder,) = make_folders(tmp_path, "north")
    with pytest.raises(ConfigError, match="have the same name"):
        name_sets([folder, tmp_path / "x" / ".." / "north"])


def test_one_that_is_not_there_is_refused_by_its_path(tmp_path: Path) -> None:
    (folder,) = make_folders(tmp_path, "north")
    with pytest.raises(DataError, match=r"south is not there: .*nothing was scored"):
        name_sets([folder, tmp_path / "south"])


def test_none_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="no data set was given"):
        name_sets([])


@pytest.mark.parametrize("name", ["sites", "Sites"])
def test_the_name_of_the_comparison_is_not_that_of_a_data_set(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="compares several data sets: rename the data set"):
        require_name(name)
    folders = make_folders(tmp_path, "north", name)
    with pytest.raises(ConfigError, match="compares several data sets"):
        name_sets(folders)


def test_the_comparison_is_next_to_the_results(tmp_path: Path) -> None:
    in_run, elsewhere = make_folders(tmp_path, "run/external/north", "external/chest-north")
    place = open_joint(in_run, name="north")
    assert place == tmp_path / "run" / "external" / "sites"
    assert is_marked_output(place)
    assert open_joint(elsewhere, name="north") == tmp_path / "external" / "chest-sites"


def test_an_earlier_comparison_is_opened_again_and_something_else_is_not(tmp_path: Path) -> None:
    (result,) = make_folders(tmp_path, "north")
    place = open_joint(result, name="north")
    (place / "sites.json").write_text("{}", encoding="utf-8")
    assert open_joint(result, name="north") == place
    (other,) = make_folders(tmp_path, "else/north")
    make_folders(tmp_path, "else/sites")
    (tmp_path / "else" / "sites" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is a folder of something else"):
        open_joint(other, name="north")
    assert [path.name for path in (tmp_path / "else" / "sites").iterdir()] == ["notes.txt"]


def test_data_sets_that_share_files_are_named(tmp_path: Path) -> None:
    hashes = {"a": ["1", "2", "", "3"], "b": ["3", "", "2"], "c": ["", "4"], "d": ["4"]}
    results = dict(zip(hashes, make_folders(tmp_path, *hashes), strict=True))
    for name, folder in results.items():
        rows = [(str(i), digest) for i, digest in enumerate(hashes[name])]
        write_csv(folder / "split.csv", ("path", "sha256"), rows=rows)
    assert list(list_shared(results)) == [
        "a and b have 2 files in common, but they are pooled as if they were independent",
        "c and d have 1 file in common, but they are pooled as if they were independent",
    ]
