"""The split is a column of train, val and test, found by its values and its name."""

from pathlib import Path

import pandas as pd
import pytest

from medimg_baseline_cls.data.folders.image_files import Listing
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.split_column import is_split_name
from medimg_baseline_cls.data.tables.table import TableSettings, list_table
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Inference

SPLITS = ["train", "train", "val", "val", "test", "test"]
FRAME = pd.DataFrame(
    {"path": [f"{i}.png" for i in range(6)], "label": ["sick", "well"] * 3, "age": range(6)}
)


def listed(folder: Path, columns: dict[str, list[str]], **more: object) -> Listing:
    FRAME.assign(**columns).to_csv(folder / "t.csv", index=False)
    settings = {"path_column": "path", "labels": LabelRule(columns=("label",)), **more}
    settings = TableSettings(**{"finds_split": True, **settings})  # type: ignore[arg-type]
    return list_table(folder / "t.csv", root=folder, settings=settings)


def said(listing: Listing) -> Inference | None:
    return next((item for item in listing.inferences if item.topic == "split"), None)


def splits(listing: Listing) -> list[str]:
    return [file.folder for file in listing.files]


@pytest.mark.parametrize("name", ["split", "Set", "SUBSET", "partition", "train_test"])
@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Training", "dev", "TESTING"), ("TRN", "VALID", "test")]
)
def test_a_column_called_like_a_split_is_the_split(
    tmp_path: Path, name: str, words: tuple[str, ...]
) -> None:
    listing = listed(tmp_path, {name: [words[i // 2] for i in range(6)]})
    assert splits(listing) == SPLITS
    item = said(listing)
    assert item is not None and name in item.found and item.certainty == "sure"
    assert "--split-column" in item.flag and not item.warning


def test_another_name_with_such_values_is_a_guess_that_is_warned_of(tmp_path: Path) -> None:
    listing = listed(tmp_path, {"cohort": SPLITS})
    item = said(listing)
    assert splits(listing) == SPLITS and item is not None and item.certainty == "guess"
    assert "--split-column cohort" in item.warning and "--split-column none" in item.warning


@pytest.mark.parametrize(
    "values", [["A", "B"] * 3, ["train", "val"] * 3, ["train"] * 6, ["train", "", "test"] * 2]
)
def test_a_fitting_name_with_other_values_is_warned_of(tmp_path: Path, values: list[str]) -> None:
    listing = listed(tmp_path, {"split": values})
    item = said(listing)
    assert set(splits(listing)) == {""} and item is not None
    assert "--split-column split" in item.warning


def test_two_columns_that_disagree_are_refused_and_equal_ones_are_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--split-column split, --split-column phase, or"):
        listed(tmp_path, {"split": SPLITS, "phase": SPLITS[2:] + SPLITS[:2]})
    assert splits(listed(tmp_path, {"phase": SPLITS, "split": SPLITS})) == SPLITS


def test_settings_win(tmp_path: Path) -> None:
    other = SPLITS[2:] + SPLITS[:2]
    columns = {"split": SPLITS, "mine": other}
    assert splits(listed(tmp_path, columns, split_column="mine")) == other
    none = listed(tmp_path, columns, split_column="none")
    assert set(splits(none)) == {""} and said(none) is None
    folds = listed(tmp_path, columns, split_by="--num-folds")
    item = said(folds)
    assert set(splits(folds)) == {""} and item is not None
    assert (item.found, item.reason) == ("column split is not used", "--num-folds")


def test_a_column_that_is_something_else_is_not_the_split(tmp_path: Path) -> None:
    rule = LabelRule(columns=("split",))
    assert set(splits(listed(tmp_path, {"split": ["train", "test"] * 3}, labels=rule))) == {""}
    listing = listed(tmp_path, {"test": ["pos", "neg"] * 3, "dataset": ["NIH", "own"] * 3})
    assert set(splits(listing)) == {""} and said(listing) is None


def test_names_of_other_things_do_not_fit() -> None:
    names = ("test_type", "test_id", "set_up", "validity", "training_hours", "fold", "site", "")
    assert not any(map(is_split_name, names))
