"""Rules for classes that folders and tables share: their order, their number, gaps in grades."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from medimg_baseline_cls.data.folders.words import split_words
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.quantities import say_count

_NUM_SHOWN = 20
_FEW_IMAGES = 10
_SCALE = 5
_STRAY_SHARE = 0.2  # of the images of the smallest class
_MIN_TYPED = 5
_LEFT_OVER = frozenset(
    """
    unsorted misc miscellaneous other others unknown unlabeled unlabelled unclassified undefined
    uncertain trash junk temp tmp todo backup old excluded rejected discarded review duplicates
    """.split()
)


def sort_classes(names: Iterable[str]) -> list[str]:
    """Return class names sorted, whole numbers by value and before texts.

    >>> sort_classes(["10", "no", "2"])
    ['2', '10', 'no']
    """
    return sorted(names, key=_natural_key)


def judge_class_count(counts: Mapping[str, int], *, where: str) -> tuple[Inference, ...]:
    """Return a warning about many classes, which may be names or measurements instead.

    Args:
        counts: the images of each class.
        where: "the column dx", or the folder of the class folders.

    Raises:
        DataError: Most of many classes have a single image.
    """
    if len(counts) <= _NUM_SHOWN:
        return ()
    shown = shorten_names(sorted(counts)[:3])
    found = f"{where} has {len(counts)} different classes, such as {shown}"
    advice = (
        "if these are not classes, pass --class-names, or another column of a table by "
        "--label-columns"
    )
    if sum(count == 1 for count in counts.values()) > len(counts) / 2:
        raise DataError(f"{found}, and most of them have a single image: {advice}.")
    is_odd = sum(counts.values()) < _FEW_IMAGES * len(counts)
    few = f"fewer than {_FEW_IMAGES} images each on average"
    return (
        Inference(
            topic="classes",
            found=f"{len(counts)} classes",
            reason=f"every value of {where}",
            certainty="guess" if is_odd else "sure",
            flag="--class-names NAME NAME ...",
            warning=f"{found}, with {few}: {advice}" if is_odd else "",
        ),
    )


def judge_stray_classes(counts: Mapping[str, int]) -> tuple[Inference, ...]:
    """Return a warning about classes with few images, probably leftovers or typing errors.

    Args:
        counts: the images of each class.

    >>> judge_stray_classes({"Normal": 40, "Sick": 50, "misc": 2})[0].found
    'misc has 2 images'
    """
    stray = {
        name: like
        for name, like in ((name, _find_typo(name, counts)) for name in counts)
        if like or not _LEFT_OVER.isdisjoint(split_words(name))
    }
    kept = [name for name in counts if name not in stray]
    if len(kept) < 2:
        return ()
    most = _STRAY_SHARE * min(counts[name] for name in kept)
    chosen = shlex.join(sort_classes(kept))
    return tuple(
        Inference(
            topic="stray class",
            found=f"{name} has {say_count(counts[name], 'images')}",
            reason=f"its name is nearly {like}" if like else "its name is not a diagnosis",
            certainty="guess",
            flag="--class-names NAME NAME ...",
            warning=f"{name} is a class of its own with only {say_count(counts[name], 'images')}: "
            + (f"correct it if {like} is meant, or " if like else "if it is not a class, ")
            + f"pass --class-names {chosen} to leave it out",
        )
        for name, like in stray.items()
        if counts[name] <= most
    )


def _find_typo(name: str, counts: Mapping[str, int]) -> str | None:
    """Return the class of which a rare one is a typing error: letters swapped, or one missing."""
    plain = name.casefold()
    for other in (n for n, count in counts.items() if _STRAY_SHARE * count >= counts[name]):
        theirs = other.casefold()
        short, long = sorted((plain, theirs), key=len)
        if len(short) < _MIN_TYPED or not (short + long).isalpha() or short == long:
            continue
        cut = {long[:i] + long[i + 1 :] for i in range(1, len(long) - 1)}
        swapped = {long[:i] + long[i + 1] + long[i] + long[i + 2 :] for i in range(len(long) - 1)}
        if short in (cut if len(short) < len(long) else swapped):
            return other
    return None


def require_order(names: Sequence[str]) -> None:
    """Refuse classes without an order in their names."""
    if not all(map(_is_whole, names)):
        raise DataError(
            f"task = ordinal needs the order of the classes: set class_names to "
            f"{shorten_names(sorted(names))} in rising order."
        )


def find_missing_grades(names: Sequence[str]) -> tuple[Inference, ...]:
    """Return a warning about missing grades between the lowest and the highest.

    Grades that are 5 or more apart, all alike, are a scale of their own: 0, 20, 40.
    """
    values = sorted({int(name) for name in names if _is_whole(name)})
    steps = {high - low for low, high in pairwise(values)}
    if len(values) < len(names) or steps <= {1} or (len(steps) == 1 and min(steps) >= _SCALE):
        return ()
    gaps = [
        str(low + 1) if high - low == 2 else f"{low + 1} to {high - 1}"
        for low, high in pairwise(values)
        if high - low > 1
    ]
    return (
        Inference(
            topic="grades",
            found=", ".join(map(str, values)),
            reason="numbers of the classes",
            warning=f"no image has grade {shorten_names(gaps)}: the network cannot predict it, and "
            "errors count by the numbers of the grades, not by steps",
        ),
    )


def shorten_names(names: Sequence[str]) -> str:
    """Return the first twenty names in one line, and how many more there are."""
    shown = ", ".join(names[:_NUM_SHOWN])
    return shown if len(names) <= _NUM_SHOWN else f"{shown} and {len(names) - _NUM_SHOWN} more"


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _natural_key(text: str) -> tuple[int, int, str]:
    """Sort numbers by value and before texts."""
    return (0, int(text), "") if _is_whole(text) else (1, 0, text)
