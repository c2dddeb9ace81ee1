"""Turn every stored value that a DICOM file can hold into the grey level that is shown.

One table of at most 65536 entries instead of arithmetic on every pixel: modality LUT or
rescale, then VOI LUT or the first window (DICOM PS3.3 C.11.1 and C.11.2), else the full
range. Refused: LUTs and windows that are no such thing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.read.common import Pixels
from medimg_baseline_cls.data.read.tags import read_integer, read_number
from medimg_baseline_cls.errors import BadImageError

if TYPE_CHECKING:
    from pydicom import Dataset

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Lut:
    """A look-up table: `first` is the value mapped to entry 0; entries run to 2**bits - 1."""

    first: int
    entries: Reals
    bits: int

    def look_up(self, values: Reals) -> Reals:
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[places.astype(np.int64)]


def make_grey_table(dataset: "Dataset") -> Pixels:
    """Return the grey level of each pattern of the BitsStored low bits, MONOCHROME2.

    Returns:
        (2**BitsStored,) uint8 where at most 8 bits are stored, else uint16, over the full
        range of its type.

    Raises:
        BadImageError: An element is no finite number, a LUT or a window is malformed.
    """
    bits = read_integer(dataset, "BitsStored")
    stored = np.arange(1 << bits, dtype=np.float64)
    if read_integer(dataset, "PixelRepresentation") == 1:
        stored[stored >= 1 << (bits - 1)] -= 1 << bits
    values, lowest, highest = _apply_modality(stored, dataset)
    dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    shares = _apply_voi(values, dataset)
    if shares is None:
        shares = (values - lowest) / (highest - lowest)
    white = np.iinfo(dtype).max
    return np.rint(np.clip(shares, 0, 1) * white).astype(dtype)


def _apply_modality(stored: Reals, dataset: "Dataset") -> tuple[Reals, float, float]:
    """Return the modality values with the least and greatest that are possible."""
    lut = _read_lut(dataset, "ModalityLUTSequence", is_signed=bool(stored.min() < 0))
    if lut is not None:
        return lut.look_up(stored), 0.0, float((1 << lut.bits) - 1)
    slope, intercept = (
        read_number(dataset, "RescaleSlope"),
        read_number(dataset, "RescaleIntercept"),
    )
    slope = 1.0 if slope is None else slope
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored * slope + (intercept or 0.0)
        extent = float(np.ptp(values))
    if not (np.isfinite(values).all() and np.isfinite(extent) and extent > 0):
        raise BadImageError(
            f"the DICOM file has RescaleSlope {slope:g} and RescaleIntercept {intercept or 0:g}, "
            "which leave no range of values"
        )
    return values, float(values.min()), float(values.max())


def _apply_voi(values: Reals, dataset: "Dataset") -> Reals | None:
    """Return the values as shown, 0 black and 1 white; None without VOI LUT and window."""
    lut = _read_lut(dataset, "VOILUTSequence", is_signed=bool(values.min() < 0))
    if lut is not None:
        return lut.look_up(values) / ((1 << lut.bits) - 1)
    center, width = read_number(dataset, "WindowCenter"), read_number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    kind = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if kind not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise BadImageError(
            f"the DICOM file has the VOILUTFunction {kind:.40}, expected LINEAR, LINEAR_EXACT "
            "or SIGMOID"
        )
    if width < 1 if kind == "LINEAR" else width <= 0:
        raise BadImageError(f"the DICOM file has a window of width {width:g}, expected at least 1")
    with np.errstate(over="ignore", invalid="ignore"):
        shares = _window(values, center=center, width=width, kind=kind)
    if np.isnan(shares).any():
        raise BadImageError(f"the DICOM file has an unusable window {center:g} / {width:g}")
    return shares


def _window(values: Reals, *, center: float, width: float, kind: str) -> Reals:
    """Return the share of white of each value (C.11.2.1.2 and C.11.2.1.3), unclipped."""
    if kind == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - center) / width))
    if kind == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _read_lut(dataset: "Dataset", keyword: str, *, is_signed: bool) -> _Lut | None:
    """Return the first LUT of a sequence, None where there is none.

    Args:
        is_signed: the values to be mapped can be negative, so the first of them is SS.
    """
    sequence = dataset.get(keyword)
    if not sequence:
        return None
    item: Dataset = sequence[0]
    try:
        length, first, bits = (int(number) for number in item.LUTDescriptor)
        raw = _read_entries(dataset, item)
    except (AttributeError, TypeError, ValueError) as error:
        raise BadImageError(f"the DICOM file has a damaged {keyword}") from error
    length = length % 65536 or 65536
    first = (first + 32768) % 65536 - 32768 if is_signed else first % 65536
    if bits > 8 or raw.dtype.itemsize == 1:
        entries = raw
    else:  # two 8-bit entries in each word, unless each has a word of its own
        entries = raw if len(raw) >= length else raw.view(np.uint8)
    if not 1 <= bits <= 16 or len(entries) < length:
        raise BadImageError(
            f"the DICOM file has a {keyword} of {len(entries)} entries of {bits} bits, "
            f"expected {length} of up to 16 bits"
        )
    return _Lut(first, entries[:length].astype(np.float64), bits)


def _read_entries(dataset: "Dataset", item: "Dataset") -> NDArray[np.uint16]:
    data = item.get("LUTData")
    if isinstance(data, bytes):
        is_little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        return np.frombuffer(data, dtype="<u2" if is_little else ">u2").astype("<u2")
    numbers = np.atleast_1d(np.asarray(data, dtype=np.int64))
    return (numbers % 65536).astype("<u2")
