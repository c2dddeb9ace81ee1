"""Arrays in, numbers out: the statistics of a diagnostic test, usable without any of our files.

Metrics, bootstrap by patient, intervals, DeLong's test, calibration, recalibration, updating,
prevalence, sample sizes, decision curves and paired tests. Needs NumPy and SciPy alone.

Example:
    >>> import numpy as np
    >>> from medimg_baseline_cls.statistics import auroc_score, delong_interval
    >>> truth = np.array([True, True, True, False, False, False])
    >>> scores = np.array([0.9, 0.8, 0.4, 0.6, 0.3, 0.1])
    >>> round(auroc_score(truth, scores), 3)
    0.889
    >>> [round(end, 3) for end in delong_interval(truth, scores)]
    [0.261, 0.995]
"""

from pathlib import Path
from typing import Any

from medimg_baseline_cls.utils.public_names import load_public_name, read_public_names

_HOMES = read_public_names(Path(__file__))
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return load_public_name(__name__, name, homes=_HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
