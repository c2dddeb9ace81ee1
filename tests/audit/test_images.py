"""A file's look, and which image belongs to which class."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image
from tests.dicom_series import phantom, write_series

from medimg_baseline_cls.audit.images import AuditImages, class_truths, look_at_file

ImagesMaker = Callable[..., AuditImages]


def test_look_has_the_size_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("L", (9, 9)).save(path, "PNG")
    look = look_at_file(path, mode="L")
    assert (look.num_bytes, look.content, look.mode) == (path.stat().st_size, "PNG", "L")


def test_look_at_nothing_is_empty(tmp_path: Path) -> None:
    look = look_at_file(tmp_path / "member-of-an-archive")
    assert (look.num_bytes, look.content) == (0, "")


def test_look_at_a_case_is_that_of_its_files(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "case", phantom(), uid="1.2")
    size = sum(file.stat().st_size for file in folder.iterdir())
    (folder / "notes.txt").write_text("not an image")
    assert look_at_file(folder).num_bytes == size
    assert look_at_file(folder).content == "DICOM"
    write_series(folder, phantom(1), uid="1.3", name="x{}.dcm")
    assert look_at_file(folder / "1.2").num_bytes == size
    assert look_at_file(folder).num_bytes == 0  # which of the two is not known


def test_truths_of_classes_are_exclusive_and_all_known(make_images: ImagesMaker) -> None:
    images = make_images(["train/A/1", "train/B/2", "test/A/3"])
    truths = class_truths(images.split)
    assert truths["A"][0].tolist() == [True, False, True]
    assert truths["B"][0].tolist() == [False, True, False]
    assert all(known.all() for _, known in truths.values())


def test_truths_of_findings_leave_out_what_is_unknown(
    make_images: ImagesMaker, record: Callable[..., object]
) -> None:
    labels = ["Effusion|?Mass", "", "Mass"]
    records = [record(f"train/x/{i}", label=text) for i, text in enumerate(labels)]
    images = make_images(records, class_names=["Effusion", "Mass"], task="multilabel")
    truths = class_truths(images.split)
    assert truths["Effusion"][0].tolist() == [True, False, False]
    assert truths["Mass"][0].tolist() == [False, False, True]
    assert truths["Mass"][1].tolist() == [False, True, True]


def test_of_two_classes_one_is_told_apart_of_more_each(make_images: ImagesMaker) -> None:
    two = make_images(["train/A/1", "train/B/2"])
    assert two.contrasted_classes == ("B",) and replace(
        two, positive_class="A"
    ).contrasted_classes == ("A",)
    three = make_images(["train/A/1", "train/B/2", "train/C/3"])
    assert three.contrasted_classes == ("A", "B", "C")
