"""Rules for classes that folders and tables share: their order, their number, gaps in grades."""

from collections.abc import Iterable, Mapping, Sequence

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Inference

_NUM_SHOWN = 20
_FEW_IMAGES = 10


def sort_classes(names: Iterable[str]) -> list[str]:
    """Return class names sorted, whole numbers by value and before texts.

    >>> sort_classes(["10", "no", "2"])
    ['2', '10', 'no']
    """
    return sorted(names, key=_natural_key)


def judge_class_count(counts: Mapping[str, int], *, where: str) -> tuple[Inference, ...]:
    """Return what is said of many classes, which may be no classes but names or measurements.

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
        "if these are not classes, name the classes by --class-names, or of a table another "
        "column by --label-columns"
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


def require_order(names: Sequence[str]) -> None:
    """Refuse classes whose names do not tell which grade is the higher one."""
    if not all(map(_is_whole, names)):
        raise DataError(
            f"task = ordinal needs the order of the classes: set class_names to "
            f"{shorten_names(sorted(names))} in rising order."
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
