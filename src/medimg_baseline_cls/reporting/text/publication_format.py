"""Numbers as radiology journals print them: value, 95 % interval, percentages.

The one place that says how a number looks in a manuscript. A metric has three decimals and a
percentage one, as the page has them, so that 0.933 there is 93.3% here; halves are rounded up.
Rounding never turns "almost" into "exactly": 0.9998 is >0.999, 4999 of 5000 are >99.9%.
What is undefined is an en dash.
"""

from decimal import Decimal

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.utils.quantities import DECIMALS, UNDEFINED, round_half_up

PERCENT_DECIMALS = 1
_MINUS = "−"


def format_estimate(estimate: Estimate) -> str:
    """Return an estimate with its interval; the value alone where there is no interval.

    >>> from medimg_baseline_cls.records.estimates import Interval
    >>> format_estimate(Estimate(value=0.9362, interval=Interval(bounds=(0.9113, 0.9601))))
    '0.936 (95% CI 0.911, 0.960)'
    >>> format_estimate(Estimate(value=0.9989, interval=Interval(bounds=(0.9967, 1.0))))
    '0.999 (95% CI 0.997, 1.000)'
    >>> format_estimate(Estimate(value=0.93)), format_estimate(Estimate(value=None))
    ('0.930', '–')
    """
    value, *bounds = _estimate_texts(estimate)
    return f"{value} (95% CI {', '.join(bounds)})" if bounds else value


def format_estimate_short(estimate: Estimate) -> str:
    """Return an estimate for a table whose title says that brackets contain 95 % intervals.

    >>> from medimg_baseline_cls.records.estimates import Interval
    >>> format_estimate_short(Estimate(value=-0.0362, interval=Interval(bounds=(-0.113, 0.0401))))
    '−0.036 (−0.113, 0.040)'
    """
    value, *bounds = _estimate_texts(estimate)
    return f"{value} ({', '.join(bounds)})" if bounds else value


def format_proportion(estimate: Estimate, counts: tuple[int, int] | None = None) -> str:
    """Return a proportion in percent with its counts and its interval, whichever there are.

    Args:
        estimate: value and interval within [0, 1].
        counts: the images called so, and all such images.

    >>> from medimg_baseline_cls.records.estimates import Interval
    >>> found = Estimate(value=364 / 390, interval=Interval(bounds=(0.904, 0.954)))
    >>> format_proportion(found, (364, 390))
    '93.3% (364/390; 95% CI 90.4%, 95.4%)'
    >>> undefined = Estimate(value=None)
    >>> format_proportion(Estimate(value=389 / 390), (389, 390)), format_proportion(undefined)
    ('99.7% (389/390)', '–')
    """
    numbers = _numbers_of(estimate)
    if not numbers:
        return UNDEFINED
    value, *bounds = (f"{_round(100 * n, PERCENT_DECIMALS, whole=100)}%" for n in numbers)
    parts = ["/".join(str(count) for count in counts)] if counts else []
    parts += [f"95% CI {', '.join(bounds)}"] if bounds else []
    return f"{value} ({'; '.join(parts)})" if parts else value


def _estimate_texts(estimate: Estimate) -> list[str]:
    return [_round(n, DECIMALS, whole=1) for n in _numbers_of(estimate)] or [UNDEFINED]


def _numbers_of(estimate: Estimate) -> list[float]:
    """Return the value and, where there is an interval, its bounds; nothing if undefined."""
    return [] if estimate.value is None else [estimate.value, *(estimate.bounds or ())]


def _is_false(number: float, decimals: int, *, whole: int) -> bool:
    shown = float(round_half_up(number, decimals))
    return shown in (0.0, whole, -whole) and shown != number


def _round(number: float, decimals: int, *, whole: int) -> str:
    """Return a number with a true minus, or on which side of a bound that it would reach."""
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
