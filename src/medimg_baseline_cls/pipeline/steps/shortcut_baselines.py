"""The controls of a run: fitted on its TRAIN images, scored on VAL and TEST, as the model is.

They look at the run's own pixel array; nothing is decoded again.
"""

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.images import AuditImages, look_at_file
from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.audit.shortcut_classifiers import (
    CONTROLS,
    ControlFeatures,
    fit_controls,
    gather_features,
)
from medimg_baseline_cls.evaluation.prediction_files import collect_predictions
from medimg_baseline_cls.evaluation.shortcut_baselines import summarize_control
from medimg_baseline_cls.pipeline.steps.listing import find_root
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.records.evaluations import ShortcutBaseline
from medimg_baseline_cls.utils.seed import permutation

MAX_TRAIN_IMAGES = 20_000


def evaluate_controls(session: Session, data: PreparedData) -> list[ShortcutBaseline]:
    """Return the metrics of both controls on VAL and TEST."""
    train = data.split.rows("train")
    if len(train) > MAX_TRAIN_IMAGES:
        order = permutation(0, "controls", size=len(train))
        train = np.sort(train[order[:MAX_TRAIN_IMAGES]])
    rows = {"train": train, "val": data.split.rows("val"), "test": data.split.rows("test")}
    parts = _gather(session, data, rows=rows)
    scores = fit_controls(
        parts.pop("train"),
        data.split.labels(train),
        others=parts,
        num_classes=len(data.split.class_names),
    )
    return [
        summarize_control(
            name,
            description=description,
            predictions=[
                collect_predictions(data.split, s, rows=rows[s], probabilities=scores[name][s])
                for s in parts
            ],
            positive_class=data.positive_class,
        )
        for name, description in CONTROLS.items()
    ]


def list_images_of(data: PreparedData) -> AuditImages:
    """Return the images of a run as the audit sees them, without looking at a file."""
    return AuditImages(
        split=data.split,
        rows=data.cache_rows,
        pixels=data.pixels,
        positive_class=data.positive_class,
    )


def _gather(
    session: Session, data: PreparedData, *, rows: dict[str, NDArray[np.int64]]
) -> dict[str, ControlFeatures]:
    """Return what the controls see of each split, in one pass over the pixels."""
    every = np.concatenate(list(rows.values()))
    records = [data.split.records[row] for row in every]
    root = find_root(session.config)
    measures = measure_pixels(
        data.pixels, rows=data.cache_rows[every], progress=session.log.progress
    )
    features = gather_features(
        records,
        measures,
        rows=np.arange(len(every), dtype=np.int64),
        num_bytes=[look_at_file(root / record.path).num_bytes for record in records],
    )
    ends = np.cumsum([len(part) for part in rows.values()])
    starts = np.concatenate([[0], ends[:-1]])
    return {
        name: features.pick(np.arange(start, end, dtype=np.int64))
        for name, start, end in zip(rows, starts, ends, strict=True)
    }
