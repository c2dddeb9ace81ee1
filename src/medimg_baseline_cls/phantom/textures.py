"""Draw the textures that all phantom radiographs share: vessel trees, mottle and grain.

They are built once per image size from a fixed seed; an image only chooses a tree and
an offset, which makes phantoms fast. Nothing here depends on the user's seed.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from medimg_baseline_cls.utils.seed import generator

Field = NDArray[np.float32]

NUM_TREES = 12
# The part of the chest that a tree covers, in image widths: |x| from 0, y from TREE_TOP.
TREE_WIDTH, TREE_HEIGHT, TREE_TOP = 0.44, 0.76, 0.08
HILUM = (0.085, 0.41)  # (|x|, y)

_SUPERSAMPLING = 3


@dataclass(frozen=True, slots=True)
class Textures:
    """The textures of one image size S.

    Attributes:
        trees: vessels of one lung each, lateral to the right, in [0, 1]; flat, tree by tree.
        tree_shape: (rows, columns) of one tree.
        mottle: smooth noise with features of a tenth of the image, mean 0, deviation 1; (2S, 2S).
        mesh: fine reticular texture for interstitial disease, in [0, 1]; (2S, 2S).
        grain: detector noise, mean 0, deviation 1; (2S, 2S).
    """

    trees: Field
    tree_shape: tuple[int, int]
    mottle: Field
    mesh: Field
    grain: Field


@lru_cache(maxsize=4)
def load_textures(size: int) -> Textures:
    """Build the textures of one image size, once per process."""
    shape = (max(2, round(TREE_HEIGHT * size)), max(2, round(TREE_WIDTH * size)))
    trees = np.stack([_draw_tree(number, shape=shape, size=size) for number in range(NUM_TREES)])
    fine = _draw_noise("mesh", side=2 * size, wavelengths=(0.020, 0.07), size=size)
    grain = generator(0, "phantom", "grain").standard_normal((2 * size, 2 * size), np.float32)
    blurred = grain + 0.35 * (np.roll(grain, 1, 0) + np.roll(grain, 1, 1))
    return Textures(
        trees=np.ascontiguousarray(trees.reshape(-1)),
        tree_shape=shape,
        mottle=_draw_noise("mottle", side=2 * size, wavelengths=(0.035, 0.4), size=size),
        mesh=np.exp(-((fine / 0.7) ** 2)).astype(np.float32),
        grain=(blurred / blurred.std()).astype(np.float32),
    )


def _draw_noise(name: str, *, side: int, wavelengths: tuple[float, float], size: int) -> Field:
    """Draw periodic noise of a band of wavelengths, in image widths; pink within the band."""
    white = generator(0, "phantom", name).standard_normal((side, side))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * size
    shortest, longest = wavelengths
    band = np.exp(-((frequency * shortest) ** 2)) * -np.expm1(-((frequency * longest) ** 2))
    pink = band / np.maximum(frequency, 1e-6) ** 1.3
    noise = np.fft.irfft2(np.fft.rfft2(white) * pink, s=(side, side))
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)


def _draw_tree(number: int, *, shape: tuple[int, int], size: int) -> Field:
    """Draw the vessels of one lung, branching from the hilum; shape as given, in [0, 1]."""
    rng = generator(0, "phantom", "tree", number)
    scale = size * _SUPERSAMPLING
    canvas = Image.new("L", (shape[1] * _SUPERSAMPLING, shape[0] * _SUPERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for x0, y0, x1, y1, width in sorted(_grow_tree(rng), key=lambda segment: segment[4]):
        ends = [(x0 * scale, (y0 - TREE_TOP) * scale), (x1 * scale, (y1 - TREE_TOP) * scale)]
        shade = min(255, round(60 + 195 * min(1.0, width / 0.016)))
        pen.line(ends, fill=shade, width=max(1, round(width * scale)))
    softened = canvas.filter(ImageFilter.GaussianBlur(0.5 * _SUPERSAMPLING * max(1, size / 224)))
    small = softened.resize((shape[1], shape[0]), Image.Resampling.BOX)
    glow = canvas.resize((shape[1] // 4, shape[0] // 4), Image.Resampling.BOX)
    glow = glow.filter(ImageFilter.GaussianBlur(size * 0.02 / 4))
    glow = glow.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    sharp, soft = np.asarray(small, dtype=np.float32), np.asarray(glow, dtype=np.float32)
    return np.minimum((sharp + 0.9 * soft) / 255, 1).astype(np.float32)


def _grow_tree(rng: np.random.Generator) -> list[tuple[float, float, float, float, float]]:
    """Grow the segments (x0, y0, x1, y1, width) of one tree, in image widths."""
    segments: list[tuple[float, float, float, float, float]] = []
    # Angles: 0 is lateral, positive is caudal. The descending artery is the thickest.
    trunks = [(-75, 0.011), (-50, 0.010), (-22, 0.008), (12, 0.009), (40, 0.011), (66, 0.016)]
    tips: list[tuple[float, float, float, float]] = []
    for angle, width in trunks:
        x, y = HILUM[0] + rng.uniform(-0.012, 0.012), HILUM[1] + rng.uniform(-0.03, 0.03)
        tips.append((x, y, float(angle), width))
    while tips:
        x, y, angle, width = tips.pop()
        angle += rng.normal(0, 7)
        for _ in range(int(rng.integers(3, 6))):
            angle += rng.normal(0, 9)
            step = 0.011 + 0.5 * width
            next_x = x + step * math.cos(math.radians(angle))
            next_y = y + step * math.sin(math.radians(angle))
            segments.append((x, y, next_x, next_y, width))
            x, y, width = next_x, next_y, width * 0.965
        if width < 0.0016 or not (0 < x < TREE_WIDTH and TREE_TOP < y < TREE_TOP + TREE_HEIGHT):
            continue
        spread = rng.uniform(18, 42)
        share = rng.uniform(0.55, 0.85)
        tips.append((x, y, angle - spread * (1 - share), width * share**0.6))
        tips.append((x, y, angle + spread * share, width * (1 - share) ** 0.45))
    return segments
