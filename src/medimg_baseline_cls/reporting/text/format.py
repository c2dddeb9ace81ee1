"""Numbers and settings as the report prints them: rounded one way, free of absolute paths.

A score has three decimals everywhere. Rounding never turns "almost" into "exactly":
0.9998 prints as >0.999, and a threshold gets more digits instead.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from medimg_baseline_cls.utils.quantities import DECIMALS, UNDEFINED
from medimg_baseline_cls.utils.quantities import format_interval as format_interval
from medimg_baseline_cls.utils.quantities import format_score as format_score

_ROOT = r"(?:~[\w.-]*/|/|[A-Za-z]:[/\\])"
_PATH = re.compile(rf"(?<![\w./\\]){_ROOT}(?:[^\s/\\'\"]+[/\\])*([^\s/\\'\":,;)]+)")
_WHOLE_PATH = re.compile(rf"{_ROOT}[^/][^\n]*")
_KEPT_AS_IS = frozenset({"group_regex", "subgroup_regex"})


def format_count(value: int | None) -> str:
    """Return a count with thousands set apart.

    >>> format_count(5216)
    '5,216'
    """
    return UNDEFINED if value is None else f"{value:,}"


def count_of(number: int, word: str) -> str:
    """Return a number with its noun.

    >>> count_of(1, "epoch"), count_of(1200, "epoch")
    ('1 epoch', '1,200 epochs')
    """
    return f"{format_count(number)} {word}{'' if number == 1 else 's'}"


def count_images(images: int, groups: int, *, word: str = "image", unit: str = "patient") -> str:
    """Return a number of images, and of groups, which are patients, where these are fewer.

    >>> count_images(60, 45), count_images(60, 60, word="TEST image")
    ('60 images of 45 patients', '60 TEST images')
    """
    of = f" of {count_of(groups, unit)}" if groups < images else ""
    return f"{count_of(images, word)}{of}"


def format_difference(value: float | None) -> str:
    """Return a difference with its sign, three decimals.

    >>> [format_difference(value) for value in (0.981 - 0.967, 0.9 - 0.95, None)]
    ['+0.014', '−0.050', '–']
    """
    if value is None:
        return UNDEFINED
    text = f"{value:+.{DECIMALS}f}"
    return "0.000" if float(text) == 0 else text.replace("-", "−")


def format_difference_interval(bounds: tuple[float, float] | None) -> str:
    """Return the ends of the interval of a difference; "" where there is none.

    >>> format_difference_interval((-0.05, 0.01))
    '−0.050 to +0.010'
    """
    return "" if bounds is None else " to ".join(map(format_difference, bounds))


def capitalize(text: str) -> str:
    """Return a text with a capital first letter, the others as they are.

    >>> capitalize("macro AUROC")
    'Macro AUROC'
    """
    return text[:1].upper() + text[1:]


def hide_paths(text: str) -> str:
    """Return the text with every absolute path cut down to its last name.

    >>> hide_paths("/home/ada/scans"), hide_paths("see /data/x/a.png twice"), hide_paths("a/b.png")
    ('…/scans', 'see …/a.png twice', 'a/b.png')
    """
    clean = text.replace("file://", "")
    if _WHOLE_PATH.fullmatch(clean) and " -" not in clean:
        return "…/" + re.split(r"[/\\]", clean.rstrip("/\\"))[-1]
    return _PATH.sub(r"…/\1", clean)


def format_setting(value: Any) -> str:
    """Return a plain value of a JSON file as the report prints it.

    >>> format_setting(True), format_setting(None), format_setting([1, "a"]), format_setting(0.001)
    ('yes', 'not set', '1, a', '0.001')
    """
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        items = cast(list[Any], value)
        return ", ".join(format_setting(item) for item in items) or "none"
    if isinstance(value, Mapping):
        pairs = cast(Mapping[str, Any], value)
        return ", ".join(f"{k}: {format_setting(v)}" for k, v in pairs.items()) or "none"
    return hide_paths(str(value))


def group_settings(content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return a JSON object as titled groups of (name, text): the nested ones apart.

    >>> group_settings({"a": 1, "packages": {"torch": "2.10", "cuda": {"build": None}}})
    {'': {'a': '1'}, 'packages': {'torch': '2.10', 'cuda.build': 'not set'}}
    """
    groups: dict[str, dict[str, str]] = {"": {}}
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            groups[name] = _flatten(cast(Mapping[str, Any], value))
        else:
            groups[""][name] = str(value) if name in _KEPT_AS_IS else format_setting(value)
    return {title: group for title, group in groups.items() if group}


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(cast(Mapping[str, Any], value), f"{prefix}{name}.")
        else:
            flat[prefix + name] = format_setting(value)
    return flat
