"""Choose operating points on VAL, and only on VAL.

A threshold is one of the scores of VAL, and positive means `probability >= threshold`.
Predictions of any other split are refused, so that no threshold can be chosen on TEST.
thresholds.json has the hashes of the predictions and the checkpoint it was made from.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from medimg_baseline_cls.catalogue import RULES
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.evaluation.added import (
    describe_added_rule,
    list_criteria,
    refuse_undefined,
)
from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.metrics import count_by_threshold
from medimg_baseline_cls.statistics.threshold_rules import Criterion, choose_threshold
from medimg_baseline_cls.utils.files import read_json, sha256_file, write_json

SCORE_SPACE = "probability"
DEFAULT_THRESHOLD = 0.5

Thresholds = Mapping[str, tuple[Threshold, ...]]


def choose_thresholds(
    val: Predictions,
    *,
    classes: Sequence[str],
    target_sensitivity: float,
    operating_point: str = "max_f1",
) -> dict[str, tuple[Threshold, ...]]:
    """Choose the operating points of each class on VAL: Max-F1, target sensitivity and 0.5.

    Max-F1 and target sensitivity are undefined without a positive image; such a class has only
    the default. For a finding, only the images where it is known count. A rule of another package
    may be undefined where no image is negative, and nowhere else.

    Args:
        val: predictions of VAL.
        classes: the classes to choose for, each against the rest.
        target_sensitivity: the sensitivity to reach, in (0, 1].
        operating_point: `plugin:NAME` adds the rule of another package.

    Raises:
        DataError: the predictions are not of VAL, or lack a class or a reference standard.
        ConfigError: the target is outside (0, 1], or the rule of another package fails.
    """
    _require_val(val, classes)
    if not 0 < target_sensitivity <= 1:
        raise ConfigError(
            f"target_sensitivity is {target_sensitivity}; expected a number above 0 and up to 1, "
            f"such as 0.95."
        )
    criteria = list_criteria(operating_point)
    return {
        name: _choose(val, name, target=target_sensitivity, criteria=criteria) for name in classes
    }


def write_thresholds(
    path: Path,
    thresholds: Thresholds,
    *,
    positive_class: str | None,
    predictions_sha256: str,
    checkpoint_sha256: str,
) -> None:
    """Write thresholds.json with the sha256 of predictions_val.csv and of the checkpoint."""
    content = {
        "score_space": SCORE_SPACE,
        "positive_means": "probability >= threshold",
        "chosen_on": "val",
        "positive_class": positive_class,
        "predictions_val_sha256": predictions_sha256,
        "checkpoint_sha256": checkpoint_sha256,
        "classes": describe_thresholds(thresholds),
    }
    write_json(path, content)


def describe_thresholds(thresholds: Thresholds) -> dict[str, dict[str, Any]]:
    """Return the thresholds as plain values: by class, then by rule."""
    return {
        name: {
            point.rule: {
                "threshold": point.value,
                "rule": point.description,
                "num_positive": point.num_positive,
                "num_negative": point.num_negative,
                **({} if point.target is None else {"target": point.target}),
            }
            for point in points
        }
        for name, points in thresholds.items()
    }


def read_thresholds(
    path: Path, *, predictions_val: Path | None = None
) -> dict[str, tuple[Threshold, ...]]:
    """Read thresholds.json.

    Args:
        path: the file.
        predictions_val: predictions_val.csv; if given, the thresholds must be made from it.

    Raises:
        RunError: the file is missing, garbled or made from other predictions.
    """
    content = read_json(path)
    try:
        space, digest = str(content["score_space"]), str(content["predictions_val_sha256"])
        found = {
            str(name): tuple(
                _parse_point(str(name), rule, entry=entry, score_space=space)
                for rule, entry in cast(dict[str, Any], points).items()
            )
            for name, points in cast(dict[str, Any], content["classes"]).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path} is not as it was written: restore it, or run `medimg evaluate` again."
        ) from error
    if predictions_val is not None and sha256_file(predictions_val) != digest:
        raise RunError(
            f"{path} was not made from {predictions_val}: one of them was changed afterwards. "
            f"Run `medimg evaluate` again."
        )
    return found


def _require_val(val: Predictions, classes: Sequence[str]) -> None:
    if val.split != "val":
        raise DataError(
            f"Thresholds are chosen only on VAL, but these are predictions of "
            f"{val.split.upper()}; a threshold chosen on them would make the metrics too good."
        )
    missing = [name for name in classes if name not in val.class_names]
    if missing:
        raise DataError(
            f"{missing[0]} is not a class of the predictions ({', '.join(val.class_names)})."
        )
    is_unknown = not val.has_findings and bool((val.labels < 0).any())
    if len(val.labels) == 0 or is_unknown:
        raise DataError(
            "Thresholds need VAL images, each with its reference standard; check val_fraction "
            "and the val folder."
        )


def _choose(
    val: Predictions, name: str, *, target: float, criteria: Mapping[str, Criterion]
) -> tuple[Threshold, ...]:
    truth, scores = select_known(val, name)
    values: dict[str, float] = {}
    if truth.any():
        thresholds, tp, fp = count_by_threshold(truth, scores)
        for rule, criterion in criteria.items():
            value = float(choose_threshold(criterion, thresholds, tp=tp, fp=fp, target=target))
            if math.isnan(value) and rule not in RULES and not truth.all():
                refuse_undefined(rule)
            values |= {} if math.isnan(value) else {rule: value}
    return tuple(
        Threshold(
            rule=rule,
            value=value,
            description=(
                RULES[rule].description.format(target=target)
                if rule in RULES
                else describe_added_rule(rule)
            ),
            class_name=name,
            score_space=SCORE_SPACE,
            num_positive=int(truth.sum()),
            num_negative=int((~truth).sum()),
            target=target if rule in RULES and RULES[rule].has_target else None,
        )
        for rule, value in (values | {"default": DEFAULT_THRESHOLD}).items()
    )


def _parse_point(name: str, rule: str, *, entry: Mapping[str, Any], score_space: str) -> Threshold:
    return Threshold(
        rule=rule,
        value=float(entry["threshold"]),
        description=str(entry["rule"]),
        class_name=name,
        score_space=score_space,
        num_positive=int(entry["num_positive"]),
        num_negative=int(entry["num_negative"]),
        target=float(entry["target"]) if "target" in entry else None,
    )
