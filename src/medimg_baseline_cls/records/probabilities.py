"""What is found about probabilities: calibration.json, recalibration.json and prevalence.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from medimg_baseline_cls.records.estimates import Bounds, Estimate, Json
from medimg_baseline_cls.records.summaries import OperatingPoint

LINE = ("slope", "intercept", "intercept_at_slope_1")
_SPLITS = ("val", "test")


@dataclass(frozen=True, slots=True)
class Bin:
    """Images of similar probability: a point of the reliability curve.

    `share` is the share of them that is positive; `interval` is Wilson's, of that share.
    """

    num_images: int
    num_positive: int
    lowest: float
    highest: float
    mean_probability: float
    share: float
    interval: Bounds

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        content = asdict(self)
        share, interval = content["share"], list(content.pop("interval"))
        return content | {"share": {"value": share, "interval": interval, "method": "wilson"}}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        share: Json = content["share"]
        facts: dict[str, Any] = {**content, "share": share["value"]}
        return cls(**facts, interval=tuple(share["interval"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationError:
    """An expected calibration error, and what a perfectly calibrated model would show.

    Attributes:
        estimate: of the images.
        expected, percentile_95: of samples of as many images from such a model.
    """

    estimate: Estimate
    expected: float
    percentile_95: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        chance = {"expected": self.expected, "percentile_95": self.percentile_95}
        return self.estimate.to_json() | chance

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            estimate=Estimate.from_json(content),
            expected=content["expected"],
            percentile_95=content["percentile_95"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBrief:
    """The calibration of one class on one split in six numbers.

    Attributes:
        slope, intercept: of the logistic regression of the outcome on the logit (Cox 1958).
        intercept_at_slope_1: calibration in the large.
        ece_equal_mass: in bins of equal mass.
    """

    slope: Estimate
    intercept: Estimate
    intercept_at_slope_1: Estimate
    ece_equal_mass: CalibrationError
    log_loss: float
    brier: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **{name: getattr(self, name).to_json() for name in (*LINE, "ece_equal_mass")},
            **{name: {"value": getattr(self, name)} for name in ("log_loss", "brier")},
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            **{name: Estimate.from_json(content[name]) for name in LINE},
            ece_equal_mass=CalibrationError.from_json(content["ece_equal_mass"]),
            **{name: content[name]["value"] for name in ("log_loss", "brier")},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCalibration:
    """The calibration of one class on one split.

    Attributes:
        ece_equal_width: the calibration error in bins of equal width.
        brier: "value" and its parts, see `brier_parts`.
        bins: the reliability curve.
    """

    num_images: int
    prevalence: float
    mean_probability: float
    brief: CalibrationBrief
    ece_equal_width: CalibrationError
    brier: Mapping[str, float]
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        brief = self.brief.to_json()
        return {
            "num_images": self.num_images,
            "prevalence": self.prevalence,
            "mean_probability": self.mean_probability,
            **{name: brief[name] for name in (*LINE, "ece_equal_mass")},
            "ece_equal_width": self.ece_equal_width.to_json(),
            "brier": dict(self.brier),
            "log_loss": brief["log_loss"],
            "bins": [entry.to_json() for entry in self.bins],
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            **{name: content[name] for name in ("num_images", "prevalence", "mean_probability")},
            brief=CalibrationBrief.from_json(content),
            ece_equal_width=CalibrationError.from_json(content["ece_equal_width"]),
            brier=content["brier"],
            bins=tuple(map(Bin.from_json, content["bins"])),
        )


@dataclass(frozen=True, slots=True)
class CalibrationSummary:
    """The content of calibration.json: by split, then by class."""

    splits: Mapping[str, Mapping[str, ClassCalibration]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            split: {name: found.to_json() for name, found in classes.items()}
            for split, classes in self.splits.items()
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            {
                split: {name: ClassCalibration.from_json(found) for name, found in classes.items()}
                for split, classes in content.items()
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMap:
    """A recalibration of one class, fitted on VAL.

    Attributes:
        parameters: of the map.
        thresholds: the operating points carried through it, by rule.
        splits: the calibration after it.
    """

    parameters: Json
    thresholds: Mapping[str, float]
    splits: Mapping[str, CalibrationBrief]

    def to_json(self, method: str) -> dict[str, Any]:
        """Return plain values."""
        thresholds = {rule: {"threshold": value} for rule, value in self.thresholds.items()}
        content = {"score_space": method, "parameters": dict(self.parameters)}
        return content | {"thresholds": thresholds} | _write_splits(self.splits)

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        thresholds = {r: point["threshold"] for r, point in content["thresholds"].items()}
        return cls(
            parameters=content["parameters"], thresholds=thresholds, splits=_read_splits(content)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalibratedClass:
    """The calibration of one class by split, and its maps by method."""

    before: Mapping[str, CalibrationBrief]
    maps: Mapping[str, FittedMap]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        maps = {method: fitted.to_json(method) for method, fitted in self.maps.items()}
        return {"before": _write_splits(self.before)} | maps

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        maps = {name: FittedMap.from_json(m) for name, m in content.items() if name != "before"}
        return cls(before=_read_splits(content["before"]), maps=maps)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapWarning:
    """That VAL hardly determines some maps of a class, in one sentence."""

    methods: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalibrationSummary:
    """The content of recalibration.json: warnings and maps by class."""

    predictions_val_sha256: str
    warnings: Mapping[str, MapWarning]
    classes: Mapping[str, RecalibratedClass]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "fitted_on": "val",
            "predictions_val_sha256": self.predictions_val_sha256,
            "warnings": {
                name: {"methods": list(warning.methods), "text": warning.text}
                for name, warning in self.warnings.items()
            },
            "classes": {name: found.to_json() for name, found in self.classes.items()},
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote; older versions wrote no warnings."""
        warnings: Mapping[str, Json] = content.get("warnings", {})
        classes: Mapping[str, Json] = content["classes"]
        return cls(
            predictions_val_sha256=content.get("predictions_val_sha256", ""),
            warnings={
                name: MapWarning(methods=tuple(found["methods"]), text=str(found["text"]))
                for name, found in warnings.items()
            },
            classes={name: RecalibratedClass.from_json(found) for name, found in classes.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrevalenceMetrics:
    """TEST carried to another prevalence of one class.

    Attributes:
        prevalence: that one.
        average_precision: at it.
        operating_points: the locked ones, with PPV and NPV at it.
        max_f1: the threshold of VAL weighted to it; None where there is none.
        reason: why there is no `max_f1`.
    """

    prevalence: float
    average_precision: Estimate
    operating_points: Mapping[str, OperatingPoint]
    max_f1: OperatingPoint | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        max_f1 = {"threshold": None, "reason": self.reason}
        return {
            "prevalence": self.prevalence,
            "average_precision": self.average_precision.to_json(),
            "operating_points": {r: point.to_json() for r, point in self.operating_points.items()},
            "max_f1_at_prevalence": max_f1 if self.max_f1 is None else self.max_f1.to_json(),
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote, this version or an older one, which wrote "max_f1"."""
        key = "max_f1_at_prevalence" if "max_f1_at_prevalence" in content else "max_f1"
        is_defined = content[key]["threshold"] is not None
        points: Mapping[str, Json] = content["operating_points"]
        return cls(
            prevalence=content["prevalence"],
            average_precision=Estimate.from_json(content["average_precision"]),
            operating_points={r: OperatingPoint.from_json(point) for r, point in points.items()},
            max_f1=OperatingPoint.from_json(content[key]) if is_defined else None,
            reason=content[key].get("reason", ""),
        )


@dataclass(frozen=True, slots=True)
class PrevalenceSummary:
    """The content of prevalence.json: by class, then by where the prevalence comes from."""

    classes: Mapping[str, Mapping[str, PrevalenceMetrics]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            name: {source: found.to_json() for source, found in blocks.items()}
            for name, blocks in self.classes.items()
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            {
                name: {s: PrevalenceMetrics.from_json(found) for s, found in blocks.items()}
                for name, blocks in content.items()
            }
        )


def _write_splits(splits: Mapping[str, CalibrationBrief]) -> dict[str, Any]:
    return {split: brief.to_json() for split, brief in splits.items()}


def _read_splits(content: Json) -> dict[str, CalibrationBrief]:
    return {s: CalibrationBrief.from_json(content[s]) for s in _SPLITS if s in content}
