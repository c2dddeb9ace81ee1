import csv
import hashlib
import io
import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils.files import (
    format_csv_row,
    open_atomic,
    read_csv,
    read_json,
    sha256_file,
    write_bytes_atomic,
    write_csv,
    write_json,
    write_text_atomic,
)

# Surrogates: how Python shows the bytes of a file name that is not UTF-8.
names = st.text(
    st.one_of(
        st.characters(codec="utf-8"), st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
    ),
    max_size=12,
)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(names, finite, st.integers()), max_size=6))
def test_csv_reads_back_to_the_same_texts_and_float64(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, int]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, ["name", "score", "count"], rows=rows)
    read = [(row["name"], float(row["score"]), int(row["count"])) for row in read_csv(path)]
    assert read == rows
    assert [math.copysign(1, r[1]) for r in read] == [math.copysign(1, r[1]) for r in rows]


@given(st.lists(names, min_size=1, max_size=4))
def test_csv_lines_are_what_the_csv_module_reads(cells: list[str]) -> None:
    lines = io.StringIO(format_csv_row(cells), newline="")
    assert list(csv.reader(lines, strict=True)) == [cells]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), repr(float(np.float32(0.1)))),
        (np.int64(3), "3"),
        (None, ""),
        (True, "True"),
        ("a;b", "a;b"),
    ],
)
def test_csv_cell_is_written_without_type_names(cell: object, text: str) -> None:
    assert format_csv_row(["x", cell]) == f"x,{text}\n"


def test_csv_ends_lines_with_a_line_feed_alone(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a"], rows=[["1"], [""]])
    assert (tmp_path / "t.csv").read_bytes() == b'a\n1\n""\n'
    assert read_csv(tmp_path / "t.csv") == [{"a": "1"}, {"a": ""}]


def test_csv_refuses_a_row_that_does_not_fit_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_csv(path, ["a", "b"], rows=[[1, 2]])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="1 cells, not 2"):
        write_csv(path, ["a", "b"], rows=[[1, 2], [3]])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "a,b\n1\n", 'a\n"open', "a\n1,2\n"])
def test_csv_that_was_cut_or_edited_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(RunError, match=r"t\.csv"):
        read_csv(path)


def test_json_keeps_order_and_turns_numpy_and_paths_plain(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    content = {"b": np.float64(0.1), "a": np.arange(2), "n": np.bool_(True), "p": Path("x/y")}
    write_json(path, content)
    assert list(read_json(path)) == ["b", "a", "n", "p"]
    assert read_json(path) == {"b": 0.1, "a": [0, 1], "n": True, "p": "x/y"}
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float64("nan"), np.array([np.inf])])
def test_json_refuses_what_is_no_number_and_keeps_the_old_file(
    tmp_path: Path, value: object
) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": value})
    assert read_json(path) == {"a": 1}


def test_json_refuses_objects_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set has no form"):
        write_json(tmp_path / "x.json", {"a": {1}})


@pytest.mark.parametrize("data", [b'{"a": ', b"\xff\xfe", b"", b"{'a': 1}"])
def test_garbled_json_is_a_run_error_that_names_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"x\.json"):
        read_json(path)


@pytest.mark.parametrize("read", [read_json, read_csv, sha256_file])
def test_missing_file_is_a_run_error_that_says_so(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(RunError, match=r"gone\.json is missing"):
        read(tmp_path / "gone.json")


def test_writer_that_dies_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    write_bytes_atomic(path, b"old")
    with pytest.raises(KeyboardInterrupt), open_atomic(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_bytes_atomic(path, b"old")
    with open_atomic(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_file_that_cannot_reach_the_disk_never_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError("no space left on device")

    path = tmp_path / "last.pt"
    write_bytes_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_bytes_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_written_file_has_the_users_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text_atomic(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_longest_possible_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    write_bytes_atomic(path, b"x")
    assert path.read_bytes() == b"x"


def test_text_keeps_its_line_ends(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "t", "a\r\nb\n")
    assert (tmp_path / "t").read_bytes() == b"a\r\nb\n"


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_json_is_readable_by_any_reader(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"name": "Lungenentzündung"})
    assert json.loads((tmp_path / "x.json").read_bytes()) == {"name": "Lungenentzündung"}


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_private_file_is_never_open_to_others(tmp_path: Path) -> None:
    path, before = tmp_path / "who.csv", os.umask(0)
    try:
        write_csv(path, ("a",), rows=[(1,)])
        assert stat.S_IMODE(path.stat().st_mode) == 0o666  # replaced below
        with open_atomic(path, is_private=True) as file:
            file.write(b"a\n")
            (temporary,) = tmp_path.glob(".who.csv.*.tmp")
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        write_csv(path, ("a",), rows=[(2,)], is_private=True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "text",
    [
        *("null", "[]", "3", '"x"', "", "{", "[" * 100_000, '{"a":' * 100_000),
        *('{"n": ' + "9" * 5000 + "}", "\ufeff{}"),
    ],
)
def test_json_that_is_no_object_or_was_garbled_is_refused_in_one_sentence(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"config\.json (is not valid|does not contain)") as caught:
        read_json(path)
    assert len(str(caught.value)) < len(str(path)) + 200
    assert "restore it" in str(caught.value)


def test_json_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match=r"x\.json is not valid JSON \(it is not text in UTF-8"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("text", ["", "\n", "\r\n\r\n"])
def test_an_empty_csv_is_said_to_be_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(RunError, match="is empty or has no header: restore it, or run the stage"):
        read_csv(tmp_path / "history.csv")
