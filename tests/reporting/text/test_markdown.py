"""Plain text stays plain in Markdown: no tag, no link, no new cell or line."""

import html
import re

import pytest
from tests.reporting.page.test_report_page import HOSTILE

from medimg_baseline_cls.reporting.text.markdown import (
    escape_markdown,
    format_markdown_list,
    format_markdown_table,
)

MARKDOWN = (
    *("[x](javascript:alert(1))", "![x](https://x.example/a.png)", "<https://x.example>"),
    *("https://x.example", "www.x.example", "a|b", "a\n# b", "`code`", "**bold**", "~~x~~"),
    *("- item", "1. item", "# title", "> quote", "***", "\\|", "a\r\nb", "[^1]", "$x$"),
)


def unescape(text: str) -> str:
    return html.unescape(re.sub(r"\\([\\`*_{}\[\]#|~$=+.)-])", r"\1", text))


@pytest.mark.parametrize("text", (*HOSTILE, *MARKDOWN))
def test_hostile_text_makes_no_tag_link_or_cell(text: str) -> None:
    escaped = escape_markdown(text)
    assert "\n" not in escaped
    assert not set("<>") & set(escaped)
    bare = re.sub(r"\\.", "", escaped)
    assert not set("|`*[]_~#$") & set(bare.replace("&#58;", "").replace("&#46;", ""))
    assert not re.search(r"(?i)(https?|javascript|data):|www\.", escaped)
    assert not re.match(r"[-+=>]|\d+[.)] ", escaped)
    shown = " ".join(text.split()).replace("\u202e", r"\u202e").replace("\x00", r"\x00")
    assert unescape(escaped) == shown


def test_table_has_a_line_for_each_row() -> None:
    lines = list(format_markdown_table(("A", "B"), [("x|y", "1"), ("z\nz", "2")]))
    assert lines == ["| A | B |", "| --- | --- |", r"| x\|y | 1 |", "| z z | 2 |"]
    assert list(format_markdown_list(["a", "# b"])) == ["- a", r"- \# b"]
