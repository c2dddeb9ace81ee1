"""Infer from the names of two classes which one is positive: the one that is not negative.

A name is negative by a word (normal, healthy, control, ...), by a negation (no, without, un-)
or by a digit (0 against 1). A negation of a negative word is positive: not_normal.
"""

import re
import unicodedata
from collections.abc import Sequence

from medimg_baseline_cls.schema import Certainty, Inference

FLAG = "--positive-class NAME"
# English, German, French, Spanish, Portuguese, Italian; compared without accents.
_NEGATIVE_WORDS = frozenset(
    """
    normal normals normale normalbefund normales normais normali healthy health gesund sain saine
    sano sana sanos saudavel sadio sadia negative negatives neg negativ negatif negativo negativa
    benign benigne benin benigno benigna gutartig absent absence absente ausente ausencia assente
    assenza none unremarkable unauffallig unauffaellig
    """.split()
)
_WEAK_WORDS = frozenset(
    """
    control controls ctrl ctl kontrolle kontrollen controle controles temoin temoins controllo
    controlli clear free frei libre libero livre false unchanged unverandert
    """.split()
)
_NEGATIONS = frozenset(
    """
    no non not without wo kein keine keinen ohne nicht sans pas aucun aucune sin ningun ninguna
    ninguno sem nao nenhum nenhuma senza nessun nessuna nessuno
    """.split()
)
# A negation before these names a disease of its own: non-small cell, nonspecific pneumonia.
_NAMED_BY_NEGATION = frozenset(
    "small specific hodgkin hodgkins invasive seminoma seminomatous".split()
)
_NOT_NEGATED = frozenset(
    """
    undefined undetermined unspecified unidentified united unlabeled unlabelled unlisted
    unclassified unresolved unrated unread undecided
    """.split()
)
_UN = re.compile(r"un(?=\w{3,}ed$)")


def infer_positive_class(class_names: Sequence[str]) -> tuple[str | None, Inference]:
    """Return the positive one of two classes, None where unknown, and why.

    More than two classes have none: each is evaluated against the rest.

    >>> infer_positive_class(["NORMAL", "PNEUMONIA"])[0]
    'PNEUMONIA'
    >>> infer_positive_class(["DR", "No_DR"])[0]
    'DR'
    >>> infer_positive_class(["melanoma", "nevus"])[0] is None
    True
    """
    if len(class_names) != 2:
        return None, _conclude("none", f"{len(class_names)} classes: each against the rest")
    first, last = class_names
    grades: dict[str, Certainty | None] = {first: _rate(first, last), last: _rate(last, first)}
    negatives = [name for name, grade in grades.items() if grade]
    if len(negatives) != 1:
        how = "both class names look" if negatives else "no class name looks"
        return None, _conclude("unknown", f"{how} negative", certainty="unknown")
    negative = negatives[0]
    positive = first if negative == last else last
    reason = f"{negative} looks like the negative class"
    certainty: Certainty = grades[negative] or "sure"
    return positive, _conclude(positive, reason, certainty=certainty)


def looks_negative(name: str) -> bool:
    """Return whether a class name looks negative by itself.

    >>> [looks_negative(name) for name in ("No_Finding", "healthy", "fold_0", "abnormal")]
    [True, True, False, False]
    """
    return _rate(name, "") is not None


def _conclude(found: str, reason: str, *, certainty: Certainty = "sure") -> Inference:
    warning = ""
    if certainty == "guess":
        warning = (
            f"the positive class {found} was guessed from the class names ({reason}); pass "
            f"--positive-class to confirm or to change it"
        )
    return Inference(
        topic="positive class",
        found=found,
        reason=reason,
        certainty=certainty,
        flag="" if found == "none" else FLAG,
        warning=warning,
    )


def _rate(name: str, other: str) -> Certainty | None:
    """Return how surely a class name is negative against another one; None where it is not."""
    if _differ_in_digit(name, other):
        return "sure"
    if re.search(r"\w\s*-$", name) and other.rstrip().endswith("+"):
        return "sure"
    words = _split_words(name)
    negations = [i for i, word in enumerate(words) if word in _NEGATIONS and _negates(words, i)]
    has_word = not _NEGATIVE_WORDS.isdisjoint(words)
    has_weak = any(word in _WEAK_WORDS and not _is_part(words, i) for i, word in enumerate(words))
    if negations:  # a negated negative word, as in not_normal, is positive
        return None if has_word or has_weak else "sure"
    if has_word:
        return "sure"
    others = set(_split_words(other))
    has_prefix = any(_has_negative_prefix(word, others) for word in words)
    return "guess" if has_weak or has_prefix else None


def _split_words(name: str) -> list[str]:
    """Return the words of a name in lower case and without accents: NoFinding is no, finding."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    plain = unicodedata.normalize("NFKD", spaced.replace("ß", "ss")).casefold()
    return re.findall(r"[^\W\d_]+", "".join(c for c in plain if not unicodedata.combining(c)))


def _negates(words: Sequence[str], place: int) -> bool:
    return place + 1 == len(words) or words[place + 1] not in _NAMED_BY_NEGATION


def _is_part(words: Sequence[str], place: int) -> bool:
    """Return whether a weak word belongs to the name of a disease: clear cell carcinoma."""
    return words[place] == "clear" and words[place + 1 : place + 2] == ["cell"]


def _has_negative_prefix(word: str, others: set[str]) -> bool:
    for prefix in ("non", "no", "un", "in", "a"):  # of a word of the other class: noncovid
        if word.startswith(prefix) and (rest := word.removeprefix(prefix)) in others:
            return rest not in _NEGATIVE_WORDS | _WEAK_WORDS  # unhealthy against healthy
    if word in _NOT_NEGATED or word.removeprefix("non") in _NAMED_BY_NEGATION:
        return False
    return bool(_UN.match(word)) or (word.startswith("non") and len(word) > 6)


def _differ_in_digit(name: str, other: str) -> bool:
    """Return whether two names are equal but for 0 here and another number there."""
    here, there = re.fullmatch(r"(\D*)0+(\D*)", name), re.fullmatch(r"(\D*)(\d+)(\D*)", other)
    if here is None or there is None or not int(there[2]):
        return False
    return (here[1].casefold(), here[2]) == (there[1].casefold(), there[3])
