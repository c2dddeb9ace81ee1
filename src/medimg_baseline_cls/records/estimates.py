"""One metric as a record: its value or why there is none, and its intervals.

`to_json` writes what the files of a run contain, `from_json` reads it back: a stored estimate,
read and written again, is the same text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

Json = Mapping[str, Any]
Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The confidence interval of an estimate, or why there is none.

    Attributes:
        bounds: (low, high); None where it cannot be given.
        method: how it was made, such as "bootstrap"; "" where it was withheld.
        num_undefined: resamples in which the metric is undefined.
        reason: why there are no bounds.
    """

    bounds: Bounds | None
    method: str = ""
    num_undefined: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the entries that an estimate has for its interval."""
        content: dict[str, Any] = {"interval": _listed(self.bounds)}
        if self.method:
            content["method"] = self.method
        if self.num_undefined:
            content["num_undefined"] = self.num_undefined
        if self.reason:
            content["interval_reason"] = self.reason
        return content

    @classmethod
    def from_json(cls, content: Json) -> "Interval | None":
        """Return the interval among the entries of an estimate; None where it has no entry."""
        if "interval" not in content:
            return None
        return cls(
            bounds=read_bounds(content["interval"]),
            method=str(content.get("method", "")),
            num_undefined=int(content.get("num_undefined", 0)),
            reason=str(content.get("interval_reason", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric of some images.

    Attributes:
        value: None where the images do not define it.
        reason: why it is undefined; "" where it is not.
        num_defined: of a mean over findings, how many define it; None for what is not such a mean.
        baseline: what chance reaches; NaN where that is undefined, None for metrics without one.
        interval: by resampling patients, where that was done.
        wilson, clopper_pearson: closed-form intervals of a proportion, its images taken as
            independent and its threshold as given.
        delong: DeLong's interval of an AUROC, images of one patient taken as a cluster.
    """

    value: float | None
    reason: str = ""
    num_defined: int | None = None
    baseline: float | None = None
    interval: Interval | None = None
    wilson: Bounds | None = None
    clopper_pearson: Bounds | None = None
    delong: Bounds | None = None

    @property
    def bounds(self) -> Bounds | None:
        """Return the ends of the interval, where there is one."""
        return None if self.interval is None else self.interval.bounds

    @property
    def chance(self) -> float | None:
        """Return the baseline; None where it is undefined, or where the metric has none."""
        has_number = self.baseline is not None and self.baseline == self.baseline
        return self.baseline if has_number else None

    def with_interval(self, interval: Interval) -> Self:
        """Return the same estimate with an interval; one that is undefined gets none."""
        return self if self.value is None else replace(self, interval=interval)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the entries that say nothing."""
        content: dict[str, Any] = {"value": self.value}
        if self.reason:
            content["reason"] = self.reason
        if self.num_defined is not None:
            content["num_defined"] = self.num_defined
        if self.baseline is not None:
            content["baseline"] = self.chance
        if self.interval is not None:
            content |= self.interval.to_json()
        for name in ("wilson", "clopper_pearson", "delong"):
            bounds: Bounds | None = getattr(self, name)
            if bounds is not None:
                content[name] = list(bounds)
        return content

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return an estimate from what `to_json` wrote."""
        baseline = content.get("baseline", None)
        if "baseline" in content and baseline is None:
            baseline = float("nan")
        return cls(
            value=read_number(content.get("value")),
            reason=str(content.get("reason", "")),
            num_defined=content.get("num_defined"),
            baseline=baseline,
            interval=Interval.from_json(content),
            wilson=read_bounds(content.get("wilson")),
            clopper_pearson=read_bounds(content.get("clopper_pearson")),
            delong=read_bounds(content.get("delong")),
        )


UNKNOWN = Estimate(value=None)
"""The estimate where a file has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference(Estimate):
    """The difference of a metric between a model and the reference, on the same images.

    Attributes:
        test: "delong" or "mcnemar"; "" where none was made.
        bootstrap: of an AUROC, the interval by resampling; `interval` is DeLong's then.
        standard_error, z: of DeLong's test.
        only_reference_right, only_model_right: images, of McNemar's test.
        p_value: of the test; `p_holm` after Holm's correction.
    """

    test: str = ""
    bootstrap: Bounds | None = None
    standard_error: float | None = None
    z: float | None = None
    only_reference_right: int | None = None
    only_model_right: int | None = None
    p_value: float | None = None
    p_holm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the entries that say nothing."""
        content = Estimate.to_json(self)
        if not self.test:
            return content
        names = ("only_reference_right", "only_model_right")
        if self.test == "delong":
            content["bootstrap"] = _listed(self.bootstrap)
            names = ("standard_error", "z")
        content["test"] = self.test
        return content | {name: getattr(self, name) for name in (*names, "p_value", "p_holm")}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        names = ("standard_error", "z", "only_reference_right", "only_model_right")
        return replace(
            super(PairedDifference, cls).from_json(content),
            test=str(content.get("test", "")),
            bootstrap=read_bounds(content.get("bootstrap")),
            **{name: content.get(name) for name in (*names, "p_value", "p_holm")},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A metric over several runs: of those in which it is defined.

    `sd` is that of a sample (n - 1); `interval` that of the mean, where one was made.
    """

    mean: float | None
    sd: float | None
    minimum: float | None
    maximum: float | None
    num_defined: int
    interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        content = {"mean": self.mean, "sd": self.sd, "min": self.minimum, "max": self.maximum}
        content["num_defined"] = self.num_defined
        if self.mean is None:
            return content | {"reason": "undefined in every run"}
        return content | ({} if self.interval is None else self.interval.to_json())

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            mean=content["mean"],
            sd=content["sd"],
            minimum=content["min"],
            maximum=content["max"],
            num_defined=int(content["num_defined"]),
            interval=Interval.from_json(content),
        )


def read_spreads(content: Mapping[str, Json]) -> dict[str, Spread]:
    """Return the entries that are spreads, by metric."""
    return {name: Spread.from_json(entry) for name, entry in content.items() if "mean" in entry}


def _listed(bounds: Bounds | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def read_number(value: Any) -> float | None:
    """Return a JSON value as a number; None for null and for what is not a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def read_estimate(entry: Any) -> Estimate:
    """Return a metric of a JSON file, {"value": x, ...} or, as older versions wrote it, bare."""
    if isinstance(entry, Mapping):
        return Estimate.from_json(cast(Json, entry))
    return Estimate(value=read_number(entry))


def read_bounds(value: Any) -> Bounds | None:
    """Return two numbers as bounds; None for null and for what is not a pair of numbers."""
    numbers = [read_number(end) for end in value] if isinstance(value, list | tuple) else []
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return None
    return numbers[0], numbers[1]
