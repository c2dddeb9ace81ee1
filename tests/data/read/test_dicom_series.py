"""A DICOM series is the volume that its positions tell, whatever the files are called."""

import io
from itertools import permutations, product
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless
from tests.dicom_series import SPACING, draw_slices, encode, join_frames, phantom

from medimg_baseline_cls.data.read import decode_volume, dicom, pack_files, read_volume_header
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.phantom.volume_folder import encode_nifti

CODES = [
    "".join(axes[i] for i in order)
    for order in permutations(range(3))
    for axes in product("LR", "PA", "SI")
]


def shuffled(slices: list[Dataset], syntax: str | None = None) -> bytes:
    order = np.random.default_rng(0).permutation(len(slices))
    return pack_files([encode(slices[i], *([syntax] if syntax else [])) for i in order])


def voxels_of(slices: list[Dataset]) -> NDArray[np.float32]:
    return decode_volume(shuffled(slices)).voxels


def remarks_of(slices: list[Dataset]) -> dict[str, str]:
    return dict(read_volume_header(shuffled(slices)).remarks)


@pytest.mark.parametrize("codes", CODES)
def test_one_volume_is_one_array_in_all_48_orientations(codes: str) -> None:
    voxels = phantom()[:, :24]
    slices = draw_slices(voxels, codes=codes)
    np.testing.assert_array_equal(voxels_of(slices), voxels)
    header = read_volume_header(shuffled(slices))
    assert (header.width, header.height, header.is_deep) == (32, 24, True)
    assert header.geometry is not None
    assert header.geometry.num_slices == 8
    assert header.geometry.spacing_mm == pytest.approx(SPACING)
    # Files order slices by the right-hand rule or against it: axes are those of the rule.
    assert header.geometry.axes[:2] == codes[:2]
    assert header.remarks == ()


def test_a_series_is_the_same_array_as_the_nifti_file_of_the_same_phantom() -> None:
    voxels = phantom(3, has_lesion=True)
    series, nifti = voxels_of(draw_slices(voxels)), decode_volume(encode_nifti(voxels)).voxels
    assert series.dtype == nifti.dtype
    np.testing.assert_array_equal(series, nifti)


def test_an_oblique_series_follows_the_nearest_axes() -> None:
    voxels, slices = phantom(), draw_slices(phantom())
    angle = np.deg2rad(20)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    for item in slices:
        item.ImagePositionPatient = list(turn @ np.array(item.ImagePositionPatient, float))
        cosines = np.array(item.ImageOrientationPatient, float).reshape(2, 3)
        item.ImageOrientationPatient = [float(f"{v:.6f}") for v in (cosines @ turn.T).ravel()]
    np.testing.assert_array_equal(voxels_of(slices), voxels)
    assert remarks_of(slices) == {}


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_slices_are_the_same(syntax: str) -> None:
    slices = draw_slices(phantom())
    np.testing.assert_array_equal(decode_volume(shuffled(slices, syntax)).voxels, phantom())
    enhanced = encode(join_frames(draw_slices(phantom())), syntax)
    np.testing.assert_array_equal(decode_volume(enhanced).voxels, phantom())


def test_decoders_in_a_process_of_their_own_get_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes) -> NDArray[Any]:
        return pydicom.dcmread(io.BytesIO(data)).pixel_array

    monkeypatch.setattr(dicom, "_choose_plugin", lambda _: "gdcm")
    monkeypatch.setattr(dicom, "decode_isolated", decode)
    slices = draw_slices(phantom())
    np.testing.assert_array_equal(voxels_of(slices), phantom())
    whole = encode(join_frames(slices))
    np.testing.assert_array_equal(decode_volume(whole).voxels, phantom())


def test_frames_of_one_file_are_slices_by_their_positions() -> None:
    slices = draw_slices(phantom(), codes="PIL")
    order = np.random.default_rng(1).permutation(len(slices))
    data = encode(join_frames([slices[i] for i in order]))
    np.testing.assert_array_equal(decode_volume(data).voxels, phantom())
    assert read_volume_header(data).remarks == ()
    single = [encode(join_frames([item])) for item in slices]
    np.testing.assert_array_equal(decode_volume(pack_files(single)).voxels, phantom())


def test_each_slice_has_its_own_rescaling() -> None:
    slices = draw_slices(phantom())
    for number, item in enumerate(slices):
        stored = np.frombuffer(item.PixelData, "<u2")
        item.RescaleIntercept = -1024 - number
        item.PixelData = (stored + np.uint16(number)).tobytes()
    np.testing.assert_array_equal(voxels_of(slices), phantom())


def test_padding_becomes_the_lowest_value() -> None:
    slices = draw_slices(phantom())
    expected = phantom().astype(np.float32)
    pixels = np.frombuffer(slices[2].PixelData, "<u2").copy()
    pixels[:40] = 4000
    slices[2].PixelData = pixels.tobytes()
    for item in slices:
        item.add_new("PixelPaddingValue", "US", 4000)
    rest = np.delete(expected.reshape(8, -1)[2], range(40)).min()
    expected.reshape(8, -1)[2, :40] = min(rest, np.delete(expected, 2, axis=0).min())
    np.testing.assert_array_equal(voxels_of(slices), expected)


def plain_slices(**tags: Any) -> list[Dataset]:
    values = np.abs(phantom()) % 4096
    return draw_slices(
        values.astype(np.int16), **{"RescaleSlope": None, "RescaleIntercept": None, **tags}
    )


def test_black_and_white_are_known_of_plain_values_alone() -> None:
    assert decode_volume(shuffled(plain_slices())).full_range == (0, 4095)
    assert decode_volume(shuffled(draw_slices(phantom()))).full_range is None
    signed = plain_slices(PixelRepresentation=1)
    assert decode_volume(shuffled(signed)).full_range is None


def test_monochrome1_is_mirrored_in_the_range_of_the_stored_bits() -> None:
    usual, inverted = plain_slices(), plain_slices(PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(voxels_of(inverted), 4095 - voxels_of(usual))


def test_patient_id_is_kept_in_memory_and_must_be_one() -> None:
    slices = draw_slices(phantom(), PatientID="P-0042")
    header = read_volume_header(shuffled(slices))
    assert header.patient_id == "P-0042"
    assert "0042" not in repr(header)
    slices[3].PatientID = "P-0043"
    with pytest.raises(BadImageError, match="2 different PatientIDs"):
        read_volume_header(shuffled(slices))


def localizer(**tags: Any) -> Dataset:
    item = draw_slices(phantom(), codes="PIL")[0]
    item.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def test_what_does_not_belong_is_left_out_and_said() -> None:
    slices = draw_slices(phantom())
    whole = voxels_of(slices)
    small = draw_slices(phantom()[:, :8, :8])[0]
    found = [*slices, slices[5], localizer(), small, localizer(ImageType=["DERIVED"])]
    np.testing.assert_array_equal(voxels_of(found), whole)
    assert remarks_of(found) == {
        "copies of slices": "1 left out",
        "localizers": "1 left out",
        "images of another size, spacing or orientation": "2 left out",
    }


def test_gaps_are_said_with_their_places() -> None:
    slices = draw_slices(phantom(num_slices=12))
    places = [float(item.ImagePositionPatient[2]) for item in slices]
    missing = [item for i, item in enumerate(slices) if i not in (3, 7, 8)]
    assert remarks_of(missing) == {
        "missing slices": f"1 after {places[2]:g} mm, 2 after {places[6]:g} mm"
    }
    assert len(voxels_of(missing)) == 9
    slices[4].ImagePositionPatient[2] += 0.2
    assert remarks_of(slices) == {}  # a tenth of the distance is not worth a word
    slices[4].ImagePositionPatient[2] += 0.6
    assert remarks_of(slices) == {"uneven distances between slices": "1.7 to 3.3 mm, mostly 2.5 mm"}


def test_without_positions_instance_numbers_are_the_order() -> None:
    slices = draw_slices(phantom(), ImageOrientationPatient=None)
    np.testing.assert_array_equal(voxels_of(slices), phantom())
    assert remarks_of(slices) == {
        "order": "by InstanceNumber, as the files do not give position and orientation"
    }
    geometry = read_volume_header(shuffled(slices)).geometry
    assert geometry is not None
    assert (geometry.num_slices, geometry.spacing_mm, geometry.axes) == (8, None, "")
    del slices[2].InstanceNumber
    with pytest.raises(BadImageError, match="the order of the slices is unknown"):
        voxels_of(slices)


def test_frames_with_one_position_for_the_whole_file_are_in_their_order() -> None:
    slices = draw_slices(phantom())
    whole = join_frames(slices)
    del whole.PerFrameFunctionalGroupsSequence
    whole.ImagePositionPatient = slices[0].ImagePositionPatient
    np.testing.assert_array_equal(voxels_of([whole]), phantom())
    assert remarks_of([whole])["order"].startswith("by InstanceNumber")


def test_ct_without_a_rescale_is_said() -> None:
    for modality, found in (("CT", {"CT without a rescale"}), ("MR", set())):
        slices = without_rescale(8)
        for item in slices:
            item.Modality = modality
        assert remarks_of(slices).keys() == found


def test_a_pixel_spacing_of_zero_is_none() -> None:
    slices = draw_slices(phantom(), PixelSpacing=[0, 0])
    assert read_volume_header(shuffled(slices)).spacing_mm is None


def changed(number: int, **tags: Any) -> list[Dataset]:
    slices = draw_slices(phantom())
    for name, value in tags.items():
        setattr(slices[number], name, value)
    return slices


def time_points() -> list[Dataset]:
    return [*draw_slices(phantom()), *draw_slices(phantom(1))]


def other_at_one_place() -> list[Dataset]:
    slices = draw_slices(phantom())
    slices[1].ImagePositionPatient = slices[2].ImagePositionPatient
    return slices


def same_number() -> list[Dataset]:
    slices = draw_slices(phantom(), ImageOrientationPatient=None)
    for item in slices:
        item.InstanceNumber = 1
    return slices


def same_place() -> list[Dataset]:
    slices = draw_slices(phantom())
    for item in slices:
        item.ImagePositionPatient = [0, 0, 5]
    return slices


def modality_lut() -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    return item


def without_rescale(number: int) -> list[Dataset]:
    slices = draw_slices(phantom())
    for item in slices[:number]:
        del item.RescaleSlope, item.RescaleIntercept
    return slices


def some(number: int, **tags: Any) -> list[Dataset]:
    """Return slices of which the first ones have these tags; None is an empty one."""
    slices = draw_slices(phantom())
    for item in slices[:number]:
        for name, value in tags.items():
            setattr(item, name, value)
    return slices


def without_intercept(number: int) -> list[Dataset]:
    slices = draw_slices(phantom())
    for item in slices[:number]:
        del item.RescaleIntercept
    return slices


@pytest.mark.parametrize(
    ("slices", "found"),
    [
        (without_intercept(3), "5 of 8 slices of the series have a RescaleIntercept"),
        (some(2, RescaleIntercept=None), "6 of 8 slices of the series have a RescaleIntercept"),
        (some(1, RescaleSlope=None), "7 of 8 slices of the series have a RescaleSlope"),
        (some(7, RescaleSlope=""), "1 of 8 slices of the series have a RescaleSlope"),
        (some(3, PhotometricInterpretation="MONOCHROME1"), "3 of 8 .* interpretation MONOCHROME1"),
        (some(4, ModalityLUTSequence=[modality_lut()]), "4 of 8 .* have a ModalityLUTSequence"),
    ],
)
def test_slices_in_different_units_are_refused(slices: list[Dataset], found: str) -> None:
    for read in (read_volume_header, decode_volume):
        with pytest.raises(BadImageError, match=f"{found}.*, expected all or none: their values"):
            read(shuffled(slices))


def test_an_empty_rescale_in_all_slices_is_none() -> None:
    slices = some(8, RescaleSlope=None, RescaleIntercept=None, Modality="CT")
    assert remarks_of(slices).keys() == {"CT without a rescale"}
    np.testing.assert_array_equal(voxels_of(slices), phantom() + 1024)


def test_an_intercept_of_0_is_one() -> None:
    slices = some(3, RescaleIntercept=0)
    voxels = phantom()
    voxels[:3] += 1024  # the lowest slices are the first
    np.testing.assert_array_equal(voxels_of(slices), voxels)


REFUSED = {
    "one number": (same_number, "all 8 images of the series have one InstanceNumber"),
    "one position": (same_place, r"all 8 images of the series are at one position \(5 mm\)"),
    "one image": (lambda: draw_slices(phantom())[:1], "has 1 image, expected the slices"),
    "two copies": (lambda: [draw_slices(phantom())[0]] * 2, "has 1 image and 1 copy of it, exp"),
    "copies": (lambda: [draw_slices(phantom())[0]] * 5, "has 1 image and 4 copies of it, expected"),
    "scouts": (lambda: [localizer(), localizer()], "consists of localizers"),
    "time points": (time_points, "2 different images at each of 8 positions, such as acqu"),
    "one place": (other_at_one_place, r"different images at the same position \(105 mm\)"),
    "two spacings": (
        lambda: [*draw_slices(phantom())[:4], *draw_slices(phantom(), PixelSpacing=[2, 2])[4:]],
        "4 of 8 images of the series have another size, spacing or orientation",
    ),
    "some rescaled": (
        lambda: without_rescale(2),
        "6 of 8 slices of the series have a RescaleSlope, expected all or none",
    ),
    "two stacks": (
        lambda: [*draw_slices(phantom()), *draw_slices(phantom(), codes="PIL")[:8]],
        "8 of 16 images of the series have another size, spacing or orientation",
    ),
    "no directions": (
        lambda: draw_slices(phantom(), ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        "not two directions at right angles",
    ),
    "no numbers": (lambda: changed(3, PixelSpacing=[1]), "PixelSpacing .* not 2 finite numbers"),
    "color": (
        lambda: changed(0, PhotometricInterpretation="RGB"),
        r"a file of [\d,]+ bytes: the DICOM pixels are RGB",
    ),
    "cut off": (lambda: changed(0, PixelData=b"\0\0"), "bytes: the file is cut off: 2 bytes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_one_volume_is_refused_with_the_reason(kind: str) -> None:
    make, reason = REFUSED[kind]
    for read in (read_volume_header, decode_volume):
        with pytest.raises(BadImageError, match=reason):
            read(shuffled(make()))


def test_damaged_files_refuse_the_case() -> None:
    files = [encode(item) for item in draw_slices(phantom())]
    for damaged, reason in ((b"text", "4 bytes: this is not an image"), (files[0][:-9], "cut off")):
        with pytest.raises(BadImageError, match=reason):
            decode_volume(pack_files([*files[1:], damaged]))
    with pytest.raises(BadImageError, match="the files of the case are cut off"):
        decode_volume(pack_files(files)[:-1])
    frames = join_frames(draw_slices(phantom()))
    del frames.PerFrameFunctionalGroupsSequence[0]
    with pytest.raises(BadImageError, match="has 8 frames, but describes 7"):
        decode_volume(encode(frames))
    frames = join_frames(draw_slices(phantom()))
    frames.PixelData = frames.PixelData[:-2]
    with pytest.raises(BadImageError, match="is cut off: 16382 bytes of pixels for 8 frames"):
        decode_volume(encode(frames))


@pytest.mark.parametrize("number", [None, 1, 7, ""])
def test_frames_without_positions_are_slices_in_their_order(number: int | str | None) -> None:
    frames = join_frames(draw_slices(phantom()))
    del frames.PerFrameFunctionalGroupsSequence, frames.SharedFunctionalGroupsSequence
    frames.RescaleSlope, frames.RescaleIntercept = 1, -1024
    if number is not None:  # of the whole file, and often empty
        frames.InstanceNumber = number
    data = encode(frames)
    np.testing.assert_array_equal(decode_volume(data).voxels, phantom())
    assert "order" in dict(read_volume_header(data).remarks)
