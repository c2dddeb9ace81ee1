r"""LaTeX tables from plain text: every cell escaped, booktabs rules, caption and label.

A table needs `\usepackage{booktabs}` and, for accented letters, `\usepackage[T1]{fontenc}`.
Names in Latin letters compile with any engine; others (Greek, Chinese) need XeLaTeX or
LuaLaTeX, and a comment on top says so. Control characters become question marks.
"""

import itertools
import unicodedata
from collections.abc import Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    # A bracket behind a line break would be taken as its option.
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "…": r"\ldots{}",
}
_LAST_LATIN = "\u017f"


def escape_latex(text: str) -> str:
    r"""Return a text that LaTeX prints as it is, on one line.

    >>> escape_latex("50%_of {A} & B"), escape_latex("a\nb"), escape_latex("−0.1")
    ('50\\%\\_of \\{A\\} \\& B', 'a b', '\\ensuremath{-}0.1')
    """
    shown = " ".join(text.split())
    pairs = itertools.pairwise(shown + " ")
    return "".join(_escape_letter(letter, following) for letter, following in pairs)


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    label: str,
    notes: Sequence[str] = (),
    wraps_last: bool = False,
) -> str:
    r"""Return a whole table environment; groups of rows are set apart.

    Args:
        header: plain text, one for each column.
        rows: plain text; as many cells as the header has. An empty first cell goes on with
            the group above.
        caption: plain text above the table.
        label: of letters, digits and hyphens, for `\ref`.
        notes: plain sentences below the table.
        wraps_last: whether the last column holds sentences rather than words.
    """
    last = r"p{0.45\linewidth}" if wraps_last else "l"
    columns = "l" * (len(header) - 1) + last
    has_groups = any(not row[0] for row in rows)
    lines = [
        r"% Needs \usepackage{booktabs} and \usepackage[T1]{fontenc}. Made by medimg report.",
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(header),
        r"\midrule",
    ]
    for number, row in enumerate(rows):
        if number and has_groups and row[0]:
            lines.append(r"\addlinespace")
        lines.append(_line(row))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip{{\footnotesize {escape_latex(' '.join(notes))}\par}}"] * bool(notes)
    text = "\n".join([*lines, r"\end{table}", ""])
    return _warn_of_letters(text)


def _escape_letter(letter: str, following: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if unicodedata.category(letter).startswith("C"):
        return "?"
    # Two of them in a row are drawn as one other mark.
    return letter + "{}" if letter in "-," and letter == following else letter


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


def _warn_of_letters(text: str) -> str:
    if all(letter <= _LAST_LATIN for letter in text):
        return text
    return "% Holds letters outside Latin: compile with XeLaTeX or LuaLaTeX and a font.\n" + text
