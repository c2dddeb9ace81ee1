"""Measure shift: how well a classifier predicts the split of an image, class by class.

Where TRAIN and TEST come from one source, no classifier can distinguish them and its AUROC
is near 0.5. The control does the same between two random halves of the patients: if it is
not near 0.5, the measurement is unreliable.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
from medimg_baseline_cls.audit.pixel_measures import Measures, ProgressMaker, shrink
from medimg_baseline_cls.audit.shortcut_classifiers import (
    ControlFeatures,
    assign_folds,
    cross_validate,
    score_auroc,
)
from medimg_baseline_cls.audit.shortcuts import MAX_CLASSES, limit_images
from medimg_baseline_cls.utils.log import SILENT
from medimg_baseline_cls.utils.quantities import say_score
from medimg_baseline_cls.utils.seed import derive_key

SHIFTED_AUROC = 0.75
MIN_IMAGES = 20
_THUMB_SIDE = 12

Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shift:
    """How well a classifier separates a split from TRAIN within one class, and the control."""

    class_name: str
    split: str
    num_images: int
    auroc: float | None
    control: float | None


def check_shift(
    images: AuditImages,
    features: ControlFeatures,
    *,
    measures: Measures,
    progress: ProgressMaker = SILENT.progress,
) -> Check:
    """Separate VAL and TEST from TRAIN, within each class, by trivial properties and thumbnails."""
    sides = images.splits
    others = [name for name in ("val", "test") if (sides == name).any()]
    truths = list(class_truths(images.split).items())[:MAX_CLASSES]
    thumbs = shrink(measures.thumbs, _THUMB_SIDE).reshape(len(measures.thumbs), -1)
    seen = np.concatenate([features.trivial, thumbs[images.rows]], axis=1)
    found: list[_Shift] = []
    with progress("shift", len(truths) * len(others)) as bar:
        for split in others:
            compared = limit_images((sides == "train") | (sides == split), images)
            for name, (truth, known) in truths:
                within = truth & known & compared
                names = (split, name)
                found += _measure(
                    seen[within],
                    sides[within] == split,
                    groups=features.groups[within],
                    names=names,
                )
                bar.advance()
    if not found:
        reason = f"no class has {MIN_IMAGES} images in both train and {' or '.join(others)}."
        if not others:
            reason = "the images are not split yet."
        return not_measured("shift", "Shift", reason=reason)
    return Check(
        "shift",
        "Shift",
        _summarize(found),
        tuple(_judge(found)),
        (_tabulate(found),),
    )


def _measure(
    features: NDArray[np.float32],
    is_other: Truth,
    *,
    groups: NDArray[np.str_],
    names: tuple[str, str],
) -> Iterator[_Shift]:
    """Yield the shift between two splits, unless one has too few images."""
    if min(is_other.sum(), (~is_other).sum()) < MIN_IMAGES:
        return
    drawn = draw_groups(groups, share=float(is_other.mean()))
    yield _Shift(
        class_name=names[1],
        split=names[0],
        num_images=int(is_other.sum()),
        auroc=_separate(features, is_other, groups=groups),
        control=_separate(features, drawn, groups=groups),
    )


def draw_groups(groups: NDArray[np.str_], *, share: float) -> Truth:
    """Draw whole groups, by a hash of their names, with about this share of the images."""
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort([derive_key(0, "shift", str(name)) for name in names])
    before = np.cumsum(counts[order]) - counts[order]
    is_drawn = np.zeros(len(names), dtype=np.bool_)
    is_drawn[order] = before < share * len(groups)
    return is_drawn[inverse]


def _separate(
    features: NDArray[np.float32], is_other: Truth, *, groups: NDArray[np.str_]
) -> float | None:
    folds = assign_folds(groups, is_other)
    return score_auroc(is_other, cross_validate(features, is_other, folds=folds))


def _summarize(found: list[_Shift]) -> str:
    """Return the highest AUROC, and that of its control."""
    worst = max(found, key=lambda shift: shift.auroc or 0.0)
    auroc, control = worst.auroc or 0.0, worst.control or 0.0
    where = f"{worst.class_name}, {worst.split}"
    return f"AUROC at most {say_score(auroc)} ({where}), random halves {say_score(control)}."


def _judge(found: list[_Shift]) -> Iterator[Finding]:
    shifted = [s for s in found if s.auroc is not None and s.auroc > SHIFTED_AUROC]
    if shifted:
        yield Finding(
            name="shifted",
            verdict="warning",
            count=len(shifted),
            what="classes whose images look different in another split",
            advice="Metrics and thresholds may not transfer; report both splits, and never tune on "
            "TEST.",
            examples=tuple(
                Example((), f"{s.class_name}, train against {s.split}: AUROC {say_score(auroc)}")
                for s in shifted
                if (auroc := s.auroc) is not None
            ),
        )


def _tabulate(found: list[_Shift]) -> NumberTable:
    rows = [(s.class_name, f"train / {s.split}", s.num_images, s.auroc, s.control) for s in found]
    return NumberTable(
        "Domain classifiers, AUROC",
        ("Class", "Between", "Images", "Splits", "Random halves"),
        tuple(rows),
        num_text=2,
        note="0.5: no difference. Random halves: the same for random patients.",
    )
