"""What a model would be if it were updated on another data set: updating.json."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, TypeVar

from medimg_baseline_cls.records.estimates import Estimate, Json

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain(Estimate):
    """A metric of the updated model minus that of the locked one, on the same images.

    Attributes:
        locked, updated: the metric before and after.
    """

    locked: Estimate
    updated: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        sides = {"locked": self.locked.to_json(), "updated": self.updated.to_json()}
        return sides | Estimate.to_json(self)

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        found = Estimate.from_json(content)
        return cls(
            value=found.value,
            reason=found.reason,
            interval=found.interval,
            locked=Estimate.from_json(content["locked"]),
            updated=Estimate.from_json(content["updated"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A number that is fitted on the other data set: a part of a line, or a threshold.

    Attributes:
        locked: its value in the locked model.
        estimate: fitted on all images, with its interval.
        folds: fitted without each fold; this is what was applied.
    """

    locked: float
    estimate: Estimate
    folds: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"locked": self.locked, **self.estimate.to_json(), "folds": list(self.folds)}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        estimate, folds = Estimate.from_json(content), tuple(map(float, content["folds"]))
        return cls(locked=float(content["locked"]), estimate=estimate, folds=folds)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedModel:
    """One way of updating a class: what was fitted, and what changed.

    Attributes:
        reason: why it is not available; "" where it is.
        fitted: "intercept" and "slope" of the logit, or thresholds by rule.
        metrics: of the probabilities; empty where only thresholds are chosen again.
        operating_points: of the decisions, by rule, where thresholds are chosen again. A fitted
            line changes none; files of earlier versions have them for a line, too.
    """

    reason: str = ""
    fitted: Mapping[str, Fitted] = field(default_factory=dict[str, Fitted])
    metrics: Mapping[str, Gain] = field(default_factory=dict[str, Gain])
    operating_points: Mapping[str, Mapping[str, Gain]] = field(
        default_factory=dict[str, Mapping[str, Gain]]
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        points = self.operating_points.items()
        return {
            "reason": self.reason,
            "fitted": _write(self.fitted),
            "metrics": _write(self.metrics),
            "operating_points": {rule: _write(gains) for rule, gains in points},
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        points = content["operating_points"].items()
        return cls(
            reason=str(content["reason"]),
            fitted=_read(content["fitted"], Fitted.from_json),
            metrics=_read(content["metrics"], Gain.from_json),
            operating_points={rule: _read(gains, Gain.from_json) for rule, gains in points},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many images and patients, and how many of the images are positive."""

    num_images: int
    num_patients: int
    num_positive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsNeeded:
    """What a 95 % interval of a given width needs.

    Attributes:
        metric: "expected_ratio", "slope" or "auroc".
        value: that it is expected to have.
        width: of the interval.
        num_images, num_positive: that it needs; the positive ones are the events.
        reason: why these are None; "" where they are not.
    """

    metric: str
    value: float
    width: float
    num_images: int | None
    num_positive: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassUpdating:
    """One class or finding.

    Attributes:
        sizes: of the data set.
        reason: why it could not be updated; "" where it could.
        fitting_parts: of the images that each fold was fitted on, without the fold itself.
        updates: by "intercept", "intercept_and_slope" and "threshold".
        needed: images for an interval of a given width.
    """

    sizes: Sizes
    reason: str = ""
    fitting_parts: tuple[Sizes, ...] = ()
    updates: Mapping[str, UpdatedModel] = field(default_factory=dict[str, UpdatedModel])
    needed: tuple[EventsNeeded, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = asdict(replace(self, updates={}))
        return plain | {"updates": _write(self.updates)}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            sizes=Sizes(**content["sizes"]),
            reason=str(content["reason"]),
            fitting_parts=tuple(Sizes(**part) for part in content["fitting_parts"]),
            updates=_read(content["updates"], UpdatedModel.from_json),
            needed=tuple(EventsNeeded(**entry) for entry in content["needed"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatingSummary:
    """The content of updating.json.

    Attributes:
        reason: why no class is updated; "" where they are.
        num_folds: of the cross-fitting.
        intervals: how the intervals were made.
        classes: by class or finding.
    """

    reason: str = ""
    num_folds: int = 0
    intervals: Json = field(default_factory=dict[str, Any])
    classes: Mapping[str, ClassUpdating] = field(default_factory=dict[str, ClassUpdating])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {"reason": self.reason, "num_folds": self.num_folds}
        return plain | {"intervals": dict(self.intervals), "classes": _write(self.classes)}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            reason=str(content["reason"]),
            num_folds=int(content["num_folds"]),
            intervals=content["intervals"],
            classes=_read(content["classes"], ClassUpdating.from_json),
        )


def _write(records: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record.to_json() for name, record in records.items()}


def _read(content: Mapping[str, Json], read: Callable[[Json], Record]) -> dict[str, Record]:
    return {name: read(entry) for name, entry in content.items()}
