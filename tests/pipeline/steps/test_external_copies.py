"""Images of another data set that the run has: which one, of which kind, and what is left."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.phantom.image_folder import make_phantom
from medimg_baseline_cls.pipeline.steps.external_copies import (
    Copy,
    describe_copies,
    leave_out,
    list_copies,
    write_copies,
)
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.run_images import MeasuredImages
from medimg_baseline_cls.schema import ImageRecord, Split
from medimg_baseline_cls.utils.files import read_csv
from medimg_baseline_cls.utils.log import SILENT

CLASSES = ("NORMAL", "PNEUMONIA")


def draw(index: int) -> NDArray[np.uint8]:
    return make_phantom(5, index, is_positive=bool(index % 2), image_size=64).pixels


def images_of(
    *wanted: tuple[str, str, int], has_pixels: bool = True, changed: frozenset[str] = frozenset()
) -> MeasuredImages:
    """Return images given as (path, split, number of a phantom).

    The sha256 is that of the phantom's number, or of the path for a file that was saved again.
    """
    records = tuple(
        ImageRecord(
            image_id=path,
            path=path,
            label=CLASSES[number % 2],
            group=path,
            split=split,
            sha256=f"{path if path in changed else number}",
            width=64,
            height=64,
        )
        for path, split, number in wanted
    )
    measures = None
    if has_pixels:
        pixels = [
            np.maximum(draw(number), 1 if path in changed and "near" in path else 0)
            for path, _, number in wanted
        ]
        measures = measure_pixels(np.stack(pixels)[:, None])
    reason = "" if has_pixels else "the data folder of this run is not there"
    return MeasuredImages(Split(records, CLASSES), measures, reason=reason)


def copies_of(other: MeasuredImages, own: MeasuredImages) -> list[tuple[str, str, str, str]]:
    found = list_copies(other, own, progress=SILENT.progress)
    return [(copy.path, copy.copy_of, copy.split, copy.kind) for copy in found]


OWN = images_of(("a", "train", 0), ("b", "val", 1), ("c", "test", 2), ("d", "train", 3))


def test_nothing_in_common_is_no_copy():
    other = images_of(("x", "test", 10), ("y", "test", 11))
    assert copies_of(other, OWN) == []


def test_each_kind_of_copy_is_called_by_its_name():
    other = images_of(
        ("same", "test", 0),
        ("pixels", "test", 1),
        ("near", "test", 2),
        ("new", "test", 12),
        changed=frozenset({"pixels", "near"}),
    )
    assert copies_of(other, OWN) == [
        ("same", "a", "train", "same file"),
        ("pixels", "b", "val", "same pixels"),
        ("near", "c", "test", "nearly identical"),
    ]


def test_a_copy_of_several_is_one_of_train():
    own = images_of(("t", "test", 0), ("v", "val", 0), ("a", "train", 0))
    assert copies_of(images_of(("x", "test", 0)), own) == [("x", "a", "train", "same file")]


def test_the_same_file_counts_more_than_a_near_copy_of_train():
    own = images_of(("near", "train", 0), ("same", "test", 0), changed=frozenset({"near"}))
    assert copies_of(images_of(("x", "test", 0)), own) == [("x", "same", "test", "same file")]


def test_without_pixels_only_the_same_file_is_found():
    own = images_of(("a", "train", 0), ("b", "val", 1), has_pixels=False)
    other = images_of(("x", "test", 0), ("y", "test", 1), changed=frozenset({"y"}))
    assert copies_of(other, own) == [("x", "a", "train", "same file")]


def data_of(images: MeasuredImages) -> PreparedData:
    count = len(images.split.records)
    settings = PixelSettings(image_size=64, keep_aspect=False, intensity="full_range", color="grey")
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    rows = np.arange(count, dtype=np.int64)[::-1].copy()
    return PreparedData(images.split, pixels, rows, settings, {})


def test_what_is_left_keeps_its_pixels():
    images = images_of(("x", "test", 0), ("y", "test", 10), ("z", "test", 11))
    images = replace(images, num_bytes=(1, 2, 3))
    copies = [Copy("y", "a", "train", "same file")]
    kept, measured = leave_out(data_of(images), images, copies=copies)
    assert [record.path for record in kept.split.records] == ["x", "z"]
    assert kept.cache_rows.tolist() == [2, 0]
    assert kept.split.class_names == CLASSES
    alone = images_of(("x", "test", 0), ("z", "test", 11))
    assert measured.split == kept.split == alone.split
    assert measured.num_bytes == (1, 3)
    assert measured.measures is not None
    assert alone.measures is not None
    for name in ("digests", "hashes", "thumbs", "small", "statistics"):
        found, expected = (getattr(m, name) for m in (measured.measures, alone.measures))
        assert np.array_equal(found, expected)


def test_nothing_is_left_out_without_copies():
    images = images_of(("x", "test", 0), ("y", "test", 10))
    data = data_of(images)
    kept, _ = leave_out(data, images, copies=[])
    assert kept.split == data.split
    assert kept.cache_rows.tolist() == data.cache_rows.tolist()


def test_a_data_set_of_copies_alone_is_refused():
    images = images_of(("x", "test", 0), has_pixels=False)
    with pytest.raises(DataError, match="all 1 images are copies of images of the run"):
        leave_out(data_of(images), images, copies=[Copy("x", "a", "train", "same file")])


def test_copies_are_listed_in_a_table(tmp_path: Path):
    copies = [Copy("x, y", "a", "train", "same file"), Copy("z", "b", "val", "nearly identical")]
    write_copies(tmp_path, copies)
    assert read_csv(tmp_path / "duplicates.csv") == [
        {"path": "x, y", "copy_of": "a", "split": "train", "kind": "same file"},
        {"path": "z", "copy_of": "b", "split": "val", "kind": "nearly identical"},
    ]


def test_copies_are_counted_and_some_are_shown():
    copies = [Copy(f"x{i}", f"a{i}", "train", "same file") for i in range(30)]
    copies.append(Copy("z", "b", "val", "nearly identical"))
    found = describe_copies(copies, OWN, shown_name=str.upper)
    assert found["num_left_out"] == 31
    assert found["kinds"] == {"same file": 30, "same pixels": 0, "nearly identical": 1}
    assert found["unchecked"] == ""
    assert len(found["images"]) == 20
    assert found["images"][0] == {
        "path": "X0",
        "copy_of": "A0",
        "split": "train",
        "kind": "same file",
    }


def test_what_could_not_be_compared_is_said():
    own = replace(OWN, measures=None, reason="the data folder is gone")
    found = describe_copies([], own, shown_name=str)
    assert found["unchecked"] == "near copies could not be looked for: the data folder is gone"
