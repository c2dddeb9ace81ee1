"""What a name hides is shown, what it says stays; JSON keeps the exact name."""

import json
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.utils.visible import escape_json, quote_words, show_all, show_hidden

STEADY = settings(max_examples=200, deadline=None, derandomize=True)
NAMES = st.text(st.characters(exclude_categories=()), max_size=30)
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def hides(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in BIDI


def test_every_control_and_bidi_character_is_shown() -> None:
    hidden = [chr(code) for code in range(0x110000) if hides(chr(code))]
    assert len(hidden) == 65 + 2048 + 2 + len(BIDI)
    for letter in hidden:
        shown = show_hidden(f"a{letter}b")
        assert shown.isascii()
        assert shown.isprintable()
        assert shown.startswith("a\\")


@STEADY
@given(NAMES)
def test_no_text_hides_anything_and_plain_ones_stay(text: str) -> None:
    shown = show_hidden(text)
    assert not any(map(hides, shown))
    assert show_hidden(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("text", ["می\u200cخواهم", "👩\u200d⚕️", "a\u00a0b", "[red]x[/]", "R\\x1b"])
def test_what_is_spelled_with_joiners_stays(text: str) -> None:
    assert show_hidden(text) == text


def test_bytes_of_a_name_are_shown_as_bytes() -> None:
    name = b"na\xefve\xff".decode("utf-8", "surrogateescape")
    assert show_hidden(name) == r"na\xefve\xff"


@STEADY
@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=2), max_size=3))
def test_json_reads_back_to_the_same_and_hides_nothing(content: dict[str, list[str]]) -> None:
    text = escape_json(json.dumps(content, ensure_ascii=False, indent=2))
    assert json.loads(text.encode("utf-8")) == content
    assert not any(hides(letter) for letter in text if letter != "\n")


def test_texts_of_plain_values_are_shown_wherever_they_are() -> None:
    content = {"a\x1b": [1, 0.5, None, True, ("\u202e",)], "b": {"c": "\n"}}
    expected = {"a\\x1b": [1, 0.5, None, True, ("\\u202e",)], "b": {"c": "\\n"}}
    assert show_all(content) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash is installed")
def test_bash_reads_a_quoted_word_back_to_the_same_bytes() -> None:
    hidden = ["\x1b[2Jb", "a\nb", "\u202egnp", "\x851", "it's \\x\t", "na\udcefve", "\U000e0041"]
    words = ["plain", "a b", "it's", "$x", "\\x1b", "", *hidden]
    script = f"printf '%s\\0' {quote_words(*words)}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    expected = [word.encode("utf-8", "surrogateescape") for word in words]
    assert done.stdout.split(b"\0")[:-1] == expected
