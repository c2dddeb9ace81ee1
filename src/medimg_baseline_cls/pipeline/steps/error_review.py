"""The dossier of a run's mistakes, with the nearest TRAIN images by the network's own features."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medimg_baseline_cls.data.batches.loaders import ImageSet, to_unit_range
from medimg_baseline_cls.evaluation.error_review import (
    DOSSIER_NAME,
    NUM_NEAREST,
    READINGS,
    Case,
    Neighbor,
    Readings,
    cosine_distances,
    list_odd_readings,
    rank_nearest,
    write_dossier,
)
from medimg_baseline_cls.evaluation.inference import INFERENCE_BATCH_SIZE
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.schema import Mistake
from medimg_baseline_cls.utils.device import autocast
from medimg_baseline_cls.utils.seed import permutation

MAX_TRAIN_IMAGES = 20_000


def compile_dossier(
    session: Session,
    data: PreparedData,
    *,
    model: Classifier,
    mistakes: Sequence[Mistake],
    thresholds: Thresholds,
    readings: Readings,
) -> None:
    """Write dossier.csv; what a reader wrote into the earlier one is in `readings`."""
    split = data.split
    row_of = {split.records[row].image_id: int(row) for row in split.rows("test")}
    value_of = {(name, t.rule): t.value for name, ts in thresholds.items() for t in ts}
    rows = sorted({row_of[m.image_id] for m in mistakes})
    nearest = _find_nearest(session, data, model=model, rows=rows)
    cases: list[Case] = []
    for mistake in mistakes:
        record = split.records[row_of[mistake.image_id]]
        case = Case(
            mistake=mistake,
            label=record.label,
            group=record.group,
            threshold=value_of[mistake.class_name, mistake.rule],
            subgroups=record.subgroups,
            nearest=nearest[row_of[mistake.image_id]],
        )
        cases.append(case)
    path = session.run_dir / DOSSIER_NAME
    write_dossier(path, cases, subgroup_names=split.subgroup_names, readings=readings)
    odd = list_odd_readings(readings)
    if odd:
        session.log.warn(
            f"{DOSSIER_NAME}: the reader's column of {', '.join(odd[:5])} contains none of "
            f"{', '.join(READINGS)}; it is kept unchanged."
        )


def _find_nearest(
    session: Session, data: PreparedData, *, model: Classifier, rows: Sequence[int]
) -> Mapping[int, tuple[Neighbor, ...]]:
    """Return the nearest TRAIN images of some TEST rows; of a large TRAIN, of a sample of it."""
    if not rows:
        return {}
    test, train = data.image_set("test"), data.image_set("train")
    wanted = np.searchsorted(test.rows, np.array(rows, dtype=np.int64))
    queries = _extract(session, model, images=test, positions=wanted)
    positions = np.arange(len(train), dtype=np.int64)
    if len(train) > MAX_TRAIN_IMAGES:
        positions = np.sort(permutation(0, "dossier", size=len(train))[:MAX_TRAIN_IMAGES])
    features = _extract(session, model, images=train, positions=positions)
    distances = cosine_distances(features, queries)  # (n, q)
    found: dict[int, tuple[Neighbor, ...]] = {}
    for column, row in enumerate(rows):
        near = rank_nearest(distances[:, column], NUM_NEAREST).tolist()
        records = [data.split.records[train.rows[positions[i]]] for i in near]
        found[row] = tuple(
            Neighbor(record.image_id, record.label, float(distances[i, column]))
            for i, record in zip(near, records, strict=True)
        )
    return found


def _extract(
    session: Session, model: Classifier, *, images: ImageSet, positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return what the last layer sees of some images, shape (n, D), batch by batch."""
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(positions), INFERENCE_BATCH_SIZE):
        batch = images.batch(positions[start : start + INFERENCE_BATCH_SIZE])
        pixels = to_unit_range(batch.pixels, session.device)
        with torch.inference_mode(), autocast(session.device, session.precision):
            parts.append(model.features(pixels).float().cpu().numpy())
    return np.concatenate(parts)
