"""external_log.csv: a line for each evaluation on another data set, in order."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.external_log import (
    EXTERNAL_LOG,
    ExternalEntry,
    append_external,
    count_entries,
)
from medimg_baseline_cls.utils.files import read_csv

ENTRY = ExternalEntry(
    number=1,
    when="2026-01-01T00:00:00+00:00",
    code="abc",
    version="0.1",
    run="chest_20260101-000000",
    name="site-b",
    checkpoint_sha256="a" * 64,
    thresholds_sha256="b" * 64,
    split_sha256="c" * 64,
    class_order="NORMAL | PNEUMONIA",
    predictions_sha256="d" * 64,
    num_images=40,
    num_left_out=2,
    maps="No Finding=NORMAL",
)


def test_lines_are_added_below_one_header(tmp_path: Path):
    assert count_entries(tmp_path) == 0
    append_external(tmp_path, ENTRY)
    append_external(tmp_path, replace(ENTRY, number=2, name='site, "c"'))
    rows = read_csv(tmp_path / EXTERNAL_LOG)
    assert [row["number"] for row in rows] == ["1", "2"]
    assert rows[1]["name"] == 'site, "c"'
    assert list(rows[0]) == [field.name for field in fields(ExternalEntry)]
    assert count_entries(tmp_path) == 2


def test_a_log_that_was_cut_off_is_refused(tmp_path: Path):
    for number in (1, 2):
        append_external(tmp_path, replace(ENTRY, number=number))
    path = tmp_path / EXTERNAL_LOG
    header, _, second = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(header + second, encoding="utf-8")
    with pytest.raises(RunError, match="must list the evaluations 1, 2, 3"):
        count_entries(tmp_path)
