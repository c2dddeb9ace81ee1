"""Durations, sizes, counts and scores in words."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

UNDEFINED = "–"
DECIMALS = 3
_NOUNS = {"classes": "class", "properties": "property", "copies": "copy"} | {
    f"{noun}s": noun
    for noun in (
        *("cell", "classifier", "column", "epoch", "file", "finding", "folder", "group", "image"),
        *("inference", "label", "link", "name", "pair", "patient", "row", "site", "warning"),
        *("error", "note", "array", "thread", "core", "run", "case"),
    )
}
_VERBS = {"are": "is", "have": "has", "tell": "tells", "begin": "begins", "were": "was"}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def frame_class(name: str) -> tuple[str, str]:
    """Return what is said of a class before and after "image": a number would read as a count.

    >>> frame_class("NORMAL"), frame_class("1")
    (('NORMAL ', ''), ('', ' of class 1'))
    """
    return ("", f" of class {name}") if name[:1].isdigit() else (f"{name} ", "")


def format_duration(seconds: float) -> str:
    r"""Return a duration in the two largest units.

    >>> [format_duration(s).replace("\xa0", " ") for s in (42.4, 754, 8000)]
    ['42 s', '12 min 34 s', '2 h 13 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60}\u00a0min"


def say_until(seconds: float, *, now: datetime | None = None) -> str:
    """Return when something that takes so long will be done, by the clock of this machine.

    >>> noon = datetime(2026, 1, 1, 12)
    >>> say_until(600, now=noon), say_until(100_000, now=noon)
    ('until about 12:10', 'until about 2026-01-02 15:46')
    """
    begin = now or datetime.now()
    end = begin + timedelta(seconds=seconds)
    same_day = end.date() == begin.date()
    return f"until about {end:%H:%M}" if same_day else f"until about {end:%Y-%m-%d %H:%M}"


def format_bytes(number: int) -> str:
    """Return a number of bytes in the unit of a disk's label, such as "1.2 GB".

    >>> [format_bytes(number) for number in (0, 999, 1_234_567, 53_000_000_000)]
    ['0 bytes', '999 bytes', '1.2 MB', '53 GB']
    """
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.{1 if unit and value < 9.95 else 0}f} {_UNITS[unit]}"


def format_score(value: float | None) -> str:
    """Return a score with three decimals; a dash where it is undefined.

    >>> format_score(0.9684), format_score(1.0), format_score(0.9998), format_score(None)
    ('0.968', '1.000', '>0.999', '–')
    """
    if value is None:
        return UNDEFINED
    text = f"{round_half_up(value, DECIMALS):f}"
    if text == "1.000" and value < 1:
        return ">0.999"
    if float(text) == 0 and value != 0:
        return "<0.001" if value > 0 else ">−0.001"
    return text.replace("-", "−")


def format_interval(bounds: tuple[float, float] | None) -> str:
    """Return a 95 % interval as two scores; nothing where there is none.

    >>> [format_interval(bounds) for bounds in ((0.9124, 0.9583), (0.99, 0.99996), None)]
    ['0.912–0.958', '0.990 to >0.999', '']
    """
    if bounds is None:
        return ""
    texts = [format_score(bound) for bound in bounds]
    return (" to " if bounds[0] < 0 or texts[1].startswith(">") else "–").join(texts)


def format_threshold(value: float | None) -> str:
    """Return a probability that decides something: more digits where three would hide it.

    >>> format_threshold(0.6134), format_threshold(0.99996), format_threshold(0.00021)
    ('0.613', '0.99996', '0.0002')
    """
    if value is None:
        return UNDEFINED
    for decimals in range(DECIMALS, 10):
        text = f"{value:.{decimals}f}"
        if float(text) not in (0.0, 1.0) or float(text) == value:
            return text
    return f"{value:.3g}"


def round_half_up(number: float, decimals: int) -> Decimal:
    """Return a number rounded from the digits it is written with, halves away from zero.

    >>> round_half_up(0.0625, 3), round_half_up(-0.0005, 3)
    (Decimal('0.063'), Decimal('-0.001'))
    """
    step = Decimal(1).scaleb(-decimals)
    return Decimal(repr(float(number))).quantize(step, rounding=ROUND_HALF_UP)


def say_score(value: float | None) -> str:
    """Return a number with three decimals, rounded as in the report; a dash where undefined.

    >>> say_score(0.9275), f"{0.9275:.3f}", say_score(None)
    ('0.928', '0.927', '–')
    """
    if value is None:
        return UNDEFINED
    return f"{round_half_up(value, DECIMALS):f}"


def format_p(value: float | None) -> str:
    """Return a p-value as journals print it.

    >>> format_p(0.04213), format_p(0.00002), format_p(1.0), format_p(None)
    ('0.042', '<0.001', '1.000', '–')
    """
    if value is None:
        return UNDEFINED
    return "<0.001" if value < 0.001 else say_score(value)


def say_count(number: int, nouns: str) -> str:
    """Return a number and what it counts, which is given in the plural.

    >>> say_count(2, "files that are empty"), say_count(1, "files that are empty")
    ('2 files that are empty', '1 file that is empty')
    >>> say_count(1, "classes without any image"), say_count(0, "patients in two splits")
    ('1 class without any image', '0 patients in two splits')
    """
    words = nouns.split(" ")
    if number == 1:
        for singulars in (_NOUNS, _VERBS):
            place = next((i for i, word in enumerate(words) if word in singulars), None)
            if place is not None:
                words[place] = singulars[words[place]]
    return " ".join((str(number), *words))
