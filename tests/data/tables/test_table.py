"""A table of images becomes a listing; odd rows and columns are refused with what to do."""

import random
from pathlib import Path

import pandas as pd
import pytest

from medimg_baseline_cls.data.folders.image_files import Listing
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.table import TableSettings, find_table, list_table
from medimg_baseline_cls.errors import DataError

FRAME = pd.DataFrame(
    {
        "file": ["a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png", "6.png"],
        "diagnosis": ["sick", "well", "sick ", "well", "sick", "well"],
        "patient": ["p1", "p1", "p2", "p3", "p4", ""],
        "part": ["train", "Training", "VALID", "test", "testing", "val"],
        "sex": ["F", "F", "M", "", "F", "M"],
    }
)


def rule(*columns: str, **more: object) -> LabelRule:
    return LabelRule(columns=columns or ("diagnosis",), **more)  # type: ignore[arg-type]


def listed(
    frame: pd.DataFrame,
    folder: Path,
    *,
    name: str = "t.csv",
    root: Path | None = None,
    **more: object,
) -> Listing:
    path = folder / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        separators = {".tsv": "\t", ".csv": ","}
        frame.to_csv(path, index=False, sep=separators[path.suffix])
    settings = {"path_column": "file", "labels": rule(), **more}
    limit = settings.pop("limit", None)
    return list_table(path, root=root or folder, settings=TableSettings(**settings), limit=limit)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_every_column_goes_where_it_belongs(tmp_path: Path, name: str) -> None:
    listing = listed(
        FRAME,
        tmp_path,
        name=name,
        group_column="patient",
        split_column="part",
        subgroup_columns=("sex",),
    )
    expected = FRAME.sort_values("file")
    assert [f.path for f in listing.files] == list(expected["file"])
    assert [f.label for f in listing.files] == [text.strip() for text in expected["diagnosis"]]
    assert [f.group for f in listing.files] == [text or None for text in expected["patient"]]
    assert [f.folder for f in listing.files] == ["val", "train", "train", "val", "test", "test"]
    assert [f.subgroups for f in listing.files] == [(text,) for text in expected["sex"]]
    assert listing.class_names == ("sick", "well") and listing.subgroup_names == ("sex",)
    assert (listing.kind, listing.task) == ("table", "multiclass")


def test_without_a_split_column_there_is_no_split(tmp_path: Path) -> None:
    assert {file.folder for file in listed(FRAME, tmp_path).files} == {""}


def test_semicolons_bytemarks_and_windows_paths_are_read(tmp_path: Path) -> None:
    text = "\ufefffile;diagnosis\r\na\\1.png;sick\r\nb\\.\\2.png;well\r\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    settings = TableSettings(path_column="file", labels=rule())
    listing = list_table(tmp_path / "t.csv", root=tmp_path, settings=settings)
    assert [file.path for file in listing.files] == ["a/1.png", "b/2.png"]


def test_paths_inside_the_root_may_be_absolute_and_those_outside_are_refused(
    tmp_path: Path,
) -> None:
    inside = FRAME.assign(file=[f"{tmp_path.as_posix()}/{path}" for path in FRAME["file"]])
    assert listed(inside, tmp_path) == listed(FRAME, tmp_path)
    for path in ("../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png"):
        outside = FRAME.assign(file=[path, *FRAME["file"][1:]])
        with pytest.raises(DataError, match="row 2: .* is outside"):
            listed(outside, tmp_path)
        assert path.removeprefix("a/../") in {
            file.path for file in listed(outside, tmp_path, allow_outside=True).files
        }


def test_missing_columns_are_told_together_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        listed(FRAME, tmp_path, group_column="patients", split_column="fold", labels=rule("diag"))
    text = str(caught.value)
    assert "patients (--group-column)" in text and "fold (--split-column)" in text
    assert "did you mean --label-columns diagnosis --group-column patient?" in text


def test_flags_for_columns_of_other_names_are_ready_to_paste(tmp_path: Path) -> None:
    frame = FRAME.rename(columns={"file": "Image Index", "diagnosis": "DX"})
    with pytest.raises(DataError) as caught:
        listed(frame, tmp_path, path_column="path", labels=rule("label"))
    assert str(caught.value).endswith(
        "did you mean --path-column 'Image Index' --label-columns DX?"
    )


def test_another_spelling_of_a_column_is_taken_with_a_note(tmp_path: Path) -> None:
    given = {"path_column": "File", "labels": rule("DIAGNOSIS"), "group_column": "Patient"}
    listing = listed(FRAME, tmp_path, **given)
    assert listing.files == listed(FRAME, tmp_path, group_column="patient").files
    assert "the column patient is taken for Patient" in listing.notes


def test_a_name_without_a_suffix_is_the_one_image_called_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpeg", "a/2.x.PNG", "a/3", "4.nii.gz"):
        (tmp_path / name).touch()
    bare = FRAME.assign(file=["a/1", "a/2.x", "a/3", "4", "a/none", "6.png"])
    listing = listed(bare, tmp_path)
    expected = ["4.nii.gz", "6.png", "a/1.jpeg", "a/2.x.PNG", "a/3", "a/none"]
    assert [file.path for file in listing.files] == expected
    assert any("3 names without a suffix" in note for note in listing.notes)
    (tmp_path / "a/1.png").touch()
    with pytest.raises(DataError, match="row 2: a/1 has no suffix and may be 1.jpeg, 1.png"):
        listed(bare, tmp_path)


def test_arrays_are_named_with_their_suffix(tmp_path: Path) -> None:
    for name in ("1.npz", "1.npy", "2.npz"):
        (tmp_path / name).touch()
    named = FRAME.assign(file=["1.npz", "1.npy", "2.npz", "3.npz", "4.npz", "5.npz"])
    assert {file.path for file in listed(named, tmp_path).files} == set(named["file"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"part": ["train", "holdout", *["test"] * 4]}, "row 3: part is 'holdout'"),
        ({"file": ["a/1.png", "", *FRAME["file"][2:]]}, "row 3: the column file is blank"),
        ({"part": ["train"] * 6}, "test/ contains no usable image"),
        ({"file": ["a/1.png", "a/1.png", *FRAME["file"][2:]]}, "rows 2 and 3 are the same image"),
    ],
)
def test_odd_rows_are_refused(tmp_path: Path, change: dict[str, list[str]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        listed(FRAME.assign(**change), tmp_path, split_column="part")


def test_blanks_around_cells_are_stripped_and_counted(tmp_path: Path) -> None:
    notes = listed(FRAME, tmp_path).notes
    assert "blanks around 1 cells of diagnosis stripped" in notes
    assert not any("of file" in note for note in notes)


def test_a_patient_that_pandas_calls_nan_is_none(tmp_path: Path) -> None:
    frame = FRAME.assign(patient=["nan", "NaN", "", "7", "7", "nancy"])
    groups = [file.group for file in listed(frame, tmp_path, group_column="patient").files]
    # in the order of the paths, of which 6.png is the first
    assert groups == ["nancy", None, None, None, "7", "7"]


def test_any_row_makes_the_image_of_the_class_that_is_set_as_positive(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": list("1123445"), "diagnosis": list("ABABCAC")})
    for positive, label in (("A", "A"), ("B", "B")):
        two = listed(frame[:4], tmp_path, join_rows="any", positive_class=positive)
        assert [file.label for file in two.files] == [label, "A", "B"]
    three = listed(frame, tmp_path, join_rows="any", positive_class="A")
    assert [file.label for file in three.files] == ["A", "A", "B", "A", "C"]
    with pytest.raises(DataError, match=r"classes A and B.*name it by positive_class"):
        listed(frame, tmp_path, join_rows="any", positive_class=None)


def test_rows_of_one_image_are_joined_by_the_rule_that_is_given(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["1", "1", "2", "3"], "Target": [0, 1, 0, 1]})
    labels = rule("Target")
    with pytest.raises(DataError, match="have the labels '0' and '1'"):
        listed(frame, tmp_path, labels=labels, join_rows="same")
    joined = listed(frame, tmp_path, labels=labels, join_rows="any")
    assert [file.label for file in joined.files] == ["1", "0", "1"]
    assert any("1 further row" in note for note in joined.notes)
    findings = pd.DataFrame({"file": ["1", "1", "2"], "A": [0, 1, 0], "B": ["", "0", "1"]})
    texts = [
        f.label for f in listed(findings, tmp_path, labels=rule("A", "B"), join_rows="any").files
    ]
    assert texts == ["A", "B"]
    again = pd.concat([FRAME, FRAME[:2]])
    same = listed(again, tmp_path, join_rows="same", group_column="patient")
    assert same.files == listed(FRAME, tmp_path, group_column="patient").files
    with pytest.raises(DataError, match="have the patients 'p1' and 'px'"):
        listed(
            again.assign(patient=[*FRAME["patient"], "px", "p1"]),
            tmp_path,
            join_rows="any",
            group_column="patient",
        )


def test_the_table_of_a_folder_is_found_by_its_name(tmp_path: Path) -> None:
    assert find_table(tmp_path) is None
    (tmp_path / "table.tsv").touch()
    assert find_table(tmp_path) == tmp_path / "table.tsv"


def test_the_order_of_rows_and_a_limit_change_no_image(tmp_path: Path) -> None:
    rng = random.Random(3)
    frame = pd.DataFrame(
        {"file": [f"{n}.png" for n in range(400)], "diagnosis": rng.choices("ab", k=400)}
    )
    shuffled = frame.sample(frac=1, random_state=1)
    assert listed(frame, tmp_path).files == listed(shuffled, tmp_path).files
    part = listed(frame, tmp_path, limit=40)
    assert len(part.files) == pytest.approx(40, abs=2)
    assert set(part.files) <= set(listed(frame, tmp_path).files)


def test_a_limit_keeps_each_finding_but_not_each_combination(tmp_path: Path) -> None:
    rng = random.Random(4)
    names = tuple("ABCDEFGHIJ")
    frame = pd.DataFrame({"file": [f"{n}.png" for n in range(2000)]})
    for number, name in enumerate(names):
        share = 0.002 if number == 0 else 0.3
        frame[name] = [int(rng.random() < share) for _ in range(2000)]
    frame.loc[:1, "A"] = 1
    listing = listed(frame, tmp_path, labels=rule(*names), limit=100)
    assert len(listing.files) == pytest.approx(100, abs=2 * len(names))
    shown = [set(file.label.split("|")) for file in listing.files]
    assert all(any(name in held for held in shown) for name in names)


def test_missing_column_is_told_with_the_setting_that_names_it(tmp_path: Path) -> None:
    both = {"subgroup_columns": ("sexx", "hospitall"), "site_column": "hospitall"}
    with pytest.raises(DataError, match=r"sexx \(--subgroup-columns.*hospitall \(--site-column"):
        listed(FRAME, tmp_path, **both)


MISSING = ("", "NA", "n/a", "#N/A", "<NA>", "nan", "None", "NULL", "-", ".")


@pytest.mark.parametrize("word", MISSING)
def test_a_word_for_a_missing_value_is_no_patient_no_subgroup_and_no_site(
    tmp_path: Path, word: str
) -> None:
    frame = FRAME.assign(patient=["p1", word, "p2", word, "p3", "p3"], sex=["F", word, *"MMFF"])
    listing = listed(frame, tmp_path, group_column="patient", subgroup_columns=("sex",))
    found = {file.path: (file.group, file.subgroups[0]) for file in listing.files}
    assert found["a/2.png"] == (None, "") and found["b/4.png"] == (None, "M")
    assert found["a/1.png"] == ("p1", "F")
    (item,) = [item for item in listing.inferences if item.topic == "patient column"]
    assert "patient is blank in 2 of 6 rows" in item.warning and "row 3" in item.warning
    assert not word or any(f"patient: {word} 2" in note for note in listing.notes)
    with pytest.raises(DataError, match="site column sex is blank in 1 of 6 rows.*row 3"):
        listed(frame, tmp_path, subgroup_columns=("sex",), site_column="sex")
    with pytest.raises(DataError, match="row 7: the column file is blank"):
        listed(FRAME.assign(file=[*FRAME["file"][:5], word]), tmp_path)


def test_a_full_patient_column_gives_no_warning(tmp_path: Path) -> None:
    frame = FRAME.assign(patient=[*FRAME["patient"][:5], "p5"])
    listing = listed(frame, tmp_path, group_column="patient")
    assert (listing.inferences, listing.group_column) == ((), "patient")


def test_spellings_of_a_patient_or_a_site_are_one(tmp_path: Path) -> None:
    frame = FRAME.assign(
        patient=["p1", "P1", "p1\u200b", "p2", "p3", "p3"], sex=["Ost", "ost", *["West"] * 4]
    )
    listing = listed(frame, tmp_path, group_column="patient", subgroup_columns=("sex",))
    assert len({file.group for file in listing.files}) == 3
    assert {file.subgroups[0] for file in listing.files} == {"Ost", "West"}
    warnings = [item.warning for item in listing.inferences]
    assert any("column patient" in text and "P1" in text for text in warnings)
    assert any("column sex" in text and "ost" in text for text in warnings)


@pytest.mark.parametrize(
    ("bad", "more", "words"),
    [
        ("x.png", {}, "row 7 ends before the column label"),
        (",sick", {}, "row 7: the column path is blank"),
        ("/etc/x.png,sick", {}, "row 7: /etc/x.png is outside"),
        ("1.png,sick", {}, "rows 2 and 7 are the same image"),
        ("x.png,NA", {}, r"column label is blank \(NA\) in 1 row\(s\), the first is row 7"),
        ("x.png,sick", {"split_column": "label"}, "row 2: label is 'sick'"),
        ("x.png,2", {"labels": LabelRule(columns=("label", "path"))}, "row 2: label is 'sick'"),
    ],
)
def test_messages_name_the_line_that_an_editor_shows(
    tmp_path: Path, bad: str, more: dict[str, object], words: str
) -> None:
    text = f'path,label\n1.png,sick\n\n2.png,"well"\n"a\nb",well\n{bad}\n'
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    settings = {"path_column": "path", "labels": rule("label"), **more}
    with pytest.raises(DataError, match=words):
        list_table(tmp_path / "t.csv", root=tmp_path, settings=TableSettings(**settings))  # type: ignore[arg-type]


def test_a_file_is_located_by_the_line_of_its_row(tmp_path: Path) -> None:
    text = 'path,label,x\n\n1.png,sick,"\n\n"\n2.png,well\n'
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    settings = TableSettings(path_column="path", labels=rule("label"))
    listing = list_table(tmp_path / "t.csv", root=tmp_path, settings=settings)
    assert [file.row for file in listing.files] == [3, 6]


def test_a_patient_column_is_used_unasked_where_nothing_else_names_the_patient(
    tmp_path: Path,
) -> None:
    found = listed(FRAME, tmp_path, finds_patients=True)
    assert found.group_column == "patient"
    assert found.files == listed(FRAME, tmp_path, group_column="patient").files
    as_subgroup = listed(FRAME, tmp_path, finds_patients=True, subgroup_columns=("patient",))
    assert as_subgroup.group_column is None
    assert listed(FRAME, tmp_path).group_column is None


def test_a_patient_column_with_a_value_for_each_image_is_not_used(tmp_path: Path) -> None:
    frame = FRAME.assign(patient=[f"image {i}" for i in range(len(FRAME))])
    assert listed(frame, tmp_path, finds_patients=True).group_column is None


@pytest.mark.parametrize("cells", [["0", "0", "0", "0", "0", "0"], [""] * 6])
def test_a_finding_that_no_image_has_is_refused_unless_none_is_required(
    tmp_path: Path, cells: list[str]
) -> None:
    frame = FRAME.assign(effusion=["1", "0", "0", "1", "", "1"], mass=cells)
    columns = ("effusion", "mass")
    with pytest.raises(DataError, match="no usable image of class mass"):
        listed(frame, tmp_path, labels=rule(*columns))
    listing = listed(frame, tmp_path, labels=rule(*columns, fewest_classes=1))
    assert listing.class_names == columns
    assert len(listing.files) == len(frame)


def test_the_split_of_a_table_does_not_matter_where_no_class_is_required(tmp_path: Path) -> None:
    frame = FRAME[FRAME["part"] == "test"]
    more = {"split_column": "part", "labels": rule(fewest_classes=1)}
    assert len(listed(frame, tmp_path, **more).files) == len(frame)
