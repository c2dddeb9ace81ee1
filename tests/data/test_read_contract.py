"""One film is one image, whatever it is saved as: all formats and syntaxes agree."""

import gzip
import io
from collections.abc import Callable

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from medimg_baseline_cls.data.read import DecodedImage, decode_image, read_header

Film = NDArray[np.uint8]
Make, Save = Callable[..., Dataset], Callable[..., bytes]


def make_film(height: int = 48, width: int = 64) -> Film:
    """A smooth film with a bright spot that no turn or flip leaves in place."""
    y, x = np.mgrid[0:height, 0:width]
    film = 60 + 40 * np.sin(x / 11) + 30 * np.cos(y / 9)
    film += 120 * np.exp(-((x - width / 5) ** 2 + (y - height / 4) ** 2) / 80)
    film[0, 0], film[-1, -1] = 0, 255
    return np.clip(np.rint(film), 0, 255).astype(np.uint8)


def with_pillow(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def as_12_bits(film: Film) -> NDArray[np.uint16]:
    return np.rint(film / 255 * 4095).astype(np.uint16)


def with_numpy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_nibabel(film: np.ndarray, directions: tuple[int, int, int] = (-1, -1, 1)) -> bytes:
    """A NIfTI slice whose file axes run as told: +1 to right, front, head; -1 the other way."""
    turned = film.T[:: -directions[0], :: -directions[1], None]
    return nibabel.Nifti1Image(turned, np.diag([*map(float, directions), 1.0])).to_bytes()


def floating_nifti(film: Film) -> bytes:
    image = nibabel.Nifti1Image((film.T[..., None] * 2.5 - 100).astype(np.float32), -np.eye(4))
    image.header["cal_min"], image.header["cal_max"] = -100, 255 * 2.5 - 100
    return image.to_bytes()


def with_voi_lut(dataset: Dataset) -> Dataset:
    """The stored values are the film upside down in brightness; the LUT puts them right."""
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.LUTData = np.arange(4095, -1, -1, dtype="<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    dataset.VOILUTSequence = Sequence([item])
    return dataset


def compressed(dataset: Dataset, syntax: str) -> Dataset:
    dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def with_codec(make: Make, film: Film, kind: str, syntax: str, **options: object) -> Dataset:
    dataset = make(film)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([with_pillow(Image.fromarray(film), kind, **options)])
    return dataset


def dicom_ways(film: Film, make: Make, save: Save) -> dict[str, bytes]:
    deep = as_12_bits(film)
    signed = (deep.astype(np.int16) - 2048) & 0x0FFF
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    exact = {"WindowCenter": 2047.5, "WindowWidth": 4095, "VOILUTFunction": "LINEAR_EXACT"}
    linear = {"WindowCenter": [2048, 10], "WindowWidth": [4096, 20]}
    rescaled = {"RescaleSlope": 0.5, "RescaleIntercept": -1024}
    full = {"WindowCenter": 127.5, "WindowWidth": 255, "VOILUTFunction": "LINEAR_EXACT"}
    return {
        "8 bits": save(make(film)),
        "implicit": save(make(deep, 12), ImplicitVRLittleEndian),
        "big endian": save(make(deep, 12), ExplicitVRBigEndian),
        "deflated": save(make(deep, 12), DeflatedExplicitVRLittleEndian),
        "16 bits": save(make(film.astype(np.uint16) * 257)),
        "12 bits": save(make(deep, 12)),
        "12 bits under an overlay": save(make(deep | np.uint16(0x5000), 12)),
        "signed": save(make(signed.astype(np.int16), 12)),
        "MONOCHROME1": save(make(4095 - deep, 12, **inverted)),
        "rescaled": save(make(deep, 12, **rescaled)),
        "LINEAR_EXACT": save(make(deep, 12, **exact)),
        "LINEAR": save(make(deep, 12, **linear)),
        "window narrower than the bits": save(make(film.astype(np.uint16), **full)),
        "VOI LUT": save(with_voi_lut(make(4095 - deep, 12))),
        "RLE": save(compressed(make(deep, 12), RLELossless)),
        "JPEG 2000": save(compressed(make(deep, 12), JPEG2000Lossless)),
    }


def other_ways(film: Film) -> dict[str, bytes]:
    grey, deep = Image.fromarray(film), Image.fromarray(film.astype(np.uint16) * 257)
    return {
        "PNG": with_pillow(grey, "PNG"),
        "deep PNG": with_pillow(deep, "PNG"),
        "RGB PNG": with_pillow(grey.convert("RGB"), "PNG"),
        "BMP": with_pillow(grey, "BMP"),
        "TIFF": with_pillow(grey, "TIFF", compression="tiff_lzw"),
        "NumPy": with_numpy(film),
        "NumPy of one channel": with_numpy(film[..., None]),
        "NumPy RGB": with_numpy(np.repeat(film[..., None], 3, axis=2)),
        "big-endian NumPy": with_numpy((film.astype(np.uint16) * 257).astype(">u2")),
        "NumPy in Fortran order": with_numpy(np.asfortranarray(film)),
        "NIfTI LPS": with_nibabel(film),
        "NIfTI RAS": with_nibabel(film, (1, 1, 1)),
        "NIfTI LAS": with_nibabel(film, (-1, 1, -1)),
        "gzipped NIfTI": gzip.compress(with_nibabel(film.astype(np.int32) * 257)),
        "floating NIfTI": floating_nifti(film),
    }


@pytest.fixture(scope="module")
def film() -> Film:
    return make_film()


@pytest.fixture(scope="module")
def ways(film: Film, dicom_dataset: Make, save_dicom: Save) -> dict[str, bytes]:
    return dicom_ways(film, dicom_dataset, save_dicom) | other_ways(film)


def share_of_white(decoded: DecodedImage) -> NDArray[np.float64]:
    return decoded.pixels / np.iinfo(decoded.pixels.dtype).max


def test_lossless_ways_give_the_same_film(film: Film, ways: dict[str, bytes]) -> None:
    assert len(ways) >= 14
    for way, data in ways.items():
        decoded = decode_image(data, color="grey")
        assert decoded.pixels.shape == film.shape, way
        assert np.abs(share_of_white(decoded) - film / 255).max() <= 1 / 255, way


def test_header_agrees_with_the_pixels_in_every_way(ways: dict[str, bytes]) -> None:
    for way, data in ways.items():
        header, decoded = read_header(data), decode_image(data, color="grey")
        assert (header.height, header.width) == decoded.pixels.shape, way
        assert header.is_deep == (decoded.pixels.dtype == np.uint16), way
        assert header.is_color == ("RGB" in way), way
        assert header.mode == decoded.mode, way


def test_rgb_is_grey_three_times_in_every_way(ways: dict[str, bytes]) -> None:
    for way, data in ways.items():
        rgb = decode_image(data, color="rgb").pixels
        grey = decode_image(data, color="grey").pixels
        assert rgb.flags.c_contiguous and rgb.flags.writeable, way
        np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=2), way)


def test_jpeg_gives_nearly_the_same_film(film: Film, dicom_dataset: Make, save_dicom: Save) -> None:
    for data in (
        with_pillow(Image.fromarray(film), "JPEG", quality=90),
        save_dicom(with_codec(dicom_dataset, film, "JPEG", JPEGBaseline8Bit, quality=90)),
    ):
        error = np.abs(share_of_white(decode_image(data, color="grey")) - film / 255)
        assert error.mean() <= 2 / 255


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_monochrome1_is_exactly_the_negative_of_its_negative(
    bits: int, dicom_dataset: Make, save_dicom: Save
) -> None:
    white = 2**bits - 1
    dtype = np.uint8 if bits == 8 else np.uint16
    stored = np.random.default_rng(bits).integers(0, white + 1, (40, 30)).astype(dtype)
    plain = save_dicom(dicom_dataset(stored, bits))
    negative = dicom_dataset(
        (white - stored).astype(dtype), bits, PhotometricInterpretation="MONOCHROME1"
    )
    np.testing.assert_array_equal(
        decode_image(save_dicom(negative), color="grey").pixels,
        decode_image(plain, color="grey").pixels,
    )
