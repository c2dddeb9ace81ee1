"""Turn the gray-scale tags of a DICOM file into one table: stored bits -> shade of gray.

An image has at most 65,536 different stored values, so the whole chain (mask, sign,
modality LUT, VOI, inversion, padding; PS3.3 C.11.1 and C.11.2) is computed once for each
of them, in double precision, and pixels are looked up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg_baseline_cls.data.read.dicom_tags import read_lut, read_number, read_text
from medimg_baseline_cls.data.read.image import Pixels
from medimg_baseline_cls.errors import BadImageError

_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """How a pixel is stored: bits, sign, and whether the lowest value is white."""

    bits_allocated: int
    bits_stored: int
    is_signed: bool
    is_inverted: bool

    @property
    def limits(self) -> tuple[int, int]:
        """Return the lowest and the highest value that fits into the stored bits."""
        half = 1 << (self.bits_stored - 1)
        return (-half, half - 1) if self.is_signed else (0, 2 * half - 1)

    def require_range(self, lowest: int, highest: int) -> None:
        """Refuse decoded values that do not fit into the stored bits: the stream is not theirs."""
        if lowest < self.limits[0] or highest > self.limits[1]:
            raise BadImageError(
                f"decoded pixels from {lowest} to {highest}, but BitsStored is {self.bits_stored}"
            )


def make_grey_table(dataset: Dataset, stored: StoredPixels) -> Pixels:
    """Return the shade of each bit pattern: black is 0, white the top of uint8 or uint16.

    Args:
        dataset: with the tags of the modality LUT, VOI LUT and padding.
        stored: how pixels are stored.

    Returns:
        Shape (2 ** bits_allocated,), uint8 for up to 8 stored bits, else uint16.

    Raises:
        BadImageError: A tag in use is not finite or is invalid.
    """
    patterns = np.arange(1 << stored.bits_allocated)
    values = _to_signed(patterns, stored.bits_stored, is_signed=stored.is_signed)
    modality, limits = _apply_modality(dataset, values, limits=stored.limits)
    with np.errstate(over="ignore"):  # a window far away from every value is all black or white
        units = _apply_voi(dataset, modality, limits=limits)
    top, dtype = (255, np.uint8) if stored.bits_stored <= 8 else (65535, np.uint16)
    # Rounded twice to keep ties exact: MONOCHROME1 gives exactly what MONOCHROME2 does.
    levels = np.round(units * top, 6)
    if stored.is_inverted:
        levels = top - levels
    table = np.floor(levels + 0.5).astype(dtype)
    table[_find_padding(dataset, stored)] = 0
    return table


def make_value_table(
    dataset: Dataset, stored: StoredPixels
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return the value of each bit pattern in units of the modality, such as Hounsfield units.

    Returns:
        Shape (2 ** bits_allocated,), NaN for padding, mirrored in its range for MONOCHROME1; and
        the lowest and the highest value that the stored bits may have.

    Raises:
        BadImageError: A tag in use is not finite or is invalid.
    """
    patterns = np.arange(1 << stored.bits_allocated)
    values = _to_signed(patterns, stored.bits_stored, is_signed=stored.is_signed)
    modality, limits = _apply_modality(dataset, values, limits=stored.limits)
    if stored.is_inverted:
        modality = limits[0] + limits[1] - modality
    table = modality.astype(np.float32)
    table[_find_padding(dataset, stored)] = np.nan
    return table, limits


def _find_padding(dataset: Dataset, stored: StoredPixels) -> NDArray[np.bool_]:
    """Return which bit patterns are padding, which may use bits above the stored ones."""
    patterns = np.arange(1 << stored.bits_allocated)
    is_padding = np.zeros(len(patterns), np.bool_)
    padding = _read_padding(dataset, stored)
    if padding is not None:
        for num_bits in (stored.bits_stored, stored.bits_allocated):
            seen = _to_signed(patterns, num_bits, is_signed=stored.is_signed)
            is_padding |= (seen >= padding[0]) & (seen <= padding[1])
    return is_padding


def _to_signed(patterns: NDArray[np.int64], num_bits: int, *, is_signed: bool) -> NDArray[np.int64]:
    """Return the values of the low bits of each pattern."""
    values = patterns & ((1 << num_bits) - 1)
    if is_signed:
        values = values - ((values >> (num_bits - 1)) << num_bits)
    return values


def _apply_modality(
    dataset: Dataset, values: NDArray[np.int64], *, limits: tuple[int, int]
) -> tuple[_Values, tuple[float, float]]:
    """Return the values in units of the modality, and the range they may have."""
    lut = read_lut(dataset, "ModalityLUTSequence", limits=limits)
    if lut is not None:
        return lut.apply(values), (0.0, lut.top)
    slope = read_number(dataset, "RescaleSlope")
    slope = 1.0 if slope is None else slope
    intercept = read_number(dataset, "RescaleIntercept") or 0.0
    if slope == 0:
        raise BadImageError("RescaleSlope of the DICOM file is 0")
    ends = sorted(limit * slope + intercept for limit in limits)
    if not 0 < ends[1] - ends[0] < np.inf:
        raise BadImageError("RescaleSlope and RescaleIntercept of the DICOM file span no range")
    return values.astype(np.float64) * slope + intercept, (ends[0], ends[1])


def _apply_voi(dataset: Dataset, values: _Values, *, limits: tuple[float, float]) -> _Values:
    """Return the values of interest as 0 (lowest) to 1 (highest)."""
    lut = read_lut(dataset, "VOILUTSequence", limits=limits)
    if lut is not None:
        return lut.apply(values) / lut.top
    center, width = read_number(dataset, "WindowCenter"), read_number(dataset, "WindowWidth")
    if center is not None and width is not None:
        function = read_text(dataset, "VOILUTFunction").upper() or "LINEAR"
        return _apply_window(values, center, width=width, function=function)
    return np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)


def _apply_window(values: _Values, center: float, *, width: float, function: str) -> _Values:
    """Return the window as 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if width < (1 if function == "LINEAR" else 1e-9):
        raise BadImageError(f"WindowWidth of the DICOM file is {width:g}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise BadImageError("VOILUTFunction of the DICOM file is unknown")
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _read_padding(dataset: Dataset, stored: StoredPixels) -> tuple[float, float] | None:
    """Return the lowest and highest padding value; None where there is no padding."""
    value = read_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = read_number(dataset, "PixelPaddingRangeLimit")
    ends = [value, value if limit is None else limit]
    if stored.is_signed:  # often written as unsigned
        ends = [end - (1 << 16) if end >= 1 << 15 else end for end in ends]
    return min(ends), max(ends)
