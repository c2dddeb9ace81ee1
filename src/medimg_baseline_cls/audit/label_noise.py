"""List the images whose label a classifier on frozen features doubts most.

Each image is scored by a logistic regression that was fitted without its patient's fold
(confident learning: Northcutt et al., JAIR 2021). The list is for a second reading: a doubtful
label is not necessarily wrong.
"""

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.check_results import Check, Example, Finding
from medimg_baseline_cls.audit.images import AuditImages, class_truths
from medimg_baseline_cls.audit.pixel_measures import ProgressMaker
from medimg_baseline_cls.audit.shortcut_classifiers import (
    MIN_PER_CLASS,
    assign_folds,
    cross_validate,
)
from medimg_baseline_cls.utils.log import SILENT

NUM_SUSPICIOUS = 20
DOUBTED = 0.5


def check_noise(
    images: AuditImages,
    features: NDArray[np.float32],
    *,
    progress: ProgressMaker = SILENT.progress,
) -> Check:
    """List the most doubtful labels.

    Args:
        images: the data set.
        features: of a frozen network, one row per record, shape (N, D).
        progress: makes a progress bar.
    """
    classes = images.contrasted_classes
    doubt = np.zeros((len(features), len(classes)))
    with progress("label noise", len(classes)) as bar:
        for column, name in enumerate(classes):
            truth, known = class_truths(images.split)[name]
            if min((truth & known).sum(), (~truth & known).sum()) >= MIN_PER_CLASS:
                folds = assign_folds(images.groups[known], truth[known])
                scores = cross_validate(features[known], truth[known], folds=folds)
                doubt[known, column] = np.nan_to_num(np.where(truth[known], 1 - scores, scores))
            bar.advance()
    worst = doubt.max(axis=1)
    order = np.argsort(-worst, kind="stable")[:NUM_SUSPICIOUS]
    suspicious = [int(i) for i in order if worst[i] > DOUBTED]
    return Check(
        "noise",
        "Label noise",
        f"{int((worst > DOUBTED).sum())} of {len(worst)} labels are doubted by a linear classifier "
        "on frozen features.",
        (_list_suspicious(images, worst, suspicious=suspicious),) if suspicious else (),
    )


def _list_suspicious(
    images: AuditImages, doubt: NDArray[np.float64], *, suspicious: list[int]
) -> Finding:
    records = images.split.records
    return Finding(
        name="doubtful_label",
        verdict="note",
        count=len(suspicious),
        what="labels that the classifier doubts most",
        advice="Have a reader check them; change no label only because a classifier doubts it.",
        examples=tuple(
            Example(
                (records[i].path,),
                f"labeled {records[i].label or 'no finding'}, doubt {doubt[i]:.2f}",
            )
            for i in suspicious
        ),
    )
