"""A DICOM film looks as pydicom's own pipeline shows it; what is no grey film is refused."""

import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    RLELossless,
)

from medimg_baseline_cls.data.read import (
    MAX_PIXELS,
    decode_image,
    is_image_name,
    read_header,
    starts_like_dicom,
)
from medimg_baseline_cls.errors import BadImageError

Make, Save = Callable[..., Dataset], Callable[..., bytes]


def values(bits: int, *, signed: bool = False, seed: int = 0) -> NDArray[np.integer]:
    low = -(1 << (bits - 1)) if signed else 0
    kind = ("i" if signed else "u") + ("1" if bits <= 8 else "2")
    drawn = np.random.default_rng(seed).integers(low, low + (1 << bits), (32, 40))
    return drawn.astype(kind)


def lut_item(entries: NDArray[np.integer], first: int, bits: int, *, signed: bool) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    return item


def grey(data: bytes) -> NDArray[np.float64]:
    pixels = decode_image(data, color="grey").pixels
    return pixels / np.iinfo(pixels.dtype).max


WINDOWS: dict[str, dict[str, object]] = {
    "LINEAR": {"WindowCenter": 1200, "WindowWidth": 1700},
    "LINEAR by name": {"WindowCenter": 300.5, "WindowWidth": 77.25, "VOILUTFunction": "LINEAR"},
    "width 1": {"WindowCenter": 700, "WindowWidth": 1},
    "exact": {"WindowCenter": 900, "WindowWidth": 0.5, "VOILUTFunction": "LINEAR_EXACT"},
    "SIGMOID": {"WindowCenter": 900, "WindowWidth": 800, "VOILUTFunction": "SIGMOID"},
    "first of two": {"WindowCenter": [900, 1], "WindowWidth": [1000, 2]},
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_agree_with_pydicom(
    name: str, signed: bool, dicom_dataset: Make, save_dicom: Save
) -> None:
    elements = {"RescaleSlope": 0.75, "RescaleIntercept": -200, **WINDOWS[name]}
    dataset = dicom_dataset(values(12, signed=signed), 12, **elements)
    if signed:  # the bits over BitsStored are not part of the value
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") & 0x0FFF).tobytes()
    shown = apply_voi_lut(apply_modality_lut(values(12, signed=signed), dataset), dataset)
    ends = np.array([-2048, 2047] if signed else [0, 4095]) * 0.75 - 200
    expected = (shown - ends[0]) / (ends[1] - ends[0])  # pydicom's output range
    np.testing.assert_allclose(grey(save_dicom(dataset)), expected, atol=1 / 65535)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (12, True), (8, False)])
def test_voi_lut_agrees_with_pydicom(
    bits: int, signed: bool, big_endian: bool, dicom_dataset: Make, save_dicom: Save
) -> None:
    entries = (np.linspace(0, 1, 600) ** 2 * 1023).astype(np.uint16)
    dataset = dicom_dataset(values(bits, signed=signed), bits)
    if signed:
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") & 0x0FFF).tobytes()
    first = -300 if signed else 20
    dataset.VOILUTSequence = Sequence([lut_item(entries, first, 10, signed=signed)])
    dataset.WindowCenter, dataset.WindowWidth = 5, 2  # the LUT goes before the window
    expected = apply_voi_lut(values(bits, signed=signed), dataset) / 1023
    data = save_dicom(dataset, ExplicitVRBigEndian if big_endian else None)
    np.testing.assert_allclose(grey(data), expected, atol=1 / 255 if bits == 8 else 1 / 65535)


def test_modality_lut_replaces_the_rescale(dicom_dataset: Make, save_dicom: Save) -> None:
    entries = np.sort(values(16).ravel())[:500]
    dataset = dicom_dataset(values(10), 10, RescaleSlope=3, RescaleIntercept=7)
    item = lut_item(entries, 100, 16, signed=False)
    item.ModalityLUTType = "OD"
    dataset.ModalityLUTSequence = Sequence([item])
    expected = apply_modality_lut(values(10), dataset) / 65535
    np.testing.assert_allclose(grey(save_dicom(dataset)), expected, atol=1 / 65535)


def test_lut_of_8_bit_entries_packed_in_words_is_unpacked(
    dicom_dataset: Make, save_dicom: Save
) -> None:
    entries = np.arange(255, -1, -1, dtype=np.uint8)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OW", entries.tobytes())
    dataset = dicom_dataset(values(8), VOILUTSequence=Sequence([item]))
    pixels = decode_image(save_dicom(dataset), color="grey").pixels
    np.testing.assert_array_equal(pixels, 255 - values(8))


def test_negative_slope_turns_the_brightness_round(dicom_dataset: Make, save_dicom: Save) -> None:
    dataset = dicom_dataset(values(12), 12, RescaleSlope=-2, RescaleIntercept=50)
    np.testing.assert_allclose(grey(save_dicom(dataset)), 1 - values(12) / 4095, atol=1 / 65535)


@pytest.mark.parametrize(("bits", "dtype"), [(7, "u1"), (8, "u1"), (9, "u2"), (16, "u2")])
def test_depth_follows_the_stored_bits(
    bits: int, dtype: str, dicom_dataset: Make, save_dicom: Save
) -> None:
    stored = values(bits).astype("u2")
    data = save_dicom(dicom_dataset(stored, bits))
    pixels = decode_image(data, color="grey").pixels
    white = 2**bits - 1
    assert pixels.dtype == dtype
    assert read_header(data).is_deep == (dtype == "u2")
    np.testing.assert_array_equal(pixels, np.rint(stored / white * np.iinfo(dtype).max))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("padding", "limit", "signed", "expected"),
    [
        (5, None, False, [5]),
        (4095, None, False, [4095]),
        (4090, 4095, False, [4090, 4093, 4095]),
        (4095, 4090, False, [4090, 4093, 4095]),
        (-2000, None, True, [-2000]),
        (-2000, -1990, True, [-2000, -1995]),
    ],
)
def test_padding_is_black(
    padding: int,
    limit: int | None,
    signed: bool,
    expected: list[int],
    photometric: str,
    dicom_dataset: Make,
    save_dicom: Save,
) -> None:
    inner = [-2000, -1995, 1, 2, 3] if signed else [5, 7, 4089, 4090, 4093, 4095]
    stored = np.array([inner], dtype="i2" if signed else "u2")
    dataset = dicom_dataset(stored, 12, PhotometricInterpretation=photometric)
    vr = "SS" if signed else "US"
    dataset.add_new("PixelPaddingValue", vr, padding)
    if limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", vr, limit)
    black = grey(save_dicom(dataset))[0] == 0
    is_end = np.array([photometric == "MONOCHROME1" and value == 4095 for value in inner])
    assert (black | is_end).tolist() == [
        v in expected or e for v, e in zip(inner, is_end, strict=True)
    ]


def test_padding_outside_the_stored_bits_is_found(dicom_dataset: Make, save_dicom: Save) -> None:
    stored = np.array([[0xF0FF, 0x00FF]], dtype=np.uint16)
    dataset = dicom_dataset(stored, 12)
    dataset.add_new("PixelPaddingValue", "SS", 0xF0FF - 65536)
    assert (grey(save_dicom(dataset)) > 0).tolist() == [[False, True]]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, False), (16, True)])
def test_compression_changes_nothing(
    syntax: str, bits: int, signed: bool, dicom_dataset: Make, save_dicom: Save
) -> None:
    dataset = dicom_dataset(values(bits, signed=signed), bits)
    plain = decode_image(save_dicom(dataset), color="grey").pixels
    dataset.compress(syntax, generate_instance_uid=False)
    packed = decode_image(save_dicom(dataset), color="grey").pixels
    np.testing.assert_array_equal(packed, plain)


def test_header_brings_the_patient_id_and_nothing_else(
    dicom_dataset: Make, save_dicom: Save
) -> None:
    named = dicom_dataset(values(8), PatientID=" P-017 ", PatientName="DOE^JANE")
    header = read_header(save_dicom(named))
    assert header.patient_id == "P-017"
    assert (header.width, header.height, header.mode) == (40, 32, "MONOCHROME2")
    assert "DOE" not in repr(header)
    assert read_header(save_dicom(dicom_dataset(values(8)))).patient_id is None
    assert read_header(save_dicom(dicom_dataset(values(8), PatientID=""))).patient_id is None


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "RGB": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "holds RGB pixels"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR pixels"),
    "frames": ({"NumberOfFrames": 2}, "2 frames, expected one"),
    "size": ({"Rows": 8000, "Columns": MAX_PIXELS // 8000 + 1}, "more than 50 million"),
    "no rows": ({"Rows": 0}, "no pixels"),
    "too few pixels": ({"Rows": 33}, "less than expected"),
    "high bit": ({"HighBit": 15, "BitsStored": 7}, "high bit 15, expected 6"),
    "bits": ({"BitsStored": 12, "HighBit": 11}, "12 bits in 8"),
    "window": ({"WindowCenter": 3, "WindowWidth": 0}, "window of width 0"),
    "function": ({"WindowCenter": 3, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "CUBIC"),
    "slope": ({"RescaleSlope": 0, "RescaleIntercept": 1}, "no range of values"),
    "steep": ({"RescaleSlope": "1e308", "RescaleIntercept": 1}, "no range of values"),
    "empty LUT": ({"VOILUTSequence": Sequence([Dataset()])}, "damaged VOILUTSequence"),
    "short LUT": (
        {"VOILUTSequence": Sequence([lut_item(np.arange(9), 0, 17, signed=False)])},
        "9 entries of 17 bits",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_grey_film_is_refused_with_its_reason(
    name: str, dicom_dataset: Make, save_dicom: Save
) -> None:
    elements, reason = REFUSED[name]
    data = save_dicom(dicom_dataset(values(8), **elements))
    with pytest.raises(BadImageError, match=reason):
        decode_image(data, color="grey")


@pytest.mark.parametrize(
    "keyword", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"]
)
@pytest.mark.parametrize("text", ["inf", "nan", "many"])
def test_numbers_that_are_not_finite_are_refused(
    keyword: str, text: str, dicom_dataset: Make, save_dicom: Save
) -> None:
    elements = {"WindowCenter": 1, "WindowWidth": 2, "RescaleSlope": 1, "RescaleIntercept": 0}
    dataset = dicom_dataset(values(8), **{**elements, keyword: "1234"})
    data = save_dicom(dataset)
    assert data.count(b"1234") == 1
    with pytest.raises(BadImageError, match=f"{keyword}|cannot be decoded"):
        decode_image(data.replace(b"1234", text.ljust(4).encode()), color="grey")


@pytest.mark.parametrize("keyword", ["PixelData", "Rows", "BitsStored", "PixelRepresentation"])
def test_missing_elements_are_named(keyword: str, dicom_dataset: Make, save_dicom: Save) -> None:
    dataset = dicom_dataset(values(8))
    del dataset[keyword]
    with pytest.raises(BadImageError, match="no pixel data" if keyword == "PixelData" else keyword):
        read_header(save_dicom(dataset))


def test_unknown_compression_is_named(dicom_dataset: Make, save_dicom: Save) -> None:
    data = save_dicom(dicom_dataset(values(8)))
    assert data.count(b"1.2.840.10008.1.2.1\0") == 1
    mpeg = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    with pytest.raises(BadImageError, match="DICOM file"):
        decode_image(mpeg, color="grey")


def test_missing_decoder_is_told_with_the_command_that_installs_it(
    dicom_dataset: Make, save_dicom: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dicom_dataset(values(8))
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    data = save_dicom(dataset)
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", False)
    with pytest.raises(
        BadImageError, match=r"JPEG 2000.*pip install 'medimg-baseline-cls\[dicom\]'"
    ):
        decode_image(data, color="grey")
    assert read_header(data).width == 40


def test_deflated_bomb_is_refused_before_it_is_inflated(
    dicom_dataset: Make, save_dicom: Save
) -> None:
    data = save_dicom(dicom_dataset(values(8)), DeflatedExplicitVRLittleEndian)
    assert decode_image(data, color="grey").width == 40
    start = 144 + int.from_bytes(data[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(2**24)
    body = b"".join(deflater.compress(block) for _ in range(12)) + deflater.flush()
    with pytest.raises(BadImageError, match="larger than one image"):
        read_header(data[:start] + body)
    with pytest.raises(BadImageError, match="truncated"):
        read_header(data[:-20])


def test_warnings_of_pydicom_stay_inside_in_every_thread(
    dicom_dataset: Make, save_dicom: Save
) -> None:
    dataset = dicom_dataset(values(8))
    dataset.PixelData += bytes(100)  # too much of it: pydicom warns
    data = save_dicom(dataset)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda _: decode_image(data, color="grey").pixels, range(40)))
    assert all(np.array_equal(pixels, values(8)) for pixels in decoded)
    assert warnings.filters == before


def test_names_and_beginnings_of_readable_files() -> None:
    for name in ("a.DCM", "a.dicom", "IM1.ima", "a.nii", "a.Nii.GZ", "a.npy", "a.JPG", "a.tif"):
        assert is_image_name(name), name
    for name in ("a.gz", "a.txt", "dcm", "a.npz", "a.dcm.txt"):
        assert not is_image_name(name), name
    assert starts_like_dicom(bytes(128) + b"DICM")
    assert not starts_like_dicom(b"DICM") and not starts_like_dicom(bytes(132))
