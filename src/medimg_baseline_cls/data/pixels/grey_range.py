"""Find out how much of the range from black to white the images of a data set use.

Values of 12 bits in files of 16 come out at a sixteenth of white: correct by the file, and
nearly black to the network.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.pixels.cache import FileFacts, ImageCache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.schema import Inference

ENOUGH = 0.25
_PERCENTILES = (0.5, 99.5)  # those of --intensity percentile: a burnt-in letter is not the image
_NUM_SAMPLED = 256
_RARE = 0.05  # a few odd files do not describe a data set


def infer_intensity(cache: ImageCache, settings: PixelSettings) -> Inference:
    """Return what becomes black and white, with a warning where that leaves images dark."""
    dark = "" if is_stretched(settings.intensity) else find_dark_images(cache, settings)
    if settings.intensity != "full_range":
        return Inference(
            topic="intensity",
            found=settings.intensity,
            reason="--intensity",
            certainty="set",
            warning=f"{dark}: are their values in the units of the window?" if dark else "",
        )
    return Inference(
        topic="intensity",
        found="full_range",
        reason="images use little of it" if dark else "images use it",
        certainty="guess" if dark else "sure",
        flag="--intensity percentile|min_max",
        warning=f"{dark}: pass --intensity percentile" if dark else "",
    )


def is_stretched(intensity: str) -> bool:
    """Return whether the values of each image alone decide what is black and white."""
    return intensity in ("min_max", "percentile")


def find_dark_images(cache: ImageCache, settings: PixelSettings) -> str:
    """Return which images use at most a quarter of the range, in words; "" where none do.

    Each file mode is judged on its own, because a data set may mix 8 and 16 bits. At most 256
    images of a mode are read, until one uses more.
    """
    modes: defaultdict[str, list[FileFacts]] = defaultdict(list)
    for fact in cache.facts:
        if fact.row >= 0:
            modes[fact.mode].append(fact)
    rare = _RARE * sum(map(len, modes.values()))
    dark: list[str] = []
    for mode, facts in sorted(modes.items()):
        if len(facts) < rare:
            continue
        share = _find_largest_share(cache.pixels, facts, keep_aspect=settings.keep_aspect)
        if share <= ENOUGH:
            dark.append(f"the {len(facts)} images of mode {mode} use at most {share:.1%}")
    if not dark:
        return ""
    return f"{' and '.join(dark)} of the range from black to white"


def _find_largest_share(
    pixels: NDArray[Any], facts: Sequence[FileFacts], *, keep_aspect: bool
) -> float:
    """Return the largest share of the range that an image uses; the first that is enough."""
    largest = 0.0
    for fact in facts[:: max(1, len(facts) // _NUM_SAMPLED)]:
        image = pixels[fact.row]
        if keep_aspect:
            image = _without_padding(image, fact)
        low, high = np.percentile(image, _PERCENTILES)
        largest = max(largest, float(high - low) / np.iinfo(pixels.dtype).max)
        if largest > ENOUGH:
            break
    return largest


def _without_padding(image: NDArray[Any], fact: FileFacts) -> NDArray[Any]:
    """Return the part of an array (C, S, S) that is the image, which keeps its aspect."""
    side, longer = image.shape[-1], max(fact.width, fact.height)
    height, width = (max(1, round(side * size / longer)) for size in (fact.height, fact.width))
    top, left = (side - height) // 2, (side - width) // 2
    return image[:, top : top + height, left : left + width]
