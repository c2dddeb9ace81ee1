"""Turn predictions and columns of subgroups into metrics of each: subgroups.json and .csv.

Each subgroup is measured like the whole TEST, at the same operating points, with its own patients
resampled. One with few images is listed without metrics. One with a single class, such as an
etiology of a disease, has only sensitivity or specificity: any metric that needs both classes
would compare it with images of other subgroups.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import RATES
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import (
    Resampling,
    choose_cuts,
    describe_part,
    draw_part,
    weigh_known,
)
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.evaluation.subgroup_columns import SubgroupColumn
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.subgroups import ColumnMetrics, Subgroup, SubgroupSummary
from medimg_baseline_cls.records.summaries import ClassMetrics
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, Weights, describe_values, weighted_mean
from medimg_baseline_cls.utils.files import write_csv

_SCORES = ("auroc", "average_precision", "brier_score", "calibration_in_the_large")
_HEADER = (
    *("column", "subgroup", "num_images", "num_groups", "class", "num_positive", "num_negative"),
    *("rule", "metric", "value", "low", "high", "reason"),
)
_TOO_FEW = "too few images"


@dataclass(frozen=True, slots=True)
class SubgroupSettings:
    """The least number of images for metrics of a subgroup, and how intervals are made."""

    min_images: int = 20
    target_sensitivity: float = 0.95
    resampling: Resampling = field(default_factory=Resampling)


def measure_subgroups(
    parts: Sequence[Predictions],
    columns: Sequence[SubgroupColumn],
    *,
    thresholds: Thresholds,
    positive_class: str | None,
    settings: SubgroupSettings,
) -> SubgroupSummary:
    """Return the metrics of the whole TEST and of each subgroup.

    Args:
        parts: the predictions of VAL, on which the operating points were chosen, and of TEST.
        columns: how the TEST images are divided, in the order of the predictions.
        thresholds: operating points by class.
        positive_class: of two classes.
        settings: least number of images, and how patients are resampled.
    """
    test = parts[-1]
    cuts = _choose_cuts(parts[0], thresholds, settings=settings)
    measure = _Measure(thresholds, positive_class, settings, cuts)
    everyone = np.ones(len(test.groups), dtype=np.bool_)
    listed: list[ColumnMetrics] = []
    for column in columns:
        values = np.array(column.values)
        subgroups = {
            value: measure.subgroup(test, values == value, purpose=f"{column.name}={value}")
            for value in column.order
        }
        listed.append(
            ColumnMetrics(
                column=column.name,
                source=column.source,
                num_not_given=int((values == "").sum()),
                subgroups=subgroups,
            )
        )
    return SubgroupSummary(
        split=test.split,
        positive_class=positive_class,
        min_images=settings.min_images,
        whole=measure.subgroup(test, everyone, purpose=test.split),
        columns=tuple(listed),
    )


def write_subgroups(path: Path, summary: SubgroupSummary) -> None:
    """Write subgroups.csv: one row per subgroup, class, operating point and metric."""
    write_csv(path, _HEADER, rows=_list_rows(summary))


@dataclass(frozen=True, slots=True)
class _Measure:
    """What is the same for every subgroup."""

    thresholds: Thresholds
    positive_class: str | None
    settings: SubgroupSettings
    cuts: Mapping[str, Mapping[str, Values]]

    def subgroup(self, test: Predictions, mask: NDArray[np.bool_], *, purpose: str) -> Subgroup:
        """Return counts and, where there are enough images, the metrics of each class."""
        part = select_images(test, mask)
        found = Subgroup(
            num_images=len(part.groups),
            num_groups=len(set(part.groups)),
            is_too_small=len(part.groups) < self.settings.min_images,
            classes={},
        )
        if found.is_too_small:
            return found
        summary = summarize_predictions(part, self.thresholds, positive_class=self.positive_class)
        # The whole TEST is drawn as test_summary.json draws it: the same intervals.
        weights = draw_part(part, self.settings.resampling, purpose=purpose)
        summary = describe_part(part, summary, weights=weights, cuts=self.cuts)
        classes = {
            name: _keep_estimates(block, _measure_mean(part, name, weights=weights))
            for name, block in summary.classes.items()
        }
        return replace(found, classes=classes)


def select_images(predictions: Predictions, mask: NDArray[np.bool_]) -> Predictions:
    """Return the predictions of some of the images.

    Args:
        predictions: of one split.
        mask: which images to keep, shape (N,).
    """
    kept = np.flatnonzero(mask).tolist()
    return replace(
        predictions,
        image_ids=tuple(predictions.image_ids[i] for i in kept),
        paths=tuple(predictions.paths[i] for i in kept),
        groups=tuple(predictions.groups[i] for i in kept),
        labels=predictions.labels[mask],
        probabilities=predictions.probabilities[mask],
    )


def _choose_cuts(
    val: Predictions, thresholds: Thresholds, *, settings: SubgroupSettings
) -> dict[str, dict[str, Values]]:
    weights = draw_part(val, settings.resampling)
    target = settings.target_sensitivity
    return {
        name: choose_cuts(
            val, name, weights=weights, target=target, rules=[point.rule for point in points]
        )
        for name, points in thresholds.items()
    }


def _measure_mean(part: Predictions, name: str, *, weights: Weights) -> Estimate:
    """Return the mean probability minus the prevalence; undefined without a known image.

    Calibration-in-the-large as a difference: above 0 the model overestimates the risk (Van Calster
    et al., BMC Medicine 2019).
    """
    truth, scores = select_known(part, name)
    if len(truth) == 0:
        return Estimate(value=None, reason="no image has a reference standard")
    excess = scores - truth
    values = weighted_mean(excess, weigh_known(part, name, weights=weights))
    return Estimate(value=float(excess.mean()), interval=describe_values(values))


def _keep_estimates(block: ClassMetrics, mean: Estimate) -> ClassMetrics:
    """Return the metrics that are reported for a subgroup."""
    allowed, reason = {*_SCORES, *RATES}, ""
    if not block.num_negative or not block.num_positive:
        side = "positive" if block.num_positive else "negative"
        allowed = {"sensitivity" if block.num_positive else "specificity"}
        reason = f"the subgroup holds {side} images only"

    def keep(found: Mapping[str, Estimate], names: Sequence[str]) -> dict[str, Estimate]:
        missing = Estimate(value=None, reason=reason)
        return {name: found[name] if name in allowed else missing for name in names}

    points = {
        rule: replace(point, metrics=keep(point.metrics, RATES), is_resampled=False)
        for rule, point in block.operating_points.items()
    }
    metrics = keep({**block.metrics, "calibration_in_the_large": mean}, _SCORES)
    return replace(block, metrics=metrics, operating_points=points, num_unknown=None)


def _list_rows(summary: SubgroupSummary) -> Iterator[tuple[object, ...]]:
    for column, value, found in summary.items():
        lead = (column, value, found.num_images, found.num_groups)
        if found.is_too_small:
            yield (*lead, *("",) * 8, _TOO_FEW)
        for name, block in found.classes.items():
            counts = (name, block.num_positive, block.num_negative)
            for rule, metric, estimate in block.items():
                low, high = estimate.bounds or (None, None)
                cells = (rule or "", metric, estimate.value, low, high, estimate.reason)
                yield (*lead, *counts, *cells)
