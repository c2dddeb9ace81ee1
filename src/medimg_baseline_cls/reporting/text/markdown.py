"""Markdown from plain text: no name can make a link, a tag, a heading or a new cell."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from medimg_baseline_cls.utils.visible import show_hidden

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_TAGS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LINKS = re.compile(r"(?i)\b(https?|ftp|file|javascript|data|vbscript|www)([:.])")


def escape_markdown(text: str) -> str:
    r"""Return a text that Markdown shows as it is, on one line; control characters are shown.

    Signs that do nothing where they are stay: round brackets, "+" within a line.

    >>> escape_markdown("<b>a_b|c"), escape_markdown("[x](javascript:y)")
    ('&lt;b&gt;a\\_b\\|c', '\\[x\\](javascript&#58;y)')
    """
    shown = "".join(
        "\ufffd" if unicodedata.category(letter).startswith("C") else letter
        for letter in show_hidden(" ".join(text.split()))
    )
    escaped = _MARKS.sub(r"\\\1", shown.translate(_TAGS))
    escaped = re.sub(r"\\([()+!])", r"\1", escaped)
    # No bare address becomes a link of its own.
    escaped = _LINKS.sub(lambda m: m[1] + {":": "&#58;", ".": "&#46;"}[m[2]], escaped)
    return re.sub(r"^(\d+)([.)])(?= |$)", r"\1\\\2", re.sub(r"^([-+=])", r"\\\1", escaped))


def format_markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table of plain texts."""
    yield _line(header)
    yield "|" + " --- |" * len(header)
    yield from map(_line, rows)


def format_markdown_list(texts: Sequence[str]) -> Iterator[str]:
    """Yield a line for each plain text."""
    for text in texts:
        yield f"- {escape_markdown(text)}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escape_markdown, cells)) + " |"
