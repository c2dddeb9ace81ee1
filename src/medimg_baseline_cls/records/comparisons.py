"""Models on the same images, and their paired differences: the content of comparison.json."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, HEADLINE_SCORES, name_rule, word_of
from medimg_baseline_cls.records.estimates import UNKNOWN, Estimate, Json, PairedDifference
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.schema import Task, TaskFacts

Number = TypeVar("Number", bound=Estimate)
_SHOWN_CALLS = (*HEADLINE_DECISIONS, "accuracy")


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


class ComparedMetric(NamedTuple):
    """One metric of all models, the reference first; gaps are of the others."""

    key: MetricKey
    entries: tuple[Estimate, ...]
    gaps: tuple[PairedDifference, ...]

    @property
    def label(self) -> str:
        """Return its name in words."""
        return name_metric(self.key)

    @property
    def class_name(self) -> str:
        """Return the class or average it belongs to."""
        block = self.key.block
        return block.value if isinstance(block, Average) else block


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(TaskFacts):
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
                {"name": m.name, "thresholds": m.thresholds, "classes": nest_estimates(m.estimates)}
                for m in self.models
            ],
            "differences": [
                {
                    "name": d.name,
                    "is_identical": d.is_identical,
                    "classes": nest_estimates(d.differences),
                }
                for d in self.differences
            ],
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote, whatever the command added."""
        names = tuple(content["class_names"])
        models = (
            ComparedModel(
                name=model["name"],
                thresholds=model["thresholds"],
                estimates=flatten_estimates(model["classes"], Estimate, class_names=names),
            )
            for model in content["models"]
        )
        differences = (
            ModelDifference(
                name=model["name"],
                is_identical=model["is_identical"],
                differences=flatten_estimates(
                    model["classes"], PairedDifference, class_names=names
                ),
            )
            for model in content["differences"]
        )
        facts = ("split", "task", "num_images", "num_groups", "positive_class")
        return cls(
            **{name: content[name] for name in facts},
            class_names=names,
            intervals=content["intervals"],
            tests=content["tests"],
            warnings=tuple(content["warnings"]),
            models=tuple(models),
            differences=tuple(differences),
        )

    def list_metrics(self) -> list[ComparedMetric]:
        """Return every metric of all models, class by class."""
        missing = PairedDifference(value=None)
        return [
            ComparedMetric(
                key,
                tuple(model.estimates.get(key, UNKNOWN) for model in self.models),
                tuple(model.differences.get(key, missing) for model in self.differences),
            )
            for key in self.models[0].estimates
        ]

    def choose_metrics(self, *, rule: str) -> list[ComparedMetric]:
        """Return the metrics that are shown to people; all of them are in the files.

        Of two classes AUROC, AP and the decisions at one operating point; of more the averages,
        then the AUROC of each class.
        """
        metrics = self.list_metrics()
        if self.positive_class is not None:
            scores = [m for m in metrics if m.key.rule is None and m.key.metric in HEADLINE_SCORES]
            calls = [m for m in metrics if m.key.rule == rule and m.key.metric in _SHOWN_CALLS]
            order = (*HEADLINE_SCORES, *_SHOWN_CALLS)
            return sorted([*scores, *calls], key=lambda compared: order.index(compared.key.metric))
        averages = [m for m in metrics if isinstance(m.key.block, Average)]
        macro = [m for m in averages if m.key.metric in HEADLINE_SCORES]
        single = [m for m in metrics if m not in averages and m.key.metric == "auroc"]
        return [*reversed(macro), *single]


def name_metric(key: MetricKey, target: float | None = None) -> str:
    """Return the name of a metric in words; `target` is the sensitivity that was aimed at.

    >>> name_metric(MetricKey("PNEUMONIA", "max_f1", "ppv"))
    'PPV at Max-F1'
    """
    name = word_of(key.metric)
    return name if key.rule is None else f"{name} at {name_rule(key.rule, target)}"


def nest_estimates(estimates: Mapping[MetricKey, Estimate]) -> dict[str, Any]:
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


def flatten_estimates(
    content: Mapping[str, Any], record: type[Number], *, class_names: Collection[str]
) -> dict[MetricKey, Number]:
    """Return what `nest_estimates` was given."""
    flat: dict[MetricKey, Number] = {}
    for name, entries in content.items():
        block = name if name in class_names else Average(name)
        for rule, metrics in {None: entries["metrics"], **entries["operating_points"]}.items():
            for metric, estimate in metrics.items():
                flat[MetricKey(block, rule, metric)] = record.from_json(estimate)
    return flat
