"""Draws images as the network sees them: figures/train_batch.png."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.plots.style import INK, drawing, fit

_WIDTH = 6.4  # inches
_DPI = 200  # of images that are small themselves
_GAP = 0.04  # of an image's side, between columns
_CAPTION = 0.12  # of an image's side, between rows


def draw_batch_grid(
    images: NDArray[np.floating], captions: Sequence[str], *, path: Path, num_columns: int = 0
) -> None:
    """Draw images in a grid, each with its caption below.

    Args:
        images: shape (B, C, S, S) with C of 1 or 3; what is outside [0, 1] is clipped.
        captions: one per image, such as its label.
        path: the PNG.
        num_columns: images per row; 0 makes the grid about as wide as it is high.

    Raises:
        DataError: The shape is another, or captions are missing.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images) == len(captions) > 0:
        raise DataError(
            f"A grid needs images of shape (B, 1 or 3, S, S) and B captions, but got "
            f"{images.shape} and {len(captions)}."
        )
    columns = num_columns or min(len(images), math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    width = _WIDTH if columns > 2 else _WIDTH / 2
    step = width / (columns * (1 + _GAP) - _GAP)  # an image's side in inches
    height = step * rows * (1 + _CAPTION)
    with drawing(path, width=width, height=height, dpi=_DPI) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0))
        for i, image in enumerate(_as_shades(images)):
            left = (i % columns) * step * (1 + _GAP)
            top = (i // columns) * step * (1 + _CAPTION)
            extent = (left, left + step, top + step, top)
            axes.imshow(image, extent=extent, cmap="gray", vmin=0, vmax=1, aspect="auto")
            axes.text(
                left + step / 2,
                top + step * (1 + _CAPTION / 2),
                fit(captions[i], step, weight="normal", num_lines=1),
                ha="center",
                va="center",
                fontsize=8,
                color=INK,
            )


def _as_shades(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (B, S, S) for gray images and (B, S, S, 3) for color ones, within [0, 1]."""
    clipped = np.clip(images, 0, 1).astype(np.float32)
    return clipped[:, 0] if images.shape[1] == 1 else np.moveaxis(clipped, 1, -1)
