"""Compare several models on the same TEST images: paired differences for comparison.json.

The first model is the reference. Every difference has an interval by a paired bootstrap of
patients: the same patients are resampled for all models, at each model's stored thresholds.
AUROC also has DeLong's test, the decisions at each operating point have McNemar's, and Holm's
correction treats all tests of a comparison as one family.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.aligned_models import (
    AlignedModel,
    align_models,
    measure_model,
    resample_model,
)
from medimg_baseline_cls.evaluation.patient_level import has_groups
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import Resampling, draw_part
from medimg_baseline_cls.records.comparisons import ComparedModel, Comparison, ModelDifference
from medimg_baseline_cls.records.estimates import Estimate, Interval, PairedDifference
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, describe_values
from medimg_baseline_cls.statistics.delong import delong_interval, delong_test
from medimg_baseline_cls.statistics.intervals import LEVEL
from medimg_baseline_cls.statistics.paired_tests import adjust_holm, mcnemar_test

Differences = dict[MetricKey, PairedDifference]
FAMILY = "DeLong's test of each AUROC and McNemar's of the calls at each operating point"


def compare_models(models: Sequence[AlignedModel], *, resampling: Resampling) -> Comparison:
    """Compare models with the first of them.

    Args:
        models: two or more, with different names.
        resampling: how often patients are resampled, and from which seed.

    Raises:
        RunError: there are fewer than two models, or their test images differ.
    """
    if len(models) < 2:
        raise RunError(f"a comparison needs at least two models, but got {len(models)}.")
    aligned = align_models(models)
    test = aligned[0].test
    # The same resamples of patients for all models, so that differences are paired.
    weights = draw_part(test, resampling)
    resampled = [resample_model(model, weights) for model in aligned]
    estimates = [
        _describe_model(model, values=values)
        for model, values in zip(aligned, resampled, strict=True)
    ]
    differences: list[Differences] = []
    for number in range(1, len(aligned)):
        gaps = _subtract(estimates, resampled, number=number)
        _add_tests(gaps, reference=aligned[0], model=aligned[number])
        differences.append(gaps)
    differences, num_tests = _correct(differences)
    return Comparison(
        split=test.split,
        task=test.task,
        num_images=len(test.labels),
        num_groups=len(set(test.groups)),
        class_names=test.class_names,
        positive_class=aligned[0].positive_class,
        intervals={
            "level": LEVEL,
            "method": "percentile bootstrap of whole groups (patients), paired; thresholds as "
            "stored; differences of AUROC: DeLong",
            "num_resamples": resampling.num_resamples,
            "seed": resampling.seed,
        },
        tests={"correction": "Holm", "num_tests": num_tests, "family": FAMILY},
        warnings=(*_warn_of_copies(aligned), *_warn(test)),
        models=tuple(
            ComparedModel(name=model.name, thresholds=_list_thresholds(model), estimates=found)
            for model, found in zip(aligned, estimates, strict=True)
        ),
        differences=tuple(
            ModelDifference(
                name=model.name, is_identical=_is_copy(model, aligned[0]), differences=gaps
            )
            for model, gaps in zip(aligned[1:], differences, strict=True)
        ),
    )


def _warn_of_copies(models: Sequence[AlignedModel]) -> Iterator[str]:
    """Warn of models that are identical: a difference of zero then means nothing."""
    for one, other in combinations(models, 2):
        if _is_copy(one, other):
            is_cut_alike = _list_thresholds(one) == _list_thresholds(other)
            end = "" if is_cut_alike else ", only their thresholds differ"
            yield f"{one.name} and {other.name} have identical predictions{end}."


def _is_copy(one: AlignedModel, other: AlignedModel) -> bool:
    return np.array_equal(one.test.probabilities, other.test.probabilities)


def _warn(test: Predictions) -> list[str]:
    if not has_groups(test):
        return []
    return [
        f"{len(test.labels)} images are of {len(set(test.groups))} patients: McNemar's p takes "
        "images as independent, and may be too small; the intervals draw whole patients."
    ]


def _list_thresholds(model: AlignedModel) -> dict[str, dict[str, float]]:
    return {
        name: {point.rule: point.value for point in model.thresholds.get(name, ())}
        for name in model.classes
    }


def _describe_model(
    model: AlignedModel, *, values: Mapping[MetricKey, Values]
) -> dict[MetricKey, Estimate]:
    """Return every metric of a model with its interval."""
    estimates = {
        key: estimate.with_interval(describe_values(values[key])) if key in values else estimate
        for key, estimate in measure_model(model).items()
    }
    for name in model.classes:
        truth, scores = select_known(model.test, name)
        groups = _known_groups(model, name)
        key = MetricKey(name, None, "auroc")
        interval = delong_interval(truth, scores, groups=groups, level=LEVEL)
        estimates[key] = replace(estimates[key], delong=interval)
    return estimates


def _subtract(
    estimates: Sequence[Mapping[MetricKey, Estimate]],
    resampled: Sequence[Mapping[MetricKey, Values]],
    *,
    number: int,
) -> Differences:
    """Return the differences of one model from the first, with their bootstrap intervals."""
    gaps: Differences = {}
    for key, first in estimates[0].items():
        second = estimates[number].get(key)
        if second is None:
            continue
        if first.value is None or second.value is None:
            gaps[key] = PairedDifference(value=None, reason="undefined for one of the models")
            continue
        values = resampled[number][key] - resampled[0][key]
        gap, interval = second.value - first.value, describe_values(values)
        # Equal in every resample: only here is an interval of width zero right.
        if not np.any(values[~np.isnan(values)]) and gap == 0:
            interval = replace(interval, bounds=(0.0, 0.0), reason="")
        gaps[key] = PairedDifference(value=gap, interval=interval)
    return gaps


def _add_tests(gaps: Differences, *, reference: AlignedModel, model: AlignedModel) -> None:
    """Add DeLong's test to differences of AUROC, McNemar's to those of accuracy."""
    for name in model.classes:
        truth, first = select_known(reference.test, name)
        _, second = select_known(model.test, name)
        groups = _known_groups(model, name)
        test = delong_test(truth, first=first, second=second, groups=groups, level=LEVEL)
        if test is not None and test.interval is not None:
            key = MetricKey(name, None, "auroc")
            interval = gaps[key].interval or Interval(bounds=None)
            # DeLong's interval replaces the bootstrap's, so that interval and p-value agree.
            gaps[key] = replace(
                gaps[key],
                bootstrap=interval.bounds,
                interval=replace(interval, bounds=test.interval, method="delong", reason=""),
                test="delong",
                standard_error=test.standard_error,
                z=test.z,
                p_value=test.p_value,
            )
        cuts = {point.rule: point.value for point in reference.thresholds.get(name, ())}
        for point in model.thresholds.get(name, ()):
            key = MetricKey(name, point.rule, "accuracy")
            if key not in gaps or gaps[key].value is None:
                continue
            calls = mcnemar_test(
                truth, first=first >= cuts[point.rule], second=second >= point.value
            )
            gaps[key] = replace(
                gaps[key],
                test="mcnemar",
                only_reference_right=calls.only_first_right,
                only_model_right=calls.only_second_right,
                p_value=calls.p_value,
            )


def _known_groups(model: AlignedModel, name: str) -> list[str]:
    known = model.test.known(name).tolist()
    return [group for group, is_known in zip(model.test.groups, known, strict=True) if is_known]


def _correct(differences: Sequence[Differences]) -> tuple[list[Differences], int]:
    """Add the Holm-corrected p-values, and return how many tests there are."""
    tested = [
        gap.p_value for gaps in differences for gap in gaps.values() if gap.p_value is not None
    ]
    adjusted = iter(adjust_holm(tested))
    corrected = [
        {
            key: gap if gap.p_value is None else replace(gap, p_holm=next(adjusted))
            for key, gap in gaps.items()
        }
        for gaps in differences
    ]
    return corrected, len(tested)
