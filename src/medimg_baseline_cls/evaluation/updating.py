"""Asks what a locked model would gain if it were updated on another data set.

Every update is fitted without the patients it is judged on, by cross-fitting. Intervals resample
the patients with the fits as they are: were an intercept fitted again in every resample, each
resample would be calibrated in the large, and the interval would have no width. They have no
strata, because the prevalence is a part of what an intercept corrects.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.evaluation.added import list_criteria
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.updating import (
    ClassUpdating,
    EventsNeeded,
    Fitted,
    Gain,
    Sizes,
    UpdatedModel,
    UpdatingSummary,
)
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.bootstrap import (
    Values,
    Weights,
    choose_in_resamples,
    describe_values,
    draw_weights,
    weighted_mean,
    weighted_points,
)
from medimg_baseline_cls.statistics.intervals import LEVEL
from medimg_baseline_cls.statistics.logistic import fit_line, fit_offset, to_logits
from medimg_baseline_cls.statistics.metrics import Scores, Truth, auroc_score, negative_logs
from medimg_baseline_cls.statistics.sample_size import (
    images_for_auroc,
    images_for_ratio,
    images_for_slope,
)
from medimg_baseline_cls.statistics.threshold_rules import Criterion
from medimg_baseline_cls.statistics.updating import (
    NUM_FOLDS,
    UPDATES,
    Update,
    assign_folds,
    cross_choose,
    cross_update,
    fit_update,
)

Judged = Mapping[str, tuple[float, Values]]
"""By metric, its value on the images and in each resample, shape (B,)."""

_DECISIONS = ("sensitivity", "specificity")
_LINE = {"intercept": 0.0, "slope": 1.0}
_UNDEFINED = "the images do not define it"
_NO_LINE = "no rising line fits the logits (classes that are separated, or inverted)"
_WIDTHS = {"expected_ratio": (0.2, 0.4), "slope": (0.2, 0.4), "auroc": (0.1, 0.2)}
_MOST_IMAGES = 10_000_000


@dataclass(frozen=True, slots=True)
class _Images:
    """One class or finding on the images where it is known."""

    truth: Truth
    scores: Scores
    groups: Sequence[str]
    weights: Weights  # (B, N)

    @property
    def own(self) -> NDArray[np.float64]:
        """Return weights that take the images as they are, shape (1, N)."""
        return np.ones((1, len(self.truth)))


def describe_updating(
    part: Predictions, thresholds: Thresholds, *, resampling: Resampling
) -> UpdatingSummary:
    """Return what updates of each class would gain, of two classes and of findings.

    Args:
        part: predictions of the other data set.
        thresholds: the operating points, locked.
        resampling: how often patients are resampled, and from which seed.
    """
    if not part.has_findings and len(part.class_names) > 2:
        return UpdatingSummary(
            reason=f"the probabilities of {len(part.class_names)} classes have a sum of 1: an "
            "update of one class on its own would change the others"
        )
    weights = draw_weights(
        part.groups,
        np.zeros(len(part.groups), dtype=np.int64),
        num_resamples=resampling.num_resamples,
        seed=resampling.seed,
        purpose="updating",
    )
    classes: dict[str, ClassUpdating] = {}
    for name, points in thresholds.items():
        known = part.known(name)
        groups = [g for g, is_known in zip(part.groups, known, strict=True) if is_known]
        images = _Images(*select_known(part, name), groups, weights[:, known])
        classes[name] = _describe_class(images, points, seed=resampling.seed)
    return UpdatingSummary(
        num_folds=NUM_FOLDS,
        intervals={
            "level": LEVEL,
            "method": "percentile bootstrap of whole groups (patients), with the fits as they are",
            "stratified_by": None,
            "num_resamples": resampling.num_resamples,
            "seed": resampling.seed,
        },
        classes=classes,
    )


def _describe_class(images: _Images, points: Sequence[Threshold], *, seed: int) -> ClassUpdating:
    truth, every = images.truth, np.ones(len(images.truth), dtype=np.bool_)
    sizes = _count(images, every)
    for is_positive, what in ((True, "positive"), (False, "negative")):
        found = zip(images.groups, truth, strict=True)
        count = len({group for group, label in found if label == is_positive})
        if count < NUM_FOLDS:
            return ClassUpdating(
                sizes=sizes,
                reason=f"the number of patients with {what} images is {count}, but {NUM_FOLDS} are "
                "needed, one for each fold",
            )
    folds = assign_folds(images.groups, truth, seed=seed)
    locked = _judge(images, images.scores)
    updates = {
        update: _update(images, update=update, folds=folds, locked=locked) for update in UPDATES
    }
    return ClassUpdating(
        sizes=sizes,
        fitting_parts=tuple(_count(images, folds != fold) for fold in range(NUM_FOLDS)),
        updates={**updates, "threshold": _choose_again(images, points, folds=folds)},
        needed=tuple(_list_needed(images)),
    )


def _count(images: _Images, chosen: NDArray[np.bool_]) -> Sizes:
    return Sizes(
        num_images=int(chosen.sum()),
        num_patients=len({g for g, is_in in zip(images.groups, chosen, strict=True) if is_in}),
        num_positive=int(images.truth[chosen].sum()),
    )


def _update(
    images: _Images, *, update: Update, folds: NDArray[np.int64], locked: Judged
) -> UpdatedModel:
    """Update the probabilities.

    Thresholds are carried along by the same rising line, so that every decision stays the same.
    """
    truth, scores = images.truth, images.scores
    crossed = cross_update(update, truth=truth, scores=scores, folds=folds)
    whole = fit_update(update, truth=truth, scores=scores)[0]
    if not crossed.is_increasing or not whole[1] > 0:
        return UpdatedModel(reason=_NO_LINE)
    drawn = fit_update(update, truth=truth, scores=scores, weights=images.weights)
    names = ("intercept",) if update == "intercept" else ("intercept", "slope")
    return UpdatedModel(
        fitted={
            name: Fitted(
                locked=_LINE[name],
                estimate=_estimate(whole[k], drawn[:, k]),
                folds=tuple(crossed.lines[:, k].tolist()),
            )
            for k, name in enumerate(names)
        },
        metrics=_subtract(locked, _judge(images, crossed.scores)),
    )


def _choose_again(
    images: _Images, points: Sequence[Threshold], *, folds: NDArray[np.int64]
) -> UpdatedModel:
    """Choose the thresholds again by their own rules; the probabilities stay."""
    truth, scores = images.truth, images.scores
    target = next((point.target for point in points if point.target is not None), 1.0)
    criteria: dict[str, Criterion] = {}
    for point in points:
        criteria |= {r: c for r, c in list_criteria(point.rule).items() if r == point.rule}
    once, drawn = (
        choose_in_resamples(truth, scores, weights=w, target=target, criteria=criteria)
        for w in (images.own.astype(np.uint16), images.weights)
    )
    fitted: dict[str, Fitted] = {}
    decided: dict[str, Mapping[str, Gain]] = {}
    for point in (p for p in points if p.rule in criteria):
        rule = point.rule
        cuts = cross_choose(criteria[rule], truth=truth, scores=scores, folds=folds, target=target)
        if np.isnan(cuts).any():
            continue
        estimate = _estimate(once[rule][0], drawn[rule])
        fitted[rule] = Fitted(locked=point.value, estimate=estimate, folds=tuple(cuts.tolist()))
        decided[rule] = _subtract(
            _decide(images, scores >= point.value), _decide(images, scores >= cuts[folds])
        )
    if not fitted:
        return UpdatedModel(reason="no threshold of the run is chosen by a rule")
    return UpdatedModel(fitted=fitted, operating_points=decided)


def _judge(images: _Images, scores: Scores) -> Judged:
    """Return the calibration of probabilities: of the images, and of each resample."""
    truth, logits = images.truth, to_logits(scores)
    outcomes = truth.astype(np.float64)
    squares = (scores - truth) ** 2
    losses = negative_logs(np.where(truth, scores, 1.0 - scores))
    sides = [
        {
            "intercept_at_slope_1": fit_offset(logits, outcomes, weights=weights),
            "slope": fit_line(logits, outcomes, weights=weights)[:, 1],
            "brier_score": weighted_mean(squares, weights),
            "log_loss": weighted_mean(losses, weights),
        }
        for weights in (images.own.astype(np.uint16), images.weights)
    ]
    return {name: (float(value[0]), sides[1][name]) for name, value in sides[0].items()}


def _decide(images: _Images, called: NDArray[np.bool_]) -> Judged:
    """Return sensitivity and specificity: of the images, and in each resample."""
    once, drawn = (
        weighted_points(images.truth, called.astype(np.float64), thresholds=0.5, weights=weights)
        for weights in (images.own.astype(np.uint16), images.weights)
    )
    return {name: (float(once[name][0]), drawn[name]) for name in _DECISIONS}


def _subtract(before: Judged, after: Judged) -> dict[str, Gain]:
    gains: dict[str, Gain] = {}
    for name, (old, olds) in before.items():
        new, news = after[name]
        gap = _estimate(new - old, news - olds)
        gains[name] = Gain(
            value=gap.value,
            reason=gap.reason,
            interval=gap.interval,
            locked=_estimate(old, olds),
            updated=_estimate(new, news),
        )
    return gains


def _estimate(value: float, drawn: Values) -> Estimate:
    if np.isnan(value):
        return Estimate(value=None, reason=_UNDEFINED)
    return Estimate(value=float(value), interval=describe_values(drawn))


def _list_needed(images: _Images) -> Iterator[EventsNeeded]:
    """Yield what intervals need where the model is as it is on these images."""
    truth, logits = images.truth, to_logits(images.scores)
    share, auroc = float(truth.mean()), auroc_score(truth, images.scores)
    intercept, slope = fit_update("intercept_and_slope", truth=truth, scores=images.scores)[0]
    poor = ""
    for what, known, least in (("AUROC", auroc, 0.5), ("calibration slope", slope, 0.0)):
        if known is not None and known <= least:
            poor = poor or f"the {what} on these images is not above {least:g}"
    for metric, width in ((m, w) for m, widths in _WIDTHS.items() for w in widths):
        value = {"expected_ratio": 1.0, "slope": float(slope), "auroc": auroc}[metric]
        if value is None or np.isnan(value) or (metric == "auroc" and not 0 < value < 1):
            continue
        if poor:
            count = None
        elif metric == "expected_ratio":
            count = images_for_ratio(share, width=width)
        elif metric == "auroc":
            count = images_for_auroc(share, auroc=value, width=width)
        else:
            count = images_for_slope(logits, width=width, intercept=intercept, slope=slope)
        is_few = count is not None and count <= _MOST_IMAGES
        yield EventsNeeded(
            metric=metric,
            value=value,
            width=width,
            num_images=count if is_few else None,
            num_positive=int(np.ceil(count * share)) if count is not None and is_few else None,
            reason="" if is_few else poor or f"more than {_MOST_IMAGES:,} images are needed",
        )
