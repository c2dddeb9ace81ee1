"""Metrics over several runs: the content of cv_summary.json and seeds_summary.json."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from medimg_baseline_cls.records.estimates import Interval, Json, Spread, read_spreads
from medimg_baseline_cls.records.summaries import Average, MetricKey, OperatingPoint
from medimg_baseline_cls.schema import Task, TaskFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadPoint:
    """One operating point over runs; `pooled` from the added counts, where these mean something."""

    metrics: Mapping[str, Spread]
    pooled: OperatingPoint | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        pooled = {} if self.pooled is None else {"pooled": self.pooled.to_json()}
        return {name: spread.to_json() for name, spread in self.metrics.items()} | pooled

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        pooled = content.get("pooled")
        return cls(
            metrics=read_spreads(content),
            pooled=None if pooled is None else OperatingPoint.from_json(pooled),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadBlock:
    """One class, or an average, over runs."""

    metrics: Mapping[str, Spread]
    operating_points: Mapping[str, SpreadPoint] = field(default_factory=dict[str, SpreadPoint])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "metrics": {name: spread.to_json() for name, spread in self.metrics.items()},
            "operating_points": {r: point.to_json() for r, point in self.operating_points.items()},
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        points: Mapping[str, Json] = content["operating_points"]
        return cls(
            metrics=read_spreads(content["metrics"]),
            operating_points={rule: SpreadPoint.from_json(p) for rule, p in points.items()},
        )

    def look_up(self, key: MetricKey) -> Spread | None:
        """Return the spread of one metric; None where no run has it."""
        if key.rule is None:
            return self.metrics.get(key.metric)
        point = self.operating_points.get(key.rule)
        return None if point is None else point.metrics.get(key.metric)

    def with_interval(self, key: MetricKey, interval: Interval) -> Self:
        """Return the block with the interval of one mean; an undefined mean gets none."""
        spread = self.look_up(key)
        if spread is None or spread.mean is None:
            return self
        changed = {key.metric: replace(spread, interval=interval)}
        if key.rule is None:
            return replace(self, metrics={**self.metrics, **changed})
        point = self.operating_points[key.rule]
        point = replace(point, metrics={**point.metrics, **changed})
        return replace(self, operating_points={**self.operating_points, key.rule: point})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSummary(TaskFacts):
    """Every metric over runs, by class and average, as `SplitSummary` has them for one run.

    Attributes:
        positive_class: of two classes; None where each class is evaluated against the rest.
        overall: of grades, what their order adds; empty for other tasks.
        intervals: how the intervals of the means were made; empty where there are none.
    """

    num_runs: int
    task: Task
    class_names: tuple[str, ...]
    positive_class: str | None
    classes: Mapping[str, SpreadBlock]
    averages: Mapping[Average, SpreadBlock]
    overall: SpreadBlock | None = None
    intervals: Json = field(default_factory=dict[str, Any])

    @property
    def blocks(self) -> dict[str | Average, SpreadBlock]:
        """Return classes, averages and what is of whole images, by the block of a `MetricKey`."""
        overall = {} if self.overall is None else {Average.OVERALL: self.overall}
        return {**self.classes, **self.averages, **overall}

    def look_up(self, key: MetricKey) -> Spread | None:
        """Return the spread of one metric; None where no run has it."""
        block = self.blocks.get(key.block)
        return None if block is None else block.look_up(key)

    def rows(self) -> Iterator[tuple[str, SpreadBlock]]:
        """Yield what a table shows, with its name: the classes, and pooled pairs of findings."""
        yield from self.classes.items()
        if Average.MICRO in self.averages:
            yield "micro (all pairs)", self.averages[Average.MICRO]

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file, without what the command adds."""
        overall = {} if self.overall is None else {"overall": self.overall.to_json()["metrics"]}
        return {
            "num_runs": self.num_runs,
            **({} if self.task == "multiclass" else {"task": self.task}),
            "class_names": list(self.class_names),
            "positive_class": self.positive_class,
            "classes": {name: block.to_json() for name, block in self.classes.items()},
            **{average.value: block.to_json() for average, block in self.averages.items()},
            **overall,
            **({"intervals": dict(self.intervals)} if self.intervals else {}),
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote, whatever the command added."""
        classes: Mapping[str, Json] = content["classes"]
        overall = content.get("overall")
        averages = [average for average in Average if average.value in content]
        return cls(
            num_runs=int(content["num_runs"]),
            task=content.get("task", "multiclass"),
            class_names=tuple(content["class_names"]),
            positive_class=content["positive_class"],
            classes={name: SpreadBlock.from_json(block) for name, block in classes.items()},
            averages={
                average: SpreadBlock.from_json(content[average.value])
                for average in averages
                if average is not Average.OVERALL
            },
            overall=None if overall is None else SpreadBlock(metrics=read_spreads(overall)),
            intervals=content.get("intervals", {}),
        )
