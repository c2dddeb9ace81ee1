r"""LaTeX tables from plain text: every cell escaped, booktabs rules, caption and label.

A table needs `\usepackage{booktabs}` and, for accented letters, `\usepackage[T1]{fontenc}`.
Names in Latin letters compile with any engine; others (Greek, Chinese) need XeLaTeX or
LuaLaTeX, and a comment on top says so. Control characters are shown.
"""

import itertools
import unicodedata
from collections.abc import Sequence

from medimg_baseline_cls.utils.visible import show_hidden

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
# \textwidth of the article class and the space between columns, in pt; sizes of letters with
# the widths of Computer Modern relative to 10 pt.
_TEXT_WIDTH, _GAP = 345.0, 12.0
_SIZES = (("", 1.0), (r"\small", 0.925), (r"\footnotesize", 0.85), (r"\scriptsize", 0.8))
_LETTERS = (
    dict.fromkeys("mwMW%−<>@×≥≤", 8.4)
    | dict.fromkeys("iljI.,:; '|", 3.4)
    | dict.fromkeys("tf()", 4.0)
)
_LAST_LATIN = "\u017f"


def escape_latex(text: str) -> str:
    r"""Return a text that LaTeX prints as it is, on one line.

    >>> escape_latex("50%_of {A} & B"), escape_latex("a\nb"), escape_latex("−0.1")
    ('50\\%\\_of \\{A\\} \\& B', 'a b', '\\ensuremath{-}0.1')
    """
    shown = show_hidden(" ".join(text.split()))
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
    r"""Return a whole table environment that fits on a page of the article class.

    Args:
        header: plain text, one for each column.
        rows: plain text; as many cells as the header has. An empty first cell continues
            the group above; the first cells become lines of their own then.
        caption: plain text above the table.
        label: of letters, digits and hyphens, for `\ref`.
        notes: plain sentences below the table.
        wraps_last: whether the last column contains sentences rather than words.
    """
    is_grouped = any(not row[0] for row in rows)
    shown = [row[1:] if is_grouped else row for row in (header, *rows)]
    size, is_stacked = _choose_form(shown, wraps_last=wraps_last)
    last = r"p{0.5\linewidth}" if wraps_last else "l"
    columns = f"@{{}}{'l' * (len(shown[0]) - 1)}{last}@{{}}"
    lines = [
        r"% Needs \usepackage{booktabs} and \usepackage[T1]{fontenc}. Made by medimg report.",
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        *filter(None, [size]),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(shown[0]),
        r"\midrule",
    ]
    for number, row in enumerate(rows):
        if is_grouped and row[0]:
            lines += [r"\addlinespace"] * bool(number)
            name = rf"\textit{{{escape_latex(row[0])}}}"
            lines.append(rf"\multicolumn{{{len(shown[0])}}}{{@{{}}l@{{}}}}{{{name}}} \\")
        lines.append(_line(shown[number + 1], is_stacked=is_stacked))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip{{\footnotesize {escape_latex(' '.join(notes))}\par}}"] * bool(notes)
    text = "\n".join([*lines, r"\end{table}", ""])
    return _warn_of_letters(text)


def estimate_width(rows: Sequence[Sequence[str]], *, is_stacked: bool = False) -> float:
    """Return about how wide a table is in pt, at 10 pt Computer Modern; rather more than less.

    Args:
        rows: plain cells, the header among them.
        is_stacked: whether what is in brackets is on a second line of its cell.
    """
    parts = [[_stack(cell) if is_stacked else [cell] for cell in row] for row in rows]
    widths = [
        max(_measure(p) for cell in column for p in cell) for column in zip(*parts, strict=True)
    ]
    return sum(widths) + _GAP * (len(widths) - 1)


def _choose_form(rows: Sequence[Sequence[str]], *, wraps_last: bool) -> tuple[str, bool]:
    """Return the largest size at which a table fits, and whether its cells are stacked."""
    room = _TEXT_WIDTH
    if wraps_last:
        rows, room = [row[:-1] for row in rows], room * 0.5 - _GAP
    gaps = _GAP * (len(rows[0]) - 1)
    for is_stacked, sizes in ((False, _SIZES[:3]), (True, _SIZES[1:])):
        width = estimate_width(rows, is_stacked=is_stacked) - gaps
        for size, scale in sizes:
            if scale * width + gaps <= room:
                return size, is_stacked
    return _SIZES[-1][0], True


def _measure(text: str) -> float:
    return sum(_LETTERS.get(letter, 7.4 if letter.isupper() else 5.3) for letter in text)


def _stack(cell: str) -> list[str]:
    lead, bracket, rest = cell.partition(" (")
    return [lead, f"({rest}"] if bracket else [cell]


def _escape_letter(letter: str, following: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if unicodedata.category(letter).startswith("C"):
        return "?"
    # Two of them in a row are drawn as one other mark.
    return letter + "{}" if letter in "-," and letter == following else letter


def _line(cells: Sequence[str], *, is_stacked: bool = False) -> str:
    parts = [[escape_latex(p) for p in (_stack(c) if is_stacked else [c])] for c in cells]
    shown = [p[0] if len(p) == 1 else rf"\shortstack[l]{{{p[0]}\\{p[1]}}}" for p in parts]
    return " & ".join(shown) + r" \\"


def _warn_of_letters(text: str) -> str:
    if all(letter <= _LAST_LATIN for letter in text):
        return text
    return "% Has letters outside Latin: needs XeLaTeX or LuaLaTeX and a font with them.\n" + text
