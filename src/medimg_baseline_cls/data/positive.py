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
# These need a word behind them: alone they are abbreviations (PAS, SEM) or names.
_DEPENDENT = frozenset("pas sem sin sans senza ohne wo".split())
# Words that say nothing about which class is meant: "no finding", "normal lungs".
_GENERIC = frozenset(
    """
    finding findings disease diseases lesion lesions lesione lesioni lesao tumor tumors tumour
    tumours tumeur mass nodule nodules pathology abnormality abnormalities evidence sign
    signs fracture fractures befund befunde auffalligkeit bruch fraktur knoten
    hallazgo hallazgos achado achados nodulo frattura lesiones image images case cases class
    patient patients subject subjects group scan scans exam exams study lung lungs chest brain skin
    tissue breast breasts retina fundus eye eyes bone bones knee cell cells xray x ray ct mri mr us
    of for de the a an
    """.split()
)
# Diseases with a negative word in their names.
_DISEASES = (("normal", "pressure"), ("normal", "tension"), ("triple", "negative"))
# The negation of these is the finding: unstable, atypical, undifferentiated, incomplete.
_HEALTHY_STEMS = frozenset(
    """
    stable typical controlled differentiated complete certain equal even known responsive
    resectable favorable favourable regular sufficient competent continent
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
    """Return whether a class name looks negative on its own.

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
    words, others = _split_words(name), _split_words(other)
    negations = [i for i, word in enumerate(words) if word in _NEGATIONS and _negates(words, i)]
    has_word = any(
        word in _NEGATIVE_WORDS and not _is_part(words, i) for i, word in enumerate(words)
    )
    has_weak = any(word in _WEAK_WORDS and not _is_part(words, i) for i, word in enumerate(words))
    certainty: Certainty = "sure" if _is_explained(words, others) else "guess"
    if negations:  # a negated negative word, as in not_normal, is positive
        return None if has_word or has_weak else certainty
    if has_word:
        return certainty
    has_prefix = any(_has_negative_prefix(word, set(others)) for word in words)
    return "guess" if has_weak or has_prefix else None


def _split_words(name: str) -> list[str]:
    """Return the words of a name in lower case and without accents: NoFinding gives no, finding."""
    numbered = re.sub(r"(?i)\bno\.?\s*(?=\d)", "", unicodedata.normalize("NFKC", name))  # No. 1
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", numbered)
    plain = unicodedata.normalize("NFKD", spaced.replace("ß", "ss")).casefold()
    return re.findall(r"[^\W\d_]+", "".join(c for c in plain if not unicodedata.combining(c)))


def _negates(words: Sequence[str], place: int) -> bool:
    if place + 1 == len(words):
        return words[place] not in _DEPENDENT
    return words[place + 1] not in _NAMED_BY_NEGATION


def _is_part(words: Sequence[str], place: int) -> bool:
    """Return whether a negative word belongs to the name of a disease: clear cell carcinoma."""
    pairs = {(words[place], following) for following in words[place + 1 : place + 2]}
    pairs |= {(before, words[place]) for before in words[max(0, place - 1) : place]}
    is_named = words[place] == "none" and not _NAMED_BY_NEGATION.isdisjoint(words[place + 1 :])
    return is_named or not pairs.isdisjoint({*_DISEASES, ("clear", "cell")})


def _is_explained(words: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether a name is made of negative words, general ones, and words of the other."""
    known = _NEGATIVE_WORDS | _WEAK_WORDS | _NEGATIONS | _GENERIC
    return all(
        word in known or any(word[:5] == other[:5] for other in others if len(other) > 1)
        for word in words
    )


def _has_negative_prefix(word: str, others: set[str]) -> bool:
    for prefix in ("non", "no", "un", "in", "a"):  # of a word of the other class: noncovid
        if word.startswith(prefix) and (rest := word.removeprefix(prefix)) in others:
            # unhealthy against healthy, unstable against stable
            return rest not in _NEGATIVE_WORDS | _WEAK_WORDS | _HEALTHY_STEMS
    if word in _NOT_NEGATED or word.removeprefix("non") in _NAMED_BY_NEGATION:
        return False
    if word.removeprefix("un") in _HEALTHY_STEMS:
        return False
    return bool(_UN.match(word)) or (word.startswith("non") and len(word) > 6)


def _differ_in_digit(name: str, other: str) -> bool:
    """Return whether two names are equal but for 0 here and another number there."""
    here, there = re.fullmatch(r"(\D*)0+(\D*)", name), re.fullmatch(r"(\D*)(\d+)(\D*)", other)
    if here is None or there is None or not int(there[2]):
        return False
    return (here[1].casefold(), here[2]) == (there[1].casefold(), there[3])
