"""Images that use little of their range are named, whatever the format; others are not."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.grey_range import infer_intensity
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.schema import Inference

SIDE = 32


def make_ramp(top: int, *, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint16]:
    """Values from 0 to `top`, evenly."""
    values = np.linspace(0, top, height * width)
    return np.rint(values).astype(np.uint16).reshape(height, width)


def save(values: NDArray[Any], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def pgm(values: NDArray[Any], *, highest: int = 65535) -> bytes:
    height, width = values.shape
    return f"P5 {width} {height} {highest}\n".encode() + values.astype(">u2").tobytes()


def dicom(values: NDArray[np.uint16], *, bits: int = 16, **tags: Any) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation, dataset.PixelData = 0, values.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def conclude(
    folder: Path, files: dict[str, bytes], *, keep_aspect: bool = False, **options: Any
) -> Inference:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    settings = PixelSettings(image_size=SIDE, keep_aspect=keep_aspect, **options)
    cache = build_cache(folder, list(files), settings=settings, cache_dir=folder / "cache")
    return infer_intensity(cache, settings)


# The file, and the largest share of its range that its values use (None: more than a quarter).
FILES: dict[str, tuple[Callable[[], bytes], float | None]] = {
    "12 bits in a 16-bit png": (lambda: save(make_ramp(4095), "PNG"), 0.0625),
    "10 bits in a 16-bit png": (lambda: save(make_ramp(1023), "PNG"), 0.0156),
    "8 bits in a 16-bit tiff": (lambda: save(make_ramp(255), "TIFF"), 0.0039),
    "14 bits in a 16-bit tiff": (lambda: save(make_ramp(16383), "TIFF"), 0.25),
    "16 bits in a tiff": (lambda: save(make_ramp(65535), "TIFF"), None),
    "a third of a 16-bit png": (lambda: save(make_ramp(21845), "PNG"), None),
    "12 bits in .npy": (lambda: npy(make_ramp(4095)), 0.0625),
    "12 bits in .npy, colored": (lambda: npy(np.stack([make_ramp(4095)] * 3, axis=2)), 0.0625),
    "12 bits in .npy of 8": (lambda: npy((make_ramp(4095) >> 4).astype(np.uint8)), None),
    "12 bits in pgm of 16": (lambda: pgm(make_ramp(4095)), 0.0625),
    "12 bits in pgm of 12": (lambda: pgm(make_ramp(4095), highest=4095), None),
    "an 8-bit png of values to 40": (lambda: save(make_ramp(40).astype(np.uint8), "PNG"), 0.157),
    "an 8-bit png": (lambda: save(make_ramp(255).astype(np.uint8), "PNG"), None),
    "dicom, 16 bits stored": (lambda: dicom(make_ramp(4095)), 0.0625),
    "dicom, 12 bits stored": (lambda: dicom(make_ramp(4095), bits=12), None),
    "dicom, with a window": (
        lambda: dicom(make_ramp(4095), WindowCenter=2048, WindowWidth=4096),
        None,
    ),
    "dicom, inverted": (
        lambda: dicom(make_ramp(4095), PhotometricInterpretation="MONOCHROME1"),
        0.0625,
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_data_set_that_uses_at_most_a_quarter_is_named(kind: str, tmp_path: Path) -> None:
    make, share = FILES[kind]
    found = conclude(tmp_path, {f"{number}.bin": make() for number in range(3)})
    assert (found.topic, found.found) == ("intensity", "full_range")
    assert "--intensity percentile" in found.flag
    if share is None:
        assert (found.warning, found.certainty) == ("", "sure")
        return
    assert found.certainty == "guess" and found.warning.startswith("the 3 images of mode ")
    assert found.warning.endswith("pass --intensity percentile")
    said = float(found.warning.split("at most ")[1].split("%")[0]) / 100
    assert abs(said - share) <= 0.01 * share + 0.001  # the outer 1 % of the values are left out


@pytest.mark.parametrize("intensity", ["percentile", "min_max"])
def test_intensity_that_is_set_is_no_concern(intensity: str, tmp_path: Path) -> None:
    found = conclude(tmp_path, {"a": save(make_ramp(4095), "PNG")}, intensity=intensity)
    assert (found.found, found.certainty, found.warning) == (intensity, "set", "")


@pytest.mark.parametrize(("window", "warns"), [("lung", True), ("0/255", False)])
def test_volumes_that_a_window_does_not_fit_are_named(
    window: str, warns: bool, tmp_path: Path
) -> None:
    volume = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    found = conclude(tmp_path, {"a.npy": npy(volume)}, intensity=window, slices=4)
    assert (found.found, found.certainty) == (window, "set")
    assert ("units of the window" in found.warning) == warns


def test_one_image_that_uses_its_range_clears_its_mode(tmp_path: Path) -> None:
    dark, bright = save(make_ramp(4095), "PNG"), save(make_ramp(65535), "PNG")
    assert not conclude(tmp_path, {"a": dark, "b": dark, "c": bright}).warning


def test_dark_files_are_named_beside_bright_ones_of_another_mode(tmp_path: Path) -> None:
    files = {f"{n}.png": save(make_ramp(255).astype(np.uint8), "PNG") for n in range(4)}
    files |= {f"{n}.tif": save(make_ramp(4000 + n), "TIFF") for n in range(4)}
    warning = conclude(tmp_path, files).warning
    assert warning.startswith("the 4 images of mode I;16 use at most 6.0%") and "L " not in warning


def test_a_rare_dark_file_is_no_concern(tmp_path: Path) -> None:
    files = {f"{n}.png": save(make_ramp(255).astype(np.uint8) ^ n, "PNG") for n in range(30)}
    assert not conclude(tmp_path, files | {"odd.tif": save(make_ramp(4095), "TIFF")}).warning


def test_a_burnt_in_letter_hides_nothing(tmp_path: Path) -> None:
    values = make_ramp(4095)
    values[1:3, 1:3] = 65535  # 0.4 % of the pixels
    assert "at most 6.2%" in conclude(tmp_path, {"a": save(values, "PNG")}).warning


def test_padding_is_not_part_of_the_image(tmp_path: Path) -> None:
    wide = make_ramp(4095, height=10)
    data = dicom(wide, PhotometricInterpretation="MONOCHROME1")  # all but white, on black
    assert "at most 6.2%" in conclude(tmp_path, {"a": data}, keep_aspect=True).warning


def test_black_and_white_images_use_their_range(tmp_path: Path) -> None:
    values = np.zeros((SIDE, SIDE), np.uint8)
    values[8:24, 8:24] = 255
    assert not conclude(tmp_path, {"a": save(values, "PNG")}).warning


def test_nothing_is_said_of_files_that_could_not_be_read(tmp_path: Path) -> None:
    bright = save(make_ramp(65535), "PNG")
    assert not conclude(tmp_path, {"a": bright, "b": b"no image", "c": b""}).warning
    (tmp_path / "none").mkdir()
    assert not conclude(tmp_path / "none", {"b": b"no image"}).warning
