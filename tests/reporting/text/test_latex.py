"""LaTeX that compiles whatever a class is called; checked by a small reader, and by pdflatex."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medimg_baseline_cls.reporting.text.latex import escape_latex, estimate_width, format_table

HOSTILE = (
    *("50%", "a_b", "a & b", "#1", "$x$", "{", "}", "a\\b", "~", "^", "<b>", "a|b", "`ls`"),
    *('say "x"', "it's", "[0.5]", "--", "---", ",,", "a\nb", "a\tb", "\x07bell", "\u202eodd"),
    *(r"\input{/etc/passwd}", r"\end{tabular}", r"\\", "é ß ø Å ł", "0.5–0.7 ≥ −1 × 2…", "="),
)


def strip_escapes(text: str) -> str:
    """Return the text without escaped specials, so that what is left is LaTeX's own."""
    return re.sub(r"\\[%&_#${}]", "", text)


def read_rows(table: str) -> list[list[str]]:
    """Return the cells of each line of the tabular, header first."""
    body = re.search(r"\\toprule\n(.*)\\bottomrule", table, re.DOTALL)
    assert body is not None
    lines = [line for line in body[1].splitlines() if line.endswith(r"\\")]
    lines = [line for line in lines if not line.startswith(r"\multicolumn")]
    return [strip_escapes(line).removesuffix(r"\\").split("&") for line in lines]


def assert_balanced(text: str) -> None:
    depth = 0
    for letter in re.sub(r"^%.*$", "", strip_escapes(text), flags=re.MULTILINE):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)


def compile_table(tables: list[str], folder: Path) -> str:
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}\begin{document}"
    source = "\n".join([head, *tables, r"\end{document}"])
    (folder / "paper.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    log = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, log[-2000:]
    return log


def hostile_table() -> str:
    rows = [(text, text, f"{text} {text}") for text in HOSTILE]
    return format_table(("A_B", "C", "D"), rows, caption="50% of a_b", label="hostile", notes=["#"])


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_is_one_line_and_balanced(text: str) -> None:
    escaped = escape_latex(text)
    assert "\n" not in escaped
    assert_balanced(escaped)
    left = strip_escapes(escaped)
    assert not set("%&#$_^~") & set(left)
    known = r"textbackslash|textasciicircum|textasciitilde|text(less|greater|bar)|ldots|char34"
    known += r"|ensuremath|textquotesingle|textasciigrave|geq|leq|times"
    assert not re.sub(rf"\\({known})", "", left).count("\\")


def test_rows_have_as_many_cells_as_the_header() -> None:
    rows = read_rows(hostile_table())
    assert len(rows) == len(HOSTILE) + 1
    assert {len(row) for row in rows} == {3}
    assert_balanced(hostile_table())


def test_groups_are_set_apart_and_plain_rows_are_not() -> None:
    grouped = format_table(("", "A"), [("x", "1"), ("", "2"), ("y", "3")], caption="", label="a")
    assert grouped.count(r"\addlinespace") == 1
    plain = format_table(("", "A"), [("x", "1"), ("y", "3")], caption="", label="a")
    assert r"\addlinespace" not in plain


def test_groups_have_their_own_line() -> None:
    table = format_table(("G", "A"), [("x", "1"), ("", "2")], caption="", label="a")
    assert table.count(r"{\textit{x}}") == 1
    assert [cells[0].strip() for cells in read_rows(table)] == ["A", "1", "2"]


def test_estimated_width_is_no_less_than_that_of_computer_modern() -> None:
    # cmr10.tfm: digits 5.00, % 8.33, brackets 3.89, / 5.00, space 3.33, comma 2.78 pt.
    true = 6 * 5.0 + 8.33 + 2 * 3.89 + 3.33
    assert true <= estimate_width([("93% (12/3)",)])
    assert estimate_width([("a", "b")]) == estimate_width([("a",)]) + estimate_width([("b",)]) + 12


def test_wide_table_gets_smaller_letters_then_two_lines_in_a_cell() -> None:
    def table(cell: str) -> str:
        return format_table(("A", "B"), [(cell, cell)], caption="", label="a")

    assert r"\small" not in table("1").replace(r"\smallskip", "")
    assert "shortstack" not in table("2" * 34)
    assert r"\footnotesize" in table("2" * 36)
    wide = table("2" * 20 + " (" + "2" * 20 + ")")
    assert r"\shortstack[l]{22" in wide
    assert_balanced(wide)


def test_letters_outside_latin_are_announced() -> None:
    plain = format_table(("é",), [("ß",)], caption="ø", label="a")
    assert "XeLaTeX" not in plain
    assert format_table(("肺",), [("ß",)], caption="", label="a").startswith("% Has letters")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex is installed")
def test_hostile_table_compiles(tmp_path: Path) -> None:
    compile_table([hostile_table()], tmp_path)
    assert (tmp_path / "paper.pdf").is_file()
