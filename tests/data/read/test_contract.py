"""The pixel contract: one film, however it is saved, is one array."""

import gzip
import io
from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from medimg_baseline_cls.data.read import decode_image, read_header

Film = NDArray[np.uint8]


def make_film() -> Film:
    """A smooth film of 90 x 64 pixels from black to white, asymmetric in both axes."""
    y, x = np.mgrid[0:64, 0:90]
    waves = np.sin(x / 9) + np.cos(y / 7) + 3 * np.exp(-((x - 18) ** 2 + (y - 15) ** 2) / 60)
    return np.rint(255 * (waves - waves.min()) / np.ptp(waves)).astype(np.uint8)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(film: Film) -> Image.Image:
    return Image.fromarray(film)


def deep(film: Film) -> NDArray[np.uint16]:
    return film.astype(np.uint16) * np.uint16(257)


def palette(film: Film) -> Image.Image:
    image = Image.frombytes("P", (film.shape[1], film.shape[0]), (255 - film).tobytes())
    image.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    return image


def opaque(film: Film, mode: str) -> Image.Image:
    image = grey(film).convert(mode)
    image.putalpha(255)
    return image


def white_is_zero(film: Film) -> bytes:
    """Pillow stores 255 - film: it inverts what it writes so."""
    return save(grey(film), "TIFF", tiffinfo={262: 0})


def turned(film: Film, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(grey(film).transpose(Image.Transpose.ROTATE_90), kind, exif=exif, quality=95)


def cmyk(film: Film) -> Image.Image:
    return grey(film).convert("RGB").convert("CMYK")


def dicom(
    values: NDArray[Any], *, bits: int, photometric: str = "MONOCHROME2", syntax: str | None = None
) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored = values.dtype.itemsize * 8, bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OB" if values.dtype == np.uint8 else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax is not None:
        dataset.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def twelve(film: Film) -> NDArray[np.uint16]:
    return np.rint(film / 255 * 4095).astype(np.uint16)


def nifti(values: NDArray[Any]) -> bytes:
    """As ITK writes a PNG: the first axis across, to the patient's left; the second down."""
    return nibabel.Nifti1Image(values.T, np.diag([-1.0, -1, 1, 1])).to_bytes()


def npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


LOSSLESS: dict[str, Callable[[Film], bytes]] = {
    "png, grey": lambda film: save(grey(film), "PNG"),
    "png, rgb": lambda film: save(grey(film).convert("RGB"), "PNG"),
    "png, palette": lambda film: save(palette(film), "PNG"),
    "png, alpha": lambda film: save(opaque(film, "RGBA"), "PNG"),
    "png, 16 bits": lambda film: save(Image.fromarray(deep(film)), "PNG"),
    "bmp": lambda film: save(grey(film), "BMP"),
    "tiff, 8 bits": lambda film: save(grey(film), "TIFF"),
    "tiff, 16 bits": lambda film: save(Image.fromarray(deep(film)), "TIFF"),
    "tiff, white is zero": white_is_zero,
    "tiff, cmyk": lambda film: save(cmyk(film), "TIFF"),
    "dicom, 8 bits": lambda film: dicom(film, bits=8),
    "dicom, 8 bits, negative": lambda film: dicom(255 - film, bits=8, photometric="MONOCHROME1"),
    "dicom, 12 bits": lambda film: dicom(twelve(film), bits=12),
    "dicom, 12 bits, negative": lambda film: dicom(
        4095 - twelve(film), bits=12, photometric="MONOCHROME1"
    ),
    "dicom, 16 bits": lambda film: dicom(deep(film), bits=16),
    "dicom, 16 bits, negative": lambda film: dicom(
        65535 - deep(film), bits=16, photometric="MONOCHROME1"
    ),
    "dicom, JPEG 2000": lambda film: dicom(twelve(film), bits=12, syntax=JPEG2000Lossless),
    "dicom, RLE": lambda film: dicom(twelve(film), bits=12, syntax=RLELossless),
    "nifti, 8 bits": nifti,
    "nifti, 16 bits": lambda film: nifti(deep(film)),
    "nifti, packed": lambda film: gzip.compress(nifti(film)),
    "npy, 8 bits": npy,
    "npy, 16 bits": lambda film: npy(deep(film)),
    "npy, rgb": lambda film: npy(np.stack([film] * 3, axis=2)),
}
LOSSY: dict[str, Callable[[Film], bytes]] = {
    "jpeg": lambda film: save(grey(film), "JPEG", quality=95),
    "jpeg, rotated": lambda film: turned(film, "JPEG"),
    "jpeg, cmyk": lambda film: save(cmyk(film), "JPEG", quality=95),
}


def shown(data: bytes) -> NDArray[np.float64]:
    pixels = decode_image(data, color="grey").pixels
    return pixels / np.iinfo(pixels.dtype).max


@pytest.mark.parametrize("way", LOSSLESS)
def test_lossless_ways_are_at_most_one_level_apart(way: str) -> None:
    film = make_film()
    found = shown(LOSSLESS[way](film))
    assert found.shape == film.shape
    assert np.abs(found - film / 255).max() <= 1 / 255 + 1e-9


@pytest.mark.parametrize("way", LOSSY)
def test_jpeg_is_two_levels_apart_on_average_at_most(way: str) -> None:
    film = make_film()
    found = shown(LOSSY[way](film))
    assert found.shape == film.shape
    assert np.abs(found - film / 255).mean() <= 2 / 255


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_monochrome_1_and_2_are_equal_to_the_bit(bits: int) -> None:
    film = make_film()
    np.testing.assert_array_equal(
        decode_image(LOSSLESS[f"dicom, {bits} bits"](film), color="grey").pixels,
        decode_image(LOSSLESS[f"dicom, {bits} bits, negative"](film), color="grey").pixels,
    )


@pytest.mark.parametrize("way", [*LOSSLESS, *LOSSY])
def test_headers_tell_what_the_pixels_are(way: str) -> None:
    data = (LOSSLESS | LOSSY)[way](make_film())
    header, decoded = read_header(data), decode_image(data, color="rgb")
    assert (header.width, header.height) == (decoded.width, decoded.height) == (90, 64)
    assert header.mode == decoded.mode
    assert header.is_deep == (decoded.pixels.dtype == np.uint16)
    assert decoded.pixels.shape == (64, 90, 3)
    assert np.ptp(decoded.pixels.astype(int), axis=2).max() <= 2
    assert header.patient_id is None
