"""Calibration, recalibration, prevalence and decision curve of an evaluated run, into its folder.

Turns the predictions of VAL and TEST into calibration.json, calibration_curve.csv,
recalibration.json, prevalence.json, decision_curve.csv and two plots. What is fitted or
chosen here is so on VAL alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.evaluation.recalibration import carry_thresholds, fit_on_val, warn_of_maps
from medimg_baseline_cls.evaluation.resampling import weigh_known
from medimg_baseline_cls.evaluation.split_summary import evaluated_classes
from medimg_baseline_cls.pipeline.steps.prevalence import describe_prevalence
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.plots.calibration import draw_calibration
from medimg_baseline_cls.plots.decision_curve import draw_decision_curves
from medimg_baseline_cls.records.probabilities import (
    CalibrationBrief,
    CalibrationSummary,
    ClassCalibration,
    FittedMap,
    MapWarning,
    RecalibratedClass,
    RecalibrationSummary,
)
from medimg_baseline_cls.schema import Predictions, Split
from medimg_baseline_cls.statistics.bootstrap import Weights
from medimg_baseline_cls.statistics.calibration import (
    describe_brief,
    describe_calibration,
    reliability_bins,
)
from medimg_baseline_cls.statistics.decision_curve import DecisionCurve, draw_decision_curve
from medimg_baseline_cls.statistics.recalibration import METHODS, Recalibration
from medimg_baseline_cls.utils.files import sha256_file, write_csv, write_json

_CURVE = ("split", "class", "num_images", "mean_probability", "share", "lower", "upper")
_DECISION = ("split", "class", "threshold", "net_benefit", "lower", "upper", "treat_all")


@dataclass(frozen=True, slots=True)
class Judged:
    """One class of one split: its outcomes, probabilities, and resamples of its patients."""

    split: str
    name: str
    truth: Any
    scores: Any
    weights: Weights


def write_calibration(
    session: Session,
    parts: Sequence[Predictions],
    *,
    weights: Mapping[str, Weights],
    split: Split,
    thresholds: Thresholds,
    positive_class: str | None,
) -> None:
    """Judge the probabilities of VAL and TEST and write what was found.

    Args:
        session: the open run.
        parts: the predictions of VAL and of TEST.
        weights: those of the metrics' intervals, from `draw_parts`.
        split: every image of the run, for the prevalence of TRAIN.
        thresholds: the operating points, from VAL.
        positive_class: of two classes; None judges each class against the rest.
    """
    run_dir, seed = session.run_dir, session.config.seed
    classes = evaluated_classes(parts[0].class_names, positive_class)
    judged = list(_list_judged(parts, classes=classes, weights=weights))
    splits: dict[str, dict[str, ClassCalibration]] = {part.split: {} for part in parts}
    for item in judged:
        splits[item.split][item.name] = describe_calibration(
            item.truth, item.scores, weights=item.weights, seed=seed
        )
    maps = fit_maps(judged)
    found = CalibrationSummary(splits)
    _write_curve(run_dir / "calibration_curve.csv", found)
    write_json(run_dir / "calibration.json", found.to_json())
    if parts[0].split == "val":  # without it, nothing can be fitted or chosen
        recalibration = RecalibrationSummary(
            predictions_val_sha256=sha256_file(run_dir / "predictions_val.csv"),
            warnings=warn_of_classes(judged, maps, part=parts[0]),
            classes=_describe_maps(judged, maps, found=found, thresholds=thresholds, seed=seed),
        )
        prevalence = describe_prevalence(
            session.config, parts, weights=weights, split=split, thresholds=thresholds
        )
        write_json(run_dir / "recalibration.json", recalibration.to_json())
        write_json(run_dir / "prevalence.json", prevalence.to_json())
    curves = {
        (j.split, j.name): draw_decision_curve(j.truth, j.scores, weights=j.weights) for j in judged
    }
    _write_decision(run_dir / "decision_curve.csv", curves)
    folder = run_dir / "figures"
    after = {
        method: {
            j.name: reliability_bins(j.truth, maps[j.name][method].apply(j.scores))
            for j in judged
            if j.split == "test" and method in maps[j.name]
        }
        for method in METHODS
    }
    draw_calibration(folder / "calibration.png", found, scores=parts[-1], after=after)
    draw_decision_curves(
        folder / "decision_curve.png",
        {name: curve for (place, name), curve in curves.items() if place == "test"},
    )


def fit_maps(judged: Sequence[Judged]) -> dict[str, dict[str, Recalibration]]:
    """Fit every recalibration of every class on VAL; those that are undefined are left out."""
    maps: dict[str, dict[str, Recalibration]] = {item.name: {} for item in judged}
    for item in judged:
        for method in METHODS if item.split == "val" else ():
            fitted = fit_on_val(method, split=item.split, truth=item.truth, scores=item.scores)
            if fitted is not None:
                maps[item.name][method] = fitted
    return maps


def warn_of_classes(
    judged: Sequence[Judged], maps: Mapping[str, Mapping[str, Recalibration]], *, part: Predictions
) -> dict[str, MapWarning]:
    """Return a warning for each class with too little VAL data for its maps."""
    warnings: dict[str, MapWarning] = {}
    for item in judged:
        if item.split != "val" or not maps[item.name]:
            continue
        others = [name for name in part.class_names if name != item.name]
        is_binary = len(others) == 1 and not part.has_findings
        other = others[0] if is_binary else f"non-{item.name}"
        found = warn_of_maps(item.truth, item.scores, name=item.name, other=other)
        if found is not None:
            warnings[item.name] = found
    return warnings


def _list_judged(
    parts: Sequence[Predictions], *, classes: Sequence[str], weights: Mapping[str, Weights]
) -> Iterator[Judged]:
    for part in parts:
        for name in classes:
            truth, scores = select_known(part, name)
            if len(truth):
                own = weigh_known(part, name, weights=weights[part.split])
                # A resample of findings may miss every image where this one is known.
                drawn = own[own.any(axis=1)] if part.has_findings else own
                yield Judged(part.split, name, truth, scores, drawn)


def _describe_maps(
    judged: Sequence[Judged],
    maps: Mapping[str, Mapping[str, Recalibration]],
    *,
    found: CalibrationSummary,
    thresholds: Thresholds,
    seed: int,
) -> dict[str, RecalibratedClass]:
    """Return each map with its carried thresholds, and the calibration before and after it."""

    def describe(name: str, recalibration: Recalibration) -> FittedMap:
        points = carry_thresholds(recalibration, thresholds.get(name, ()))
        return FittedMap(
            parameters=recalibration.parameters,
            thresholds={point.rule: point.value for point in points},
            splits={
                j.split: _judge_again(j, recalibration, seed=seed) for j in judged if j.name == name
            },
        )

    return {
        name: RecalibratedClass(
            before={
                split: classes[name].brief
                for split, classes in found.splits.items()
                if name in classes
            },
            maps={method: describe(name, fitted) for method, fitted in maps[name].items()},
        )
        for name in maps
    }


def _judge_again(item: Judged, recalibration: Recalibration, *, seed: int) -> CalibrationBrief:
    scores = recalibration.apply(item.scores)
    return describe_brief(item.truth, scores, weights=item.weights, seed=seed)


def _write_curve(path: Path, found: CalibrationSummary) -> None:
    rows = [
        (split, name, b.num_images, b.mean_probability, b.share, *b.interval)
        for split, classes in found.splits.items()
        for name, content in classes.items()
        for b in content.bins
    ]
    write_csv(path, _CURVE, rows=rows)


def _write_decision(path: Path, curves: Mapping[tuple[str, str], DecisionCurve]) -> None:
    rows: list[tuple[Any, ...]] = []
    for (split, name), curve in curves.items():
        columns = (curve.thresholds, curve.net_benefit, curve.lower, curve.upper, curve.treat_all)
        rows += [(split, name, *line) for line in np.stack(columns, axis=1).tolist()]
    write_csv(path, _DECISION, rows=rows)
