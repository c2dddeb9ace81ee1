"""Find the spellings of one name, so they do not become separate classes, patients or sites.

One rule for class folders and tables, and one list of the words for a missing value. What cannot
be seen (composed and decomposed accents, characters of no width, blanks) never distinguishes two
names. Upper and lower case, and blank, hyphen and underscore, do not either, with a warning. Two
names that are both in class_names stay separate.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.texts import clean_text, is_missing

_NUM_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Spellings:
    """The result of joining spellings.

    Attributes:
        names: the name of each spelling.
        notes: on spellings that differ in what cannot be seen, one sentence each.
        warnings: on spellings that differ visibly, one sentence each.
    """

    names: Mapping[str, str]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """The names in the cells of a column, "" where one is missing, and messages about them."""

    cells: list[str]
    notes: tuple[str, ...]
    inferences: tuple[Inference, ...]


def read_names(
    cells: Sequence[str], *, column: str, class_names: Sequence[str] | None = None, flag: str = ""
) -> Names:
    """Return the names in the cells of a column, one spelling each.

    Args:
        cells: of every row.
        column: its name, for messages.
        class_names: names that are set, none of which means a missing value: a class may be named
            None.
        flag: what keeps two spellings separate; "" if nothing does.

    >>> read_names(["A", "NA", "A\u200b"], column="site").cells
    ['A', '', 'A']
    """
    exact = frozenset(class_names or ())
    counts = Counter(cells)
    words = {c: n for c, n in counts.items() if is_missing(clean_text(c)) and c not in exact}
    spellings = unify_spellings({c: counts[c] for c in counts if c not in words}, class_names)
    names = {**dict.fromkeys(words, ""), **spellings.names}
    notes = [f"{column}: {note}" for note in spellings.notes]
    shown = ", ".join(f"{ascii(word)[1:-1]} {count}" for word, count in words.items() if word)
    if shown:
        notes.insert(0, f"words for a missing value in the column {column}: {shown}")
    inferences = infer_spellings(spellings, where=f"in the column {column}", flag=flag)
    return Names([names[cell] for cell in cells], tuple(notes), inferences)


def find_spelling(name: str, names: Collection[str]) -> str | None:
    """Return a name as it is among others, or the one other spelling of it; None if there is none.

    >>> find_spelling("Image Path", ["image_path", "label"]), find_spelling("a", ["A", "b", "A "])
    ('image_path', None)
    """
    if name in names:
        return name
    found = [other for other in names if _key(clean_text(other)) == _key(clean_text(name))]
    return found[0] if len(found) == 1 else None


def infer_spellings(
    spellings: Spellings, *, where: str, flag: str = "--class-names NAME NAME ..."
) -> tuple[Inference, ...]:
    """Return an inference if spellings that differ visibly were joined."""
    if not spellings.warnings:
        return ()
    shown = "; ".join(spellings.warnings[:_NUM_SHOWN])
    num_more = len(spellings.warnings) - _NUM_SHOWN
    advice = "; list each of them in class_names if they are different classes" if flag else ""
    return (
        Inference(
            topic="spelling",
            found=f"{say_count(len(spellings.warnings), 'names')} with several spellings",
            reason="case, blanks or hyphens alone differ",
            certainty="guess",
            flag=flag,
            warning=f"{where}, {shown}{f'; and {num_more} more' if num_more > 0 else ''}{advice}",
        ),
    )


def unify_spellings(
    counts: Mapping[str, int], class_names: Sequence[str] | None = None
) -> Spellings:
    """Return one name for all spellings of it: as in `class_names`, else the most frequent one.

    Args:
        counts: the images of each spelling.
        class_names: names as the user has set them; two that are set are never joined.

    >>> found = unify_spellings({"Benign": 2, "benign": 5, "malignant": 4})
    >>> found.names["Benign"], found.warnings
    ('benign', ('Benign (2 images) is read as benign: the difference is in case, blanks or \
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
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\s_\u2010-\u2015\u2212-]+", " ", plain)


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
            joined[chosen[text]].append(f"{text} ({say_count(count, 'images')})")
    return [
        f"{_describe(texts, name)}: the difference is in case, blanks or hyphens alone"
        for name, texts in sorted(joined.items())
    ]


def _describe(texts: Sequence[str], name: str) -> str:
    shown = ", ".join(texts[:_NUM_SHOWN])
    more = f" and {len(texts) - _NUM_SHOWN} more" if len(texts) > _NUM_SHOWN else ""
    return f"{shown}{more} {'is' if len(texts) == 1 else 'are'} read as {name}"
