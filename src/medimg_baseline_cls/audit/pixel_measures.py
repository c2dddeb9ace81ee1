"""Turn a pixel array into hashes, thumbnails and statistics of each image.

One pass over the array in blocks; about 2 KB are kept per image, whatever its size. Color
images are reduced to luminance, 16 bits to the upper 8.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.utils.log import SILENT, ProgressBar

ProgressMaker = Callable[[str, int | None], AbstractContextManager[ProgressBar]]

THUMB_SIDE, SMALL_SIDE, HASH_SIDE = 32, 28, 16
FRAME_SHARE = 0.125
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
CORNERS = ("top left", "top right", "bottom left", "bottom right")
STATISTICS = (
    "mean",
    "standard deviation",
    *(f"percentile {p}" for p in PERCENTILES),
    "share of black",
    "share of white",
    "sharpness",
    "border mean",
    "border deviation",
    *(f"{corner} corner" for corner in CORNERS),
)
_BLOCK = 64
_NUM_PARTS = 4  # of the depth of a volume
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True, slots=True)
class Measures:
    """What is kept of M images.

    Attributes:
        digests: BLAKE2b of the pixels, shape (M, 2), uint64.
        hashes: 256-bit perceptual hash, shape (M, 4), uint64.
        thumbs: gray, shape (M, 32, 32), uint8.
        small: gray, shape (M, 28, 28), uint8: what copies are confirmed on; of volumes four parts
            of the depth, (M, 56, 56).
        statistics: the columns of STATISTICS, shape (M, 18), float32.
        inner_sharpness: without the outer 12.5 %, which may have a frame, shape (M,), float32.
    """

    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]
    small: NDArray[np.uint8]
    statistics: NDArray[np.float32]
    inner_sharpness: NDArray[np.float32]

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Return which images have a single gray value, shape (M,)."""
        return self.statistics[:, STATISTICS.index("standard deviation")] == 0


def measure_pixels(
    pixels: NDArray[Any],
    *,
    rows: NDArray[np.int64] | None = None,
    progress: ProgressMaker = SILENT.progress,
) -> Measures:
    """Measure the images of an array.

    Args:
        pixels: shape (M, C, S, S), uint8 or uint16, C = 1 or 3.
        rows: which of them, in this order; None takes all.
        progress: makes a progress bar from a description and a total.
    """
    wanted = np.arange(len(pixels)) if rows is None else rows
    count = len(wanted)
    small_side = SMALL_SIDE * (1 + has_depth(pixels))
    measures = Measures(
        digests=np.zeros((count, 2), np.uint64),
        hashes=np.zeros((count, 4), np.uint64),
        thumbs=np.zeros((count, THUMB_SIDE, THUMB_SIDE), np.uint8),
        small=np.zeros((count, small_side, small_side), np.uint8),
        statistics=np.zeros((count, len(STATISTICS)), np.float32),
        inner_sharpness=np.zeros(count, np.float32),
    )
    edge = round(FRAME_SHARE * pixels.shape[-1])
    with progress("measuring images", count) as bar:
        for start in range(0, count, _BLOCK):
            block = np.asarray(pixels[wanted[start : start + _BLOCK]])
            gray = to_gray(block)
            part = slice(start, start + len(block))
            thumbs = shrink(gray, THUMB_SIDE)
            measures.digests[part] = [_digest(image) for image in block]
            measures.hashes[part] = hash_thumbs(thumbs)
            measures.thumbs[part] = np.rint(thumbs)
            measures.small[part] = np.rint(shrink(tile_depth(block, gray), small_side))
            measures.statistics[part] = [_statistics(image) for image in gray]
            inner = gray[:, edge:-edge, edge:-edge]
            measures.inner_sharpness[part] = [_sharpness(image) for image in inner]
            bar.advance(len(block))
    return measures


def has_depth(pixels: NDArray[Any]) -> bool:
    """Return whether an array (M, C, S, S) is of volumes with four slices or more."""
    return pixels.shape[1] >= _NUM_PARTS


def tile_depth(block: NDArray[Any], gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of four parts of the depth as one picture each, shape (B, 2 S, 2 S).

    The mean of all slices is much alike in all patients. Images stay as they are in gray.
    """
    if not has_depth(block):
        return gray
    shift = 8 * (block.dtype == np.uint16)
    parts = np.array_split(block >> shift, _NUM_PARTS, axis=1)
    means = [np.rint(part.mean(axis=1)).astype(np.uint8) for part in parts]
    return np.concatenate(
        [np.concatenate(means[:2], axis=2), np.concatenate(means[2:], axis=2)], axis=1
    )


def to_gray(block: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images (B, C, S, S) of uint8 or uint16 as gray uint8, shape (B, S, S)."""
    if block.dtype == np.uint16:
        block = (block >> 8).astype(np.uint8)
    if block.shape[1] == 1:
        return block[:, 0]
    is_color = block.shape[1] == len(_LUMA)
    weights = _LUMA if is_color else np.full(block.shape[1], 1 / block.shape[1], np.float32)
    return np.rint(np.tensordot(block, weights, axes=([1], [0]))).astype(np.uint8)


def shrink(gray: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Shrink gray images (B, S, S) by averaging equal areas, shape (B, side, side)."""
    weights = _area_weights(gray.shape[-1], side)
    return np.matmul(weights @ gray.astype(np.float32), weights.T, dtype=np.float32)


def hash_thumbs(thumbs: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return the 256-bit perceptual hash of thumbnails (B, 32, 32), shape (B, 4).

    Each bit is whether one of the 16 x 16 lowest frequencies of the discrete cosine
    transform (type II, orthonormal) is above their median. Copies that were rescaled or
    recompressed differ in a few bits, other images in about half of them (Zauner,
    "Implementation and benchmarking of perceptual image hash functions", 2010).
    """
    basis = _cosine_basis(thumbs.shape[-1], HASH_SIDE)
    low = (basis @ thumbs @ basis.T).reshape(len(thumbs), -1)  # (B, 256)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)


def frame_pixels(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the outer 12.5 % of each side of thumbnails (B, T, T), shape (B, pixels)."""
    side = thumbs.shape[-1]
    width = round(side * FRAME_SHARE)
    is_frame = np.ones((side, side), dtype=np.bool_)
    is_frame[width:-width, width:-width] = False
    return thumbs[:, is_frame].astype(np.float32)


def _digest(image: NDArray[Any]) -> NDArray[np.uint64]:
    data = np.ascontiguousarray(image)
    return np.frombuffer(hashlib.blake2b(data.data, digest_size=16).digest(), np.uint64)


def _statistics(image: NDArray[np.uint8]) -> list[float]:
    """Return the columns of STATISTICS of one gray image (S, S)."""
    histogram = np.bincount(image.ravel(), minlength=256)
    values = np.arange(256)
    mean = float(histogram @ values) / image.size
    variance = float(histogram @ (values - mean) ** 2) / image.size
    cumulative = np.cumsum(histogram)
    percentiles = np.searchsorted(cumulative, np.array(PERCENTILES) / 100 * image.size)
    border, corners = _edges(image)
    return [
        mean,
        0.0 if histogram.max() == image.size else variance**0.5,
        *percentiles.tolist(),
        float(histogram[0]) / image.size,
        float(histogram[255]) / image.size,
        _sharpness(image),
        float(border.mean()),
        float(border.std()),
        *(float(corner.mean()) for corner in corners),
    ]


def _edges(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Return the outermost rows and columns, and the four corners (an eighth of the side)."""
    width = max(1, image.shape[0] // 32)
    sides = (image[:width], image[-width:], image[:, :width].T, image[:, -width:].T)
    eighth = max(1, image.shape[0] // 8)
    first, last = slice(0, eighth), slice(-eighth, None)
    corners = [image[rows, columns] for rows in (first, last) for columns in (first, last)]
    return np.concatenate(sides), corners


def _sharpness(image: NDArray[np.uint8]) -> float:
    """Return log(1 + variance of the Laplacian) (Pech-Pacheco et al., ICPR 2000)."""
    x = image.astype(np.int16)
    inner = 4 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]
    return float(np.log1p(inner.var(dtype=np.float32)))


@lru_cache(maxsize=8)
def _area_weights(source: int, target: int) -> NDArray[np.float32]:
    """Return the share of each source pixel in each target pixel, rows of sum 1."""
    edges = np.arange(target + 1) * source / target
    starts = np.arange(source)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (np.clip(overlap, 0, None) * target / source).astype(np.float32)  # (target, source)


@lru_cache(maxsize=2)
def _cosine_basis(size: int, count: int) -> NDArray[np.float32]:
    """Return the first `count` basis vectors of the orthonormal DCT-II, shape (count, size)."""
    frequencies, places = np.arange(count)[:, None], np.arange(size)
    basis = np.cos(np.pi * (2 * places + 1) * frequencies / (2 * size)) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)
