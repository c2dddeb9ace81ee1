"""What the controls above the mistakes offer; gallery.js acts on them.

Names of classes and operating points are offered as words but compared as numbers, so that the
script never reads a name. Without the script the controls stay hidden and the gallery is whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from medimg_baseline_cls.reporting.page.pictures import Error, Gallery
from medimg_baseline_cls.reporting.text.names import KIND_NAMES

Options = tuple[tuple[str, str], ...]

_ORDERS = (
    ("", "most confident first"),
    ("score-down", "probability, highest first"),
    ("score-up", "probability, lowest first"),
    ("margin-down", "distance to the threshold, largest first"),
    ("margin-up", "distance to the threshold, smallest first"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryFilter:
    """The choices of each control: (value, words), the first of them "all"."""

    kinds: Options
    rules: Options
    classes: Options
    orders: Options = _ORDERS

    def attributes_of(self, error: Error) -> Iterator[tuple[str, str]]:
        """Yield what the script must know of a mistake, as data attributes."""
        numbers = {words: value for value, words in self.rules}
        margins = zip(error.rules, error.margins, strict=False)
        known = [f"{numbers[rule]}:{margin!r}" for rule, margin in margins if margin is not None]
        yield "kind", error.kind
        yield "class", next((v for v, words in self.classes if words == error.class_name), "")
        yield "score", "" if error.score is None else repr(error.score)
        yield "margins", " ".join(known)


def offer_filter(galleries: Iterable[Gallery]) -> GalleryFilter | None:
    """Return the controls for these galleries; None where there are fewer than two mistakes."""
    errors = [error for gallery in galleries for error in gallery.shown]
    if len(errors) < 2:
        return None
    kinds = dict.fromkeys(error.kind for error in errors)
    return GalleryFilter(
        kinds=(("", "all mistakes"), *((kind, KIND_NAMES[kind].lower()) for kind in kinds)),
        rules=_number("any operating point", (rule for error in errors for rule in error.rules)),
        classes=_number("all", (error.class_name for error in errors if error.class_name)),
    )


def _number(first: str, names: Iterable[str]) -> Options:
    listed = enumerate(dict.fromkeys(names))
    return (("", first), *((str(number), name) for number, name in listed))
