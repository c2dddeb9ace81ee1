"""A table of images becomes a listing; odd rows and columns are refused with what to do."""

import random
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from medimg_baseline_cls.data.labels import LabelRule
from medimg_baseline_cls.data.listing import Listing
from medimg_baseline_cls.data.table import TableSettings, find_table, list_table, read_columns
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
        with pytest.raises(DataError, match="row 2: .* lies outside"):
            listed(outside, tmp_path)
        assert path.removeprefix("a/../") in {
            file.path for file in listed(outside, tmp_path, allow_outside=True).files
        }


def test_missing_columns_are_told_together_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        listed(FRAME, tmp_path, group_column="patients", split_column="fold", labels=rule("diag"))
    text = str(caught.value)
    assert "patients (group_column, did you mean patient?)" in text
    assert "fold (split_column" in text and "diag (label_columns" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"part": ["train", "holdout", *["test"] * 4]}, "row 3: part is 'holdout'"),
        ({"file": ["a/1.png", "", *FRAME["file"][2:]]}, "row 3: the column file is blank"),
        ({"part": ["train"] * 6}, "test/ holds no usable image"),
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


def test_numbers_of_a_parquet_file_read_as_in_a_csv_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["1", "2", "3"], "diagnosis": [1.0, 0.0, 1.0]})
    frame = frame.assign(patient=[12.0, None, float("nan")], part=[True, False, True])
    path = tmp_path / "t.parquet"
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    column = pyarrow.array([12.0, None, float("nan")], from_pandas=False)
    parquet.write_table(table.set_column(2, "patient", column), path)
    columns = read_columns(path)
    assert columns["diagnosis"] == ["1", "0", "1"] and columns["part"] == ["True", "False", "True"]
    assert columns["patient"] == ["12", "", ""]


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
    assert any("1 further rows" in note for note in joined.notes)
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no row"),
        (b"file,diagnosis\n", "holds no row"),
        (b"file,diagnosis\na,b,c\n", "row 2, has 3 cells"),
        (b"file,file\na,b\n", "two columns called file"),
        (b"file,diagnosis\n\xff,b\n", "not UTF-8"),
        (b'file,diagnosis\n"a,b\n', "no readable table"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_columns(tmp_path / "t.csv")


def test_other_files_and_missing_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ends in .csv, .tsv or .parquet"):
        read_columns(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match="does not exist"):
        read_columns(tmp_path / "t.csv")
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(DataError, match="no readable Parquet"):
        read_columns(tmp_path / "t.parquet")
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
    with pytest.raises(DataError, match=r"sexx \(subgroup_columns.*hospitall \(site_column"):
        listed(FRAME, tmp_path, **both)
