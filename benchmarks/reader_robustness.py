"""Count what the reader makes of damaged and foreign files: pixels or a refusal, nothing else.

    python benchmarks/reader_robustness.py

Three sources: the files that the installed pydicom brings for its own tests, one film cut
off at 20 places, and one film with a single bit flipped in 300 places, the film as raw and
RLE DICOM, PNG and JPEG.
"""

import io
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medimg_baseline_cls.data.read import decode_image, read_header
from medimg_baseline_cls.errors import BadImageError

NUM_CUTS, NUM_FLIPS = 20, 300


def bundled_files() -> list[Path]:
    """The test files inside the installed package; pydicom's own list would download more."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def seed_files() -> dict[str, bytes]:
    """One film of 48 x 64 pixels as the bytes of four files."""
    y, x = np.mgrid[0:48, 0:64]
    film = np.rint(127 + 80 * np.sin(x / 11) + 40 * np.cos(y / 9)).astype(np.uint8)
    files = {"DICOM": make_dicom(film), "RLE DICOM": make_dicom(film, RLELossless)}
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        Image.fromarray(film).save(file, kind)
        files[kind] = file.getvalue()
    return files


def make_dicom(film: np.ndarray, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.PatientID = "P1"
    dataset.Rows, dataset.Columns = film.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelPaddingValue = 0
    dataset.PixelData = (film.astype("<u2") * 16).tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def cut(data: bytes, num_cuts: int = NUM_CUTS) -> Iterator[bytes]:
    """The beginnings of a file, from nothing to all but the last byte."""
    for end in np.linspace(0, len(data) - 1, num_cuts).astype(int):
        yield data[:end]


def flip(data: bytes, num_flips: int = NUM_FLIPS, *, seed: int = 0) -> Iterator[bytes]:
    """The file with one bit flipped, half of the places in its first 1024 bytes."""
    rng = np.random.default_rng(seed)
    for number in range(num_flips):
        damaged = bytearray(data)
        end = len(data) if number % 2 else min(1024, len(data))
        damaged[rng.integers(end)] ^= 1 << int(rng.integers(8))
        yield bytes(damaged)


def outcome(data: bytes) -> str:
    """ "pixels", "refused", or the name of the error that must not have come out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decoded = decode_image(data, color="grey")
            header = read_header(data)
    except BadImageError:
        return "refused"
    except Exception as error:
        return type(error).__name__
    is_whole = decoded.pixels.shape == (header.height, header.width)
    return "pixels" if is_whole else "pixels at odds with the header"


def count_outcomes() -> dict[str, Counter[str]]:
    """The outcomes by source of files."""
    counts = {"pydicom's files": Counter(outcome(path.read_bytes()) for path in bundled_files())}
    for kind, data in seed_files().items():
        counts[f"{kind}, whole"] = Counter([outcome(data)])
        counts[f"{kind}, cut off"] = Counter(map(outcome, cut(data)))
        counts[f"{kind}, bit flipped"] = Counter(map(outcome, flip(data)))
    return counts


def main() -> None:
    start = time.perf_counter()
    for source, counts in count_outcomes().items():
        listed = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
        print(f"{source:28s} {listed}")
    print(f"{time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
