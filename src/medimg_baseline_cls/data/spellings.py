"""Find the spellings of one name, so that none of them becomes a class, patient or site of its own.

One rule for class folders and tables. What cannot be seen (composed and decomposed accents,
characters of no width, blanks) never distinguishes two names. Upper and lower case, and blank,
hyphen and underscore, do not either, which is said as a warning. Two names that are both in
class_names stay apart.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medimg_baseline_cls.utils.texts import clean_text

_NUM_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Spellings:
    """What the spellings of names come to.

    Attributes:
        names: the name of each spelling.
        notes: on spellings that differ in what cannot be seen, one sentence each.
        warnings: on spellings that differ visibly, one sentence each.
    """

    names: Mapping[str, str]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def unify_spellings(
    counts: Mapping[str, int], class_names: Sequence[str] | None = None
) -> Spellings:
    """Return one name for all spellings of it: as in `class_names`, else the most frequent one.

    Args:
        counts: the images of each spelling.
        class_names: names as the user has set them; two that are set are never joined.

    >>> found = unify_spellings({"Benign": 2, "benign": 5, "malignant": 4})
    >>> found.names["Benign"], found.warnings
    ('benign', ('Benign (2 image(s)) is read as benign: the difference is in case, blanks or \
hyphens alone',))
    """
    clean = {text: clean_text(text) or text for text in counts}
    totals: Counter[str] = Counter()
    for text, count in counts.items():
        totals[clean[text]] += count
    chosen = _choose_names(totals, class_names or ())
    # A name that is set counts as it was typed, be it clean or not.
    typed = {clean_text(name): name for name in class_names or ()}
    exact = frozenset(class_names or ())
    names = {
        text: text if text in exact else typed.get(chosen[clean[text]], chosen[clean[text]])
        for text in counts
    }
    return Spellings(names, tuple(_note_unseen(names, clean)), tuple(_warn(totals, chosen)))


def _choose_names(totals: Mapping[str, int], class_names: Sequence[str]) -> dict[str, str]:
    """Return the name of each clean spelling."""
    kept = {clean_text(name) for name in class_names}
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for text in sorted({*totals, *kept}, key=lambda text: (-totals.get(text, 0), text)):
        alike[_key(text)].append(text)
    chosen: dict[str, str] = {}
    for texts in alike.values():
        named = [text for text in texts if text in kept]
        for text in texts:
            # Of two names that are set, neither is meant by a third spelling.
            best = texts[0] if not named else named[0] if len(named) == 1 else text
            chosen[text] = text if text in kept else best
    return chosen


def _key(text: str) -> str:
    """Return what is the same for spellings of one name."""
    return re.sub(r"[\s_\u2010-\u2015-]+", " ", unicodedata.normalize("NFKC", text).casefold())


def _note_unseen(names: Mapping[str, str], clean: Mapping[str, str]) -> list[str]:
    odd: defaultdict[str, list[str]] = defaultdict(list)
    for text, name in sorted(names.items()):
        if text not in (clean[text], name):
            odd[name].append(ascii(text))
    return [
        f"{_describe(texts, name)}: the difference is in blanks, or in characters that are not seen"
        for name, texts in sorted(odd.items())
    ]


def _warn(totals: Mapping[str, int], chosen: Mapping[str, str]) -> list[str]:
    joined: defaultdict[str, list[str]] = defaultdict(list)
    for text, count in sorted(totals.items()):
        if text != chosen[text]:
            joined[chosen[text]].append(f"{text} ({count} image(s))")
    return [
        f"{_describe(texts, name)}: the difference is in case, blanks or hyphens alone"
        for name, texts in sorted(joined.items())
    ]


def _describe(texts: Sequence[str], name: str) -> str:
    shown = ", ".join(texts[:_NUM_SHOWN])
    more = f" and {len(texts) - _NUM_SHOWN} more" if len(texts) > _NUM_SHOWN else ""
    return f"{shown}{more} {'is' if len(texts) == 1 else 'are'} read as {name}"
