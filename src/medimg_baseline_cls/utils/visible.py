r"""Show what a name hides: control characters, bidi marks and bytes outside UTF-8 as escapes.

Names of classes, files, columns and patients come from outside. On a screen a control character
acts, and a bidi mark reorders what follows; so every text passes here at the door: terminal, log,
report, plots. Data files (CSV, JSON) keep the exact name.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any, cast

# C0, DEL, C1; soft hyphen; bidi marks; zero-width; line and paragraph separators; lone
# surrogates (bytes of a file name that is not UTF-8); tags. U+200C and U+200D stay: Persian, the
# Indic scripts and emoji are spelled with them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def show_hidden(text: str) -> str:
    r"""Return a text on one line in which nothing is hidden and nothing acts on a terminal.

    >>> show_hidden("a\x1b[2J\n\u202egnp.exe"), show_hidden("na\udcefve"), show_hidden("Öl [red]")
    ('a\\x1b[2J\\n\\u202egnp.exe', 'na\\xefve', 'Öl [red]')
    """
    # Nothing hidden is printable, and most texts are: they need no search.
    return text if text.isprintable() else _HIDDEN.sub(_escape, text)


def quote_words(*words: str) -> str:
    r"""Return words as a command for bash, with nothing hidden: it can be copied and run.

    >>> print(quote_words("medimg", "predict", "a b", "\x1bna\udcefve"))
    medimg predict 'a b' $'\x1bna\xefve'
    """
    return " ".join(map(_quote, words))


def show_all(content: Any) -> Any:
    r"""Return plain values or records of them with every text in them shown by `show_hidden`.

    >>> show_all({"a\t": [1, "\x07", None]})
    {'a\\t': [1, '\\x07', None]}
    """
    if isinstance(content, str):
        return show_hidden(content)
    if isinstance(content, Mapping):
        pairs = cast(Mapping[Any, Any], content)
        return {show_all(key): show_all(value) for key, value in pairs.items()}
    if isinstance(content, list | tuple):
        items = cast(list[Any] | tuple[Any, ...], content)
        return type(items)(map(show_all, items))
    from dataclasses import fields, is_dataclass, replace  # 7 ms that --help need not wait

    if is_dataclass(content) and not isinstance(content, type):
        return replace(
            content, **{f.name: show_all(getattr(content, f.name)) for f in fields(content)}
        )
    return content


def escape_json(text: str) -> str:
    r"""Return JSON with what is hidden in it as escapes of JSON: the same content, in plain sight.

    >>> escape_json('["\u202e", "\udcef",\n1]')
    '["\\u202e", "\\udcef",\n1]'
    """
    return _HIDDEN.sub(_escape_json, text)


def _quote(word: str) -> str:
    if show_hidden(word) == word:
        return shlex.quote(word)
    escaped = show_hidden(word.replace("\\", "\\\\").replace("'", r"\'"))
    return f"$'{escaped}'"


def _escape(match: re.Match[str]) -> str:
    letter, code = match[0], ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # Python's mark of a byte that is not UTF-8
    if code < 0x80:
        return _SHORT.get(letter, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_json(match: re.Match[str]) -> str:
    if match[0] == "\n":
        return "\n"  # between two lines: inside a text the writer has escaped it
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
