"""A threshold rule: how good each threshold of VAL is. The best one is taken."""

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.evaluation.added import ThresholdRule


def rate_youden(tp: NDArray[np.int64], fp: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Youden's J at each threshold; the last one calls every image positive."""
    return tp / tp[-1] - fp / fp[-1]


YOUDEN = ThresholdRule(
    criterion=rate_youden,
    description="highest sensitivity + specificity on VAL; of equals the highest threshold",
)
