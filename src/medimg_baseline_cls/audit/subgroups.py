"""Measure how well each subgroup column (site, scanner, sex) alone predicts the classes.

Where one hospital sends the ill and another the healthy, a network that recognizes the
hospital can guess the diagnosis. No pixels are used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.check_results import (
    Check,
    Example,
    Finding,
    NumberTable,
    not_measured,
)
from medimg_baseline_cls.audit.images import AuditImages, class_truths
from medimg_baseline_cls.audit.shortcut_classifiers import MIN_PER_CLASS, assign_folds, score_auroc
from medimg_baseline_cls.audit.shortcuts import MAX_CLASSES, TELLING_AUROC
from medimg_baseline_cls.utils.quantities import say_score

MAX_VALUES = 10
_NUM_SHOWN = 4

Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Association:
    """How well a column predicts a class, and the share of the class at its commonest values."""

    column: str
    class_name: str
    auroc: float | None
    shares: str

    @property
    def is_telling(self) -> bool:
        """Return whether the column predicts the class well enough to be a shortcut."""
        return self.auroc is not None and self.auroc >= TELLING_AUROC


def check_subgroups(images: AuditImages) -> Check:
    """Predict each class from each subgroup column alone, in patient-grouped folds of TRAIN."""
    sides, truths = images.splits, class_truths(images.split)
    trained = sides == "train" if (sides == "train").any() else sides == sides
    found: list[_Association] = []
    for place, column in enumerate(images.split.subgroup_names):
        cells = [record.subgroups[place] for record in images.split.records]
        values = np.array(bin_numbers(cells), dtype=np.str_)
        for name in images.contrasted_classes[:MAX_CLASSES]:
            truth, known = truths[name]
            own = trained & known
            if min((truth & own).sum(), (~truth & own).sum()) < MIN_PER_CLASS:
                continue
            auroc = score_column(values[own], truth[own], groups=images.groups[own])
            shares = _describe_shares(values[own], truth[own])
            found.append(_Association(column, name, auroc, shares))
    if not found:
        reason = f"no class has {MIN_PER_CLASS} images on either side of it."
        return not_measured("subgroups", "Subgroups", reason=reason)
    best = max(found, key=lambda item: item.auroc or 0.0)
    summary = f"AUROC at most {say_score(best.auroc or 0.0)} ({best.column} for {best.class_name})."
    return Check("subgroups", "Subgroups", summary, tuple(_judge(found)), (_tabulate(found),))


def bin_numbers(cells: Sequence[str]) -> list[str]:
    """Return the values of a column; numbers, if more than ten differ, as deciles.

    >>> bin_numbers(["A", "B"])
    ['A', 'B']
    """
    if len(set(cells)) <= MAX_VALUES:
        return list(cells)
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return list(cells)
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, MAX_VALUES + 1)[1:-1]))
    bins = np.digitize(numbers, edges)
    ends = ["", *(f"{edge:g}" for edge in edges), ""]
    names = [f"{low} to {high}".strip() for low, high in pairwise(ends)]
    return [names[place] if cell else "" for place, cell in zip(bins, cells, strict=True)]


def score_column(
    values: NDArray[np.str_], truth: Truth, *, groups: NDArray[np.str_]
) -> float | None:
    """Return the AUROC of a class by its share at each value in the other folds; None if undefined.

    A value that is missing in the other folds scores their overall share.

    Args:
        values: of the column, shape (N,).
        truth: whether each image is of the class, shape (N,).
        groups: the patient of each, shape (N,).
    """
    folds = assign_folds(groups, truth)
    names, codes = np.unique(values, return_inverse=True)
    scores = np.full(len(truth), np.nan)
    for fold in np.unique(folds):
        inside = folds == fold
        if inside.all():
            continue
        counts = np.bincount(codes[~inside], minlength=len(names))
        positive = np.bincount(codes[~inside], truth[~inside], minlength=len(names))
        share = np.where(counts > 0, positive / np.maximum(counts, 1), truth[~inside].mean())
        scores[inside] = share[codes[inside]]
    return score_auroc(truth, scores)


def _describe_shares(values: NDArray[np.str_], truth: Truth) -> str:
    """Return the share of the class at the commonest values, in words."""
    names, counts = np.unique(values, return_counts=True)
    common = names[np.argsort(-counts, kind="stable")[:_NUM_SHOWN]]
    parts = [f"{100 * truth[values == name].mean():.0f} % at {name or 'blank'}" for name in common]
    more = len(names) - len(common)
    return ", ".join(parts) + (f" and {more} more" if more else "")


def _judge(found: Sequence[_Association]) -> Iterator[Finding]:
    telling = sorted((item for item in found if item.is_telling), key=lambda i: -(i.auroc or 0.0))
    if telling:
        yield Finding(
            name="telling_subgroup",
            verdict="warning",
            count=len({item.column for item in telling}),
            what=f"subgroup columns that predict the class, AUROC {TELLING_AUROC:g} or more",
            advice="A model can learn the subgroup instead of the disease: report metrics within "
            "each subgroup, or balance the classes in it.",
            examples=tuple(
                Example((), f"{i.column}: AUROC {say_score(auroc)} for {i.class_name} ({i.shares})")
                for i in telling
                if (auroc := i.auroc) is not None
            ),
        )


def _tabulate(found: Sequence[_Association]) -> NumberTable:
    return NumberTable(
        "Each subgroup column alone, AUROC out of fold",
        ("Column", "Class", "Share of the class", "AUROC"),
        tuple((item.column, item.class_name, item.shares, item.auroc) for item in found),
        num_text=3,
        note="The score of a value is the share of the class at it in the other folds; 0.5 is "
        "chance. Folds keep patients whole.",
    )
