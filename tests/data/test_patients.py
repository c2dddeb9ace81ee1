"""Patients are found in all names together; a pattern without a patient is refused."""

from dataclasses import replace

import pytest

from medimg_baseline_cls.data.folders.image_files import ListedFile, Listing, ListingKind
from medimg_baseline_cls.data.index import find_groups
from medimg_baseline_cls.data.patients import (
    KAGGLE,
    find_patient_column,
    find_patient_rule,
    infer_patients,
    require_confirmed,
    require_matches,
    set_rule,
)
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import ImageRecord, Inference


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


SHAPES = {
    "CheXpert": ("patient{p:05d}/study{v}/view1_frontal.jpg", "patient00007", "sure"),
    "MIMIC": ("p1{d}/p1{d}{p:06d}/s504{v}/x.jpg", "p17000007", "sure"),
    "PID": ("PID_{p:03d}_{v}.png", "PID_007", "sure"),
    "BIDS": ("sub-{p:02d}_ses-{v}_T1w.png", "sub-07", "sure"),
    "CBIS-DDSM": ("Mass-Training_P_{p:05d}_LEFT_{v}.png", "P_00007", "sure"),
    "NIH": ("{p:08d}_{v:03d}.png", "00000007", "guess"),
    "EyePACS": ("{p}_{v}.jpeg", "7", "guess"),
    "letter": ("S{p:02d}_{v}.png", "S07", "guess"),
    "folders": ("{p:03d}/{v}.png", "007", "guess"),
    "named folders": ("DOE{d}{p}/{v}.png", "DOE77", "guess"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_patients_are_found_in_all_names_together_whatever_a_stray_file_is(name: str) -> None:
    shape, key, certainty = SHAPES[name]
    paths = [f"A/{shape}".format(p=p, d=p % 9, v=v) for p in range(20) for v in range(2)]
    rule = find_patient_rule(listed(*paths, "A/stray.png", kind="class folders"))
    groups = find_groups({p: p for p in paths}, group_regex=rule.pattern, depth=1)
    assert rule.certainty == certainty
    assert len(set(groups.values())) == 20
    assert {groups[path] for path in paths[14:16]} == {key}


@pytest.mark.parametrize(
    "shape",
    [
        "{p}.png",
        "IMG_{p:04d}.png",
        "ISIC_{p:07d}.jpg",
        "covid-19-pneumonia-{p}.png",
        "benign ({p}).png",
        "images/{p}.png",
        "20{y}/{p}.png",
    ],
)
def test_numbers_of_images_are_no_patients(shape: str) -> None:
    paths = [f"A/{shape}".format(p=p, y=10 + p % 2) for p in range(60)]
    assert find_patient_rule(listed(*paths, kind="class folders")).certainty == "unknown"


def test_the_kaggle_names_come_first() -> None:
    names = [f"person{p}_virus_{v}.jpeg" for p in range(9) for v in range(2)]
    assert find_patient_rule(listed(*names)) == KAGGLE


def test_a_guess_that_the_split_contradicts_has_to_be_confirmed() -> None:
    files = tuple(
        ListedFile(f"{side}/A/{p}_{v}.png", "A", side)
        for side in ("train", "test")
        for p in range(20)
        for v in range(2)
    )
    listing = Listing(files, ("A", "B"), 0, ())
    rule = find_patient_rule(listing)
    with pytest.raises(DataError, match="20 patients, such as 0, are in more than one split") as e:
        require_confirmed(listing, rule)
    assert "--group-regex none" in str(e.value)
    require_confirmed(listing, set_rule(rule.pattern))
    require_confirmed(replace(listing, files=files[:40]), rule)


def conclude(groups: list[str], *, column: str | None = None, **names: str) -> Inference:
    """Return what is said of images 0.png, 1.png, ... of these patients ("": not known)."""
    records = [
        ImageRecord(
            image_id=f"{i}.png",
            path=f"{i}.png",
            label="AB"[i % 2],
            group=group or f"{i}.png",
            split="",
            sha256=str(i),
            width=1,
            height=1,
        )
        for i, group in enumerate(groups)
    ]
    listing = replace(listed(*(r.path for r in records)), group_column=column)
    named = {r.path: names.get(r.group, r.group) for r in records if r.group != r.path}
    return infer_patients(records, listing, rule=find_patient_rule(listing), named=named)


def test_unknown_patients_are_a_warning_with_the_flags() -> None:
    found = conclude([""] * 8)
    assert found.certainty == "unknown"
    assert "--group-regex" in found.warning and "--group-column" in found.warning


def test_a_partially_filled_column_is_named_with_counts() -> None:
    found = conclude(["p1", "p1", "p2", ""], column="subject")
    assert "1 of 4 images has no patient by column subject" in found.warning
    assert conclude(["p1", "p1", "p2", "p3"], column="subject").warning == ""


def test_one_patient_with_very_many_images_is_named_with_the_tag() -> None:
    groups = ["hidden"] * 30 + [f"p{i // 2}" for i in range(30)]
    found = conclude(groups, hidden="ANONYMOUS")
    text = "one patient has 30 of 60 images of the classes A, B: PatientID (0010,0020) 'ANONYMOUS'"
    assert text in found.warning
    assert "Doe" not in conclude(groups, hidden="Doe").warning  # a name is not printed
    assert conclude(groups[20:]).warning == ""
    both = conclude([*groups, ""], hidden="ANONYMOUS").warning
    assert both.startswith("1 of 61 images has no patient by ")
    assert "in more than one split. One patient has 30 of 61 images" in both


@pytest.mark.parametrize(
    "column", ["patient", "patient_id", "Patient ID", "subject", "case id", "PersonID"]
)
def test_a_column_that_is_called_like_the_patient_is_found(column: str) -> None:
    assert find_patient_column(["path", "site", "compatible", "p", column]) == column
    assert find_patient_column(["path", "site", "compatible", "p"]) is None


@pytest.mark.parametrize(
    ("shape", "key", "certainty"),
    [
        ("P{p}/case{n:03d}.nii.gz", "P7", "guess"),  # the folder, as each case has one file
        ("case{n:03d}.nii.gz", None, "unknown"),
        ("case_{p:03d}_{v}.png", "case_007", "sure"),  # several images of a case
    ],
)
def test_a_case_with_one_image_is_not_called_a_patient(
    shape: str, key: str | None, certainty: str
) -> None:
    paths = [
        f"train/A/{shape.format(p=p, v=v, n=2 * p + v)}" for p in range(1, 9) for v in range(2)
    ]
    rule = find_patient_rule(listed(*paths, kind="split folders"))
    assert rule.certainty == certainty
    names = set(find_groups({p: p for p in paths}, group_regex=rule.pattern, depth=2).values())
    assert (key in names) == (key is not None)
    assert len(names) == (8 if key else 16)
