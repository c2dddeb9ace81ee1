"""The large metrics of the first screen, each with its interval drawn on a scale.

All scales of a page span the same range, so that their intervals can be compared by eye.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, PROPORTIONS
from medimg_baseline_cls.records.estimates import UNKNOWN, Estimate
from medimg_baseline_cls.records.summaries import OperatingPoint
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.performance import (
    class_block,
    headline_estimate,
    list_rules,
    operating_points,
    rule_name,
)
from medimg_baseline_cls.reporting.text.format import format_count, format_interval, format_score
from medimg_baseline_cls.reporting.text.names import name_split
from medimg_baseline_cls.utils.quantities import format_threshold, frame_class

_MARGIN = 24.0  # percent of a scale that the words at its ends need
_DOT_WIDTH, _MAX_LEVEL = 3.5, 5  # percent of a scale; more dots than this hide each other
_SIZES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of differences


@dataclass(frozen=True, slots=True)
class Tick:
    """A word under a scale; `anchor` is that of SVG: start, middle or end."""

    position: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Dot:
    """One run on a scale; `level` counts those below it that it would hide."""

    position: float
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where the marks of a metric are, in percent of the width.

    Attributes:
        point: the estimate, or the mean of the dots.
        interval: its ends; None without an interval.
        floor: what chance reaches, or no difference; None where that is not defined.
        dots: of single runs; `height` is the highest level on any scale of the page.
        span: the range in words, for who does not see it.
    """

    point: float
    interval: tuple[float, float] | None
    floor: float | None
    ticks: tuple[Tick, ...]
    span: str
    dots: tuple[Dot, ...] = ()
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One large metric.

    `floor` is what chance reaches, `values` are those of single runs with their names, `scale` is
    None where the metric is undefined.
    """

    label: str
    text: str
    detail: str
    estimate: Estimate
    floor: float | None = None
    values: tuple[tuple[str, float], ...] = ()
    scale: Scale | None = None


def list_scores(content: RunContent, split: str) -> Iterator[Statistic]:
    """Yield the metrics that need no threshold; of more than two classes, accuracy as well."""
    is_binary = content.positive_class is not None
    name = f"{name_split(split)} {'' if is_binary else 'macro '}"
    if content.has_grades:
        yield from _grade_statistics(content, split)
    auroc = headline_estimate(content, split, metric="auroc")
    yield _statistic(
        f"{name}AUROC", auroc, floor=0.5, details=[_describe_val(content, split, metric="auroc")]
    )
    precision = headline_estimate(content, split, metric="average_precision")
    on_val = _describe_val(content, split, metric="average_precision")
    floor = _precision_floor(content, split)
    reason = "prevalence" if is_binary else "mean prevalence"
    baseline = "" if floor is None else f"chance {format_score(floor)} ({reason})"
    yield _statistic(f"{name}average precision", precision, floor=floor, details=[baseline, on_val])
    accuracy = content.summaries[split].overall.get("accuracy")
    if accuracy is not None and not is_binary:
        details = [f"{format_count(content.summaries[split].num_images)} images"]
        yield _statistic(f"{name_split(split)} accuracy", accuracy, details=details)


def list_rates(content: RunContent, split: str) -> Iterator[Statistic]:
    """Yield sensitivity and specificity at the chosen operating point, of two classes."""
    positive = content.positive_class
    rule = next(iter(list_rules(content)), None)
    if positive is None or rule is None:
        return
    points = operating_points(content, split, class_name=positive)
    chosen = points.get(rule, OperatingPoint(metrics={}))
    val = operating_points(content, "val", class_name=positive).get(rule)
    others = [name for name in content.class_names if name != positive]
    of = {"sensitivity": positive, "specificity": others[0] if len(others) == 1 else "other"}
    for metric in HEADLINE_DECISIONS:
        hits, total = (format_count(chosen.counts(names)) for names in PROPORTIONS[metric])
        before, after = frame_class(of[metric])
        counted = f"{hits} of {total} {before}images{after}"
        details = [counted if chosen.tp is not None else ""]
        if val is not None and split == "test":
            details.append(f"VAL {format_score(val.metrics.get(metric, UNKNOWN).value)}")
        estimate = chosen.metrics.get(metric, UNKNOWN)
        yield _statistic(f"{name_split(split)} {metric}", estimate, details=details)


def describe_point(content: RunContent, split: str) -> str:
    """Return the chosen operating point in words; "" for a run without one."""
    rule = next(iter(list_rules(content)), None)
    if rule is None:
        return ""
    named = f"Operating point: {rule_name(content, rule)}"
    if content.positive_class is None:
        return f"{named}, chosen for each class on VAL"
    point = operating_points(content, split, class_name=content.positive_class).get(rule)
    threshold = None if point is None else point.threshold
    chosen = "fixed" if rule == "default" else "chosen on VAL"
    return f"{named}, threshold {format_threshold(threshold)}, {chosen}"


def draw_scales(statistics: Sequence[Statistic]) -> tuple[Statistic, ...]:
    """Return the same metrics, each with its scale: from 0.5 to 1 where all fit, else from 0."""
    ends = [
        value
        for item in statistics
        for value in (
            *(item.estimate.value, item.floor, *(item.estimate.bounds or ())),
            *(single for _, single in item.values),
        )
        if value is not None
    ]
    start = 0.5 if ends and min(ends) >= 0.5 else 0.0
    scales = [_draw_scale(item, start=start, end=1.0) for item in statistics]
    height = max((dot.level for scale in scales if scale for dot in scale.dots), default=0)
    return tuple(
        replace(
            item,
            scale=scale
            and replace(scale, ticks=tuple(_list_ticks(scale.floor, start=start)), height=height),
        )
        for item, scale in zip(statistics, scales, strict=True)
    )


def draw_differences(statistics: Sequence[Statistic]) -> tuple[Statistic, ...]:
    """Return the same differences, each on a scale with 0, no difference, in its middle."""
    sizes = [
        abs(value)
        for item in statistics
        for value in (item.estimate.value, *(item.estimate.bounds or ()))
        if value is not None
    ]
    end = next((size for size in _SIZES if size >= max(sizes, default=0.0)), max(sizes, default=1))
    ends = (Tick(0, f"−{end:g}", "start"), Tick(50, "0"), Tick(100, f"+{end:g}", "end"))
    drawn: list[Statistic] = []
    for item in statistics:
        scale = _draw_scale(replace(item, floor=0.0), start=-end, end=end)
        drawn.append(replace(item, scale=None if scale is None else replace(scale, ticks=ends)))
    return tuple(drawn)


def _draw_scale(item: Statistic, *, start: float, end: float) -> Scale | None:
    """Return where the marks are, without the words under them."""
    if item.estimate.value is None:
        return None

    def place(value: float) -> float:
        return round(100 * min(max((value - start) / (end - start), 0.0), 1.0), 2)

    bounds = item.estimate.bounds
    return Scale(
        point=place(item.estimate.value),
        interval=None if bounds is None else (place(bounds[0]), place(bounds[1])),
        floor=None if item.floor is None else place(item.floor),
        ticks=(),
        span=f"from {start:g} to {end:g}",
        dots=_stack([(text, place(value)) for text, value in item.values]),
    )


def _stack(values: Sequence[tuple[str, float]]) -> tuple[Dot, ...]:
    """Return dots, those too near to others above them."""
    ends: list[float] = []
    dots: list[Dot] = []
    for text, position in sorted(values, key=lambda value: value[1]):
        free = (level for level, end in enumerate(ends) if position - end >= _DOT_WIDTH)
        level = min(next(free, len(ends)), _MAX_LEVEL)
        ends[level : level + 1] = [position]
        dots.append(Dot(position, level, text))
    return tuple(dots)


def _list_ticks(floor: float | None, *, start: float) -> Iterator[Tick]:
    """Yield the ends of the scale and the word "chance", none of them over another."""
    if floor is None or floor >= _MARGIN or floor == 0:
        yield Tick(0, f"{start:g}" + (" = chance" if floor == 0 else ""), "start")
    if floor is None or floor <= 100 - _MARGIN:
        yield Tick(100, "1", "end")
    if floor:
        edge = "start" if floor < _MARGIN else "middle"
        yield Tick(floor, "chance", "end" if floor > 100 - _MARGIN else edge)


def _grade_statistics(content: RunContent, split: str) -> Iterator[Statistic]:
    overall = {name: summary.overall for name, summary in content.summaries.items()}
    kappas = {s: found.get("quadratic_weighted_kappa", UNKNOWN) for s, found in overall.items()}
    error = overall[split].get("mean_grade_error", UNKNOWN)
    details = [f"mean error {format_score(error.value)} grades"]
    if split == "test" and "val" in kappas:
        details.append(f"VAL {format_score(kappas['val'].value)}")
    title = f"{name_split(split)} quadratic weighted kappa"
    yield _statistic(title, kappas[split], floor=0.0, details=details)


def _statistic(
    label: str, estimate: Estimate, *, floor: float | None = None, details: Sequence[str]
) -> Statistic:
    interval = format_interval(estimate.bounds)
    first = f"95 % CI {interval}" if interval else ""
    if estimate.interval is not None:
        is_exact = bool(interval) and estimate.interval.method == "clopper_pearson"
        first += " (Clopper-Pearson)" if is_exact else ""
        if not interval and estimate.interval.reason:
            first = f"no 95 % CI: {estimate.interval.reason}"
    detail = "; ".join(filter(None, (first, *details)))
    text = format_score(estimate.value)
    return Statistic(label=label, text=text, detail=detail, estimate=estimate, floor=floor)


def _precision_floor(content: RunContent, split: str) -> float | None:
    """Return the average precision that chance reaches."""
    if content.positive_class is not None:
        block = class_block(content, split, class_name=content.positive_class)
        return block.prevalence
    return headline_estimate(content, split, metric="average_precision").chance


def _describe_val(content: RunContent, split: str, *, metric: str) -> str:
    """Return the metric on VAL, to be read next to that on TEST."""
    if split != "test" or "val" not in content.summaries:
        return ""
    return f"VAL {format_score(headline_estimate(content, 'val', metric=metric).value)}"
