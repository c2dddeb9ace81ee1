"""Fixed changes of images as of another device or archive: what a robust network should survive.

Tone, contrast, focus, grain and frame, one at a time. Nothing is random: the same image gets the
same bits in any batch and in any run.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medimg_baseline_cls.data.batches.augment import Policy, draw_changes
from medimg_baseline_cls.data.batches.changes import apply_changes
from medimg_baseline_cls.utils.seed import generator

STRESSES: dict[str, dict[str, Any]] = {
    "brighter": {"gamma": 0.6},
    "darker": {"gamma": 1.6},
    "low contrast": {"contrast": 0.6},
    "blurred": {"focus": 1.0, "focus_width": 0.01},
    "noisy": {"noise": 0.05},
    "covered frame": {"frame": (0.125,) * 4, "frame_level": 0.0},
}


def make_stresses() -> list[Callable[[Tensor], Tensor]]:
    """Return the changes: each takes pixels (B, C, S, S) in [0, 1] and returns the same shape.

    >>> [change(torch.ones(1, 1, 8, 8)).shape for change in make_stresses()][0]
    torch.Size([1, 1, 8, 8])
    """
    return [partial(_stress, change=change) for change in STRESSES.values()]


def _stress(pixels: Tensor, *, change: dict[str, Any]) -> Tensor:
    count, side = len(pixels), pixels.shape[-1] + 1
    # Of an empty policy nothing is changed; the same row for all, so that all have the same grain.
    nothing = draw_changes(Policy(), np.zeros(count, np.int64), seed=0, stage="stress", epoch=0)
    changes = replace(nothing, **{name: np.stack([v] * count) for name, v in change.items()})
    grain = generator(0, "stress", "grain").standard_normal((side, side)).astype(np.float32)
    return apply_changes(pixels, changes, grain=torch.from_numpy(grain).to(pixels.device))
