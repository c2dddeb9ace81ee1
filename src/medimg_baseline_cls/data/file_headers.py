"""Turn the bytes of each image into what is known before decoding: content, header, color.

The first pass over a data set. What cannot be read gets its reason, never an exception.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from medimg_baseline_cls.data.image_bytes import ImageSource
from medimg_baseline_cls.data.read import (
    Color,
    Header,
    decode_image,
    is_colored,
    read_header,
    read_volume_header,
)
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.utils.seed import derive_key

_NUM_SAMPLED = 64
_COLORED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Scan:
    """One image after the first pass; `header` is None if `error` is set."""

    path: str
    sha256: str
    num_bytes: int
    header: Header | None
    error: str | None


def scan_image(path: str, *, source: ImageSource, is_volume: bool = False) -> Scan:
    """Read the bytes of an image or volume: their sha256, their number, and the header."""
    try:
        data = source.read(path)
    except BadImageError as error:
        return Scan(path, "", 0, None, str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        header = read_volume_header(data) if is_volume else read_header(data)
        return Scan(path, sha256, len(data), header, None)
    except BadImageError as error:
        return Scan(path, sha256, len(data), None, str(error))


def infer_color(source: ImageSource, paths: Sequence[str]) -> tuple[Color, str]:
    """Infer whether a data set is gray or color, with the reason.

    Looks at 64 images (independent of the folder's place): color if more than a tenth of the
    readable ones show color, in any mode.

    Returns:
        "grey" or "rgb", and the reason in words.
    """
    sample = nsmallest(_NUM_SAMPLED, paths, key=_sampling_key)
    flags = [flag for path in sample if (flag := _shows_color(source, path)) is not None]
    color: Color = "rgb" if sum(flags) > _COLORED_SHARE * len(flags) else "grey"
    return color, f"{sum(flags)} of {len(flags)} sampled images show color"


def _sampling_key(path: str) -> tuple[int, str]:
    return derive_key(0, "sample", path), path


def _shows_color(source: ImageSource, path: str) -> bool | None:
    """Return whether an image shows color; None if it cannot be read."""
    try:
        data = source.read(path)
        return read_header(data).is_color and is_colored(decode_image(data, color="rgb"))
    except BadImageError:
        return None
