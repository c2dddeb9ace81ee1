"""Every figure of a run as one record: whose it is, its value on each split, its counts.

The tables, the model card and the sentences for a manuscript are all written from these.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medimg_baseline_cls.catalogue import DECISIONS, OVERALL, PROPORTIONS, SCORES, Metric
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping, value_of
from medimg_baseline_cls.reporting.page.performance import (
    class_block,
    list_rules,
    operating_points,
    rule_name,
    shown_classes,
)
from medimg_baseline_cls.reporting.text.publication_format import (
    format_estimate,
    format_estimate_short,
    format_proportion,
)

_AVERAGES = {"macro": "Macro mean", "micro": "Micro, all pairs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure of a class, on each split that has it.

    Attributes:
        owner: the class, or what an average is called.
        rule: the operating point by name; "" for what needs no threshold.
        key: as the summaries call it, such as "npv".
        metrics: split to {"value", "interval", "method"}.
        counts: split to (called so, all such images), for proportions.
    """

    owner: str
    rule: str
    key: str
    name: str
    metrics: Mapping[str, Json]
    counts: Mapping[str, tuple[int, int]]

    def print_long(self, split: str) -> str:
        """Return the figure for running text, "95% CI" within."""
        return self._print(split, is_short=False)

    def print_short(self, split: str) -> str:
        """Return the figure for a table whose title explains the brackets; "" without one."""
        return self._print(split, is_short=True) if split in self.metrics else ""

    def _print(self, split: str, *, is_short: bool) -> str:
        metric = self.metrics.get(split)
        if self.key in PROPORTIONS:
            text = format_proportion(metric, self.counts.get(split))
            return text.replace("95% CI ", "") if is_short else text
        write = format_estimate_short if is_short else format_estimate
        return write(metric)


def list_metrics(content: RunContent) -> list[Measure]:
    """Return what needs no threshold: of each class, then averages, then of whole images."""
    owners = {
        name: {s: class_block(content, s, class_name=name) for s in content.summaries}
        for name in shown_classes(content)
    }
    if len(owners) > 1:
        for kind, name in _AVERAGES.items():
            owners[name] = {s: as_mapping(c.get(kind)) for s, c in content.summaries.items()}
    measures = [
        measure
        for owner, blocks in owners.items()
        for measure in _gather(
            owner,
            {s: as_mapping(b.get("metrics")) for s, b in blocks.items()},
            names=_names(SCORES),
        )
    ]
    if content.positive_class is None:
        overall = {s: as_mapping(c.get("overall")) for s, c in content.summaries.items()}
        measures += _gather("Whole images", overall, names=_names(OVERALL))
    return measures


def list_points(content: RunContent) -> list[Measure]:
    """Return threshold and figures of each class at each operating point, the chosen one first."""
    return [
        measure
        for owner in shown_classes(content)
        for rule in list_rules(content)
        for measure in _measure_point(content, owner, rule=rule)
    ]


def _measure_point(content: RunContent, owner: str, *, rule: str) -> Iterator[Measure]:
    points = {
        split: as_mapping(operating_points(content, split, class_name=owner).get(rule))
        for split in content.summaries
    }
    points = {split: point for split, point in points.items() if point}
    thresholds = {
        split: {
            "threshold": {
                "value": value_of(point.get("threshold")),
                "interval": point.get("threshold_interval"),
                "method": "bootstrap" if point.get("threshold_interval") else None,
            }
        }
        for split, point in points.items()
    }
    name = rule_name(content, rule)
    yield from _gather(owner, thresholds, names={"threshold": "Threshold"}, rule=name)
    # Shares of images first: those are printed with their counts.
    ordered = sorted(DECISIONS.values(), key=lambda metric: metric.proportion is None)
    yield from _gather(owner, points, names={m.key: m.name for m in ordered}, rule=name)


def _gather(
    owner: str, blocks: Mapping[str, Json], *, names: Mapping[str, str], rule: str = ""
) -> Iterator[Measure]:
    for key, name in names.items():
        metrics = {s: _as_metric(block[key]) for s, block in blocks.items() if key in block}
        if metrics:
            counts = {s: _count(blocks[s], key) for s in metrics}
            yield Measure(
                owner=owner,
                rule=rule,
                key=key,
                name=name,
                metrics=metrics,
                counts={s: pair for s, pair in counts.items() if pair is not None},
            )


def _names(metrics: Mapping[str, Metric]) -> dict[str, str]:
    return {key: metric.name for key, metric in metrics.items()}


def _as_metric(value: object) -> Json:
    return as_mapping(value) or {"value": value_of(value)}


def _count(block: Json, key: str) -> tuple[int, int] | None:
    if key not in PROPORTIONS:
        return None
    parts = [[value_of(block.get(name)) for name in names] for names in PROPORTIONS[key]]
    if any(number is None for part in parts for number in part):
        return None
    part, whole = (int(sum(number or 0.0 for number in numbers)) for numbers in parts)
    return part, whole
