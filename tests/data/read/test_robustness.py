"""Foreign, damaged and random files end in pixels or in one clear reason, nothing else."""

import importlib.util
import io
import struct
import sys
import warnings
import zlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medimg_baseline_cls.data.read import decode_image, isolated, read_header
from medimg_baseline_cls.errors import BadImageError

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "reader_robustness.py"


def load_benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reader_robustness", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load_benchmark()


def failures(ends: list[str]) -> list[str]:
    return [end for end in ends if end.startswith(bench.FAILURE)]


def test_pydicoms_own_files_end_in_pixels_or_a_reason() -> None:
    ends = [bench.outcome_of(data) for data in bench.bundled_files()]
    assert failures(ends) == []
    counts = Counter(ends)
    assert counts[bench.PIXELS] >= 40  # the grey single frames among them
    assert counts["the DICOM pixels are RGB, expected MONOCHROMEN or MONOCHROMEN"] >= 10


@pytest.mark.parametrize("kind", sorted(bench.SEED_FILES))
def test_cut_and_flipped_films_end_in_pixels_or_a_reason(kind: str) -> None:
    assert bench.outcome_of(bench.SEED_FILES[kind]()) == bench.PIXELS
    files = list(bench.damaged_files(kind, num_cuts=20, num_flips=300, seed=0))
    assert len(files) == 320
    ends = [bench.outcome_of(data) for data in files]
    assert failures(ends) == []
    assert bench.PIXELS not in ends[:20]  # no cut loses pixels unnoticed


def test_anything_but_pixels_or_a_reason_counts_as_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: bytes) -> None:
        raise ValueError("boom")

    monkeypatch.setattr(bench, "read_header", fail)
    assert bench.outcome_of(b"x") == "FAILURE: ValueError: boom"


@pytest.mark.parametrize("expected", [0, 1])
def test_counts_are_printed_and_a_failure_is_the_exit_code(
    expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reader_robustness.py", "--num-flips=2", "--num-cuts=2"])
    monkeypatch.setattr(bench, "bundled_files", lambda: iter([b""]))
    if expected:
        monkeypatch.setattr(bench, "decode_image", lambda *_, **__: 1 / 0)
    with pytest.raises(SystemExit) as caught:
        bench.main()
    assert caught.value.code == expected
    printed = capsys.readouterr().out
    assert "the file is empty" in printed and "DICOM, JPEG 2000" in printed


def grey_files() -> list[Path]:
    """pydicom's single grey frames that any decoder here can read."""
    names = [
        *("693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm"),
        *("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "MR_small.dcm"),
        *("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        *("MR_small_padded.dcm", "examples_overlay.dcm", "image_dfl.dcm"),
    ]
    return [bench.BUNDLED / name for name in names]


@pytest.mark.parametrize("path", grey_files(), ids=lambda path: path.stem)
def test_real_files_show_what_pydicom_shows(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array
        shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float64)
    half = 1 << (dataset.BitsStored - 1)
    ends = np.array([-half, half - 1] if dataset.PixelRepresentation else [0, 2 * half - 1])
    ends = ends * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    expected = np.clip((shown - ends[0]) / (ends[1] - ends[0]), 0, 1)
    if "PixelPaddingValue" in dataset:
        expected[stored == dataset.PixelPaddingValue] = 0
    decoded = decode_image(path.read_bytes(), color="grey").pixels
    top = np.iinfo(decoded.dtype).max
    assert np.abs(decoded / top - expected).max() <= 0.5 / top + 1e-9


def test_decoder_that_crashes_costs_one_file_alone() -> None:
    data = bench.bundled("MR_small_jpeg_ls_lossless.dcm")  # decoded by gdcm, in the helper
    expected = decode_image(bench.bundled("MR_small.dcm"), color="grey").pixels
    np.testing.assert_array_equal(decode_image(data, color="grey").pixels, expected)
    process = isolated._helper._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(BadImageError, match="decoder broke down"):
        decode_image(data, color="grey")
    np.testing.assert_array_equal(decode_image(data, color="grey").pixels, expected)


def apng(num_frames: int) -> bytes:
    """A PNG whose animation chunk names this many frames."""
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "PNG")
    data = file.getvalue()
    body = struct.pack(">II", num_frames, 0)
    checksum = struct.pack(">I", zlib.crc32(b"acTL" + body))
    return data[:33] + struct.pack(">I", 8) + b"acTL" + body + checksum + data[33:]


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + body))
    idat = struct.pack(">I", 1000) + b"IDAT" + bytes(1000)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + body + crc + idat


def float_tiff(value: float) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.float32)).save(file, "TIFF")
    return file.getvalue()


BAD: dict[str, tuple[bytes, str]] = {
    "zero bytes": (b"", "empty"),
    "a web page named .jpg": (b"\n<!DOCTYPE html><html>", "web page"),
    "animation of 10,000 frames": (apng(10_000), "1000[01] frames"),
    "bomb of 8 gigapixels": (png_header(90_000, 90_000), "million"),
    "bomb of 70 megapixels": (png_header(10_000, 7_000), "10000 x 7000 pixels, more than 50"),
    "floating point": (float_tiff(0.5), "floating-point"),
    "NaN": (float_tiff(float("nan")), "floating-point"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "gzip of nothing known": (b"\x1f\x8b\x08" + bytes(99), "gzip"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_one_clear_reason(kind: str) -> None:
    data, reason = BAD[kind]
    for read in (read_header, lambda file: decode_image(file, color="grey")):
        if read is read_header and "floating" in reason:
            continue  # seen when the pixels are decoded
        with pytest.raises(BadImageError, match=reason) as caught:
            read(data)
        assert "\n" not in str(caught.value)


@given(
    start=st.sampled_from(
        [b"", bytes(128) + b"DICM", b"\x93NUMPY\x01\x00", b"\x5c\x01\0\0", b"\x1f\x8b\x08"]
    ),
    rest=st.binary(max_size=700),
)
@settings(deadline=None, max_examples=200)
def test_random_bytes_are_refused(start: bytes, rest: bytes) -> None:
    end = bench.outcome_of(start + rest)
    assert not end.startswith(bench.FAILURE) and end != bench.PIXELS
