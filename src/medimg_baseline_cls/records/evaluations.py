"""The evaluation of a run in short: the content of eval_summary.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from medimg_baseline_cls.records.estimates import Estimate, Json, read_estimate
from medimg_baseline_cls.schema import Task, TaskFacts

Headlines = Mapping[str, Mapping[str, Estimate]]
"""By split, then by metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutBaseline:
    """A classifier that sees no anatomy, fitted on TRAIN: what the model must beat.

    Attributes:
        name: "trivial" or "border".
        description: what it is, in words.
        metrics: AUROC and average precision on VAL and TEST.
    """

    name: str
    description: str
    metrics: Headlines

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        content = {"name": self.name, "description": self.description}
        return content | write_headlines(self.metrics)

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        splits = {name: found for name, found in content.items() if isinstance(found, Mapping)}
        name = str(content.get("name", ""))
        return cls(
            name=name,
            description=str(content.get("description", name)),
            metrics=read_headlines(splits),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSummary(TaskFacts):
    """What was evaluated, at which thresholds, how well, and what to mind.

    Attributes:
        checkpoint: stage, epoch and sha256 of the network.
        thresholds: by class, then by rule: the threshold, its rule in words, its target.
        headline: the threshold-free metrics of VAL and TEST.
        num_mistakes: by class, rule and kind.
        warnings: one sentence each.
        controls: classifiers on shortcuts, next to the model.
        head_only: as `headline`, of the model before fine-tuning; None where there is none.
        test_evaluations: how often TEST has been scored.
        patients: the same per patient, where patients have several images.
    """

    checkpoint: Json
    class_names: tuple[str, ...]
    positive_class: str | None
    task: Task
    thresholds: Mapping[str, Mapping[str, Json]]
    headline: Headlines
    num_mistakes: Json
    warnings: tuple[str, ...]
    controls: tuple[ShortcutBaseline, ...]
    head_only: Headlines | None = None
    test_evaluations: int | None = None
    patients: Json | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of eval_summary.json."""
        later = {"test_evaluations": self.test_evaluations, "patients": self.patients}
        head_only = None if self.head_only is None else write_headlines(self.head_only)
        return {
            "checkpoint": dict(self.checkpoint),
            "class_names": list(self.class_names),
            "positive_class": self.positive_class,
            "thresholds": self.thresholds,
            "headline": write_headlines(self.headline),
            "num_mistakes": self.num_mistakes,
            "warnings": list(self.warnings),
            "controls": [control.to_json() for control in self.controls],
            **({} if self.task == "multiclass" else {"task": self.task}),
            **({} if head_only is None else {"head_only": head_only}),
            **{name: value for name, value in later.items() if value is not None},
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote, this version or an older one."""
        head_only = content.get("head_only")
        return cls(
            checkpoint=content.get("checkpoint", {}),
            class_names=tuple(map(str, content.get("class_names", ()))),
            positive_class=content.get("positive_class"),
            task=content.get("task", "multiclass"),
            thresholds=content.get("thresholds", {}),
            headline=read_headlines(content.get("headline", {})),
            num_mistakes=content.get("num_mistakes", {}),
            warnings=tuple(map(str, content.get("warnings", ()))),
            controls=tuple(ShortcutBaseline.from_json(c) for c in content.get("controls") or ()),
            head_only=None if head_only is None else read_headlines(head_only),
            test_evaluations=content.get("test_evaluations"),
            patients=content.get("patients"),
        )


def write_headlines(headlines: Headlines) -> dict[str, Any]:
    """Return metrics by split as plain values."""
    return {
        split: {metric: estimate.to_json() for metric, estimate in metrics.items()}
        for split, metrics in headlines.items()
    }


def read_headlines(content: Json) -> dict[str, dict[str, Estimate]]:
    """Return what `write_headlines` wrote."""
    return {
        split: {name: read_estimate(entry) for name, entry in (metrics or {}).items()}
        for split, metrics in content.items()
    }
