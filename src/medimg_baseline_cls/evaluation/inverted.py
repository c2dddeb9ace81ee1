"""Finds classes that seem to be inverted: an AUROC that is below chance, not by chance."""

import math

from medimg_baseline_cls.evaluation.prediction_files import select_known
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.quantities import say_score

INVERTED = 3
"""The exit code where the classes seem to be inverted."""

_TAIL = 0.025
LOOK_AT = "the class folders, the label column and --map"


def find_inverted(
    summary: SplitSummary, part: Predictions, *, look_at: str = LOOK_AT
) -> tuple[str, ...]:
    """Return a sentence for each class whose AUROC is below 0.5 with all of its interval.

    Args:
        summary: of the predictions, with intervals.
        part: the predictions.
        look_at: where the mistake may be.
    """
    alarms: list[str] = []
    for name, block in summary.classes.items():
        auroc = block.metrics["auroc"]
        if auroc.value is None or not _is_below(auroc, part, name=name):
            continue
        shown = say_score(auroc.value)
        if auroc.bounds is not None:
            shown += " (95 % interval {} to {})".format(*map(say_score, auroc.bounds))
        alarms.append(
            f"the AUROC of {name} is {shown}, below chance: the labels seem to be inverted, or "
            f"mapped to the wrong class; check {look_at}"
        )
    return tuple(alarms)


def _is_below(auroc: Estimate, part: Predictions, *, name: str) -> bool:
    """Return whether chance does not explain an AUROC below 0.5.

    Where the classes are separated in the wrong order no resample varies: the chance of that
    order is one in all orders of the patients.
    """
    if auroc.bounds is not None:
        return auroc.bounds[1] < 0.5
    if auroc.value != 0:
        return False
    truth, _ = select_known(part, name)
    groups = [g for g, known in zip(part.groups, part.known(name).tolist(), strict=True) if known]
    positive = len({g for g, is_true in zip(groups, truth.tolist(), strict=True) if is_true})
    return math.comb(len(set(groups)), positive) > 1 / _TAIL
