"""What a text means beyond its bytes: characters that are not seen, missing values, numbers.

One list of the words for a missing value, used wherever a table is read.
"""

import math
import re
import unicodedata
from collections.abc import Sequence

from medimg_baseline_cls.errors import ConfigError

# Exact, because "none" and "NONE" are words that people write for a class without a finding.
_MISSING = frozenset({"", "None", "NaT", "-", "--", "\u2013", "\u2014", "."})
_MISSING_IN_ANY_CASE = frozenset({"na", "n/a", "#na", "#n/a", "<na>", "nan", "-nan", "null"})
_UNSEEN = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]"
)
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234 may be 1234 as well as 1.234


def clean_text(text: str) -> str:
    r"""Return a text as it is seen: single blanks, no unseen characters, accents composed.

    >>> clean_text(" be\u0301nin\u200b  (a) ")
    'bénin (a)'
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    spaced = " ".join(text.split())
    seen = (c for c in spaced if unicodedata.category(c) not in ("Cf", "Cc"))
    return unicodedata.normalize("NFC", _UNSEEN.sub("", "".join(seen))).strip()


def is_missing(text: str) -> bool:
    """Return whether a clean text is one of the words for a missing value.

    >>> [is_missing(text) for text in ("", "n/a", "None", "none", "Nancy")]
    [True, True, True, False, False]
    """
    return text in _MISSING or text.casefold() in _MISSING_IN_ANY_CASE


def read_number(text: str) -> float | None:
    """Return a finite number, with a decimal point or comma; None for any other text.

    >>> [read_number(text) for text in ("1.5", "1,5", "1,500", "five")]
    [1.5, 1.5, None, None]
    """
    if _COMMA_NUMBER.fullmatch(text) and not _THOUSANDS.fullmatch(text):
        text = text.replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_bins(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return the borders of each column, from texts such as "age=40/65".

    Raises:
        ConfigError: A text is not of this form, its borders do not rise, or a column comes twice.

    >>> read_bins(["age=40/65"])
    {'age': (40.0, 65.0)}
    """
    bins: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, _, listed = (part.strip() for part in text.partition("="))
        edges = [read_number(cell.strip()) for cell in listed.split("/")]
        rising = tuple(edge for edge in edges if edge is not None)
        if not name or len(rising) < len(edges) or list(rising) != sorted(set(rising)):
            raise ConfigError(
                f"subgroup_bins = {text}: expected COLUMN=NUMBER/NUMBER with rising numbers, "
                "for example age=40/65."
            )
        if name in bins:
            raise ConfigError(f"subgroup_bins names {name} twice: leave one of them out.")
        bins[name] = rising
    return bins
