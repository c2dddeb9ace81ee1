"""Names of a run hide nothing in its report and documents."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.test_untrusted_names import ATTACKS, assert_plain
from tests.utils.test_visible import hides

from medimg_baseline_cls.reporting.page.report_page import write_report
from medimg_baseline_cls.utils.files import read_csv, write_csv, write_json


def rename(value: Any, old: str, *, new: str) -> Any:
    """Return plain values with one text replaced by another, wherever it is the whole text."""
    if isinstance(value, dict):
        return {rename(k, old, new=new): rename(v, old, new=new) for k, v in value.items()}
    if isinstance(value, list):
        return [rename(item, old, new=new) for item in value]
    return new if value == old else value


@pytest.mark.parametrize("name", ATTACKS)
def test_report_and_documents_show_a_name_once_escaped(
    make_run: Callable[..., Any], name: str
) -> None:
    run = make_run(("NORMAL", "ODD-CLASS"), stem="s")
    for path in [*run.folder.glob("*.json"), *run.folder.glob("patients/*.json")]:
        content = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, rename(content, "ODD-CLASS", new=name) | {"project": name})
    for path in run.folder.glob("*.csv"):
        rows = read_csv(path)
        cells = [[cell.replace("ODD-CLASS", name) for cell in row.values()] for row in rows]
        write_csv(path, [column.replace("ODD-CLASS", name) for column in rows[0]], rows=cells)
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert_plain(page)
    shown = {letter for letter in name if hides(letter)}
    assert shown == set() or "\\" in page
    assert "a\nwarning" not in page
    for path in [*run.folder.glob("*.md"), *run.folder.glob("tables/*")]:
        assert_plain(path.read_text(encoding="utf-8"))
