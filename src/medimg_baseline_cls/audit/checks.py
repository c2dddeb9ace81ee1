"""Run the checks in order: files, copies, patients, labels, shortcuts, subgroups, shift, noise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.check_results import Check, not_measured
from medimg_baseline_cls.audit.duplicates import check_duplicates
from medimg_baseline_cls.audit.files import check_files
from medimg_baseline_cls.audit.images import AuditImages
from medimg_baseline_cls.audit.inferences import check_inferences, check_refusals
from medimg_baseline_cls.audit.label_noise import check_noise
from medimg_baseline_cls.audit.labels import check_labels
from medimg_baseline_cls.audit.patients import check_groups
from medimg_baseline_cls.audit.pixel_measures import Measures, ProgressMaker, measure_pixels
from medimg_baseline_cls.audit.shortcut_classifiers import gather_features
from medimg_baseline_cls.audit.shortcuts import check_shortcuts
from medimg_baseline_cls.audit.split_shift import check_shift
from medimg_baseline_cls.audit.subgroups import check_subgroups
from medimg_baseline_cls.utils.log import SILENT

_TITLES = {
    "duplicates": "Copies",
    "groups": "Patients",
    "labels": "Labels",
    "shortcuts": "Shortcuts",
    "shift": "Shift",
}

FeatureMaker = Callable[[AuditImages], NDArray[np.float32]]


def audit_images(
    images: AuditImages,
    *,
    make_features: FeatureMaker | None = None,
    progress: ProgressMaker = SILENT.progress,
) -> tuple[Check, ...]:
    """Run every check; where no image could be read, only that of the files.

    Args:
        images: the data set.
        make_features: returns features of a frozen network, one row per record, for the
            check of label noise; None skips that check.
        progress: makes a progress bar from a description and a total.
    """
    inferred = [check_refusals(images.refusals)] if images.refusals else []
    if images.inferences:
        inferred.append(check_inferences(images.inferences))
    if not images.split.records:
        reason = "no image could be read."
        others = [not_measured(name, title, reason=reason) for name, title in _TITLES.items()]
        return (check_files(images, None), *others, *inferred)
    measures = measure_pixels(images.pixels, progress=progress)
    checks = [
        check_files(images, measures),
        check_duplicates(images, measures, progress=progress),
        check_groups(images),
        check_labels(images),
    ]
    features = gather_features(
        images.split.records,
        measures,
        rows=images.rows,
        num_bytes=[look.num_bytes for look in images.looks],
    )
    checks.append(check_shortcuts(images, features, progress=progress))
    if images.split.subgroup_names:
        checks.append(check_subgroups(images))
    checks.append(check_shift(images, features, measures=measures, progress=progress))
    if make_features is not None:
        checks.append(check_noise(images, make_features(images), progress=progress))
    return (*checks, *inferred)


def audit_records(images: AuditImages, measures: Measures | None = None) -> tuple[Check, ...]:
    """Run the fast checks: files, copies, patients, labels, subgroups.

    Without measures, only byte-identical files count as copies.
    """
    return (
        check_files(images, None),
        check_duplicates(images, measures),
        check_groups(images),
        check_labels(images),
        *([check_subgroups(images)] if images.split.subgroup_names else []),
    )
