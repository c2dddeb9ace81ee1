"""Several models on the same TEST images, each with its predictions and stored thresholds.

Used to compare models and to summarize seeds, metric by metric, at each model's own thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.resampling import ClassDraws, list_values, resample_classes
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes, summarize_predictions
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, Weights
from medimg_baseline_cls.utils.visible import quote_words


@dataclass(frozen=True, slots=True)
class AlignedModel:
    """A model on the test images.

    Attributes:
        name: its name in tables and pictures.
        test: its predictions.
        thresholds: its operating points by class.
        positive_class: of two classes, else None.
        digests: the sha256 of each image by its id, where known.
    """

    name: str
    test: Predictions
    thresholds: Thresholds
    positive_class: str | None
    digests: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes that have metrics of their own."""
        return evaluated_classes(self.test.class_names, self.positive_class)


def align_models(models: Sequence[AlignedModel]) -> list[AlignedModel]:
    """Return the models with their images in the order of the first one's.

    Raises:
        RunError: the models were not tested on the same images, reference standards and
            classes; the message lists what differs, with counts.
    """
    first, *others = models
    return [first, *(_align(model, first) for model in others)]


def measure_model(model: AlignedModel) -> dict[MetricKey, Estimate]:
    """Return the metrics by which models are compared: those of each class, and macro scores."""
    summary = summarize_predictions(
        model.test, model.thresholds, positive_class=model.positive_class
    )
    return {key: _plain(key, found) for key, found in summary.items() if _is_compared(key, model)}


def resample_model(model: AlignedModel, weights: Weights) -> dict[MetricKey, Values]:
    """Return the metrics of `measure_model` in each resample, NaN where undefined.

    Args:
        model: its images in the order of the weights.
        weights: shape (B, N), from `draw_part`.
    """
    values = list_values(draw_classes(model, weights), over_defined=model.test.has_findings)
    return {key: found for key, found in values.items() if _is_compared(key, model)}


def draw_classes(model: AlignedModel, weights: Weights) -> dict[str, ClassDraws]:
    """Return the classes of a model in each resample, at its stored thresholds."""
    cuts = {
        name: {point.rule: point.value for point in model.thresholds.get(name, ())}
        for name in model.classes
    }
    return resample_classes(model.test, model.classes, cuts=cuts, weights=weights)


def _is_compared(key: MetricKey, model: AlignedModel) -> bool:
    """Return whether a metric is of a class, or a macro score where no class is positive."""
    if key.block is Average.MACRO:
        return model.positive_class is None and key.rule is None
    return not isinstance(key.block, Average)


def _plain(key: MetricKey, estimate: Estimate) -> Estimate:
    """Drop from a mean the number of findings that define it, which all models share."""
    if key.block is not Average.MACRO:
        return estimate
    return replace(estimate, num_defined=None, baseline=None)


def _align(model: AlignedModel, first: AlignedModel) -> AlignedModel:
    """Return a model with its images in the order of another one's."""
    mistake = _find_difference(model, first)
    order = np.arange(0)
    if mistake is None:
        place = {image: row for row, image in enumerate(model.test.image_ids)}
        order = np.array([place[image] for image in first.test.image_ids])
        mistake = _compare_labels(model.test.labels[order], first.test)
    if mistake is not None:
        raise RunError(
            f"{model.name} and {first.name} cannot be compared: {mistake}. Models are compared "
            "on the same images with the same reference standard."
        )
    return replace(model, test=replace(first.test, probabilities=model.test.probabilities[order]))


def _compare_labels(labels: NDArray[np.int64], first: Predictions) -> str | None:
    """Return how many reference standards differ, in words."""
    differs = (labels != first.labels).reshape(len(labels), -1).any(axis=1)
    if not differs.any():
        return None
    image = first.image_ids[int(np.argmax(differs))][:80]
    count = f"{int(differs.sum())} of {len(labels)} {first.split.upper()} images"
    return f"{count} have another reference standard, such as {image}"


def _advise_judging(model: AlignedModel, first: AlignedModel) -> str:
    """Return how predictions of another program get the classes of the other model, or ""."""
    judged, other = (first, model) if model.digests else (model, first)
    names, wanted = judged.test.class_names, other.test.class_names
    if judged.digests or judged.test.task != other.test.task or len(names) != len(wanted):
        return ""
    if set(names) == set(wanted):
        flags = quote_words("--class-names", *wanted)
    else:
        pairs = (pair for pair in zip(names, wanted, strict=True) if pair[0] not in wanted)
        flags = quote_words("--map", "=".join(next(pairs)))
    return f"; if they mean the same, judge {judged.name} again with, for example, {flags}"


def _find_difference(model: AlignedModel, first: AlignedModel) -> str | None:
    """Return how classes or images differ, in words."""
    one, other = first.test, model.test
    if (one.class_names, one.task) != (other.class_names, other.task):
        return (
            f"the classes are {', '.join(other.class_names)} ({other.task}) and "
            f"{', '.join(one.class_names)} ({one.task}){_advise_judging(model, first)}"
        )
    if first.positive_class != model.positive_class:
        return f"the positive class is {model.positive_class} and {first.positive_class}"
    theirs, own = set(one.image_ids), set(other.image_ids)
    if own != theirs:
        images = f"{len(own)} {one.split.upper()} images"
        shown = "" if own & theirs else f", such as {min(own)[:80]} and {min(theirs)[:80]}"
        return (
            f"{len(own - theirs)} of {images} are only in {model.name}, "
            f"{len(theirs - own)} of {len(theirs)} only in {first.name}{shown}"
        )
    both = own & set(first.digests) & set(model.digests)
    changed = sum(first.digests[image] != model.digests[image] for image in both)
    if changed:
        return f"{changed} of {len(own)} TEST images are other files (sha256 in split.csv)"
    return None
