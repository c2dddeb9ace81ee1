"""One model as its TEST predictions and its thresholds: all its figures, plain and resampled.

A figure is named by class, operating point and metric. Several models are compared, and
several seeds joined, figure by figure; the thresholds are those that each has stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.catalogue import DECISIONS
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.estimates import (
    Summary,
    count_calls,
    measure_counts,
    measure_scores,
)
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import require_score_space, select_known
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import (
    Values,
    Weights,
    weighted_points,
    weighted_scores,
)

MACRO = "macro"


class FigureKey(NamedTuple):
    """The name of a figure; without an operating point it is one of the scores."""

    class_name: str
    rule: str | None
    figure: str


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A model on the test images.

    Attributes:
        name: what tables and figures call it.
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
        """Return the classes that have figures of their own."""
        return evaluated_classes(self.test.class_names, self.positive_class)


def align_models(models: Sequence[ScoredModel]) -> list[ScoredModel]:
    """Return the models with their images in the order of the first one's.

    Raises:
        RunError: The models were not tested on the same images, reference standards and
            classes; it says what differs, with counts.
    """
    first, *others = models
    return [first, *(_align(model, first) for model in others)]


def measure_model(model: ScoredModel) -> dict[FigureKey, Summary]:
    """Return every figure of a model as {"value": ...}, and the macro averages of the scores."""
    found: dict[FigureKey, Summary] = {}
    for name in model.classes:
        truth, scores = select_known(model.test, name)
        for figure, entry in measure_scores(truth, scores)["metrics"].items():
            found[FigureKey(name, None, figure)] = entry
        for point in model.thresholds.get(name, ()):
            require_score_space(model.test, point)
            counts = measure_counts(count_calls(truth, scores, threshold=point.value))
            found |= {FigureKey(name, point.rule, key): counts[key] for key in DECISIONS}
    return found | _average_values(model, found)


def resample_model(model: ScoredModel, weights: Weights) -> dict[FigureKey, Values]:
    """Return the figures of a model in each resample, NaN where undefined.

    Args:
        model: whose images stand in the order of the weights.
        weights: shape (B, N), from `draw_weights`.
    """
    found: dict[FigureKey, Values] = {}
    for name in model.classes:
        truth, scores = select_known(model.test, name)
        if len(truth) == 0:
            continue
        own = weights[:, model.test.known(name)]
        for figure, values in weighted_scores(truth, scores, weights=own).items():
            found[FigureKey(name, None, figure)] = values
        for point in model.thresholds.get(name, ()):
            calls = weighted_points(truth, scores, thresholds=point.value, weights=own)
            for figure, values in calls.items():
                found[FigureKey(name, point.rule, figure)] = values
    return found | _average_resamples(model, found)


def nest_figures(figures: Mapping[FigureKey, Mapping[str, Any]]) -> Summary:
    """Return figures as summaries hold them: by class, then metrics and operating points."""
    content: Summary = {}
    for key, entry in figures.items():
        block = content.setdefault(key.class_name, {"metrics": {}, "operating_points": {}})
        if key.rule is None:
            block["metrics"][key.figure] = dict(entry)
        else:
            block["operating_points"].setdefault(key.rule, {})[key.figure] = dict(entry)
    return content


def _align(model: ScoredModel, first: ScoredModel) -> ScoredModel:
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


def _find_difference(model: ScoredModel, first: ScoredModel) -> str | None:
    """Return how classes or images differ, in words."""
    one, other = first.test, model.test
    if (one.class_names, one.task) != (other.class_names, other.task):
        return (
            f"the classes are {', '.join(other.class_names)} ({other.task}) and "
            f"{', '.join(one.class_names)} ({one.task})"
        )
    if first.positive_class != model.positive_class:
        return f"the positive class is {model.positive_class} and {first.positive_class}"
    theirs, own = set(one.image_ids), set(other.image_ids)
    if own != theirs:
        images = f"{len(own)} {one.split.upper()} images"
        return (
            f"{len(own - theirs)} of {images} are only in {model.name}, "
            f"{len(theirs - own)} of {len(theirs)} only in {first.name}"
        )
    both = own & set(first.digests) & set(model.digests)
    changed = sum(first.digests[image] != model.digests[image] for image in both)
    if changed:
        return f"{changed} of {len(own)} TEST images are other files (sha256 in split.csv)"
    return None


def _average_values(
    model: ScoredModel, found: Mapping[FigureKey, Summary]
) -> dict[FigureKey, Summary]:
    """Return the means over classes; over the defined ones where these are findings."""
    averages: dict[FigureKey, Summary] = {}
    for figure, keys in _list_scores(model, found).items():
        values = [found[key]["value"] for key in keys]
        defined = [value for value in values if value is not None]
        is_defined = bool(defined) if model.test.task == "multilabel" else None not in values
        mean: Summary = {"value": None, "reason": "undefined for a class"}
        if is_defined:
            mean = {"value": sum(defined) / len(defined)}
        averages[FigureKey(MACRO, None, figure)] = mean
    return averages


def _average_resamples(
    model: ScoredModel, found: Mapping[FigureKey, Values]
) -> dict[FigureKey, Values]:
    averages: dict[FigureKey, Values] = {}
    for figure, keys in _list_scores(model, found).items():
        stacked = np.stack([found[key] for key in keys])  # (C, B)
        is_defined = ~np.isnan(stacked)
        if model.test.task != "multilabel":
            is_defined &= is_defined.all(axis=0)
        count = is_defined.sum(axis=0)
        total = np.where(is_defined, stacked, 0.0).sum(axis=0)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        averages[FigureKey(MACRO, None, figure)] = mean
    return averages


def _list_scores(model: ScoredModel, found: Mapping[FigureKey, Any]) -> dict[str, list[FigureKey]]:
    """Return the keys of each score over the classes; none where one class is all."""
    keys: dict[str, list[FigureKey]] = {}
    for key in found if model.positive_class is None else ():
        if key.rule is None:
            keys.setdefault(key.figure, []).append(key)
    return keys
