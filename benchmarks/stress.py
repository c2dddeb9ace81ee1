"""A fixed set of acquisition changes: what another scanner, archive or export does to an image.

Each change takes unsigned 8-bit images (N, 1, S, S) and returns images of the same shape. Only the
grain is random, and it is seeded.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Pixels = NDArray[np.uint8]

FRAME_SHARE = 0.125
NOISE_DEVIATION = 0.06 * 255


def _each(change: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
    def apply(pixels: Pixels) -> Pixels:
        changed = [np.asarray(change(Image.fromarray(image))) for image in pixels[:, 0]]
        return np.stack(changed)[:, None]

    return apply


def _gamma(exponent: float) -> Callable[[Pixels], Pixels]:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return lambda pixels: table[pixels]


def _contrast(factor: float) -> Callable[[Pixels], Pixels]:
    return _each(lambda image: ImageEnhance.Contrast(image).enhance(factor))


def _rotate(degrees: float) -> Callable[[Pixels], Pixels]:
    return _each(lambda image: image.rotate(degrees, Image.Resampling.BILINEAR))


def _blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(image.width / 100))


def _halve(image: Image.Image) -> Image.Image:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return half.resize(image.size, Image.Resampling.BILINEAR)


def _recompress(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("L")


def _add_noise(pixels: Pixels) -> Pixels:
    grain = np.random.default_rng(0).normal(0, NOISE_DEVIATION, pixels.shape)
    return np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)


def _blank_frame(pixels: Pixels) -> Pixels:
    width = round(pixels.shape[-1] * FRAME_SHARE)
    inner = slice(width, -width)
    blanked = np.zeros_like(pixels)
    blanked[..., inner, inner] = pixels[..., inner, inner]
    return blanked


STRESSES: dict[str, Callable[[Pixels], Pixels]] = {
    "gamma 0.6": _gamma(0.6),
    "gamma 1.6": _gamma(1.6),
    "contrast 0.6": _contrast(0.6),
    "contrast 1.5": _contrast(1.5),
    "equalized": _each(ImageOps.equalize),
    "blurred": _each(_blur),
    "half resolution": _each(_halve),
    "JPEG 30": _each(_recompress),
    "noise": _add_noise,
    "frame blanked": _blank_frame,
    "rotated 7": _rotate(7),
    "rotated -7": _rotate(-7),
}
