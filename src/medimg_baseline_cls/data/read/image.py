"""The result of a reader: an upright image, or the contents of its header.

Refused here, for every format: images without pixels and images over MAX_PIXELS.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import BadImageError

Color = Literal["grey", "rgb"]
Pixels = NDArray[np.uint8 | np.uint16]

MAX_PIXELS = 50_000_000  # a mammogram has 13 to 30 million; more is a bomb or a slide


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright image: `pixels` (H, W) gray or (H, W, 3) RGB, uint8 or uint16.

    `mode` is the color mode of the file as Pillow names it, its photometric interpretation
    and depth (DICOM) or its data type (NIfTI); `width` and `height` are of the upright image.
    """

    pixels: Pixels
    mode: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a volume is stored.

    Attributes:
        num_slices: from inferior to superior.
        spacing_mm: between slices, rows and columns of the canonical orientation; None where the
            file does not give it.
        axes: where columns, rows and slices of the file run, such as "LPS" (to the left, posterior
            and superior); "" where the file does not say.
        affine: of a DICOM series, from (column, row, slice) in the order of positions to mm to the
            patient's left, posterior and superior: three rows of four; None where it is not known,
            or slices are not on a regular grid.
    """

    num_slices: int
    spacing_mm: tuple[float, float, float] | None
    axes: str
    affine: tuple[tuple[float, ...], ...] | None = None


Remark = tuple[str, str]
"""What was found in a case that is used: the kind, the same for all cases, and the details."""


@dataclass(frozen=True, slots=True)
class Header:
    """Facts from the header, before decoding; sizes of the upright image.

    `patient_id` is the PatientID of a DICOM file, None where there is none. It is for grouping in
    memory alone: never write it; it is not in the `repr`. A volume has a `geometry`, and `remarks`
    on its slices.
    """

    mode: str
    width: int
    height: int
    is_deep: bool
    is_color: bool
    patient_id: str | None = field(default=None, repr=False)
    geometry: Geometry | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Return that of a volume, as in `Geometry`; None where it is not known."""
        return None if self.geometry is None else self.geometry.spacing_mm


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What assigns a DICOM file to a series.

    Attributes:
        uid: SeriesInstanceUID; "0" where the file has no valid one, "" where it is damaged.
        num_frames: 0 where the file is not an image.
        is_localizer: whether it is an image to plan others on.
    """

    uid: str
    num_frames: int
    is_localizer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReader:
    """How another package reads a format of its own, as an entry point of the group readers.

    Attributes:
        name: of the format, as "DEMO"; the formats that are known here keep their own readers.
        suffixes: endings of its file names, in small letters: (".demo",).
        matches: tells by the first 1,024 bytes of a file, or fewer, whether it is of the format.
        decode: turns the bytes of a file into an image as `data.read.decode_image` does.
        read_header: turns them into what is known before decoding.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    decode: Callable[..., DecodedImage]
    read_header: Callable[[bytes], Header]


def check_size(width: int, height: int) -> None:
    """Refuse an image without pixels, or with more than MAX_PIXELS, by its header alone."""
    if width < 1 or height < 1:
        raise BadImageError(f"the image has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise BadImageError(
            f"the image has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million"
        )


def wrap_grey(grey: Pixels, *, mode: str, color: Color) -> DecodedImage:
    """Return a gray array (H, W) as a decoded image, replicated to three channels for "rgb"."""
    height, width = grey.shape
    pixels = grey if color == "grey" else np.repeat(grey[:, :, None], 3, axis=2)
    return DecodedImage(pixels=np.ascontiguousarray(pixels), mode=mode, width=width, height=height)
