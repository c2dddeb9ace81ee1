"""What shows replaced results says so, until it is written again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.reporting.outdated import is_current, list_outdated, mark_outdated
from medimg_baseline_cls.reporting.page.report_page import write_report

NOTE = "Out of date: the results of this run were replaced"


def test_everything_that_report_wrote_says_that_it_is_out_of_date(
    make_run: Callable[..., Any],
) -> None:
    run: Path = make_run().folder
    page = write_report(run)
    documents = [page, run / "model_card.md", run / "checklist.md"]
    before = [path.read_text(encoding="utf-8") for path in documents]
    tables = {path: path.read_bytes() for path in (run / "tables").iterdir()}
    assert is_current(run)
    for _ in range(2):  # an evaluation that was killed, and the next one
        mark_outdated(run)
        assert not is_current(run)
        names = ("report.html", "model_card.md", "checklist.md", "tables/")
        assert list_outdated(run) == names
        for path, text in zip(documents, before, strict=True):
            marked = path.read_text(encoding="utf-8")
            assert marked.count(NOTE) == 1
            assert [line for line in marked.splitlines() if NOTE not in line if line] == [
                line for line in text.splitlines() if line
            ]
    assert before[0].index("<header>") - before[0].index("<body>") < 10
    marked = page.read_text(encoding="utf-8")
    assert marked.index("<body>") < marked.index(NOTE) < marked.index("<header>")
    assert NOTE in (run / "tables" / "OUT_OF_DATE.txt").read_text()
    assert {path: path.read_bytes() for path in tables} == tables

    write_report(run)
    assert is_current(run)
    assert [path.read_text(encoding="utf-8") for path in documents] == before
    assert set((run / "tables").iterdir()) == set(tables)


@pytest.mark.parametrize("text", ["", "somebody's page", "<html><body class=x>old</body>"])
def test_a_page_that_was_edited_is_marked_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.html").write_text(text)
    mark_outdated(tmp_path)
    assert NOTE in (tmp_path / "report.html").read_text() and not is_current(tmp_path)


def test_where_there_is_no_report_nothing_is_written(tmp_path: Path) -> None:
    mark_outdated(tmp_path)
    assert list_outdated(tmp_path) == ()
    assert not is_current(tmp_path) and list(tmp_path.iterdir()) == []
