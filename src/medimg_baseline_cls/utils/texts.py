"""What a text means beyond its bytes: characters that are not seen, missing values, numbers.

One list of the words for a missing value, used wherever a table is read.
"""

import math
import re
import unicodedata

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
