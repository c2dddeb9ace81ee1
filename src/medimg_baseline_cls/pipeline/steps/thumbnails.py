"""Small pictures of the nearest TRAIN images, for the gallery of the report."""

import io
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.data.batches.loaders import to_unit_range
from medimg_baseline_cls.evaluation.error_review import DOSSIER_NAME, NUM_NEAREST
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.utils.files import write_bytes_atomic
from medimg_baseline_cls.utils.spreadsheet_cells import read_guarded_csv

SIDE_PX = 96


def write_thumbnails(session: Session, data: PreparedData, *, panels: Path) -> None:
    """Write nearest/ROW.png of each image that dossier.csv names as near a mistake.

    It is in the folder of the panels. ROW is the row of split.csv, from 0. Nothing is written for
    a run without a dossier.
    """
    folder = panels / "nearest"
    shutil.rmtree(folder, ignore_errors=True)
    path = session.run_dir / DOSSIER_NAME
    if not path.is_file():
        return
    columns = [f"nearest_{i}_image_id" for i in range(1, NUM_NEAREST + 1)]
    names = {row.get(column, "") for row in read_guarded_csv(path) for column in columns}
    train = data.image_set("train")
    for position, row in enumerate(train.rows.tolist()):
        if data.split.records[row].image_id not in names:
            continue
        batch = train.batch(np.array([position], dtype=np.int64))
        pixels = to_unit_range(batch.pixels, session.device).cpu().numpy()[0]  # (C, S, S)
        picture = data.settings.picture(pixels)
        write_bytes_atomic(folder / f"{row}.png", _encode(picture))


def _encode(pixels: NDArray[np.float32]) -> bytes:
    """Return a small PNG of pixels in [0, 1], shape (C, S, S)."""
    levels = (pixels.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    image = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, format="png")
    return data.getvalue()
