"""Models on the same images, and their paired differences: the content of comparison.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medimg_baseline_cls.records.estimates import Estimate, Json, PairedDifference
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.schema import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """One model: its thresholds by class and rule, and its estimates."""

    name: str
    thresholds: Mapping[str, Mapping[str, float]]
    estimates: Mapping[MetricKey, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """One model less the reference; `is_identical` where their probabilities are the same."""

    name: str
    is_identical: bool
    differences: Mapping[MetricKey, PairedDifference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Models and their differences from the first of them, the reference.

    Attributes:
        split: which images they are of.
        positive_class: of two classes; None where each class is evaluated against the rest.
        intervals: how the intervals were made.
        tests: the correction, and how many tests it takes as one family.
        warnings: one sentence each.
        models: the reference first.
        differences: of the others, in the same order.
    """

    split: str
    task: Task
    num_images: int
    num_groups: int
    class_names: tuple[str, ...]
    positive_class: str | None
    intervals: Json
    tests: Json
    warnings: tuple[str, ...]
    models: tuple[ComparedModel, ...]
    differences: tuple[ModelDifference, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the content of comparison.json."""
        return {
            "split": self.split,
            "task": self.task,
            "num_images": self.num_images,
            "num_groups": self.num_groups,
            "class_names": list(self.class_names),
            "positive_class": self.positive_class,
            "reference": self.models[0].name,
            "intervals": dict(self.intervals),
            "tests": dict(self.tests),
            "warnings": list(self.warnings),
            "models": [
                {"name": m.name, "thresholds": m.thresholds, "classes": _nest(m.estimates)}
                for m in self.models
            ],
            "differences": [
                {"name": d.name, "is_identical": d.is_identical, "classes": _nest(d.differences)}
                for d in self.differences
            ],
        }


def _nest(estimates: Mapping[MetricKey, Estimate]) -> dict[str, Any]:
    """Return estimates by class or average, then by kind."""
    content: dict[str, Any] = {}
    for (block, rule, metric), estimate in estimates.items():
        name = block.value if isinstance(block, Average) else block
        entries = content.setdefault(name, {"metrics": {}, "operating_points": {}})
        place = entries["metrics"]
        if rule is not None:
            place = entries["operating_points"].setdefault(rule, {})
        place[metric] = estimate.to_json()
    return content
