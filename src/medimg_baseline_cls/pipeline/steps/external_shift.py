"""Why a metric may differ on another data set: prevalence, what images look like, shortcuts there.

Compares TEST of the run with the other images, within each class, so that another prevalence is
not taken for another look. The domain classifier has a control between random halves.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.images import class_truths
from medimg_baseline_cls.audit.input_distance import MIN_TRAIN, measure_distances
from medimg_baseline_cls.audit.pixel_measures import frame_pixels
from medimg_baseline_cls.audit.shortcut_classifiers import (
    CONTROLS,
    assign_folds,
    cross_validate,
    fit_controls,
    score_auroc,
)
from medimg_baseline_cls.audit.split_shift import MIN_IMAGES, SHIFTED_AUROC, draw_groups
from medimg_baseline_cls.pipeline.steps.run_images import MeasuredImages
from medimg_baseline_cls.utils.files import read_json

Content = dict[str, Any]
MAX_FAR = 20
_FRAME = 4  # of a thumbnail of 32 pixels: the outer 12.5 %


def describe_shift(
    own: MeasuredImages, other: MeasuredImages, *, shown_name: Callable[[str], str] = str
) -> Content:
    """Return the content of "shift" in external.json.

    Args:
        own: the images of the run.
        other: the other data set, all in "test".
        shown_name: what is written for the path of an image.
    """
    rows, every = own.split.rows("test"), np.arange(len(other.split.records))
    prevalence = {
        name: {
            "internal": _share(own, rows, name=name),
            "external": _share(other, every, name=name),
        }
        for name in own.split.class_names
    }
    if own.measures is None or other.measures is None:
        return {"prevalence": prevalence, "reason": own.reason or other.reason}
    properties = _compare_properties(own, other, rows=rows)
    named = {p["topic"]: None for p in properties if p["auroc"] >= SHIFTED_AUROC}
    return {
        "prevalence": prevalence,
        "controls": _score_controls(own, other),
        "domain": _tell_apart(own, other, rows=rows),
        "properties": properties,
        "differs_in": list(named),
        "far": _find_far(own, other, shown_name=shown_name),
    }


def _find_far(
    own: MeasuredImages, other: MeasuredImages, *, shown_name: Callable[[str], str]
) -> Content:
    """Return the content of "far": which images look unlike any of TRAIN, the farthest first."""
    has_bytes = bool(own.num_bytes and other.num_bytes)
    train = own.features(has_bytes=has_bytes).pick(own.split.rows("train"))
    distances = measure_distances(train, other.features(has_bytes=has_bytes))
    if distances is None:
        return {"reason": f"fewer than {MIN_TRAIN} training images"}
    far = np.flatnonzero(distances > 1)
    worst = far[np.argsort(-distances[far], kind="stable")][:MAX_FAR]
    return {
        "num_far": len(far),
        "share_far": len(far) / max(len(distances), 1),
        "images": [
            {"path": shown_name(other.split.records[row].path), "distance": float(distances[row])}
            for row in worst.tolist()
        ],
    }


def compare_mix(run_dir: Path, place: Path) -> dict[str, dict[str, Content]]:
    """Return the share of each subgroup in TEST and here, for the columns that both have.

    All images count, so that both sides have the same denominator: the name of those without a
    value is "". A value that is read from file names may be there on one side alone.
    """
    sides: dict[str, dict[str, dict[str, int]]] = {}
    for side, folder in (("internal", run_dir), ("external", place)):
        path = folder / "subgroups.json"
        content = read_json(path) if path.is_file() else {"columns": []}
        sides[side] = {
            column["column"]: {
                **{name: int(found["num_images"]) for name, found in column["subgroups"].items()},
                "": int(column["num_not_given"]),
            }
            for column in content["columns"]
        }
    mix: dict[str, dict[str, Content]] = {}
    for column in sides["internal"].keys() & sides["external"].keys():
        counts = {side: found[column] for side, found in sides.items()}
        names = dict.fromkeys(name for found in counts.values() for name in found)
        totals = {side: max(sum(found.values()), 1) for side, found in counts.items()}
        mix[column] = {
            name: {side: found.get(name, 0) / totals[side] for side, found in counts.items()}
            for name in names
        }
    return dict(sorted(mix.items()))


def _share(images: MeasuredImages, rows: NDArray[np.int64], *, name: str) -> float | None:
    truth, known = (column[rows] for column in class_truths(images.split)[name])
    return float(truth[known].mean()) if known.any() else None


def _list_properties(images: MeasuredImages) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Return each property of the images by its topic and name, shape (N,)."""
    assert images.measures is not None, "only asked for where there are measures"
    thumbs, records = images.measures.thumbs, images.split.records
    border = frame_pixels(thumbs)
    inner = thumbs[:, _FRAME:-_FRAME, _FRAME:-_FRAME].reshape(len(thumbs), -1).astype(np.float32)
    return {
        ("intensity", "mean inside the border"): inner.mean(axis=1),
        ("intensity", "median inside the border"): np.median(inner, axis=1).astype(np.float32),
        ("intensity", "deviation inside the border"): inner.std(axis=1),
        ("border", "mean of the border"): border.mean(axis=1),
        ("border", "deviation of the border"): border.std(axis=1),
        ("sharpness", "sharpness inside the border"): images.measures.inner_sharpness,
        ("size", "width"): np.array([r.width for r in records], np.float32),
        ("size", "height"): np.array([r.height for r in records], np.float32),
    }


def _compare_properties(
    own: MeasuredImages, other: MeasuredImages, *, rows: NDArray[np.int64]
) -> list[Content]:
    """Return how well each property alone distinguishes the sets, the best first.

    The AUROC is that within a class, averaged over classes; below 0.5 it is turned.
    """
    inside, outside = _list_properties(own), _list_properties(other)
    found: list[Content] = []
    for topic, name in inside:
        values = np.concatenate([inside[topic, name][rows], outside[topic, name]])
        aurocs = [
            score_auroc(is_other[within], values[within])
            for within, is_other in _list_classes(own, other, rows=rows).values()
        ]
        defined = [auroc for auroc in aurocs if auroc is not None]
        mean = float(np.mean(defined)) if defined else 0.5
        found.append(
            {
                "topic": topic,
                "name": name,
                "internal": float(np.median(inside[topic, name][rows])) if len(rows) else None,
                "external": float(np.median(outside[topic, name])),
                "auroc": max(mean, 1 - mean),
            }
        )
    return sorted(found, key=lambda entry: -entry["auroc"])


def _list_classes(
    own: MeasuredImages, other: MeasuredImages, *, rows: NDArray[np.int64]
) -> Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return each class with enough images: which of both sets are of it, and are of the other."""
    is_other = np.arange(len(rows) + len(other.split.records)) >= len(rows)
    inside, outside = class_truths(own.split), class_truths(other.split)
    found: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}
    for name in own.split.class_names:
        sides = (inside[name][0] & inside[name][1])[rows], outside[name][0] & outside[name][1]
        if min(side.sum() for side in sides) >= MIN_IMAGES:
            found[name] = np.concatenate(sides), is_other
    return found


def _tell_apart(
    own: MeasuredImages, other: MeasuredImages, *, rows: NDArray[np.int64]
) -> dict[str, Content]:
    """Return the AUROC of a domain classifier in each class, and that of random halves."""
    has_bytes = bool(own.num_bytes and other.num_bytes)
    sides = own.features(has_bytes=has_bytes).pick(rows), other.features(has_bytes=has_bytes)
    features = np.concatenate([np.hstack([side.trivial, side.border]) for side in sides])
    groups = np.concatenate([np.char.add(f"{i}/", s.groups) for i, s in enumerate(sides)])
    found: dict[str, Content] = {}
    for name, (within, is_other) in _list_classes(own, other, rows=rows).items():
        seen, patients, truth = features[within], groups[within], is_other[within]
        halves = draw_groups(patients, share=float(truth.mean()))
        found[name] = {
            key: score_auroc(t, cross_validate(seen, t, folds=assign_folds(patients, t)))
            for key, t in (("auroc", truth), ("control", halves))
        }
    return found


def _score_controls(own: MeasuredImages, other: MeasuredImages) -> dict[str, Content]:
    """Return the AUROC of the controls, fitted on TRAIN, on TEST and on the other images."""
    has_bytes = bool(own.num_bytes and other.num_bytes)
    features, train = own.features(has_bytes=has_bytes), own.split.rows("train")
    rows = own.split.rows("test")
    labels = own.split.labels(train)
    others = {"internal": features.pick(rows), "external": other.features(has_bytes=has_bytes)}
    names = own.split.class_names
    scores = fit_controls(features.pick(train), labels, others=others, num_classes=len(names))
    sides = {"internal": (own, rows), "external": (other, np.arange(len(other.split.records)))}
    found: dict[str, Content] = {}
    for control in CONTROLS:
        found[control] = {name: {} for name in names}
        for side, (images, chosen) in sides.items():
            truths = class_truths(images.split)
            for index, name in enumerate(names):
                truth, known = (column[chosen] for column in truths[name])
                auroc = score_auroc(truth[known], scores[control][side][known, index])
                found[control][name][side] = auroc
    return found
