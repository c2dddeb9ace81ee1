"""A DICOM film is shown as the standard says; pydicom's own functions are the oracle."""

import io
import logging
import threading
import warnings
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from medimg_baseline_cls.data.read import (
    MAX_PIXELS,
    decode_image,
    is_image_name,
    read_header,
    starts_like_dicom,
)
from medimg_baseline_cls.errors import BadImageError

Values = NDArray[Any]


def make_dataset(values: Values, *, bits: int | None = None, **tags: Any) -> Dataset:
    """A grey film of these stored values; tags given overwrite the defaults, None removes."""
    allocated = values.dtype.itemsize * 8
    stored = bits or allocated
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid()
    plain: dict[str, Any] = {
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelData": values.tobytes() + b"\0" * (values.nbytes % 2),
    }
    for name, value in (plain | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return dataset


def to_bytes(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is written here is wrong on purpose
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def make_dicom(values: Values, *, bits: int | None = None, **tags: Any) -> bytes:
    return to_bytes(make_dataset(values, bits=bits, **tags))


def make_lut(entries: list[int], *, first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.array(entries, "<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "SS" if first < 0 else "US", "OW"
    return [item]


def every_value(bits: int, *, signed: bool = False, allocated: int = 16) -> Values:
    start = -(1 << (bits - 1)) if signed else 0
    kind = f"{'i' if signed else 'u'}{allocated // 8}"
    return np.arange(start, start + (1 << bits)).astype(kind).reshape(-1, 16)


def unit(data: bytes) -> NDArray[np.float64]:
    pixels = decode_image(data, color="grey").pixels
    return pixels / np.iinfo(pixels.dtype).max


@pytest.mark.parametrize(
    ("bits", "allocated", "signed"),
    [(8, 8, False), (8, 8, True), (8, 16, False), (10, 16, False), (12, 16, True), (16, 16, True)],
)
def test_without_a_window_the_full_range_of_the_stored_bits_is_shown(
    bits: int, allocated: int, signed: bool
) -> None:
    values = every_value(bits, signed=signed, allocated=allocated)
    data = make_dicom(values, bits=bits)
    decoded = decode_image(data, color="grey")
    assert decoded.pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    expected = np.linspace(0, 1, 1 << bits).reshape(values.shape)
    tolerance = 0.5 / np.iinfo(decoded.pixels.dtype).max + 1e-9
    assert np.abs(unit(data) - expected).max() <= tolerance
    header = read_header(data)
    assert header.is_deep == (bits > 8) and not header.is_color
    assert (header.width, header.height, header.mode) == (16, len(values), f"MONOCHROME2;{bits}")


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@given(
    center=st.floats(-3000, 3000).map(lambda x: round(x, 2)),
    width=st.floats(1.01, 9000).map(lambda x: round(x, 2)),
    slope=st.sampled_from([1.0, 0.25, 2.5, -1.5]),
    intercept=st.sampled_from([0.0, -1024.0, 37.5]),
    signed=st.booleans(),
)
@settings(deadline=None, max_examples=15)
def test_rescale_and_window_are_those_of_pydicom(
    function: str | None, center: float, width: float, slope: float, intercept: float, signed: bool
) -> None:
    values = every_value(12, signed=signed)
    tags = {"WindowCenter": [center, 7], "WindowWidth": [width, 9], "VOILUTFunction": function}
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    dataset = make_dataset(values, bits=12, **tags, **rescale)
    data = to_bytes(dataset)
    with np.errstate(over="ignore"):
        shown = apply_voi_lut(apply_modality_lut(values, dataset), dataset)
    ends = np.array([values.min(), values.max()]) * slope + intercept
    expected = (shown - ends[0]) / (ends[1] - ends[0])  # pydicom's are in units of the range
    assert np.abs(unit(data) - expected).max() <= 0.5 / 65535 + 1e-9


def test_window_of_width_1_is_a_threshold() -> None:
    values = np.arange(16, dtype=np.uint8)[None].repeat(2, 0)
    shown = decode_image(make_dicom(values, WindowCenter=8, WindowWidth=1), color="grey").pixels
    assert shown[0].tolist() == [0] * 8 + [255] * 8  # PS3.3 C.11.2.1.2.1: x > c - 0.5


@pytest.mark.parametrize("first", [0, 100, -50])
def test_lookup_tables_are_applied_as_pydicom_does(first: int) -> None:
    values = every_value(9, signed=True)
    entries = np.random.default_rng(0).integers(0, 1024, 200).tolist()
    voi = make_dataset(values, bits=9, VOILUTSequence=make_lut(entries, first=first, bits=10))
    data = to_bytes(voi)
    expected = apply_voi_lut(values.astype(np.int32), voi) / 1023
    assert np.abs(unit(data) - expected).max() <= 0.5 / 65535 + 1e-9
    modality = make_dataset(
        values, bits=9, ModalityLUTSequence=make_lut(entries, first=first, bits=16)
    )
    data = to_bytes(modality)
    expected = apply_modality_lut(values.astype(np.int32), modality) / max(entries)
    assert np.abs(unit(data) - expected).max() <= 0.5 / 65535 + 1e-9


def test_lookup_table_goes_before_the_window() -> None:
    values = np.array([[0, 1], [2, 3]], np.uint8)
    lut = make_lut([0, 255, 51, 102], first=0, bits=8)
    data = make_dicom(values, VOILUTSequence=lut, WindowCenter=1, WindowWidth=1)
    assert decode_image(data, color="grey").pixels.tolist() == [[0, 255], [51, 102]]


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 10, 12, 16]),
    window=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_monochrome1_is_exactly_monochrome2_of_the_negative(
    seed: int, bits: int, window: bool
) -> None:
    random = np.random.default_rng(seed)
    top = (1 << bits) - 1
    values = random.integers(0, top + 1, (40, 30)).astype(np.uint8 if bits == 8 else np.uint16)
    center, width = int(random.integers(0, top)), int(random.integers(2, top))
    tags = {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": "LINEAR_EXACT"}
    mirrored = tags | {"WindowCenter": top - center}
    positive = make_dicom(values, bits=bits, **(tags if window else {}))
    negative = make_dicom(
        (top - values).astype(values.dtype),
        bits=bits,
        PhotometricInterpretation="MONOCHROME1",
        **(mirrored if window else {}),
    )
    np.testing.assert_array_equal(
        decode_image(positive, color="grey").pixels, decode_image(negative, color="grey").pixels
    )


def test_bits_above_the_stored_ones_are_masked() -> None:
    values = np.array([[0, 4095, 100]], np.uint16)
    clean = decode_image(make_dicom(values, bits=12), color="grey").pixels
    overlay = decode_image(make_dicom(values | 0xA000, bits=12), color="grey").pixels
    np.testing.assert_array_equal(overlay, clean)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_in_both_photometric_interpretations(photometric: str) -> None:
    values = np.array([[7, 10, 11, 12, 13, 4000]], np.uint16)
    tags: dict[str, Any] = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 10}
    plain = decode_image(
        make_dicom(values, bits=12, **tags | {"PixelPaddingValue": None}), color="grey"
    )
    one = decode_image(make_dicom(values, bits=12, **tags), color="grey").pixels
    several = decode_image(
        make_dicom(values, bits=12, PixelPaddingRangeLimit=12, **tags), color="grey"
    ).pixels
    assert one[0, 1] == 0 and (several[0, 1:4] == 0).all()
    np.testing.assert_array_equal(one[0, 2:], plain.pixels[0, 2:])
    np.testing.assert_array_equal(several[0, 4:], plain.pixels[0, 4:])


def test_padding_beyond_the_stored_bits_is_black_and_the_brightest_value_is_not() -> None:
    values = np.array([[0xFFFF, 4095, 0]], np.uint16)
    pixels = decode_image(
        make_dicom(values, bits=12, PixelPaddingValue=0xFFFF), color="grey"
    ).pixels
    assert pixels.tolist() == [[0, 65535, 0]]  # masked to 12 bits, both would be white
    signed = np.array([[-2000, 5]], np.int16)
    pixels = decode_image(make_dicom(signed, PixelPaddingValue=-2000), color="grey").pixels
    assert pixels[0, 0] == 0 and pixels[0, 1] > 32768


@pytest.mark.parametrize(
    "syntax",
    [
        *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
        *(DeflatedExplicitVRLittleEndian, RLELossless, JPEG2000Lossless),
    ],
)
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_transfer_syntax_gives_the_same_pixels(syntax: str, bits: int, signed: bool) -> None:
    values = (every_value(8, allocated=16) << (bits - 8)) + (1 if bits > 8 else 0)
    values = np.tile(values.astype(np.int32) - signed * (1 << (bits - 1)), (4, 4))
    values = values.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    expected = decode_image(make_dicom(values, bits=bits), color="grey").pixels
    if syntax == ExplicitVRBigEndian and bits > 8:
        dataset = make_dataset(values, bits=bits, PixelData=values.byteswap().tobytes())
    else:
        dataset = make_dataset(values, bits=bits)
    if pydicom.uid.UID(syntax).is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(syntax, generate_instance_uid=False)
    data = to_bytes(dataset, syntax)
    np.testing.assert_array_equal(decode_image(data, color="grey").pixels, expected)


def test_rgb_of_a_film_is_replicated() -> None:
    data = make_dicom(every_value(12), bits=12)
    grey, rgb = (decode_image(data, color=color).pixels for color in ("grey", "rgb"))
    np.testing.assert_array_equal(rgb, np.stack([grey] * 3, axis=2))


def test_patient_id_is_for_memory_alone() -> None:
    values = np.zeros((4, 4), np.uint8)
    header = read_header(make_dicom(values, PatientID="  P-0042 ", PatientName="Doe^Jane"))
    assert header.patient_id == "P-0042"
    assert "0042" not in repr(header) and "Doe" not in repr(header)
    assert read_header(make_dicom(values, PatientID="")).patient_id is None
    assert read_header(make_dicom(values)).patient_id is None


def test_reading_a_damaged_file_tells_nothing_of_the_patient() -> None:
    values = np.zeros((4, 4), np.uint8)
    data = make_dicom(values, WindowCenter="12", WindowWidth="44", PatientID="P-0042")
    for bad in (data.replace(b"12", b"P4"), data.replace(b"MONOCHROME2 ", b"Doe^Jane1234")):
        with pytest.raises(BadImageError) as caught:
            decode_image(bad, color="grey")
        assert not any(text in str(caught.value) for text in ("P4", "Doe", "0042"))


FILM = np.arange(64, dtype=np.uint16).reshape(8, 8)
BYTES = FILM.astype(np.uint8)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "rgb": ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "are RGB"),
    "ybr": ({"PhotometricInterpretation": "YBR_FULL"}, "are YBR_FULL"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    "no photometric interpretation": ({"PhotometricInterpretation": None}, "color model"),
    "three samples": ({"SamplesPerPixel": 3}, "3 samples"),
    "frames": ({"NumberOfFrames": 3}, "3 frames"),
    "no pixels": ({"PixelData": b""}, "no pixel data"),
    "no rows": ({"Rows": None}, "no Rows"),
    "zero columns": ({"Columns": 0}, "no pixels"),
    "too many pixels": ({"Rows": 60000, "Columns": 60000}, "more than 50 million"),
    "more rows than pixels": ({"Rows": 9}, "cut off: 128 bytes of pixels, its header needs 144"),
    "32 bits": ({"BitsAllocated": 32, "BitsStored": 32}, "BitsAllocated is 32"),
    "1 bit": ({"BitsAllocated": 1, "BitsStored": 1}, "BitsAllocated is 1"),
    "more stored than allocated": ({"BitsStored": 20}, "BitsStored is 20"),
    "no bits stored": ({"BitsStored": 0}, "BitsStored is 0"),
    "left-aligned bits": ({"BitsStored": 12, "HighBit": 15}, "HighBit is 15, expected 11"),
    "odd representation": ({"PixelRepresentation": 7}, "PixelRepresentation is 7"),
    "slope 0": ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope .* is 0"),
    "window of width 0": ({"WindowCenter": 10, "WindowWidth": 0}, "WindowWidth .* is 0"),
    "negative window": ({"WindowCenter": 10, "WindowWidth": -5}, "WindowWidth .* is -5"),
    "unknown function": (
        {"WindowCenter": 10, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
        "VOILUTFunction .* unknown",
    ),
    "table too short": (
        {"VOILUTSequence": [Dataset()]},
        "VOILUTSequence of the DICOM file is damaged",
    ),
    "table beyond its bits": (
        {"VOILUTSequence": make_lut([0, 4000], first=0, bits=10)},
        "does not fit its 10 bits",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_grey_film_is_refused_with_its_reason(kind: str) -> None:
    tags, reason = REFUSED[kind]
    with pytest.raises(BadImageError, match=reason) as caught:
        decode_image(make_dicom(FILM, **tags), color="grey")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [b"nan ", b"inf ", b"-inf", b"abcd", b"1e99999 "])
@pytest.mark.parametrize(
    "keyword", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"]
)
def test_numbers_that_are_not_finite_are_refused(keyword: str, number: bytes) -> None:
    tags = {"WindowCenter": 1, "WindowWidth": 2, "RescaleSlope": 1, "RescaleIntercept": 0}
    dataset = make_dataset(FILM, **tags | {keyword: "77777777"[: len(number)]})
    data = to_bytes(dataset).replace(b"77777777"[: len(number)], number)
    with pytest.raises(BadImageError, match=keyword):
        decode_image(data, color="grey")


def test_file_without_preamble_is_called_so() -> None:
    data = make_dicom(FILM)
    for bare in (data[132:], to_bytes(make_dataset(FILM), ImplicitVRLittleEndian)[132:]):
        with pytest.raises(BadImageError, match="without its preamble"):
            read_header(bare)
    assert starts_like_dicom(data[:132]) and not starts_like_dicom(data[132:])


def test_missing_decoder_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(np.tile(FILM, (8, 8)))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    data = to_bytes(dataset, JPEG2000Lossless)
    decoder = pydicom.pixels.get_decoder(JPEG2000Lossless)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(BadImageError, match=r"pip install 'medimg-baseline-cls\[dicom\]'"):
        read_header(data)


def test_deflated_bomb_is_refused_before_it_fills_the_memory() -> None:
    dataset = make_dataset(FILM, PixelData=bytes(2 * MAX_PIXELS + (17 << 20)))
    data = to_bytes(dataset, DeflatedExplicitVRLittleEndian)
    assert len(data) < 1 << 20
    with pytest.raises(BadImageError, match="far too large"):
        read_header(data)


def jpeg_dicom(stream: bytes, **tags: Any) -> bytes:
    dataset = make_dataset(BYTES, PixelData=encapsulate([stream]), **tags)
    dataset["PixelData"].is_undefined_length = True
    return to_bytes(dataset, JPEGBaseline8Bit)


def jpeg(values: Values) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_compressed_picture_must_be_whole_and_of_the_size_that_the_header_says() -> None:
    whole = jpeg(BYTES)
    pixels = decode_image(jpeg_dicom(whole), color="grey").pixels
    assert np.abs(pixels.astype(int) - BYTES).mean() <= 2
    for stream, reason in (
        (jpeg(np.zeros((4000, 4000), np.uint8)), "compressed image is 4000 x 4000"),
        (whole[:-40], "cut off"),
        (b"\xff\xd8" + bytes(100), "do not begin"),
        (whole[10:], "do not begin"),
    ):
        with pytest.raises(BadImageError, match=reason):
            read_header(jpeg_dicom(stream))


def test_reading_leaves_pydicom_and_the_log_as_they_were(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    level = logging.getLogger("pydicom").level
    before = (config.settings.reading_validation_mode, list(warnings.filters), level)
    data = make_dicom(FILM, PixelData=FILM.tobytes() + bytes(1000))
    for bad in (data, data[: len(data) - 600], data[:200], jpeg_dicom(jpeg(BYTES))):
        try:
            decode_image(bad, color="grey")
        except BadImageError:
            continue
    level = logging.getLogger("pydicom").level
    assert before == (config.settings.reading_validation_mode, list(warnings.filters), level)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_threads_read_what_one_reads() -> None:
    datas = [make_dicom(every_value(12) ^ np.uint16(k), bits=12) for k in range(8)]
    datas += [jpeg_dicom(jpeg(BYTES)), b"nothing", make_dicom(FILM)[:300]]
    found: list[list[Any]] = []

    def read_all() -> None:
        found.append([outcome(data) for data in datas])

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[outcome(data) for data in datas]] * 4


def outcome(data: bytes) -> tuple[str, Any]:
    try:
        decoded = decode_image(data, color="grey")
    except BadImageError as error:
        return "refused", str(error)
    return decoded.mode, decoded.pixels.tobytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.dcm", True), ("a.DICOM", True), ("a.ima", True), ("a.nii", True)),
        *(("a.NII.gz", True), ("a.npy", True), ("a b.PNG", True), ("a.gz", False)),
        *(("a.npz", False), (".dcm", False), (".nii.gz", False), ("IM000001", False)),
    ],
)
def test_image_names_are_known_by_their_end(name: str, expected: bool) -> None:
    assert is_image_name(name) is expected


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("bits", [12, 13, 16])
@pytest.mark.parametrize("top", [4095, 2047, 300])
def test_the_range_of_a_lut_is_its_own_where_its_descriptor_promises_more(
    keyword: str, bits: int, top: int
) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    entries = np.rint(np.arange(4096) / 4095 * top).astype(int)
    data = make_dicom(values, bits=12, **{keyword: make_lut(list(entries), first=0, bits=bits)})
    pixels = decode_image(data, color="grey").pixels
    assert np.abs(pixels / 65535 - entries.reshape(64, 64) / top).max() <= 1e-4
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    lut = {keyword: make_lut(list(entries), first=0, bits=bits)}
    negative = decode_image(make_dicom(values, bits=12, **lut, **inverted), color="grey").pixels
    assert np.abs(negative - (65535.0 - pixels)).max() <= 1


def test_a_lut_that_uses_its_bits_keeps_the_white_of_its_descriptor() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    lut = make_lut(list(np.rint(np.arange(4096) / 4095 * 3000).astype(int)), first=0, bits=12)
    pixels = decode_image(make_dicom(values, bits=12, VOILUTSequence=lut), color="grey").pixels
    assert abs(int(pixels.max()) - 3000 / 4095 * 65535) <= 1


def first_as(first: int, vr: str) -> int:
    """The same 16 bits, read with or without a sign."""
    return first & 0xFFFF if vr == "US" else ((first & 0xFFFF) ^ 0x8000) - 0x8000


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize(
    ("intercept", "is_signed", "first", "bits"),
    [(-1024, False, -1024, 12), (0, True, -2048, 12), (-32768, False, -32768, 16)],
)
def test_the_first_value_of_a_voi_lut_has_the_sign_of_the_pixels(
    vr: str, intercept: int, is_signed: bool, first: int, bits: int
) -> None:
    stored = np.linspace(0, (1 << bits) - 1, 4096).astype(np.int64).reshape(64, 64)
    stored -= (1 << (bits - 1)) * is_signed
    values = stored.astype(np.int16 if is_signed else np.uint16)
    entries = list(np.arange(4096) * 16)
    lut = make_lut(entries, first=0, bits=16)
    lut[0].add_new(0x00283002, vr, [4096, first_as(first, vr), 16])
    tags = {"RescaleSlope": 1, "RescaleIntercept": intercept, "VOILUTSequence": lut}
    pixels = decode_image(make_dicom(values, bits=bits, **tags), color="grey").pixels
    where = np.clip(stored + intercept - first, 0, 4095)
    assert np.abs(pixels / 65535 - np.array(entries)[where] / 65535).max() <= 1e-4


def test_the_first_value_of_a_modality_lut_may_be_beyond_the_signed_range() -> None:
    values = np.linspace(40000, 44095, 4096).astype(np.uint16).reshape(64, 64)
    lut = make_lut(list(range(4096)), first=0, bits=12)
    for vr in ("US", "SS"):
        lut[0].add_new(0x00283002, vr, [4096, first_as(40000, vr), 12])
        data = make_dicom(values, bits=16, ModalityLUTSequence=lut)
        pixels = decode_image(data, color="grey").pixels
        assert np.abs(pixels / 65535 - (values - 40000.0) / 4095).max() <= 1e-4


def test_a_lut_of_other_values_than_the_pixels_is_refused() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    lut = make_lut(list(range(256)), first=5000, bits=8)
    with pytest.raises(BadImageError, match="VOILUTSequence .* not of the values of its pixels"):
        decode_image(make_dicom(values, bits=12, VOILUTSequence=lut), color="grey")
