"""Run damaged and foreign files through the reader and count how each one ends.

    python benchmarks/reader_robustness.py [--num-flips 300] [--num-cuts 20] [--seed 0]

Read are pydicom's own test files, and one seed film as DICOM (plain, RLE, JPEG 2000, JPEG-LS),
PNG, JPEG, TIFF, NIfTI and .npy: cut at 20 points, and with one bit flipped at 300. Each must end
in pixels or in a BadImageError; anything else is a failure, and the exit code 1.
"""

import argparse
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from medimg_baseline_cls.data.read import decode_image, read_header
from medimg_baseline_cls.errors import BadImageError

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
PIXELS, FAILURE = "pixels", "FAILURE"


def main() -> None:
    """Print the counts of every group of files and of every reason."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-flips", type=int, default=300)
    parser.add_argument("--num-cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    groups = {"pydicom's test files": list(bundled_files())}
    for kind in SEED_FILES:
        damage = {"num_cuts": options.num_cuts, "num_flips": options.num_flips}
        groups[kind] = list(damaged_files(kind, **damage, seed=options.seed))
    reasons: Counter[str] = Counter()
    print(f"{'':24}{'files':>8}{'pixels':>8}{'refused':>9}{'failures':>10}")
    for name, files in groups.items():
        ends = [outcome_of(data) for data in files]
        pixels = ends.count(PIXELS)
        failures = sum(end.startswith(FAILURE) for end in ends)
        refused = len(ends) - pixels - failures
        print(f"{name:24}{len(ends):8}{pixels:8}{refused:9}{failures:10}")
        reasons.update(end for end in ends if end != PIXELS)
    print()
    for reason, count in reasons.most_common():
        print(f"{count:6}  {reason}")
    sys.exit(any(reason.startswith(FAILURE) for reason in reasons))


def outcome_of(data: bytes) -> str:
    """Return how reading ends: "pixels", the reason (numbers left out), or a failure."""
    try:
        header = read_header(data)
        decoded = decode_image(data, color="grey")
        if (header.width, header.height) != (decoded.width, decoded.height):
            return f"{FAILURE}: the header tells another size than the pixels have"
    except BadImageError as error:
        return re.sub(r"-?\d[\d.e+]*", "N", str(error))[:110] or f"{FAILURE}: no reason given"
    except BaseException as error:
        return f"{FAILURE}: {type(error).__name__}: {error}"
    return PIXELS


def bundled(name: str) -> bytes:
    """Return one of the files that pydicom ships for its own tests."""
    return (BUNDLED / name).read_bytes()


def bundled_files() -> Iterator[bytes]:
    """Yield the files that pydicom ships for its own tests."""
    for path in sorted(BUNDLED.rglob("*")):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            yield path.read_bytes()


def cut(data: bytes, *, num_cuts: int) -> Iterator[bytes]:
    """Yield the file cut off at evenly spaced points."""
    for part in range(num_cuts):
        yield data[: part * len(data) // num_cuts]


def flip_bits(data: bytes, *, num_flips: int, seed: int) -> Iterator[bytes]:
    """Yield the file with one bit flipped, half of the flips in its first 1,000 bytes."""
    random = np.random.default_rng(seed)
    for index in range(num_flips):
        end = min(len(data), 1000) if index % 2 else len(data)
        where, bit = int(random.integers(0, end)), int(random.integers(0, 8))
        damaged = bytearray(data)
        damaged[where] ^= 1 << bit
        yield bytes(damaged)


def make_film() -> np.ndarray:
    """Return a smooth 12-bit film of 96 x 80 pixels with a bright spot and some noise."""
    y, x = np.mgrid[0:96, 0:80]
    film = 1500 + 900 * np.sin(x / 11) * np.cos(y / 9)
    film += 1400 * np.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 90)
    film += np.random.default_rng(0).normal(0, 20, film.shape)
    return np.clip(film, 0, 4095).astype(np.uint16)


def make_dicom(syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return the film as DICOM, with rescale, window and padding."""
    film, dataset = make_film(), Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.PatientID, dataset.Rows, dataset.Columns = "P1", *film.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.PixelPaddingValue = 0, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    dataset.WindowCenter, dataset.WindowWidth = ["2048", "1000"], ["4096", "900"]
    dataset.PixelData = film.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _encode(kind: str, *, deep: bool) -> bytes:
    film, file = make_film(), io.BytesIO()
    values = film * np.uint16(16) if deep else (film // 16).astype(np.uint8)
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


def _make_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, make_film())
    return file.getvalue()


SEED_FILES: dict[str, Callable[[], bytes]] = {
    "DICOM": make_dicom,
    "DICOM, RLE": lambda: make_dicom(RLELossless),
    "DICOM, JPEG 2000": lambda: make_dicom(JPEG2000Lossless),
    "DICOM, JPEG-LS": lambda: bundled("MR_small_jpeg_ls_lossless.dcm"),
    "PNG": lambda: _encode("PNG", deep=True),
    "JPEG": lambda: _encode("JPEG", deep=False),
    "TIFF": lambda: _encode("TIFF", deep=True),
    "NIfTI": lambda: nibabel.Nifti1Image(make_film().T, np.diag([-1, -1, 1, 1])).to_bytes(),
    ".npy": _make_npy,
}


def damaged_files(kind: str, *, num_cuts: int, num_flips: int, seed: int) -> Iterable[bytes]:
    """Yield the damaged versions of one seed file."""
    whole = SEED_FILES[kind]()
    yield from cut(whole, num_cuts=num_cuts)
    yield from flip_bits(whole, num_flips=num_flips, seed=seed)


if __name__ == "__main__":
    main()
