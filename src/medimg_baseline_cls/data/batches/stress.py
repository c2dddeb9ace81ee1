"""Fixed changes of images as of another device or archive: what a robust network should survive.

Tone, contrast, focus, grain and frame, one at a time. Nothing is random: the same image gets the
same bits in any batch and in any run.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medimg_baseline_cls.data.batches.changes import Changes, apply_changes
from medimg_baseline_cls.utils.seed import generator

STRESSES: dict[str, dict[str, Any]] = {
    "brighter": {"gamma": 0.6},
    "darker": {"gamma": 1.6},
    "low contrast": {"contrast": 0.6},
    "blurred": {"focus": 1.0, "focus_width": 0.01},
    "noisy": {"noise": 0.05},
    "covered frame": {"frame": (0.125,) * 4},
}
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("rotation", "shift_x", "shift_y", "brightness", "noise", "blur"), 0.0),
    **dict.fromkeys(("grain_x", "grain_y", "focus_width", "focus", "frame_level"), 0.0),
    **dict.fromkeys(("zoom", "contrast", "gamma"), 1.0),
    "tone": (1.0,),
    "frame": (0.0,) * 4,
    "flip": False,
}


def make_stresses() -> list[Callable[[Tensor], Tensor]]:
    """Return the changes: each takes pixels (B, C, S, S) in [0, 1] and returns the same shape.

    >>> [change(torch.ones(1, 1, 8, 8)).shape for change in make_stresses()][0]
    torch.Size([1, 1, 8, 8])
    """
    return [partial(_stress, change=change) for change in STRESSES.values()]


def _stress(pixels: Tensor, *, change: dict[str, Any]) -> Tensor:
    count, side = len(pixels), pixels.shape[-1] + 1
    values = {name: np.stack([np.array(v)] * count) for name, v in (_NOTHING | change).items()}
    grain = generator(0, "stress", "grain").standard_normal((side, side)).astype(np.float32)
    return apply_changes(pixels, Changes(**values), grain=torch.from_numpy(grain).to(pixels.device))
