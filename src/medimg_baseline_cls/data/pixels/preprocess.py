"""Turn a decoded image into the square array that a network sees: size, intensity, depth.

Downscaling is antialiased and leaves a plain surface plain; an image that fits already
passes through bit for bit. Intensities are stretched by MONAI, which is imported (that
costs seconds) for those settings alone.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.read import Color, Pixels

if TYPE_CHECKING:
    import torch

LOWER_PERCENTILE, UPPER_PERCENTILE = 0.5, 99.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSettings:
    """How images become arrays.

    Attributes:
        image_size: side of the square, in pixels.
        keep_aspect: scale the longer side to `image_size` and pad the other with black,
            instead of stretching both sides.
        intensity: what becomes 0 and 1: the ends of the file's own range ("full_range"),
            the image's extremes ("min_max"), its 0.5th and 99.5th percentiles ("percentile");
            of volumes also a window such as "lung" or "-160/240".
        color: one channel ("grey") or three ("rgb").
        slices: to which volumes are resampled, the channels of the array; 0 for images.
        spacing: of volumes the mm from slice to slice and from pixel to pixel around their middle,
            as "5/0.8", or "5" for whole slices; None for whole volumes.
    """

    image_size: int
    keep_aspect: bool = False
    intensity: str = "full_range"
    color: Color = "grey"
    slices: int = 0
    spacing: str | None = None

    @property
    def num_channels(self) -> int:
        """Return the number of channels of the array."""
        return self.slices or (1 if self.color == "grey" else 3)

    def picture(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images (..., C, S, S) as they are, and of volumes the slice in the middle."""
        middle = self.slices // 2
        return pixels[..., middle : middle + 1, :, :] if self.slices else pixels

    def to_plain(self) -> dict[str, Any]:
        """Return plain values; those that are not used are left out, as if they did not exist."""
        plain = asdict(self)
        return {n: v for n, v in plain.items() if v or n not in ("slices", "spacing")}

    def key(self) -> str:
        """Return a text that is the same if and only if the settings are.

        >>> PixelSettings(image_size=8).key()
        'image_size=8,keep_aspect=False,intensity=full_range,color=grey'
        """
        return ",".join(f"{name}={value}" for name, value in self.to_plain().items())


def preprocess(pixels: Pixels, settings: PixelSettings, *, deep: bool) -> Pixels:
    """Return the image as the network's array.

    Args:
        pixels: (H, W) or (H, W, 3), uint8 or uint16 over the full range of its type.
        settings: size, aspect, intensity and color.
        deep: give uint16 (8-bit values v become 257 v), else uint8 (16-bit values rounded).

    Returns:
        Shape (C, S, S). A plain image becomes black by "min_max" and "percentile".

    >>> preprocess(np.full((4, 4), 9, np.uint8), PixelSettings(image_size=4), deep=True).max()
    np.uint16(2313)
    """
    image = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)  # (C, H, W)
    if image.shape[0] != settings.num_channels:
        raise ValueError(f"{image.shape[0]} channels given, expected {settings.color}")
    if fits(settings, width=image.shape[2], height=image.shape[1]):
        return _change_depth(image, deep=deep)
    unit = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    scaled = np.asarray(_make_chain(settings)(unit))
    top, dtype = (65535, np.uint16) if deep else (255, np.uint8)
    return np.rint(scaled.astype(np.float64) * top).astype(dtype)


def fits(settings: PixelSettings, *, width: int, height: int) -> bool:
    """Return whether an image of this size passes through `preprocess` untouched."""
    side = settings.image_size
    is_as_stored = settings.intensity == "full_range" and not settings.slices
    return is_as_stored and (width, height) == (side, side)


def load_transforms(settings: PixelSettings) -> None:
    """Import what the settings need now, rather than in the first thread that resizes."""
    _make_chain(settings)


def _change_depth(image: Pixels, *, deep: bool) -> Pixels:
    if deep and image.dtype == np.uint8:
        return image.astype(np.uint16) * np.uint16(257)
    if not deep and image.dtype == np.uint16:
        return np.rint(image / 257.0).astype(np.uint8)
    return np.ascontiguousarray(image)


@lru_cache(maxsize=8)
def _make_chain(settings: PixelSettings) -> Callable[[NDArray[np.float32]], Any]:
    """Return the transforms (C, H, W) in [0, 1] -> (C, S, S) in [0, 1]."""
    side = settings.image_size
    scale = partial(resize, side=side, keep_aspect=settings.keep_aspect)
    if settings.intensity == "full_range":
        return lambda image: pad(scale(image), side=side)
    stretch = _make_stretch(settings.intensity)
    return lambda image: pad(stretch(scale(image)), side=side)


def pad(image: "torch.Tensor", *, side: int) -> "torch.Tensor":
    """Put black around the image, as MONAI's SpatialPad does: an odd pixel goes below and right."""
    from torch.nn import functional

    height, width = side - image.shape[1], side - image.shape[2]
    edges = (width // 2, width - width // 2, height // 2, height - height // 2)
    return functional.pad(image, edges) if any(edges) else image


def resize(image: NDArray[np.float32], *, side: int, keep_aspect: bool) -> "torch.Tensor":
    """Resize with the antialiased bilinear filter of torch (equal to Pillow's).

    MONAI's Resize offers a Gaussian, which darkens the borders (it pads with zeros) and
    takes 60 times as long, or area means, which alias because of their uneven windows.
    """
    import torch
    from torch.nn.functional import interpolate

    height, width = image.shape[1:]
    size = scaled_size(height, width, side=side, keep_aspect=keep_aspect)
    batch = torch.from_numpy(image)[None]  # (1, C, H, W)
    if size == (height, width):
        return batch[0]
    return interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def scaled_size(height: int, width: int, *, side: int, keep_aspect: bool) -> tuple[int, int]:
    """Return the height and the width of a resized image, before it is padded.

    >>> scaled_size(50, 100, side=32, keep_aspect=True)
    (16, 32)
    """
    if not keep_aspect:
        return side, side
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _make_stretch(intensity: str) -> Callable[["torch.Tensor"], Any]:
    from monai.transforms import ScaleIntensity, ScaleIntensityRangePercentiles

    lower, upper = LOWER_PERCENTILE, UPPER_PERCENTILE
    scale_extremes = ScaleIntensity(minv=0.0, maxv=1.0)
    scale_percentiles = ScaleIntensityRangePercentiles(lower, upper, 0.0, 1.0, clip=True)

    def stretch(image: "torch.Tensor") -> Any:
        # To 16-bit levels, or the rounding noise of a resized plain image would fill the range.
        levels = (image * 65535).round() / 65535
        ends = np.percentile(levels.numpy(), (lower, upper))
        # MONAI cannot scale where the percentiles coincide (a small object on plain ground).
        if intensity == "percentile" and ends[0] < ends[1]:
            return scale_percentiles(levels)
        return scale_extremes(levels)

    return stretch
