"""What the readers of all formats share: their results, their limit, their refusals.

Turns whatever a decoder raises on foreign bytes into a BadImageError, and holds the
libraries to be strict and silent while they decode.
"""

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from medimg_baseline_cls.errors import BadImageError

Color = Literal["grey", "rgb"]
Pixels = NDArray[np.uint8 | np.uint16]

MAX_PIXELS = 50_000_000  # the largest films (mammograms) have 35 million; more is a bomb

_DECODERS = r"(PIL|pydicom|pylibjpeg|openjpeg|gdcm|nibabel)(\.|$)"
_CHROMA, _COLORED_SHARE = 24, 0.02


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright image: `pixels` (H, W) grey or (H, W, 3) RGB, uint8 or (grey only) uint16.

    `mode` is the colour mode of the file as its format names it; `width` and `height` are
    of the upright image.
    """

    pixels: Pixels
    mode: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before its pixels are decoded; sizes of the upright image.

    `patient_id` is the PatientID of a DICOM file, None where there is none.
    """

    mode: str
    width: int
    height: int
    is_deep: bool
    is_color: bool
    patient_id: str | None = None


def is_colored(decoded: DecodedImage) -> bool:
    """Return whether an image shows colour, not only a grey film stored as RGB.

    True where the three channels differ by more than 24 of 255 on more than 2 % of the
    pixels: a small coloured marker or JPEG noise does not make a film a photograph.
    """
    if decoded.pixels.ndim == 2 or decoded.pixels.dtype != np.uint8:
        return False
    spread = decoded.pixels.max(axis=2) - decoded.pixels.min(axis=2)
    return bool((spread > _CHROMA).mean() > _COLORED_SHARE)


def finish_grey(grey: Pixels, *, color: Color, mode: str) -> DecodedImage:
    """Return an upright grey image (H, W) as wanted, replicated to (H, W, 3) for "rgb"."""
    height, width = grey.shape
    pixels = grey if color == "grey" else np.repeat(grey[:, :, None], 3, axis=2)
    return DecodedImage(np.ascontiguousarray(pixels), mode, width, height)


def refuse_size(width: int, height: int) -> None:
    """Raise a BadImageError for an image without pixels or with more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise BadImageError(f"the image has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise BadImageError(
            f"the image has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million"
        )


@contextmanager
def refusing(what: str) -> Generator[None, None, None]:
    """Decode strictly; whatever else than a BadImageError is raised becomes one.

    Args:
        what: the subject of the sentence, such as "the image".
    """
    try:
        with strict_decoding():
            yield
    except BadImageError:
        raise
    except MemoryError as error:
        raise BadImageError(f"{what} needs more memory than there is") from error
    except Exception as error:  # decoders of foreign bytes raise anything: struct.error, KeyError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImageError(f"{what} cannot be decoded: {reason}") from error


@contextmanager
def strict_decoding() -> Generator[None, None, None]:
    """Hold Pillow to refuse truncated files and the decoders to keep warnings to themselves.

    Both are settings of the whole process; they are put back when the last of several
    blocks (of any thread) ends.
    """
    _strictness.enter()
    try:
        yield
    finally:
        _strictness.leave()


class _Strictness:
    """Process-wide switches, counted so that threads can hold them together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._accepted_truncated = False
        self._filters = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._accepted_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._filters = warnings.catch_warnings()
            self._filters.__enter__()
            warnings.filterwarnings("ignore", module=_DECODERS)
            # GDCM's generated wrapper warns while Python itself imports it.
            warnings.filterwarnings("ignore", message="builtin type .*[sS]wig")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth > 0:
                return
            self._filters.__exit__(None, None, None)
            ImageFile.LOAD_TRUNCATED_IMAGES = self._accepted_truncated


_strictness = _Strictness()
