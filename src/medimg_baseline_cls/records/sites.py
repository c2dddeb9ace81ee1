"""One locked model on several data sets: the content of sites.json."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from medimg_baseline_cls.records.comparisons import flatten_estimates, nest_estimates
from medimg_baseline_cls.records.estimates import UNKNOWN, Bounds, Estimate, Json, read_bounds
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.schema import Task, TaskFacts

CALIBRATION = ("intercept_at_slope_1", "slope")


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledMetric(Estimate):
    """The mean of a metric over sites, pooled on the scale of its logit.

    Attributes:
        prediction: 95 % prediction interval of the metric at another site.
        between_deviation: standard deviation of the true logits between sites, tau.
        share_between: share of the variance that is between sites, I squared.
        sites: those that are pooled.
        left_out: the other ones, each with the reason.
    """

    prediction: Bounds | None = None
    between_deviation: float | None = None
    share_between: float | None = None
    sites: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return Estimate.to_json(self) | {
            "prediction_interval": None if self.prediction is None else list(self.prediction),
            "tau": self.between_deviation,
            "i_squared": self.share_between,
            "sites": list(self.sites),
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return replace(
            super(PooledMetric, cls).from_json(content),
            prediction=read_bounds(content["prediction_interval"]),
            between_deviation=content["tau"],
            share_between=content["i_squared"],
            sites=tuple(content["sites"]),
            left_out=content["left_out"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One data set.

    Attributes:
        name: of the data set, and of the folder of its results.
        is_internal: whether it is TEST of the run, which is not pooled.
        predictions_sha256: of the predictions that this was computed from.
        prevalence: of each class, among the images where it is known; None without one.
        estimates: at the locked thresholds, with intervals.
        alarms: AUROCs below chance, one sentence each.
    """

    name: str
    is_internal: bool
    num_images: int
    num_patients: int
    predictions_sha256: str
    prevalence: Mapping[str, float | None]
    estimates: Mapping[MetricKey, Estimate]
    alarms: tuple[str, ...] = ()

    def look_up(self, key: MetricKey) -> Estimate:
        """Return one estimate; `UNKNOWN` where there is none of this key."""
        return self.estimates.get(key, UNKNOWN)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **{name: getattr(self, name) for name in _FACTS},
            "prevalence": dict(self.prevalence),
            "classes": nest_estimates(self.estimates),
            "alarms": list(self.alarms),
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        prevalence: Mapping[str, float | None] = content["prevalence"]
        return cls(
            **{name: content[name] for name in _FACTS},
            prevalence=prevalence,
            estimates=flatten_estimates(content["classes"], Estimate, class_names=prevalence),
            alarms=tuple(content["alarms"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesSummary(TaskFacts):
    """A locked model on TEST of its run and on other data sets.

    Attributes:
        run: its name.
        positive_class: of two classes; None where each class is evaluated against the rest.
        classes: that are evaluated.
        rule: the operating point of sensitivity and specificity.
        target_sensitivity: of the rule of this name.
        intervals: how the intervals of each site were made.
        pooling: how the sites were pooled.
        sites: TEST of the run first.
        pooled: AUROC, sensitivity and specificity of each class over the other ones.
        warnings: one sentence each.
    """

    run: str
    task: Task
    class_names: tuple[str, ...]
    positive_class: str | None
    classes: tuple[str, ...]
    rule: str
    target_sensitivity: float
    intervals: Json
    pooling: Json
    sites: tuple[Site, ...]
    pooled: Mapping[MetricKey, PooledMetric]
    warnings: tuple[str, ...] = ()

    @property
    def external(self) -> tuple[Site, ...]:
        """Return the sites that are not TEST of the run."""
        return tuple(site for site in self.sites if not site.is_internal)

    def to_json(self) -> dict[str, Any]:
        """Return the content of sites.json."""
        return {
            **{name: getattr(self, name) for name in _OF_RUN},
            "class_names": list(self.class_names),
            "classes": list(self.classes),
            "intervals": dict(self.intervals),
            "pooling": dict(self.pooling),
            "sites": [site.to_json() for site in self.sites],
            "pooled": nest_estimates(self.pooled),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        names = tuple(content["classes"])
        return cls(
            **{name: content[name] for name in _OF_RUN},
            class_names=tuple(content["class_names"]),
            classes=names,
            intervals=content["intervals"],
            pooling=content["pooling"],
            sites=tuple(map(Site.from_json, content["sites"])),
            pooled=flatten_estimates(content["pooled"], PooledMetric, class_names=names),
            warnings=tuple(content["warnings"]),
        )


def list_pooled(class_name: str, rule: str) -> Iterator[MetricKey]:
    """Yield what is pooled of one class: AUROC, and sensitivity and specificity by a rule."""
    yield MetricKey(class_name, None, "auroc")
    yield MetricKey(class_name, rule, "sensitivity")
    yield MetricKey(class_name, rule, "specificity")


_FACTS = ("name", "is_internal", "num_images", "num_patients", "predictions_sha256")
_OF_RUN = ("run", "task", "positive_class", "rule", "target_sensitivity")
