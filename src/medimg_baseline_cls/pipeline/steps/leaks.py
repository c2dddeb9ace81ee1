"""What `--on-leak` asks for: patients and copies in more than one split leave the training side."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.duplicates import find_near_pairs
from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.index import Index
from medimg_baseline_cls.data.splitting.leaks import LeakFree, drop_leaks
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.quantities import say_count


def leave_out_leaks(
    config: Config, index: Index, *, pixels: NDArray[Any], log: RunLog
) -> tuple[LeakFree, tuple[Inference, ...]]:
    """Return the images without leaks, and what is to be said of those left out."""
    draws_anew = config.num_folds is not None or config.site_column is not None
    if config.on_leak == "error" or draws_anew:
        return LeakFree(index.records, ()), ()
    near: list[tuple[int, int]] = []
    if config.on_leak == "drop_near":
        near = _find_near(index, pixels, log=log)
    cleaned = drop_leaks(index.records, near=near)
    count = len(cleaned.left_out)
    return cleaned, (
        Inference(
            topic="leaks",
            found=f"{say_count(count, 'images')} left out",
            reason=f"--on-leak {config.on_leak}",
            certainty="set",
            warning=f"{say_count(count, 'images')} of the training side left out, because their "
            "patient or a copy is in another split as well; rejected.csv lists them"
            if count
            else "",
        ),
    )


def _find_near(index: Index, pixels: NDArray[Any], *, log: RunLog) -> list[tuple[int, int]]:
    """Return positions of records that are near-duplicates."""
    measures = measure_pixels(pixels, progress=log.progress)
    places = np.flatnonzero(~measures.is_constant[index.cache_rows])
    pairs = find_near_pairs(measures, index.cache_rows[places], progress=log.progress)
    return [(int(places[a]), int(places[b])) for a, b in pairs]
