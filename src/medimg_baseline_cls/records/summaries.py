"""The metrics of a split as records: by class, averaged, of whole images.

`SplitSummary` is the content of val_summary.json and test_summary.json. `items` yields every
estimate with its key, `change` maps them: who adds or takes something needs no other way in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast

from medimg_baseline_cls.catalogue import COUNTS
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.records.estimates import UNKNOWN, Bounds, Estimate, Json
from medimg_baseline_cls.schema import Task, TaskFacts
from medimg_baseline_cls.utils.files import read_json
from medimg_baseline_cls.utils.parsing import parsing


class Average(Enum):
    """What is measured beyond single classes."""

    MACRO = "macro"
    MICRO = "micro"
    OVERALL = "overall"


class MetricKey(NamedTuple):
    """The name of an estimate: a class or an average, an operating point or None, a metric."""

    block: str | Average
    rule: str | None
    metric: str


Change = Callable[[MetricKey, Estimate], Estimate]
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """Decisions at one threshold.

    Attributes:
        metrics: sensitivity, specificity and the others, by key.
        threshold: positive means `probability >= threshold`; None for an average.
        tp, fp, fn, tn: counts of images; None for a mean over classes.
        num_findings: of pooled findings, how many have a threshold by this rule.
        threshold_interval: of the threshold when it is chosen again in each resample; None where
            it was not, or where resamples do not vary.
        is_resampled: whether `threshold_interval` says something.
    """

    metrics: Mapping[str, Estimate]
    threshold: float | None = None
    tp: int | None = None
    fp: int | None = None
    fn: int | None = None
    tn: int | None = None
    num_findings: int | None = None
    threshold_interval: Bounds | None = None
    is_resampled: bool = False

    def counts(self, names: Sequence[str] = COUNTS) -> int:
        """Return the sum of some of the counts; 0 where there are none.

        >>> OperatingPoint(metrics={}, tp=3, fp=1, fn=2, tn=4).counts(("tp", "fn"))
        5
        """
        return sum(getattr(self, name) or 0 for name in names)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        facts = {name: getattr(self, name) for name in ("threshold", "num_findings", *COUNTS)}
        content = {name: value for name, value in facts.items() if value is not None}
        content |= {name: estimate.to_json() for name, estimate in self.metrics.items()}
        if self.is_resampled:
            interval = self.threshold_interval
            content["threshold_interval"] = None if interval is None else list(interval)
        return content

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        interval = content.get("threshold_interval")
        return cls(
            metrics=_read_estimates(content),
            threshold_interval=None if interval is None else cast(Bounds, tuple(interval)),
            is_resampled="threshold_interval" in content,
            **{name: content.get(name) for name in ("threshold", "num_findings", *COUNTS)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMetrics:
    """One class against the rest, one finding, or an average.

    Attributes:
        metrics: those that need no threshold, by key.
        operating_points: by rule.
        prevalence: of the class among the images where it is known; None for a macro average and
            without such an image.
        num_positive, num_negative: images; of a micro average, pairs of image and finding.
        num_unknown: images where the reference standard does not know a finding.
    """

    metrics: Mapping[str, Estimate]
    operating_points: Mapping[str, OperatingPoint]
    prevalence: float | None = None
    num_positive: int | None = None
    num_negative: int | None = None
    num_unknown: int | None = None

    def items(self) -> Iterator[tuple[str | None, str, Estimate]]:
        """Yield every estimate with its rule (None without a threshold) and its metric."""
        for name, estimate in self.metrics.items():
            yield None, name, estimate
        for rule, point in self.operating_points.items():
            for name, estimate in point.metrics.items():
                yield rule, name, estimate

    def look_up(self, key: MetricKey) -> Estimate:
        """Return one estimate; `UNKNOWN` where there is none of this key."""
        if key.rule is None:
            return self.metrics.get(key.metric, UNKNOWN)
        point = self.operating_points.get(key.rule)
        return UNKNOWN if point is None else point.metrics.get(key.metric, UNKNOWN)

    def change(self, change: Change, *, block: str | Average) -> Self:
        """Return the same record with every estimate changed."""
        points = {
            rule: replace(point, metrics=_change(point.metrics, change, block=block, rule=rule))
            for rule, point in self.operating_points.items()
        }
        metrics = _change(self.metrics, change, block=block, rule=None)
        return replace(self, metrics=metrics, operating_points=points)

    def to_json(self, *, is_micro: bool = False) -> dict[str, Any]:
        """Return plain values."""
        unknown = {} if self.num_unknown is None else {"num_unknown": self.num_unknown}
        counts: dict[str, Any] = {}
        if self.num_positive is not None:
            counts = {name: getattr(self, name) for name in _CLASS_COUNTS}
        return {
            **counts,
            "metrics": {name: estimate.to_json() for name, estimate in self.metrics.items()},
            **(unknown if is_micro else {}),
            "operating_points": {r: point.to_json() for r, point in self.operating_points.items()},
            **({} if is_micro else unknown),
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        points: Mapping[str, Json] = content.get("operating_points", {})
        return cls(
            metrics=_read_estimates(content.get("metrics", {})),
            operating_points={r: OperatingPoint.from_json(point) for r, point in points.items()},
            **{name: content.get(name) for name in (*_CLASS_COUNTS, "num_unknown")},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary(TaskFacts):
    """Everything that is measured of one split.

    Attributes:
        split: "val" or "test".
        positive_class: of two classes; None where each class is evaluated against the rest.
        classes: the positive class alone, or every class or finding.
        macro: means over all classes, or over the findings that define each metric.
        micro: of findings, all known pairs of image and finding together.
        overall: metrics of whole images: of the most probable class, or of all findings.
        num_known_pairs: of findings, the pairs of image and finding that are known.
        confusion_matrix: counts, reference standard by row; None for findings.
        intervals: how the intervals were made; empty before they were.
    """

    split: str
    num_images: int
    num_groups: int
    class_names: tuple[str, ...]
    task: Task = "multiclass"
    positive_class: str | None
    classes: Mapping[str, ClassMetrics]
    macro: ClassMetrics
    micro: ClassMetrics | None = None
    overall: Mapping[str, Estimate]
    num_known_pairs: int | None = None
    confusion_matrix: Sequence[Sequence[int]] | None = None
    intervals: Json = field(default_factory=dict[str, Any])

    @property
    def headline(self) -> Mapping[str, Estimate]:
        """Return the threshold-free metrics of the positive class, or the macro averages."""
        block = self.macro if self.positive_class is None else self.classes[self.positive_class]
        return block.metrics

    @property
    def blocks(self) -> dict[str | Average, ClassMetrics]:
        """Return the classes and their averages, by the block of a `MetricKey`."""
        micro = {} if self.micro is None else {Average.MICRO: self.micro}
        return {**self.classes, Average.MACRO: self.macro, **micro}

    def look_up(self, key: MetricKey) -> Estimate:
        """Return one estimate; `UNKNOWN` where there is none of this key."""
        if key.block is Average.OVERALL:
            return self.overall.get(key.metric, UNKNOWN)
        block = self.blocks.get(key.block)
        return UNKNOWN if block is None else block.look_up(key)

    def items(self) -> Iterator[tuple[MetricKey, Estimate]]:
        """Yield every estimate with its key."""
        for block, found in self.blocks.items():
            for rule, metric, estimate in found.items():
                yield MetricKey(block, rule, metric), estimate
        for metric, estimate in self.overall.items():
            yield MetricKey(Average.OVERALL, None, metric), estimate

    def change(self, change: Change) -> Self:
        """Return the same summary with every estimate changed."""
        classes = {name: block.change(change, block=name) for name, block in self.classes.items()}
        return replace(
            self,
            classes=classes,
            macro=self.macro.change(change, block=Average.MACRO),
            micro=None if self.micro is None else self.micro.change(change, block=Average.MICRO),
            overall=_change(self.overall, change, block=Average.OVERALL, rule=None),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of <split>_summary.json."""
        overall = {name: estimate.to_json() for name, estimate in self.overall.items()}
        if self.num_known_pairs is not None:
            overall["num_known_pairs"] = self.num_known_pairs  # pyright: ignore[reportArgumentType]
        matrix = self.confusion_matrix
        return {
            "split": self.split,
            "num_images": self.num_images,
            "num_groups": self.num_groups,
            "class_names": list(self.class_names),
            **({} if self.task == "multiclass" else {"task": self.task}),
            "positive_class": self.positive_class,
            "classes": {name: block.to_json() for name, block in self.classes.items()},
            "macro": self.macro.to_json(),
            **({} if self.micro is None else {"micro": self.micro.to_json(is_micro=True)}),
            "overall": overall,
            "confusion_matrix": None if matrix is None else [list(row) for row in matrix],
            **({"intervals": dict(self.intervals)} if self.intervals else {}),
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote, this version or an older one."""
        classes: Mapping[str, Json] = content["classes"]
        return cls(
            split=str(content["split"]),
            num_images=int(content["num_images"]),
            num_groups=int(content["num_groups"]),
            class_names=tuple(content["class_names"]),
            task=content.get("task", "multiclass"),
            positive_class=content.get("positive_class"),
            classes={name: ClassMetrics.from_json(block) for name, block in classes.items()},
            macro=ClassMetrics.from_json(content.get("macro", {})),
            micro=ClassMetrics.from_json(content["micro"]) if "micro" in content else None,
            overall=_read_estimates(content.get("overall", {})),
            num_known_pairs=content.get("overall", {}).get("num_known_pairs"),
            confusion_matrix=content.get("confusion_matrix"),
            intervals=content.get("intervals", {}),
        )


def read_record(path: Path, read: Callable[[Json], Record]) -> Record:
    """Read a JSON file that `medimg evaluate` wrote, by the `from_json` of its record.

    Raises:
        RunError: The file is missing or is not as it was written.
    """
    content = read_json(path)
    with parsing(
        lambda _: RunError(
            f"{path} is not as it was written: restore it, or run `medimg evaluate` again."
        )
    ):
        return read(content)


def read_summary(path: Path) -> SplitSummary:
    """Read val_summary.json or test_summary.json, see `read_record`."""
    return read_record(path, SplitSummary.from_json)


_CLASS_COUNTS = ("prevalence", "num_positive", "num_negative")


def _change(
    metrics: Mapping[str, Estimate], change: Change, *, block: str | Average, rule: str | None
) -> dict[str, Estimate]:
    return {
        name: change(MetricKey(block, rule, name), estimate) for name, estimate in metrics.items()
    }


def _read_estimates(content: Json) -> dict[str, Estimate]:
    """Return the entries that are estimates; counts and thresholds are none."""
    return {
        name: Estimate.from_json(cast(Json, entry))
        for name, entry in content.items()
        if isinstance(entry, Mapping) and "value" in entry
    }
