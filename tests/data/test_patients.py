"""A pattern without a patient is refused; a column or a name that seems to hold one is told."""

import pytest

from medimg_baseline_cls.data.listing import ListedFile, Listing, ListingKind
from medimg_baseline_cls.data.patients import find_patient_hint, require_matches
from medimg_baseline_cls.errors import DataError


def listed(
    *paths: str,
    kind: ListingKind = "table",
    columns: tuple[str, ...] = (),
    group: str | None = None,
) -> Listing:
    files = tuple(ListedFile(path, "A", "", group) for path in paths)
    return Listing(files, ("A", "B"), 0, (), kind=kind, unused_columns=columns)


VIEWS = [f"pat{i // 2:03d}_view{i % 2}.png" for i in range(6)]


def test_pattern_without_a_match_is_refused_with_count_and_example() -> None:
    with pytest.raises(DataError, match=r"matches 0 of 6 names, such as pat000_view0.png"):
        require_matches(listed(*VIEWS), group_regex=r"^(subject\d+)_")
    require_matches(listed(*VIEWS), group_regex=r"^(pat000)_")


def test_pattern_that_makes_one_patient_of_all_is_refused() -> None:
    with pytest.raises(DataError, match=r"all 6 images belong to one patient 'pat'"):
        require_matches(listed(*VIEWS), group_regex="^(pat)")
    require_matches(listed(VIEWS[0]), group_regex="^(pat)")
    require_matches(listed(*VIEWS, "other.png"), group_regex="^(pat)")


def test_pattern_is_searched_below_the_class_folder() -> None:
    folders = listed("train/A/x_1.png", kind="split folders")
    require_matches(folders, group_regex="^x_")
    with pytest.raises(DataError, match="such as x_1.png"):
        require_matches(folders, group_regex="train")


def test_images_whose_patient_the_data_name_need_no_pattern() -> None:
    require_matches(listed(*VIEWS, group="P1"), group_regex="nothing")


@pytest.mark.parametrize(
    "column", ["patient", "patient_id", "Patient ID", "subject", "case id", "PersonID"]
)
def test_column_of_patients_that_is_not_used_is_hinted_at(column: str) -> None:
    found = find_patient_hint(listed("a.png", "b.png", columns=("age", column)))
    assert found is not None
    assert f"column {column}" in found[0]
    assert column in found[1].replace("'", "").removeprefix("add --group-column ")


def test_names_with_several_images_of_a_patient_are_hinted_at() -> None:
    found = find_patient_hint(listed(*VIEWS))
    assert found is not None
    assert found[1] == r"add --group-regex '(pat\d+)[-_.]'"
    require_matches(listed(*VIEWS), group_regex=r"(pat\d+)[-_.]")


@pytest.mark.parametrize(
    "listing",
    [
        listed("a.png", "b.png", columns=("age", "p", "site", "compatible")),
        listed(*VIEWS, columns=("patient",), group="P1"),
        listed("pat1_1.png", "pat2_1.png"),
        listed("pat1_1.png", "pat1_2.png", "scan.png"),
        listed("person1_virus_6.jpeg", "person1_virus_7.jpeg"),
    ],
    ids=["other columns", "known", "one image each", "some names alone", "Kaggle"],
)
def test_nothing_is_hinted_at_without_reason(listing: Listing) -> None:
    assert find_patient_hint(listing) is None
