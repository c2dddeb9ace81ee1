"""No cell starts a formula, and every cell reads back as it was."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_baseline_cls.utils.files import write_csv
from medimg_baseline_cls.utils.spreadsheet_cells import guard_cell, read_guarded_csv, unguard_cell

STARTS = "=+-@\t\r\n＝＋－＠"


@given(st.text(alphabet=st.sampled_from(STARTS + "' ab1"), max_size=8))
def test_a_cell_reads_back_as_it_was_and_starts_no_formula(text: str) -> None:
    cell = guard_cell(text)
    assert isinstance(cell, str)
    assert unguard_cell(cell) == text
    assert not cell.lstrip(" ").startswith(tuple(STARTS))


@pytest.mark.parametrize("number", [-0.5, 3, None, True])
def test_what_is_no_text_stays(number: object) -> None:
    assert guard_cell(number) is number


def test_a_table_of_hostile_names_reads_back(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0", "+1", "-x.png", "@SUM(A1)", "'quoted'", "\tx", " =1", "a"]
    path = tmp_path / "a.csv"
    write_csv(path, ["image_id", "value"], rows=[(guard_cell(n), -1.5) for n in names])
    rows = read_guarded_csv(path)
    assert [row["image_id"] for row in rows] == names
    assert {row["value"] for row in rows} == {"-1.5"}
