"""What a file is, its content says: any image is found under any name, and nothing else is."""

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.read import FileSorter, decode_image, describe_files, sniff_format
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.table import TableSettings, list_table
from medimg_baseline_cls.errors import BadImageError, DataError
from medimg_baseline_cls.pipeline.steps.prediction_inputs import find_files

FILM = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)


def save(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(FILM).save(file, kind, **options)
    return file.getvalue()


def dicom(sop_class: str = "1.2.840.10008.5.1.4.1.1.1") -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = FILM.tobytes()
    dataset["PixelData"].VR = "OB"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, FILM)
    return file.getvalue()


def nifti() -> bytes:
    return nibabel.Nifti1Image(FILM, np.eye(4)).to_bytes()


IMAGES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: save("JPEG"),
    "PNG": lambda: save("PNG"),
    "BMP": lambda: save("BMP"),
    "TIFF": lambda: save("TIFF"),
    "TIFF, big": lambda: save("TIFF", big_tiff=True),
    "WebP": lambda: save("WEBP"),
    "GIF": lambda: save("GIF"),
    "PNM": lambda: save("PPM"),
    "PNM, plain": lambda: b"P2 # a comment\n8 8\n# another\n 255\n" + b"7 " * 64,
    "JPEG 2000": lambda: save("JPEG2000", num_resolutions=1),
    "JPEG 2000, codestream": lambda: save("JPEG2000", num_resolutions=1, no_jp2=True),
    "DICOM": dicom,
    "NIfTI": nifti,
    "NIfTI, packed": lambda: gzip.compress(nifti()),
    ".npy": npy,
}
NAMES = ("1.2.840.113619.2.55.3.1012", "IM000001", "a.dat", "b.img", "c.dcm.bak", "d.7z", "ü")
OTHERS: dict[str, bytes] = {
    "csv": b"patient,label\n1,0\n",
    "text like a bitmap": b"BMI and age of all patients in this folder, one line each",
    "text like a pixmap": b"P1 has been read twice, P2 once",
    "json": b'{"a": 1}',
    "zip": b"PK\x03\x04" + bytes(99),
    "pdf": b"%PDF-1.7\n%" + bytes(99),
    "web page": b"<!DOCTYPE html><html>",
    "python": b"import os\n",
    "sqlite": b"SQLite format 3\0" + bytes(600),
    "zeros": bytes(2000),
    "gzip of a text": gzip.compress(b"patient,label\n" * 99),
    "RIFF sound": b"RIFF\0\0\0\0WAVEfmt " + bytes(99),
    "empty": b"",
}


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", IMAGES)
def test_any_image_is_found_under_any_name_and_read(kind: str, tmp_path: Path) -> None:
    data = IMAGES[kind]()
    for name in NAMES:
        sorter = FileSorter()
        path = write(tmp_path / name, data)
        assert sorter.is_image(path)
        said = f"1 file without an image suffix read as {kind.split(',')[0]} (1)"
        assert describe_files([sorter]) == said
        assert decode_image(path.read_bytes(), color="grey").pixels.shape == (8, 8)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_content_is_left_out_and_counted(kind: str, tmp_path: Path) -> None:
    assert sniff_format(OTHERS[kind]) == ""
    for name, told in (("notes", "no suffix"), ("a.b.77", "no suffix"), ("x.Odd", ".odd")):
        sorter = FileSorter()
        assert not sorter.is_image(write(tmp_path / name, OTHERS[kind]))
        assert describe_files([sorter]) == f"1 file that is not an image left out: {told} (1)"


@pytest.mark.parametrize("kind", OTHERS)
def test_what_an_image_name_holds_is_for_the_reader_to_refuse(kind: str, tmp_path: Path) -> None:
    sorter = FileSorter()
    path = write(tmp_path / "a.png", OTHERS[kind])
    assert sorter.is_image(path) and not describe_files([sorter])
    with pytest.raises(BadImageError):
        decode_image(path.read_bytes(), color="grey")


def test_suffixes_that_tell_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.png", "b.DCM", "c.nii.gz", "d.txt", "e.csv", "f.JSON", "g.xml", "h.zip"]
    paths = [write(tmp_path / name, save("PNG")) for name in names]
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    sorter = FileSorter()
    assert [sorter.is_image(path) for path in paths] == [True] * 3 + [False] * 5


def test_a_named_pipe_hangs_nothing_and_a_dead_link_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    sorter = FileSorter()
    assert not any(map(sorter.is_image, (tmp_path / "pipe", tmp_path / "link", tmp_path)))


def test_a_file_that_cannot_be_opened_is_counted_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "IM1", dicom())

    def refuse(*_: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    sorter = FileSorter()
    assert not sorter.is_image(path)
    assert describe_files([sorter]) == "1 file that is not an image left out: unreadable (1)"


def test_a_dicomdir_is_left_out_by_content_and_named_by_the_reader(tmp_path: Path) -> None:
    data = dicom(MediaStorageDirectoryStorage)
    sorter = FileSorter()
    for name in ("DICOMDIR", "index", "1.2.3"):
        assert not sorter.is_image(write(tmp_path / name, data))
    assert describe_files([sorter]) == "3 files that are not images left out: DICOMDIR (3)"
    with pytest.raises(BadImageError, match="this is a DICOMDIR"):
        decode_image(data, color="grey")


def test_dicom_without_preamble_is_not_dropped_in_silence(tmp_path: Path) -> None:
    sorter = FileSorter()
    assert sorter.is_image(write(tmp_path / "IM1", dicom()[132:]))
    assert sorter.read_as == {"DICOM": 1}


def test_many_kinds_are_shortened_and_every_file_is_counted(tmp_path: Path) -> None:
    sorter = FileSorter()
    for number in range(15):
        for copy in range(1 + (number == 3)):
            sorter.is_image(write(tmp_path / f"{copy}.kind{chr(97 + number)}", b"x"))
    note = describe_files([sorter])
    assert note.startswith("16 files that are not images left out: .kindd (2), .kinda (1),")
    assert note.endswith("others (5)")


def lay_out(data: Path, *, end: str) -> Path:
    """Class folders as hospitals export them: images named by UID, and a DICOMDIR in each."""
    for number, label in enumerate("AB"):
        for image in range(3):
            write(data / label / f"1.2.840.{number}.{1000 + image}{end}", dicom())
        write(data / label / "DICOMDIR", dicom(MediaStorageDirectoryStorage))
        write(data / label / "readme.txt", b"x")
    return data


@pytest.mark.parametrize("end", ["", ".dcm", ".img"])
def test_folders_are_listed_alike_whatever_the_names(end: str, tmp_path: Path) -> None:
    data = lay_out(tmp_path, end=end)
    listing = list_images(data)
    assert [Path(file.path).name for file in listing.files] == [
        f"1.2.840.{number}.{1000 + image}{end}" for number in range(2) for image in range(3)
    ]
    (files,) = (item for item in listing.inferences if item.topic == "files")
    assert "4 files that are not images left out: .txt (2), DICOMDIR (2)" in files.found
    assert ("6 files without an image suffix read as DICOM (6)" in files.found) == (end != ".dcm")
    sorter = FileSorter()
    assert find_files([data], sorter=sorter) == [data / file.path for file in listing.files]
    assert describe_files([sorter]) == files.found


def test_predict_finds_files_without_suffix_by_pattern_and_by_name(tmp_path: Path) -> None:
    data = lay_out(tmp_path, end="")
    sorter = FileSorter()
    assert len(find_files([data / "A" / "*"], sorter=sorter)) == 3
    assert sorter.left_out == {"DICOMDIR": 1, ".txt": 1}
    named = data / "A" / "DICOMDIR"  # what is named is read, or refused with its reason
    assert find_files([named], sorter=FileSorter()) == [named]
    with pytest.raises(DataError, match="names no image"):
        find_files([data / "A" / "*.txt"], sorter=FileSorter())


def test_tables_name_files_of_any_name(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"films/{name}", dicom()) for name in NAMES]
    rows = "\n".join(f"{p.relative_to(tmp_path)},{i % 2}" for i, p in enumerate(paths))
    write(tmp_path / "labels.csv", f"path,label\n{rows}\n".encode())
    rule = LabelRule(columns=("label",))
    settings = TableSettings(path_column="path", labels=rule)
    listing = list_table(tmp_path / "labels.csv", root=tmp_path, settings=settings)
    cache = build_cache(
        tmp_path,
        [file.path for file in listing.files],
        settings=PixelSettings(image_size=8),
        cache_dir=tmp_path / "cache",
    )
    assert [fact.error for fact in cache.facts] == [None] * len(NAMES)
    np.testing.assert_array_equal(cache.pixels[0, 0], FILM)
