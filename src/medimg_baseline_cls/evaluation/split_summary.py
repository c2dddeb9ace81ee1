"""Measure one split: predictions and thresholds in, all its metrics out.

Two classes: the metrics of the positive class. More: each class against the rest, and macro
averages. One class per image: the confusion matrix too, and for grades the metrics of order.
Several findings per image: each on the images where it is known, with macro and micro averages.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from medimg_baseline_cls.catalogue import reason_of
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.evaluation.added import measure_added_decisions, measure_added_scores
from medimg_baseline_cls.evaluation.image_metrics import measure_image_metrics
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import require_score_space, select_known
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import ClassMetrics, OperatingPoint, SplitSummary
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.metrics import (
    ConfusionCounts,
    Scores,
    Truth,
    auroc_score,
    average_precision_score,
    brier_score,
    count_confusion,
    count_matrix,
    log_loss_error,
    operating_point_metrics,
)
from medimg_baseline_cls.statistics.multilabel import mean_of_defined, pool_pairs

SCORE_METRICS: dict[str, Callable[[Truth, Scores], float | None]] = {
    "average_precision": average_precision_score,
    "auroc": auroc_score,
    "brier_score": brier_score,
    "log_loss": log_loss_error,
}
_NO_IMAGE = ConfusionCounts(tp=0, fp=0, fn=0, tn=0)


def evaluated_classes(class_names: Sequence[str], positive_class: str | None) -> tuple[str, ...]:
    """Return the classes that have metrics of their own.

    >>> evaluated_classes(["NORMAL", "PNEUMONIA"], "PNEUMONIA")
    ('PNEUMONIA',)
    >>> evaluated_classes(["A", "B", "C"], None)
    ('A', 'B', 'C')
    """
    positive = positive_of(class_names, positive_class)
    return tuple(class_names) if positive is None else (positive,)


def positive_of(class_names: Sequence[str], positive_class: str | None) -> str | None:
    """Return the positive one of two classes; None for more, each evaluated against the rest.

    Raises:
        DataError: the positive class is not one of the classes.
    """
    if positive_class is not None and positive_class not in class_names:
        raise DataError(f"{positive_class} is not one of the classes: {', '.join(class_names)}.")
    return positive_class if len(class_names) == 2 else None


def summarize_predictions(
    predictions: Predictions, thresholds: Thresholds, *, positive_class: str | None
) -> SplitSummary:
    """Compute every metric of one split at given thresholds.

    Args:
        predictions: of VAL or TEST, each image with its reference standard.
        thresholds: operating points by class, from `choose_thresholds`.
        positive_class: of two classes; if None, or with more classes, each is evaluated against
            the rest.

    Raises:
        DataError: an image has no reference standard, or there is no image.
    """
    has_findings = predictions.has_findings
    names = predictions.class_names
    positive = None if has_findings else positive_of(names, positive_class)
    blocks = {
        name: _measure_class(predictions, name, points=thresholds.get(name, ()))
        for name in evaluated_classes(names, positive)
    }
    # The macro average needs both of two classes, though only the positive one is reported.
    every_class = blocks
    if positive is not None:
        every_class = {name: _measure_class(predictions, name, points=()) for name in names}
    matrix = None
    if not has_findings:
        index = None if positive is None else names.index(positive)
        matrix = count_matrix(predictions.labels, predictions.probabilities, positive=index)
    return SplitSummary(
        split=predictions.split,
        num_images=len(predictions.labels),
        num_groups=len(set(predictions.groups)),
        class_names=names,
        task=predictions.task,
        positive_class=positive,
        classes=blocks,
        macro=_average_classes(every_class, over_defined=has_findings),
        micro=_pool_findings(predictions, thresholds) if has_findings else None,
        overall={
            metric: make_estimate(metric, value)
            for metric, value in measure_image_metrics(predictions, matrix).items()
        },
        num_known_pairs=int((predictions.labels >= 0).sum()) if has_findings else None,
        confusion_matrix=None if matrix is None else matrix.tolist(),
    )


def without_decisions(summary: SplitSummary) -> SplitSummary:
    """Return a summary without what is measured at 0.5, where no threshold could be chosen.

    The most probable of more than two classes needs no threshold.
    """
    if summary.positive_class is None and not summary.has_findings:
        return summary
    overall = {name: e for name, e in summary.overall.items() if name == "log_loss"}
    return replace(summary, overall=overall, confusion_matrix=None)


def describe_headline(summary: SplitSummary) -> dict[str, Any]:
    """Return the threshold-free headline metrics of a split in the form of JSON files."""
    return {metric: estimate.to_json() for metric, estimate in summary.headline.items()}


def make_estimate(metric: str, value: float | None) -> Estimate:
    """Return a value as an estimate, with the reason where there is none.

    >>> make_estimate("npv", None).reason
    'no image was called negative'
    """
    return Estimate(value=value, reason="" if value is not None else reason_of(metric))


def measure_scores(truth: Truth, scores: Scores) -> ClassMetrics:
    """Return the counts and threshold-free metrics of some images, possibly none.

    Args:
        truth: whether the reference standard is positive, shape (n,), bool.
        scores: probabilities, shape (n,), in [0, 1].
    """
    prevalence = float(truth.mean()) if len(truth) else None
    found = {m: get(truth, scores) if len(truth) else None for m, get in SCORE_METRICS.items()}
    metrics = {metric: make_estimate(metric, value) for metric, value in found.items()}
    return ClassMetrics(
        metrics=_with_baseline(metrics, prevalence) | measure_added_scores(truth, scores),
        operating_points={},
        prevalence=prevalence,
        num_positive=int(truth.sum()),
        num_negative=int((~truth).sum()),
    )


def measure_counts(
    counts: ConfusionCounts, *, threshold: float | None = None, num_findings: int | None = None
) -> OperatingPoint:
    """Return the metrics of a decision from its counts."""
    found = operating_point_metrics(counts)
    metrics = {metric: make_estimate(metric, value) for metric, value in found.items()}
    return OperatingPoint(
        metrics=metrics | measure_added_decisions(counts),
        threshold=threshold,
        num_findings=num_findings,
        **asdict(counts),
    )


def _count_calls(truth: Truth, scores: Scores, *, threshold: float) -> ConfusionCounts:
    """Return the counts of `count_confusion`; zeros without images."""
    return count_confusion(truth, scores, threshold=threshold) if len(truth) else _NO_IMAGE


def _measure_class(
    predictions: Predictions, name: str, *, points: Sequence[Threshold]
) -> ClassMetrics:
    truth, scores = select_known(predictions, name)
    measured: dict[str, OperatingPoint] = {}
    for point in points:
        require_score_space(predictions, point)
        counts = _count_calls(truth, scores, threshold=point.value)
        measured[point.rule] = measure_counts(counts, threshold=point.value)
    unknown = int((~predictions.known(name)).sum()) if predictions.has_findings else None
    block = measure_scores(truth, scores)
    return replace(block, operating_points=measured, num_unknown=unknown)


def _average_classes(blocks: Mapping[str, ClassMetrics], *, over_defined: bool) -> ClassMetrics:
    """Return the means over classes.

    For classes: undefined if one class is, and only at operating points that all classes have.
    For findings (`over_defined`): over those that define a metric, however few they are.
    """
    floors = [b.prevalence for b in blocks.values() if b.num_positive or not over_defined]
    metrics = _average([b.metrics for b in blocks.values()], blocks, over_defined=over_defined)
    points: dict[str, OperatingPoint] = {}
    for rule in dict.fromkeys(rule for b in blocks.values() for rule in b.operating_points):
        having = {n: b for n, b in blocks.items() if rule in b.operating_points}
        if len(having) == len(blocks) or over_defined:
            measured = [b.operating_points[rule].metrics for b in having.values()]
            means = _average(measured, having, over_defined=over_defined)
            points[rule] = OperatingPoint(metrics=means)
    # The baseline of a mean AP is the mean prevalence of the classes in it.
    baseline = mean_of_defined(floors)
    return ClassMetrics(metrics=_with_baseline(metrics, baseline), operating_points=points)


def _average(
    measured: Sequence[Mapping[str, Estimate]],
    names: Mapping[str, ClassMetrics],
    *,
    over_defined: bool,
) -> dict[str, Estimate]:
    """Return the mean of each metric over classes."""
    averages: dict[str, Estimate] = {}
    for metric in measured[0]:
        values = [metrics[metric].value for metrics in measured]
        missing = [name for name, value in zip(names, values, strict=True) if value is None]
        mean = mean_of_defined(values)
        if over_defined:
            reason = "" if mean is not None else "undefined for every finding"
            count = len(values) - len(missing)
            averages[metric] = Estimate(value=mean, reason=reason, num_defined=count)
        elif missing:
            averages[metric] = Estimate(value=None, reason=f"undefined for {', '.join(missing)}")
        else:
            averages[metric] = Estimate(value=mean)
    return averages


def _with_baseline(metrics: Mapping[str, Estimate], share: float | None) -> dict[str, Estimate]:
    """Add to average precision its baseline: the prevalence, NaN where that is undefined."""
    name = "average_precision"
    baseline = math.nan if share is None else share
    return {**metrics, name: replace(metrics[name], baseline=baseline)}


def _pool_findings(predictions: Predictions, thresholds: Thresholds) -> ClassMetrics:
    """Return the micro averages: the metrics of all known pairs of image and finding together.

    At an operating point each finding has its own threshold; `num_findings` is the number of
    findings that have one by this rule.
    """
    counts: dict[str, list[ConfusionCounts]] = {}
    for name, points in thresholds.items():
        truth, scores = select_known(predictions, name)
        for point in points:
            found = _count_calls(truth, scores, threshold=point.value)
            counts.setdefault(point.rule, []).append(found)
    points = {r: measure_counts(_add_up(c), num_findings=len(c)) for r, c in counts.items()}
    block = measure_scores(*pool_pairs(predictions.labels, predictions.probabilities))
    num_unknown = int((predictions.labels < 0).sum())
    return replace(block, operating_points=points, num_unknown=num_unknown)


def _add_up(counts: Sequence[ConfusionCounts]) -> ConfusionCounts:
    totals = {name: sum(getattr(c, name) for c in counts) for name in asdict(_NO_IMAGE)}
    return ConfusionCounts(**totals)
