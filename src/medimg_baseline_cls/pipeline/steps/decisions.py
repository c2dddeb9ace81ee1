"""From the probabilities of images to decisions, in tables, on panels and in counts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.schema import FINDING_SEPARATOR, Task, TaskFacts, Threshold
from medimg_baseline_cls.utils.quantities import format_threshold


@dataclass(frozen=True, kw_only=True)
class Decider(TaskFacts):
    """What turns the probabilities of an image into a decision.

    Attributes:
        class_names: the frozen class order.
        positive_class: of two classes; None where each class is decided for itself.
        task: what the network was trained for.
        thresholds: by class; a class may lack one.
    """

    class_names: tuple[str, ...]
    positive_class: str | None
    task: Task
    thresholds: Mapping[str, Threshold]

    def called(self, probabilities: NDArray[np.float64]) -> list[str]:
        """Return the classes that reach their threshold, of an image's probabilities (C,)."""
        return [
            name
            for name, threshold in self.thresholds.items()
            if probabilities[self.class_names.index(name)] >= threshold.value
        ]

    def decide(self, probabilities: NDArray[np.float64]) -> tuple[str, float | None]:
        """Return the decision and the threshold it was made at.

        Two classes: positive at or above the threshold. More, or findings: every one that
        reaches its own, joined by "|", and no single threshold.
        """
        called = self.called(probabilities)
        if self.positive_class is None:
            return FINDING_SEPARATOR.join(called), None
        negative = next(name for name in self.class_names if name != self.positive_class)
        threshold = self.thresholds[self.positive_class].value
        return (self.positive_class if called else negative), threshold

    def explained(self, probabilities: NDArray[np.float64]) -> list[str]:
        """Return the classes that a panel is drawn of: the positive one, or the likeliest one.

        For findings, each positive one, or the likeliest if there is none.
        """
        if self.positive_class is not None:
            return [self.positive_class]
        called = self.called(probabilities) if self.has_findings else []
        likeliest = max(
            self.thresholds, key=lambda name: probabilities[self.class_names.index(name)]
        )
        return called or [likeliest]

    def describe(self, probabilities: NDArray[np.float64]) -> str:
        """Return the decision on an image in words, such as "NORMAL" or "Effusion, Mass"."""
        if self.positive_class is not None:
            return self.decide(probabilities)[0]
        return ", ".join(self.called(probabilities)) or self._none

    def count(self, probabilities: NDArray[np.float64]) -> str:
        """Return how many of some images, (N, C), got each decision, in one line.

        For findings, the number of images in which each is positive.
        """
        (rule,) = {threshold.rule for threshold in self.thresholds.values()}
        if self.has_findings:
            called = [self.called(row) or [self._none] for row in probabilities]
            counts = Counter(name for names in called for name in names)
            order = [*self.thresholds, self._none]
        else:
            counts = Counter(self.describe(row) for row in probabilities)
            order = [name for name, _ in counts.most_common()]
        at = rule
        if self.positive_class is not None:
            others = [name for name in self.class_names if name != self.positive_class]
            order = [self.positive_class, *others]
            at = f"{rule} threshold {format_threshold(self.thresholds[self.positive_class].value)}"
        shown = ", ".join(f"{counts[name]} {name}" for name in order)
        return f"decisions: {shown} at {at}"

    @property
    def _none(self) -> str:
        return "no finding" if self.has_findings else "no class"
