"""Numbers as radiology journals print them: value, 95 % interval, percentages, P values.

The one place that says how a figure looks in a manuscript. A figure has three decimals and a
percentage one, as the page has them, so that 0.933 there is 93.3% here; halves are rounded up.
Rounding never turns "almost" into "exactly": 0.9998 is >0.999, 4999 of 5000 are >99.9%.
What is undefined is an en dash.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from medimg_baseline_cls.reporting.content import as_mapping, value_of
from medimg_baseline_cls.utils.quantities import DECIMALS, UNDEFINED, round_half_up

PERCENT_DECIMALS = 1
_MINUS = "−"


def interval_of(metric: Any) -> tuple[float, float] | None:
    """Return the interval of a metric; None for an old run or an undefined interval.

    >>> interval_of({"value": 0.9, "interval": [0.8, 1.0]}), interval_of({"value": 0.9})
    ((0.8, 1.0), None)
    """
    bounds = as_mapping(metric).get("interval")
    if not isinstance(bounds, list | tuple) or len(cast(Sequence[Any], bounds)) != 2:
        return None
    low, high = (value_of(bound) for bound in cast(Sequence[Any], bounds))
    return None if low is None or high is None else (low, high)


def format_estimate(metric: Any) -> str:
    """Return a figure with its interval; the value alone where there is no interval.

    >>> format_estimate({"value": 0.9362, "interval": [0.9113, 0.9601]})
    '0.936 (95% CI 0.911, 0.960)'
    >>> format_estimate({"value": 0.9989, "interval": [0.9967, 1.0]})
    '0.999 (95% CI 0.997, 1.000)'
    >>> format_estimate({"value": 0.93}), format_estimate({"value": None, "reason": "one class"})
    ('0.930', '–')
    """
    value, *bounds = _estimate_texts(metric)
    return f"{value} (95% CI {', '.join(bounds)})" if bounds else value


def format_estimate_short(metric: Any) -> str:
    """Return a figure for a table whose title says that brackets hold 95 % intervals.

    >>> format_estimate_short({"value": -0.0362, "interval": [-0.113, 0.0401]})
    '−0.036 (−0.113, 0.040)'
    """
    value, *bounds = _estimate_texts(metric)
    return f"{value} ({', '.join(bounds)})" if bounds else value


def format_proportion(metric: Any, counts: tuple[int, int] | None = None) -> str:
    """Return a proportion in percent with its counts and its interval, whichever there are.

    Args:
        metric: value and interval within [0, 1].
        counts: the images called so, and all such images.

    >>> format_proportion({"value": 364 / 390, "interval": [0.904, 0.954]}, (364, 390))
    '93.3% (364/390; 95% CI 90.4%, 95.4%)'
    >>> format_proportion({"value": 389 / 390}, (389, 390)), format_proportion({"value": None})
    ('99.7% (389/390)', '–')
    """
    numbers = _numbers_of(metric)
    if not numbers:
        return UNDEFINED
    value, *bounds = (f"{_round(100 * n, PERCENT_DECIMALS, whole=100)}%" for n in numbers)
    parts = ["/".join(str(count) for count in counts)] if counts else []
    parts += [f"95% CI {', '.join(bounds)}"] if bounds else []
    return f"{value} ({'; '.join(parts)})" if parts else value


def format_p(p: float | None) -> str:
    """Return a P value: two digits, three below .01, more where two would move it over .05.

    Style of the AMA Manual (11th edition, 19.5) and of Radiology: no zero before the point.

    >>> [format_p(p) for p in (0.0004, 0.0042, 0.0312, 0.3, 0.046, 0.0499, 0.996, None)]
    ['P < .001', 'P = .004', 'P = .03', 'P = .30', 'P = .046', 'P = .0499', 'P > .99', '–']
    """
    if p is None:
        return UNDEFINED
    if p < 0.001:
        return "P < .001"
    if p > 0.99:
        return "P > .99"
    decimals = 3 if p < 0.01 else 2
    while p < 0.05 and float(round_half_up(p, decimals)) >= 0.05 and decimals < 6:
        decimals += 1
    return f"P = {round_half_up(p, decimals):f}".replace("0.", ".", 1)


def _estimate_texts(metric: Any) -> list[str]:
    return [_round(n, DECIMALS, whole=1) for n in _numbers_of(metric)] or [UNDEFINED]


def _numbers_of(metric: Any) -> list[float]:
    """Return the value and, where there is an interval, its bounds; nothing if undefined."""
    value = value_of(metric)
    return [] if value is None else [value, *(interval_of(metric) or ())]


def _is_false(number: float, decimals: int, *, whole: int) -> bool:
    shown = float(round_half_up(number, decimals))
    return shown in (0.0, whole, -whole) and shown != number


def _round(number: float, decimals: int, *, whole: int) -> str:
    """Return a number with a true minus, or on which side it lies of a bound it would reach."""
    shown, step = round_half_up(number, decimals), Decimal(1).scaleb(-decimals)
    text = f"{shown:f}"
    if _is_false(number, decimals, whole=whole):
        is_below = number < float(shown)
        nearest = shown - step if is_below else shown + step
        # Between the two: printed by the one that is not 0 or whole.
        text = f"{'>' if is_below else '<'}{nearest:f}"
    elif shown == 0:
        text = f"{abs(shown):f}"
    return text.replace("-", _MINUS)
