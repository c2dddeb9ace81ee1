"""Every metric of a run as one record: whose it is, its estimate on each split, its counts.

The tables, the model card and the sentences for a manuscript are all written from these.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from medimg_baseline_cls.catalogue import OVERALL, PROPORTIONS, Metric
from medimg_baseline_cls.records.estimates import UNKNOWN, Estimate, Interval
from medimg_baseline_cls.records.summaries import Average, ClassMetrics, OperatingPoint
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.performance import (
    class_block,
    list_decisions,
    list_rules,
    list_scores,
    operating_points,
    rule_name,
    shown_classes,
)
from medimg_baseline_cls.reporting.text.names import name_block
from medimg_baseline_cls.reporting.text.publication_format import (
    format_estimate,
    format_estimate_short,
    format_proportion,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric of a class, on each split that has it.

    Attributes:
        owner: the class, or what an average is called.
        rule: the operating point by name; "" for what needs no threshold.
        key: as the catalogue calls it, such as "npv".
        estimates: by split.
        counts: split to (called so, all such images), for proportions.
    """

    owner: str
    rule: str = ""
    key: str
    name: str
    estimates: Mapping[str, Estimate]
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def print_long(self, split: str) -> str:
        """Return the metric for running text, "95% CI" within."""
        return self._print(split, is_short=False)

    def print_short(self, split: str) -> str:
        """Return the metric for a table whose title explains the brackets; "" without one."""
        return self._print(split, is_short=True) if split in self.estimates else ""

    def _print(self, split: str, *, is_short: bool) -> str:
        estimate = self.estimates.get(split, UNKNOWN)
        if self.key in PROPORTIONS:
            text = format_proportion(estimate, self.counts.get(split))
            return text.replace("95% CI ", "") if is_short else text
        return (format_estimate_short if is_short else format_estimate)(estimate)


def list_metrics(content: RunContent) -> list[Measure]:
    """Return what needs no threshold: of each class, then averages, then of whole images."""
    owners: dict[str, dict[str, ClassMetrics]] = {
        name: {s: class_block(content, s, class_name=name) for s in content.summaries}
        for name in shown_classes(content)
    }
    if len(owners) > 1:
        summaries = content.summaries.items()
        owners[name_block(Average.MACRO)] = {s: summary.macro for s, summary in summaries}
        micro = {s: summary.micro for s, summary in summaries}
        found = {s: block for s, block in micro.items() if block is not None}
        owners[name_block(Average.MICRO)] = found
    shown = list_scores(content)
    measures = [
        measure
        for owner, blocks in owners.items()
        for measure in _gather(owner, {s: b.metrics for s, b in blocks.items()}, shown=shown)
    ]
    if content.positive_class is None:
        overall = {s: summary.overall for s, summary in content.summaries.items()}
        measures += _gather(name_block(Average.OVERALL), overall, shown=OVERALL)
    return measures


def list_points(content: RunContent) -> list[Measure]:
    """Return threshold and metrics of each class at each operating point, the chosen one first."""
    return [
        measure
        for owner in shown_classes(content)
        for rule in list_rules(content)
        for measure in _measure_point(content, owner, rule=rule)
    ]


def _measure_point(content: RunContent, owner: str, *, rule: str) -> Iterator[Measure]:
    found = {
        split: operating_points(content, split, class_name=owner).get(rule)
        for split in content.summaries
    }
    points = {split: point for split, point in found.items() if point is not None}
    if not points:
        return
    name = rule_name(content, rule)
    thresholds = {split: _threshold(point) for split, point in points.items()}
    yield Measure(owner=owner, rule=name, key="threshold", name="Threshold", estimates=thresholds)
    # Shares of images first: those are printed with their counts.
    ordered = sorted(list_decisions(content).values(), key=lambda metric: metric.proportion is None)
    for metric in ordered:
        having = {s: p for s, p in points.items() if metric.key in p.metrics}
        if having:
            yield Measure(
                owner=owner,
                rule=name,
                key=metric.key,
                name=metric.name,
                estimates={s: point.metrics[metric.key] for s, point in having.items()},
                counts=_count(having, metric),
            )


def _threshold(point: OperatingPoint) -> Estimate:
    """Return a threshold as an estimate: it is re-selected in each resample."""
    bounds = point.threshold_interval
    interval = None if bounds is None else Interval(bounds=bounds, method="bootstrap")
    return Estimate(value=point.threshold, interval=interval)


def _gather(
    owner: str, found: Mapping[str, Mapping[str, Estimate]], *, shown: Mapping[str, Metric]
) -> Iterator[Measure]:
    for key, metric in shown.items():
        estimates = {s: metrics[key] for s, metrics in found.items() if key in metrics}
        if estimates:
            yield Measure(owner=owner, key=key, name=metric.name, estimates=estimates)


def _count(points: Mapping[str, OperatingPoint], metric: Metric) -> dict[str, tuple[int, int]]:
    if metric.proportion is None:
        return {}
    part, whole = metric.proportion
    counted = {s: point for s, point in points.items() if point.tp is not None}
    return {s: (point.counts(part), point.counts(whole)) for s, point in counted.items()}
