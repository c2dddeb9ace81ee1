"""Turn the DICOM files of a series, or one file of several frames, into a volume.

Values are those of the modality, such as Hounsfield units; MONOCHROME1 is mirrored in its range,
padding becomes the lowest value. `slice_order` puts slices in order and refuses what is not one
volume. Refused besides: what `dicom` refuses of an image, and files of several patients.
"""

import hashlib
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from medimg_baseline_cls.data.read.dicom import (
    ParsedFile,
    decode_patterns,
    parse_dataset,
    read_dataset,
)
from medimg_baseline_cls.data.read.dicom_grey import make_value_table
from medimg_baseline_cls.data.read.dicom_tags import (
    read_count,
    read_number,
    read_numbers,
    read_text,
)
from medimg_baseline_cls.data.read.image import Header, Remark, SeriesFacts
from medimg_baseline_cls.data.read.packed import unpack_files
from medimg_baseline_cls.data.read.slice_order import SliceFacts, SliceOrder, order_slices
from medimg_baseline_cls.data.read.unknown import describe_unknown
from medimg_baseline_cls.data.read.volume import MAX_VOXELS, Volume, turn_volume
from medimg_baseline_cls.errors import BadImageError

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MACROS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
    "PixelValueTransformationSequence",
)
_SERIES_TAGS = ("SeriesInstanceUID", "Rows", "NumberOfFrames", "ImageType")
_UID = re.compile(r"\d[\d.]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Slice:
    """One frame, parsed, and the bytes of a file that has it alone."""

    parsed: ParsedFile
    data: bytes


def decode_volume(data: bytes) -> Volume:
    """Decode a series into one volume; black and white are known for plain unsigned values."""
    slices, order = _read_slices(data)
    values: list[NDArray[np.float32]] = []
    ranges: set[tuple[float, float] | None] = set()
    for row in order.rows:
        parsed = slices[row].parsed
        table, limits = make_value_table(parsed.dataset, parsed.stored)
        values.append(table[decode_patterns(parsed, slices[row].data)])
        ranges.add(limits if limits == parsed.stored.limits and limits[0] == 0 else None)
    stacked = np.stack(values)
    is_padding = np.isnan(stacked)
    if is_padding.all():
        raise BadImageError("the series consists of padding alone")
    stacked[is_padding] = stacked[~is_padding].min()
    full_range = ranges.pop() if len(ranges) == 1 else None
    return turn_volume(stacked, order.turn, full_range=full_range)


def read_volume_header(data: bytes) -> Header:
    """Read size, depth and PatientID of a series, and what is remarkable in its slices."""
    slices, order = _read_slices(data)
    patients = {read_text(item.parsed.dataset, "PatientID") for item in slices}
    if len(patients) > 1:
        raise BadImageError(f"the files of the series have {len(patients)} different PatientIDs")
    kept = [slices[row].parsed for row in order.rows]
    lengths = (len(kept), kept[0].height, kept[0].width)
    _, height, width = (lengths[axis] for axis, _ in order.turn)
    is_ct = read_text(kept[0].dataset, "Modality") == "CT"
    unscaled: list[Remark] = []
    if is_ct and not _find_units(kept[0]) & {"a RescaleSlope", "a ModalityLUTSequence"}:
        unscaled = [("CT without a rescale", "stored values are taken as Hounsfield units")]
    return Header(
        mode=kept[0].mode,
        width=width,
        height=height,
        is_deep=any(parsed.stored.bits_stored > 8 for parsed in kept),
        is_color=False,
        patient_id=patients.pop() or None,
        geometry=order.geometry,
        remarks=(*order.remarks, *unscaled),
    )


def read_series_facts(path: Path) -> SeriesFacts:
    """Read to which series a file belongs, without its pixels; an empty name if it is damaged."""
    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_SERIES_TAGS))
        frames = read_count(dataset, "NumberOfFrames", default=1) if "Rows" in dataset else 0
        uid = read_text(dataset, "SeriesInstanceUID")
        name = uid if _UID.fullmatch(uid) else "0"
        return SeriesFacts(name, frames, is_localizer=_is_localizer(dataset))
    except Exception:  # decoders of foreign bytes raise anything
        return SeriesFacts("", 0, is_localizer=False)


def _read_slices(data: bytes) -> tuple[list[_Slice], SliceOrder]:
    files = unpack_files(data)
    slices: list[_Slice] = []
    for file in files:
        try:
            slices += _read_file(file)
        except BadImageError as error:
            which = f"a file of {len(file):,} bytes: " if len(files) > 1 else ""
            raise BadImageError(f"{which}{error}") from error
    order = order_slices([_describe(item.parsed) for item in slices])
    first = slices[order.rows[0]].parsed
    _refuse_mixed_units([slices[row].parsed for row in order.rows])
    if len(order.rows) * first.width * first.height > MAX_VOXELS:
        raise BadImageError(
            f"the volume has {first.width} x {first.height} x {len(order.rows)} voxels, more than "
            f"{MAX_VOXELS:,}"
        )
    return slices, order


def _read_file(file: bytes) -> list[_Slice]:
    if file[128:132] != b"DICM":
        raise BadImageError(describe_unknown(file))
    dataset = read_dataset(file)
    count = read_count(dataset, "NumberOfFrames", default=1)
    if count == 1 and not any(name in dataset for name in _GROUPS):
        return [_Slice(parse_dataset(dataset), file)]
    return [_Slice(parse_dataset(frame), _write(frame)) for frame in _split(dataset, count)]


def _describe(parsed: ParsedFile) -> SliceFacts:
    dataset = parsed.dataset
    directions = read_numbers(dataset, "ImageOrientationPatient", count=6)
    position = read_numbers(dataset, "ImagePositionPatient", count=3)
    has_place = directions is not None and position is not None
    spacing = read_numbers(dataset, "PixelSpacing", count=2)
    content = hashlib.sha256(dataset.PixelData)
    for name in ("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation"):
        content.update(read_text(dataset, name).encode() + b"\0")
    return SliceFacts(
        size=(parsed.height, parsed.width),
        directions=directions if has_place else None,
        position=position if has_place else None,
        number=read_number(dataset, "InstanceNumber"),
        spacing=None if spacing is None or min(spacing) <= 0 else (spacing[0], spacing[1]),
        is_localizer=_is_localizer(dataset),
        content=content.digest(),
    )


def _is_localizer(dataset: Dataset) -> bool:
    return "LOCALIZER" in read_text(dataset, "ImageType").upper()


def _refuse_mixed_units(kept: list[ParsedFile]) -> None:
    """Refuse a rescale or the like in some slices alone; slopes may differ, as in PET."""
    counts = Counter(what for parsed in kept for what in _find_units(parsed))
    for what, count in sorted(counts.items(), reverse=True):
        if count < len(kept):
            raise BadImageError(
                f"{count} of {len(kept)} slices of the series have {what}, expected all or none: "
                "their values are in different units"
            )


def _find_units(parsed: ParsedFile) -> set[str]:
    """Return what turns the stored values of a slice into others; an empty tag is none."""
    dataset = parsed.dataset
    found = {
        "a RescaleSlope": read_number(dataset, "RescaleSlope") is not None,
        "a RescaleIntercept": read_number(dataset, "RescaleIntercept") is not None,
        "a ModalityLUTSequence": bool(dataset.get("ModalityLUTSequence")),
        "the photometric interpretation MONOCHROME1": parsed.stored.is_inverted,
    }
    return {what for what, is_given in found.items() if is_given}


def _split(dataset: Dataset, count: int) -> list[Dataset]:
    """Return each frame as a data set of its own, with the tags of its functional groups."""
    shared, per_frame = (list(dataset.get(name) or []) for name in _GROUPS)
    if per_frame and len(per_frame) != count:
        raise BadImageError(f"the file has {count} frames, but describes {len(per_frame)}")
    # A position of the whole file is not that of each frame, and frames share what is in `plain`.
    own = ("PixelData", "NumberOfFrames", "InstanceNumber")
    of_file = (*_GROUPS, *own, "ImagePositionPatient")
    plain = [element for element in dataset if element.keyword not in of_file]
    frames: list[Dataset] = []
    for index, pixels in enumerate(_split_pixels(dataset, count)):
        frame = Dataset()
        frame.file_meta = dataset.file_meta
        groups = (*shared, *per_frame[index : index + 1])
        macros = [group[name][0] for group in groups for name in _MACROS if group.get(name)]
        for element in (*plain, *(element for macro in macros for element in macro)):
            frame.add(element)
        frame.NumberOfFrames, frame.InstanceNumber = 1, index + 1
        frame.add_new("PixelData", dataset["PixelData"].VR, pixels)
        frames.append(frame)
    return frames


def _split_pixels(dataset: Dataset, count: int) -> list[bytes]:
    """Return the pixels of each frame, compressed ones as a stream of one frame."""
    data = dataset.PixelData
    if UID(dataset.file_meta.get("TransferSyntaxUID", "")).is_encapsulated:
        frames = list(generate_frames(data, number_of_frames=count))
        return [encapsulate([frame]) for frame in frames[:count]]
    names = ("Rows", "Columns", "BitsAllocated")
    rows, columns, bits = (read_count(dataset, name) for name in names)
    size = rows * columns * bits // 8
    if not size or len(data) < size * count:
        raise BadImageError(f"the file is cut off: {len(data)} bytes of pixels for {count} frames")
    parts = [data[index * size : (index + 1) * size] for index in range(count)]
    return [part + b"\0" * (len(part) % 2) for part in parts]


def _write(frame: Dataset) -> bytes:
    file = io.BytesIO()
    dcmwrite(file, frame, enforce_file_format=True)
    return file.getvalue()
