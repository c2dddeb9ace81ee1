"""What table programs write is read; what is not a table is refused with its own line."""

import csv
import io
import random
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.table import TableSettings, list_table
from medimg_baseline_cls.data.tables.table_file import ABSENT, read_table
from medimg_baseline_cls.errors import DataError

ROWS = [("path", "label"), *((f"i{n}.png", ("benign", "malignant")[n % 2]) for n in range(6))]
EXPECTED = {"path": [row[0] for row in ROWS[1:]], "label": [row[1] for row in ROWS[1:]]}


def joined(separator: str, *, end: str = "", newline: str = "\r\n") -> str:
    return "".join(separator.join(row) + end + newline for row in ROWS)


def columns_of(folder: Path, content: str | bytes, *, name: str = "t.csv") -> dict[str, list[str]]:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return read_table(folder / name).columns


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_are_found(tmp_path: Path, separator: str, newline: str) -> None:
    assert columns_of(tmp_path, joined(separator, newline=newline)) == EXPECTED
    assert columns_of(tmp_path, joined(separator, newline=newline), name="t.txt") == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("declared", ["", "sep=;\r\n", '"sep=;"\r\n', "SEP=;\r\n"])
def test_encodings_and_a_declared_separator_are_read(
    tmp_path: Path, encoding: str, declared: str
) -> None:
    text = declared + joined(";").replace("benign", "bénin")
    expected = {
        name: [cell.replace("benign", "bénin") for cell in cells]
        for name, cells in EXPECTED.items()
    }
    assert columns_of(tmp_path, text.encode(encoding)) == expected


def test_a_declared_separator_comes_before_what_looks_like_one(tmp_path: Path) -> None:
    text = "sep=|\npath|a;b;c\n1.png|x;y;z\n"
    assert columns_of(tmp_path, text) == {"path": ["1.png"], "a;b;c": ["x;y;z"]}
    assert read_table(tmp_path / "t.csv").lines == [3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path;dose (a,b,c)\n1.png;5,5\n", {"path": ["1.png"], "dose (a,b,c)": ["5,5"]}),
        ("path,findings\n1.png,a|b|c\n", {"path": ["1.png"], "findings": ["a|b|c"]}),
        ('path,"a;b;c"\n1.png,x\n', {"path": ["1.png"], "a;b;c": ["x"]}),
        ("path\n1;2.png\n", {"path": ["1;2.png"]}),
    ],
)
def test_the_separator_is_what_fits_the_header_and_the_first_row(
    tmp_path: Path, text: str, expected: dict[str, list[str]]
) -> None:
    assert columns_of(tmp_path, text) == expected


def test_blank_cells_columns_and_rows_at_the_edges_are_dropped(tmp_path: Path) -> None:
    assert columns_of(tmp_path, joined(",", end=",,")) == EXPECTED
    rows_alone = joined(",", end=",").replace("label,", "label")
    assert columns_of(tmp_path, rows_alone) == EXPECTED
    assert columns_of(tmp_path, joined(",") + ",\r\n , \r\n\r\n") == EXPECTED
    assert "2 blank rows left out" in read_table(tmp_path / "t.csv").notes
    assert columns_of(tmp_path, "\r\n,\r\n" + joined(",")) == EXPECTED
    numbered = "".join(
        f"{'' if n == 0 else n},{','.join(row)}\n" for n, row in enumerate(ROWS)
    )  # as pandas writes its index
    assert columns_of(tmp_path, numbered) == EXPECTED
    assert "1 column without a name left out" in read_table(tmp_path / "t.csv").notes


def test_blanks_before_a_quote_belong_to_no_cell(tmp_path: Path) -> None:
    text = 'path, label\n1.png, "a, b"\n2.png,  "c ""d"""\n'
    expected = {"path": ["1.png", "2.png"], "label": ["a, b", 'c "d"']}
    assert columns_of(tmp_path, text) == expected


def test_names_of_columns_are_cleaned_of_what_is_not_seen(tmp_path: Path) -> None:
    text = "\u200bpath, a\u0301ge \n1.png,5\n"
    assert list(columns_of(tmp_path, text)) == ["path", "áge"]


def test_each_row_has_the_line_in_which_an_editor_shows_it(tmp_path: Path) -> None:
    rng = random.Random(7)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(["path", "text"])
    expected = []
    for n in range(200):
        buffer.write(rng.choice(["", "", "\r\n", "\r\n\r\n", ",\r\n"]))
        expected.append(buffer.getvalue().count("\n") + 1)
        writer.writerow([f"{n}.png", "a\r\n" * rng.randrange(3) + "b"])
    (tmp_path / "t.csv").write_text(buffer.getvalue(), encoding="utf-8", newline="")
    assert list(read_table(tmp_path / "t.csv").lines) == expected


def test_a_cell_that_a_row_lacks_is_marked(tmp_path: Path) -> None:
    assert columns_of(tmp_path, "path,label,x\n1,a\n2,b,c\n")["x"] == [ABSENT, "c"]


def test_numbers_of_a_parquet_file_read_as_in_a_csv_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["1", "2", "3"], "diagnosis": [1.0, 0.0, 1.0]})
    frame = frame.assign(patient=[12.0, None, float("nan")], part=[True, False, True])
    path = tmp_path / "t.parquet"
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    column = pyarrow.array([12.0, None, float("nan")], from_pandas=False)
    parquet.write_table(table.set_column(2, "patient", column), path)
    columns = read_table(path).columns
    assert columns["diagnosis"] == ["1", "0", "1"] and columns["part"] == ["True", "False", "True"]
    assert columns["patient"] == ["12", "", ""]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not a table of text"),
        (b"\x93NUMPY\x01\0v\0{'descr': '<f8'}\n", "is not a table of text"),
        (b"\x7fELF\x02\x01\x01", "is not a table of text"),
        ("path,label\n".encode("utf-16-le"), "has no rows"),
        (b"path,label\n", "has no rows"),
        (b"path,label\n\n,\n", "has no rows"),
        (b"sep=;\n", "has no rows"),
        (b"path,label\na,b,c\n", "row 2, has 3 cells where the header has 2"),
        (b"path,label\n\na,b\na,b,,d\n", "row 4, has 4 cells"),
        (b"path,path\na,b\n", "two columns named path"),
        (b"path,label\n\xff,b\n", "not UTF-8.*CSV UTF-8"),
        ("path,label\na,b\n".encode("utf-16")[:-1], "not UTF-8"),
        (b'path,label\nx,y\n"a,b\n', "row that begins in line 3 has a quote"),
        (b'path,label\nx,"y" z\n', "row that begins in line 2 has a quote"),
        (b"PK\x03\x04 a workbook by another name", "is a workbook.*export"),
        (b"\xd0\xcf\x11\xe0 an old one", "is a workbook.*export"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        columns_of(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_workbooks_other_files_and_missing_ones_are_refused(tmp_path: Path) -> None:
    for name in ("t.xlsx", "t.XLS", "t.ods"):
        (tmp_path / name).write_bytes(b"?")
        with pytest.raises(DataError, match="is a workbook.*export its sheet as CSV"):
            read_table(tmp_path / name)
    with pytest.raises(DataError, match="ends in .csv, .tsv or .parquet"):
        read_table(tmp_path / "t.json")
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(DataError, match="not a readable Parquet"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "text", ["path,label\na.png,{0}\n", "path,{0}\na.png,b\n", 'path,l\n"{0}\n']
)
def test_a_cell_that_is_too_long_is_called_long(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"begins in line [12] has a cell of more than 131,072"):
        columns_of(tmp_path, text.format("x" * 131_073))


def test_two_columns_of_one_name_are_refused_in_parquet_as_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pyarrow.table([["a.png"], ["x"], ["y"]], names=["path", "label", "label"])
    parquet.write_table(table, path)
    with pytest.raises(DataError, match="has two columns named label: rename one"):
        read_table(path)


def test_columns_that_are_no_texts_are_refused_where_they_are_used_alone(tmp_path: Path) -> None:
    late = pyarrow.array([10**17], pyarrow.int64()).cast(pyarrow.timestamp("ms"))
    odd = {
        "late": late,
        "zone": pyarrow.array([0]).cast(pyarrow.timestamp("s", tz="Mars/Phobos")),
        "record": pyarrow.array([{"a": 1}]),
        "records": pyarrow.array([[{"a": 1}]]),
        "lists": pyarrow.array([[["a"]]]),
        "map": pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "bytes": pyarrow.array([b"\xff\xfe"]),
    }
    plain = {"path": ["a.png"], "list": [["a", "b"]], "utf8": pyarrow.array([b"b\xc3\xa9"])}
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table(plain | odd), path)
    table = read_table(path)
    assert set(table.unread) == set(odd)
    assert [table.columns[name] for name in plain] == [["a.png"], ["['a', 'b']"], ["b\xe9"]]
    for name in odd:
        settings = TableSettings(path_column="path", labels=LabelRule(columns=(name,)))
        with pytest.raises(DataError, match=f"the column {name} cannot be read as text: it is of"):
            list_table(path, root=tmp_path, settings=settings)


def test_a_parquet_file_with_bytes_changed_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    draw = random.Random(5)
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({name: cells * 20 for name, cells in EXPECTED.items()}), path)
    data = path.read_bytes()
    num_refused = 0
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            read_table(path)
        except DataError as error:
            num_refused += 1
            assert str(path) in str(error) and "Arrow" not in str(error)
    assert num_refused > 10
