"""Turns several models on the same TEST images into comparison.json: paired differences.

The first model is the reference. Every figure has the interval of its difference by a paired
bootstrap of patients: the same patients are drawn for all models, at the thresholds that each
has stored. AUROC has DeLong's test beside it, the calls at each operating point have
McNemar's, and Holm's correction takes all tests of a comparison as one family.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.aligned_models import (
    FigureKey,
    ScoredModel,
    align_models,
    measure_model,
    nest_figures,
    resample_model,
)
from medimg_baseline_cls.evaluation.estimates import Summary
from medimg_baseline_cls.evaluation.patients import has_groups
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.resampling import Resampling, draw_part
from medimg_baseline_cls.statistics.bootstrap import Values, describe_values
from medimg_baseline_cls.statistics.delong import delong_interval, delong_test
from medimg_baseline_cls.statistics.intervals import LEVEL
from medimg_baseline_cls.statistics.paired_tests import adjust_holm, mcnemar_test

Figures = dict[FigureKey, Summary]
FAMILY = "DeLong's test of each AUROC and McNemar's of the calls at each operating point"


def compare_models(models: Sequence[ScoredModel], *, resampling: Resampling) -> Summary:
    """Compare models with the first of them.

    Args:
        models: two or more, with names that differ.
        resampling: how often the patients are drawn again, and from which seed.

    Returns:
        The content of comparison.json.

    Raises:
        RunError: There are fewer than two models, or their test images differ.
    """
    if len(models) < 2:
        raise RunError(f"a comparison needs two models or more, but got {len(models)}.")
    aligned = align_models(models)
    test = aligned[0].test
    weights = draw_part(test, resampling)
    resampled = [resample_model(model, weights) for model in aligned]
    figures = [
        _describe_model(model, values=values)
        for model, values in zip(aligned, resampled, strict=True)
    ]
    differences: list[Figures] = []
    for number in range(1, len(aligned)):
        gaps = _subtract(figures, resampled, number=number)
        _add_tests(gaps, reference=aligned[0], model=aligned[number])
        differences.append(gaps)
    num_tests = _correct(differences)
    return {
        "split": test.split,
        "task": test.task,
        "num_images": len(test.labels),
        "num_groups": len(set(test.groups)),
        "class_names": list(test.class_names),
        "positive_class": aligned[0].positive_class,
        "reference": aligned[0].name,
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap of whole groups (patients), paired; thresholds as "
            "stored; differences of AUROC: DeLong",
            "num_resamples": resampling.num_resamples,
            "seed": resampling.seed,
        },
        "tests": {"correction": "Holm", "num_tests": num_tests, "family": FAMILY},
        "warnings": [*_warn_of_copies(aligned), *_warn(test)],
        "models": [
            {"name": model.name, "thresholds": _list_thresholds(model)}
            | {"classes": nest_figures(entries)}
            for model, entries in zip(aligned, figures, strict=True)
        ],
        "differences": [
            {"name": model.name, "is_identical": _is_copy(model, aligned[0])}
            | {"classes": nest_figures(entries)}
            for model, entries in zip(aligned[1:], differences, strict=True)
        ],
    }


def _warn_of_copies(models: Sequence[ScoredModel]) -> Iterator[str]:
    """Say which models are one and the same; no difference is no finding then."""
    for one, other in combinations(models, 2):
        if _is_copy(one, other):
            is_cut_alike = _list_thresholds(one) == _list_thresholds(other)
            end = "" if is_cut_alike else ", only their thresholds differ"
            yield f"{one.name} and {other.name} are identical predictions{end}."


def _is_copy(one: ScoredModel, other: ScoredModel) -> bool:
    return np.array_equal(one.test.probabilities, other.test.probabilities)


def _warn(test: Any) -> list[str]:
    if not has_groups(test):
        return []
    return [
        f"{len(test.labels)} images are of {len(set(test.groups))} patients: McNemar's p takes "
        "images as independent, and may be too small; the intervals draw whole patients."
    ]


def _list_thresholds(model: ScoredModel) -> dict[str, dict[str, float]]:
    return {
        name: {point.rule: point.value for point in model.thresholds.get(name, ())}
        for name in model.classes
    }


def _describe_model(model: ScoredModel, *, values: Mapping[FigureKey, Values]) -> Figures:
    """Return every figure of a model with its interval."""
    figures = measure_model(model)
    for key, entry in figures.items():
        if entry["value"] is not None and key in values:
            entry |= describe_values(values[key])
    for name in model.classes:
        truth, scores = select_known(model.test, name)
        groups = _known_groups(model, name)
        entry = figures[FigureKey(name, None, "auroc")]
        interval = delong_interval(truth, scores, groups=groups, level=LEVEL)
        if interval is not None:
            entry["delong"] = list(interval)
    return figures


def _subtract(
    figures: Sequence[Figures], resampled: Sequence[Mapping[FigureKey, Values]], *, number: int
) -> Figures:
    """Return the differences of one model from the first, with their bootstrap intervals."""
    gaps: Figures = {}
    for key, first in figures[0].items():
        second = figures[number].get(key)
        if second is None:
            continue
        if first["value"] is None or second["value"] is None:
            gaps[key] = {"value": None, "reason": "undefined for one of the models"}
            continue
        values = resampled[number][key] - resampled[0][key]
        gaps[key] = {"value": second["value"] - first["value"]} | describe_values(values)
        if not np.any(values[~np.isnan(values)]) and gaps[key]["value"] == 0:
            gaps[key].pop("interval_reason", None)
            gaps[key]["interval"] = [0.0, 0.0]
    return gaps


def _add_tests(gaps: Figures, *, reference: ScoredModel, model: ScoredModel) -> None:
    """Put DeLong's test beside the differences of AUROC, McNemar's beside those of accuracy."""
    for name in model.classes:
        truth, first = select_known(reference.test, name)
        _, second = select_known(model.test, name)
        groups = _known_groups(model, name)
        test = delong_test(truth, first=first, second=second, groups=groups, level=LEVEL)
        if test is not None and test.interval is not None:
            gap = gaps[FigureKey(name, None, "auroc")]
            gap.pop("interval_reason", None)
            gap |= {"bootstrap": gap["interval"]}
            gap |= {"interval": list(test.interval), "method": "delong", "test": "delong"}
            gap |= {"standard_error": test.standard_error, "z": test.z, "p_value": test.p_value}
        cuts = {point.rule: point.value for point in reference.thresholds.get(name, ())}
        for point in model.thresholds.get(name, ()):
            gap = gaps.get(FigureKey(name, point.rule, "accuracy"))
            if gap is None or gap["value"] is None:
                continue
            calls = mcnemar_test(
                truth, first=first >= cuts[point.rule], second=second >= point.value
            )
            gap |= {
                "test": "mcnemar",
                "only_reference_right": calls.only_first_right,
                "only_model_right": calls.only_second_right,
                "p_value": calls.p_value,
            }


def _known_groups(model: ScoredModel, name: str) -> list[str]:
    known = model.test.known(name).tolist()
    return [group for group, is_known in zip(model.test.groups, known, strict=True) if is_known]


def _correct(differences: Sequence[Figures]) -> int:
    """Put Holm's p beside each p, and return how many there are."""
    tested = [gap for gaps in differences for gap in gaps.values() if "p_value" in gap]
    for gap, p_holm in zip(tested, adjust_holm([gap["p_value"] for gap in tested]), strict=True):
        gap["p_holm"] = p_holm
    return len(tested)
