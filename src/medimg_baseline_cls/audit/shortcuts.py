"""Measure how well trivial properties separate the classes, in patient-grouped folds.

A single property that separates the classes (file size, brightness, a marker in a corner) is
what a network learns first: it then recognizes the scanner, not the disease.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
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
from medimg_baseline_cls.audit.pixel_measures import ProgressMaker
from medimg_baseline_cls.audit.shortcut_classifiers import (
    CONTROLS,
    MIN_PER_CLASS,
    PROPERTIES,
    ControlFeatures,
    assign_folds,
    cross_validate,
    direct_property,
    fit_scores,
    score_auroc,
)
from medimg_baseline_cls.utils.log import SILENT
from medimg_baseline_cls.utils.quantities import say_score
from medimg_baseline_cls.utils.seed import derive_key

TELLING_AUROC = 0.75
MAX_CLASSES = 20
MAX_IMAGES = 20_000

_CONTROL_NAMES = {"trivial": "all properties", "border": "outer frame"}


@dataclass(frozen=True, slots=True)
class _ClassAurocs:
    """AUROCs of one class: by property (folds), by control (folds, TEST)."""

    name: str
    properties: dict[str, float | None]
    controls: dict[str, tuple[float | None, float | None]]


def check_shortcuts(
    images: AuditImages,
    features: ControlFeatures,
    *,
    progress: ProgressMaker = SILENT.progress,
) -> Check:
    """Cross-validate every property and both controls on TRAIN; the controls on TEST too."""
    classes = images.contrasted_classes[:MAX_CLASSES]
    truths = class_truths(images.split)
    sides = images.splits
    trained = limit_images(sides == "train" if (sides == "train").any() else sides == sides, images)
    tested = limit_images(sides == "test", images)
    geometry = describe_geometry(images)
    measured: list[_ClassAurocs] = []
    with progress("shortcuts", len(classes)) as bar:
        for name in classes:
            truth, known = truths[name]
            own, other = trained & known, tested & known
            if min((truth & own).sum(), (~truth & own).sum()) >= MIN_PER_CLASS:
                rows = {"truth": truth, "train": own, "test": other}
                measured.append(_measure_class(name, features, geometry=geometry, **rows))
            bar.advance()
    if not measured:
        reason = f"no class has {MIN_PER_CLASS} images on either side of it."
        return not_measured("shortcuts", "Shortcuts", reason=reason)
    return Check(
        "shortcuts",
        "Shortcuts",
        _summarize(measured),
        tuple(_judge(measured)),
        _tabulate(measured),
    )


def describe_geometry(images: AuditImages) -> dict[str, NDArray[np.float32]]:
    """Return what the files of volumes say of their geometry, by its name, each of shape (N,).

    NaN where a file does not say it; nothing for images.
    """
    found = [look.geometry for look in images.looks if look.geometry is not None]
    if not found or len(found) < len(images.looks):
        return {}
    spacing = np.array([item.spacing_mm or (np.nan,) * 3 for item in found], np.float32)
    usual = Counter(item.axes for item in found).most_common(1)[0][0]
    return {
        "number of slices": np.array([item.num_slices for item in found], np.float32),
        "distance of slices": spacing[:, 0],
        "pixel spacing": spacing[:, 1],
        f"orientation {usual or 'unknown'}": np.array([i.axes == usual for i in found], np.float32),
    }


def limit_images(chosen: NDArray[np.bool_], images: AuditImages) -> NDArray[np.bool_]:
    """Return at most MAX_IMAGES of the chosen images, drawn by a hash of their paths."""
    positions = np.flatnonzero(chosen)
    if len(positions) <= MAX_IMAGES:
        return chosen
    keys = [derive_key(0, "audit", images.split.records[i].path) for i in positions]
    kept = np.zeros_like(chosen)
    kept[positions[np.argsort(keys)[:MAX_IMAGES]]] = True
    return kept


def _measure_class(
    name: str,
    features: ControlFeatures,
    *,
    truth: NDArray[np.bool_],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    geometry: Mapping[str, NDArray[np.float32]],
) -> _ClassAurocs:
    own, other, positive = features.pick(train), features.pick(test), truth[train]
    folds = assign_folds(own.groups, positive)
    columns = dict(zip(PROPERTIES, own.trivial.T, strict=True))
    columns |= {title: values[train] for title, values in geometry.items()}
    properties = {
        title: _score_property(values, positive, folds=folds) for title, values in columns.items()
    }
    controls: dict[str, tuple[float | None, float | None]] = {}
    for control in CONTROLS:
        inside = cross_validate(own.of(control), positive, folds=folds)
        outside = fit_scores(own.of(control), positive, others={"test": other.of(control)})
        controls[control] = (
            score_auroc(positive, inside),
            score_auroc(truth[test], outside["test"]),
        )
    return _ClassAurocs(name, properties, controls)


def _score_property(
    values: NDArray[np.float32], truth: NDArray[np.bool_], *, folds: NDArray[np.int64]
) -> float | None:
    """Return the AUROC of a property; None for one that is the same everywhere."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        return None
    return score_auroc(truth, direct_property(values, truth, folds=folds))


def _summarize(measured: list[_ClassAurocs]) -> str:
    """Return the AUROC of each control, for the class that it predicts best."""
    parts: list[str] = []
    for control, title in _CONTROL_NAMES.items():
        found = [(item.controls[control][0] or 0.0, item) for item in measured]
        auroc, item = max(found, key=lambda pair: pair[0])
        tested = item.controls[control][1]
        test = "" if tested is None else f" (test {say_score(tested)})"
        parts.append(f"{title} {say_score(auroc)}{test}")
    of = "" if len(measured) == 1 else ", at most"
    return f"AUROC{of}: {', '.join(parts)}."


def _judge(measured: list[_ClassAurocs]) -> Iterator[Finding]:
    single = [
        (auroc, f"{title}: AUROC {say_score(auroc)} for {item.name}")
        for item in measured
        for title, auroc in item.properties.items()
        if auroc is not None and auroc >= TELLING_AUROC
    ]
    if single:
        yield _finding(
            "telling_property",
            single,
            what=f"trivial properties that predict the class, AUROC {TELLING_AUROC:g} or more",
            advice="Find out where the difference comes from (scanner, export, cropping), and "
            "remove it if you can.",
        )
    joint = [
        (auroc, f"{_CONTROL_NAMES[control]}: AUROC {say_score(auroc)} for {item.name}")
        for item in measured
        for control, (auroc, _) in item.controls.items()
        if auroc is not None and auroc >= TELLING_AUROC
    ]
    if joint:
        yield _finding(
            "telling_control",
            joint,
            what="control classifiers that predict the class without seeing an organ",
            advice="Report these AUROCs next to the model's: a model that does not clearly beat "
            "them has learned little.",
        )


def _finding(name: str, found: list[tuple[float, str]], *, what: str, advice: str) -> Finding:
    ordered = [text for _, text in sorted(found, reverse=True)]
    return Finding(
        name=name,
        verdict="warning",
        count=len(found),
        what=what,
        advice=advice,
        examples=tuple(Example((), text) for text in ordered),
    )


def _tabulate(measured: list[_ClassAurocs]) -> tuple[NumberTable, ...]:
    names = tuple(item.name for item in measured)
    controls: list[tuple[str | float | None, ...]] = []
    for item in measured:
        for control, (inside, outside) in item.controls.items():
            controls.append((_CONTROL_NAMES[control], item.name, inside, outside))
    titles = measured[0].properties
    best = {t: max(i.properties[t] or 0.0 for i in measured) for t in titles}
    rows = [
        (title, *(item.properties[title] for item in measured))
        for title in sorted(titles, key=lambda title: -best[title])
    ]
    return (
        NumberTable(
            "Control classifiers, AUROC",
            ("Control", "Class", "Train, out of fold", "Test"),
            tuple(controls),
            num_text=2,
            note="Logistic regression on standardized values; 0.5 is chance. Folds keep patients "
            "whole; TEST is scored by the control fitted on all of TRAIN.",
        ),
        NumberTable(
            "Each property alone, AUROC out of fold",
            ("Property", *names),
            tuple(rows),
            note="The direction (higher or lower in the class) is taken from the other folds. "
            "A dash: the same in every image.",
        ),
    )
