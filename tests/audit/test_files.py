"""Every refused file is counted under what is wrong with it; odd ones are named."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.audit.check_results import Check, Finding
from medimg_baseline_cls.audit.files import check_files
from medimg_baseline_cls.audit.images import AuditImages, FileLook
from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.data.read import decode_image
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.schema import ImageRecord

ImagesMaker = Callable[..., AuditImages]
RecordMaker = Callable[..., ImageRecord]


def by_name(found: Check) -> dict[str, Finding]:
    return {finding.name: finding for finding in found.findings}


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(side: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    return Image.fromarray(pixels)


BAD_FILES = {
    "empty": b"",
    "animated": encode(noise(), "TIFF", save_all=True, append_images=[noise()]),
    "too_large": encode(Image.new("1", (10_000, 10_000)), "PNG"),
    "truncated": encode(noise(), "JPEG")[:-400],
    "other_format": b"<html><body>404</body></html>",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_refusals_of_the_reader_are_counted_under_what_they_are(
    make_images: ImagesMaker, name: str
) -> None:
    with pytest.raises(BadImageError) as error:
        decode_image(BAD_FILES[name], color="grey")
    images = make_images(["train/A/1_1.png"], rejected=[("train/A/bad.png", str(error.value))])
    found = by_name(check_files(images, None))
    assert set(found) == {name}
    assert (found[name].verdict, found[name].count) == ("warning", 1)
    assert found[name].examples[0].paths == ("train/A/bad.png",)
    assert found[name].examples[0].text == str(error.value)


@pytest.mark.parametrize(
    ("stops", "verdict", "words"),
    [(True, "error", "stops at the first"), (False, "warning", "skips")],
)
def test_what_stops_training_is_an_error(
    make_images: ImagesMaker, stops: bool, verdict: str, words: str
) -> None:
    images = make_images(["train/A/1_1.png"], rejected=[("gone.png", "the file is not there")])
    found = by_name(check_files(replace(images, bad_files_stop=stops), None))
    assert found["missing"].verdict == verdict
    assert words in found["missing"].advice


def test_no_refusal_is_lost_whatever_its_words(make_images: ImagesMaker) -> None:
    reasons = ["words nobody has thought of", "the file is empty (0 bytes)", "something else"]
    rejected = [(f"train/A/{i}.png", reason) for i, reason in enumerate(reasons)]
    found = check_files(make_images(["train/A/1_1.png"], rejected=rejected), None)
    assert sum(finding.count for finding in found.findings) == 3
    assert {f.name: f.count for f in found.findings} == {"empty": 1, "unreadable": 2}
    assert found.summary == "4 files, of which 1 could be read."


@pytest.mark.parametrize(
    ("path", "content", "is_wrong"),
    [
        ("a.jpg", "JPEG", False),
        ("a.JPEG", "JPEG", False),
        ("a.jpg", "PNG", True),
        ("a.png", "JPEG", True),
        ("a.tif", "TIFF", False),
        ("a.bmp", "TIFF", True),
        ("a.jpg", "", False),
        ("a.dcm", "", False),
        ("slice-17", "PNG", False),
    ],
)
def test_extension_is_held_against_the_content(
    make_images: ImagesMaker, path: str, content: str, is_wrong: bool
) -> None:
    images = make_images([f"train/A/{path}"], looks=[FileLook(10, content, "L")])
    found = by_name(check_files(images, None))
    assert ("wrong_extension" in found) == is_wrong
    if is_wrong:
        assert found["wrong_extension"].verdict == "note"
        assert found["wrong_extension"].examples[0].text == f"contains {content}"


def test_rare_mode_is_odd_and_an_even_mixture_is_not(make_images: ImagesMaker) -> None:
    paths = [f"train/A/{i}_1.png" for i in range(200)]
    odd = [FileLook(10, "PNG", "RGB" if i == 7 else "L") for i in range(200)]
    found = by_name(check_files(make_images(paths, looks=odd), None))
    assert found["odd_mode"].examples[0].paths == ("train/A/7_1.png",)
    assert "most are L" in found["odd_mode"].what
    mixed = [FileLook(10, "PNG", "RGB" if i % 2 else "L") for i in range(200)]
    assert check_files(make_images(paths, looks=mixed), None).findings == ()


def test_long_and_wide_images_are_odd(make_images: ImagesMaker, record: RecordMaker) -> None:
    sizes = [(64, 64), (100, 300), (300, 100), (100, 250)]
    records = [
        record(f"train/A/{i}_1.png", width=width, height=height)
        for i, (width, height) in enumerate(sizes)
    ]
    found = by_name(check_files(make_images(records), None))
    assert found["odd_aspect"].count == 2
    assert [e.text for e in found["odd_aspect"].examples] == ["100 x 300", "300 x 100"]


def test_blank_images_are_warned_of(make_images: ImagesMaker) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
    pixels[1] = 128
    images = make_images([f"train/A/{i}_1.png" for i in range(3)], pixels=pixels)
    found = by_name(check_files(images, measure_pixels(pixels)))
    assert found["constant"].verdict == "warning"
    assert [e.paths for e in found["constant"].examples] == [("train/A/1_1.png",)]


def test_sizes_are_listed_from_the_commonest(make_images: ImagesMaker, record: RecordMaker) -> None:
    widths = [10] * 3 + [20] * 5 + list(range(30, 45))
    records = [record(f"train/A/{i}_1.png", width=w, height=30) for i, w in enumerate(widths)]
    (table,) = check_files(make_images(records), None).figures
    assert table.rows[:2] == (("20 x 30", 5), ("10 x 30", 3))
    assert len(table.rows) == 10
    assert table.note == "7 more sizes are rarer."
