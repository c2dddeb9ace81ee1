"""How many images an external validation needs for an interval of a given width.

Riley et al., "Minimum sample size for external validation of a clinical prediction model with a
binary outcome", Statistics in Medicine 2021;40:4230 (doi 10.1002/sim.9025). All widths are those
of 95 % intervals. Images are taken as independent: where patients have several, more are needed.
"""

import math

import numpy as np
from scipy.special import expit

from medimg_baseline_cls.statistics.bootstrap import Values

_Z = 1.96  # as in the paper and in its program


def images_for_ratio(prevalence: float, *, width: float) -> int:
    """Return the images needed for observed over expected events, O/E, which is taken to be 1.

    SE(ln O/E)^2 = (1 - prevalence) / (N prevalence); the interval is symmetric on the log scale.

    Args:
        prevalence: in (0, 1).
        width: of the interval of O/E.

    >>> images_for_ratio(0.5, width=0.2)
    386
    """
    error = math.asinh(width / 2) / _Z
    return math.ceil((1 - prevalence) / (prevalence * error**2))


def images_for_slope(
    logits: Values, *, width: float, intercept: float = 0.0, slope: float = 1.0
) -> int | None:
    """Return the images needed for the calibration slope.

    Its variance is that of the logistic regression of the outcome on the logit, by Fisher's
    information per image.

    Args:
        logits: as they are distributed where the model is validated, shape (N,).
        width: of the interval of the slope.
        intercept: of that regression, as it is expected; 0 and slope 1 in a calibrated model.
        slope: of that regression.

    Returns:
        None if no number is enough: the logits do not vary, or every chance is 0 or 1.

    >>> images_for_slope(np.array([-1.0, 1.0]), width=0.2)
    1954
    """
    chances = expit(intercept + slope * logits)
    spread = chances * (1 - chances)
    flat, tilted, steep = (float(np.mean(spread * logits**power)) for power in range(3))
    information = flat * steep - tilted**2
    if not information > 1e-12 * flat * steep:
        return None
    return math.ceil(flat / (_error(width) ** 2 * information))


def images_for_auroc(prevalence: float, *, auroc: float, width: float) -> int:
    """Return the images needed for the AUROC (c-statistic), by Newcombe's variance.

    Newcombe, Statistics in Medicine 2006;25:559, method 4, as Riley et al. use it.

    Args:
        prevalence: in (0, 1).
        auroc: as it is expected, in (0, 1).
        width: of the interval of the AUROC.

    >>> images_for_auroc(0.018, auroc=0.8, width=0.1)
    4252
    """
    pairs = (1 - auroc) / (2 - auroc) + auroc / (1 + auroc)
    spread = auroc * (1 - auroc)
    # The variance at N is spread (1 + (N / 2 - 1) pairs) / (N^2 prevalence (1 - prevalence)).
    square = prevalence * (1 - prevalence) * _error(width) ** 2
    half = spread * pairs / 4
    return math.ceil((half + math.sqrt(half**2 + square * spread * (1 - pairs))) / square)


def _error(width: float) -> float:
    return width / (2 * _Z)
