"""Which files are one case: series by their UID, images by their folder, a NIfTI file by itself."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from tests.dicom_series import draw_slices, encode, join_frames, phantom, write_files, write_series

from medimg_baseline_cls.data.folders.cases import find_cases, find_thin, list_case_files
from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.data.image_bytes import FolderSource
from medimg_baseline_cls.data.read import decode_volume
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.table import TableSettings, list_table
from medimg_baseline_cls.errors import BadImageError, DataError

RULE = LabelRule(columns=("label",))


def write_images(folder: Path, *, count: int = 3, name: str = "{}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (9, 8), 20 * number).save(folder / name.format(number))
    return folder


def paths_of(data: Path) -> list[str]:
    listing = list_images(data, has_volumes=True)
    return [file.path for file in listing.files]


def warnings_of(data: Path) -> dict[str, str]:
    listing = list_images(data, has_volumes=True)
    return {item.topic: item.warning for item in listing.inferences if item.warning}


def scout(**tags: object) -> Dataset:
    (item, *_) = draw_slices(phantom(), codes="PIL", ImageType=["DERIVED", "LOCALIZER"])
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def test_cases_are_folders_files_and_series(tmp_path: Path) -> None:
    write_series(tmp_path / "A/one", phantom())
    write_series(tmp_path / "A/deep/er", phantom(), name="IM{}")
    (tmp_path / "A/one/notes.txt").write_text("no image")
    (tmp_path / "A/one/Thumbs.db").write_bytes(b"no image")
    write_files(tmp_path / "A/frames", [join_frames(draw_slices(phantom()))])
    write_series(tmp_path / "A/two", phantom(), uid="1.2.3")
    write_series(tmp_path / "A/two", phantom(1), uid="1.2.4", name="x{}.dcm")
    write_images(tmp_path / "B/pictures")
    (tmp_path / "B/files").mkdir()
    for name in ("a.nii.gz", "b.nii"):
        nib.save(nib.Nifti1Image(phantom(), np.eye(4)), tmp_path / "B/files" / name)
    write_series(tmp_path / "B", phantom(2), uid="1.9")
    expected = ["A/deep/er", "A/frames", "A/one", "A/two/1.2.3", "A/two/1.2.4"]
    assert paths_of(tmp_path) == [
        *expected,
        "B/1.9",
        "B/files/a.nii.gz",
        "B/files/b.nii",
        "B/pictures",
    ]
    assert warnings_of(tmp_path) == {}
    source = FolderSource(tmp_path, has_volumes=True)
    for path, index in (("A/one", 0), ("A/two/1.2.3", 0), ("A/two/1.2.4", 1), ("B/1.9", 2)):
        found = decode_volume(source.read(path)).voxels
        np.testing.assert_array_equal(found, phantom(index))
    assert decode_volume(source.read("B/pictures")).voxels[:, 0, 0].tolist() == [0, 20, 40]


def test_below_a_split_the_class_is_one_level_down(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("A", "B"):
            write_series(tmp_path / split / label, phantom(), uid="1.5")
            write_series(tmp_path / split / label / "case", phantom())
    found = paths_of(tmp_path)
    assert found == [
        f"{s}/{c}/{n}" for s in ("test", "train") for c in "AB" for n in ("1.5", "case")
    ]


def test_images_directly_in_a_class_are_not_slices(tmp_path: Path) -> None:
    for label in "AB":
        write_images(tmp_path / label, count=2)
    assert paths_of(tmp_path) == ["A/0.png", "A/1.png", "B/0.png", "B/1.png"]


def test_what_is_left_out_is_said_with_the_case(tmp_path: Path) -> None:
    series = draw_slices(phantom(), uid="1.2")
    write_files(tmp_path / "A/ct", [*series, scout(), scout()])
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3.4"
    report.SeriesInstanceUID = "1.7"
    (tmp_path / "A/ct/report").write_bytes(encode(report))
    write_images(tmp_path / "A/ct", count=1, name="preview.png")
    write_images(tmp_path / "B/ct", count=2)
    nib.save(nib.Nifti1Image(phantom(), np.eye(4)), tmp_path / "B/ct/a.nii.gz")
    assert paths_of(tmp_path) == ["A/ct", "B/ct/a.nii.gz"]
    found = warnings_of(tmp_path)
    assert found.pop("files next to volumes").endswith(
        "in 1 case: B/ct/a.nii.gz (2 left out, such as 0.png)"
    )
    assert {kind: text.partition(" (")[2] for kind, text in found.items()} == {
        "DICOM files without an image": "1 left out, such as report)",
        "images next to DICOM files": "1 left out, such as preview.png)",
        "series of localizers or a single image": "2 left out, such as 008.dcm)",
    }
    read = FolderSource(tmp_path, has_volumes=True).read("A/ct")
    np.testing.assert_array_equal(decode_volume(read).voxels, phantom())


def test_the_content_of_a_series_does_not_depend_on_names(tmp_path: Path) -> None:
    slices = draw_slices(phantom())
    order = np.random.default_rng(0).permutation(len(slices))
    write_files(tmp_path / "a", slices)
    write_files(tmp_path / "b", [slices[i] for i in order], name="IM{}")
    source = FolderSource(tmp_path, has_volumes=True)
    assert source.read("a") == source.read("b")
    (tmp_path / "a/000.dcm").unlink()
    assert source.read("a") != source.read("b")


def test_slice_images_are_in_natural_order_without_their_masks(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "case", count=12, name="slice{}.png")
    write_images(folder, count=12, name="slice{}_mask.png")
    names = [path.name for path in list_case_files(folder)]
    assert names == [f"slice{number}.png" for number in range(12)]


def test_damaged_files_refuse_the_case_where_it_is_clear_which(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "A/one", phantom(), uid="1.2")
    (folder / "cut.dcm").write_bytes(b"text")
    source = FolderSource(tmp_path, has_volumes=True)
    with pytest.raises(BadImageError, match="a file of 4 bytes: this is not an image"):
        decode_volume(source.read("A/one"))
    write_series(folder, phantom(1), uid="1.3", name="x{}.dcm")
    assert find_cases(folder).series.keys() == {"1.2", "1.3"}
    assert find_cases(folder).remarks == (
        ("damaged files of unknown series", "1 left out, such as cut.dcm"),
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("uid", ["../../x", "", "Doe^Jane", ".."])
def test_an_odd_uid_is_never_a_path(uid: str, tmp_path: Path) -> None:
    write_files(tmp_path / "A", draw_slices(phantom(), uid="1.2"))
    items = draw_slices(phantom(1))
    for item in items:
        item.SeriesInstanceUID = uid
    write_files(tmp_path / "A", items, name="x{}.dcm")
    write_series(tmp_path / "B/case", phantom())
    assert paths_of(tmp_path) == ["A/0", "A/1.2", "B/case"]


def test_a_path_that_is_no_case_is_refused_with_what_there_is(tmp_path: Path) -> None:
    write_series(tmp_path / "two", phantom(), uid="1.2")
    write_series(tmp_path / "two", phantom(), uid="1.3", name="x{}.dcm")
    (tmp_path / "none").mkdir()
    source = FolderSource(tmp_path, has_volumes=True)
    for path, reason in (
        ("two", "has 2 series of slices, expected one, as in two/1.2"),
        ("none", "has 0 series of slices, expected one"),
        ("two/1.4", "the file is not there"),
        ("nowhere/1.4", "the file is not there"),
    ):
        with pytest.raises(BadImageError, match=reason):
            source.read(path)
    with pytest.raises(BadImageError, match="not a regular file"):
        FolderSource(tmp_path).read("two")


def test_folders_in_a_table_are_cases(tmp_path: Path) -> None:
    write_series(tmp_path / "p1/ct", phantom())
    write_series(tmp_path / "p2", phantom(), uid="1.2")
    write_series(tmp_path / "p2", phantom(1), uid="1.3", name="x{}.dcm")
    write_images(tmp_path / "p3")
    table = tmp_path / "table.csv"
    table.write_text("path,label,patient\np1/ct/,A,1\np2,B,2\np3,A,3\n")
    settings = TableSettings(
        path_column="path", labels=RULE, group_column="patient", has_volumes=True
    )
    listing = list_table(table, root=tmp_path, settings=settings)
    assert [(f.path, f.label, f.group) for f in listing.files] == [
        ("p1/ct", "A", "1"),
        ("p2/1.2", "B", "2"),
        ("p2/1.3", "B", "2"),
        ("p3", "A", "3"),
    ]
    table.write_text("path,label,patient\np1/ct,A,1\np2,B,2\np2/1.3,A,3\n")
    with pytest.raises(DataError, match="rows 3 and 4 are the same case, p2/1.3"):
        list_table(table, root=tmp_path, settings=settings)


@pytest.mark.parametrize(
    ("depths", "found"),
    [
        ([8] * 24, "24 of 24 volumes have 8 slices"),
        ([40, 9, 9], "2 of 3 volumes have 9 slices"),
        ([12, 8, 9], "3 of 3 volumes have 8 to 12 slices"),
    ],
)
def test_thin_volumes_are_named_by_their_slices(depths: list[int], found: str) -> None:
    (said,) = find_thin(depths, slices=32)
    assert said.found == found
    assert said.warning.startswith(f"{found}, and --slices 32 makes more of them")
