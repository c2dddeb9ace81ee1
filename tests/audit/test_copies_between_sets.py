"""Copies between two sets of images: scaled and compressed ones are found, others are not."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.audit.duplicates import find_copies
from medimg_baseline_cls.audit.pixel_measures import Measures, measure_pixels
from medimg_baseline_cls.phantom.image_folder import make_phantom

SIDE = 96


def draw(index: int) -> NDArray[np.uint8]:
    return make_phantom(5, index, is_positive=bool(index % 2), image_size=SIDE).pixels


def compress(pixels: NDArray[np.uint8], *, side: int = SIDE, quality: int = 60):
    """Return an image scaled, saved as JPEG, and scaled back."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(buffer, format="JPEG", quality=quality)
    found = Image.open(io.BytesIO(buffer.getvalue())).resize((SIDE, SIDE))
    return np.asarray(found, dtype=np.uint8)


def measure(*images: NDArray[np.uint8]) -> Measures:
    return measure_pixels(np.stack(images)[:, None])


@pytest.mark.parametrize(("side", "quality"), [(96, 95), (96, 50), (150, 60), (72, 80)])
def test_a_copy_is_found_scaled_and_compressed(side: int, quality: int):
    own = measure(*map(draw, range(8)))
    other = measure(draw(20), compress(draw(3), side=side, quality=quality), draw(21))
    assert find_copies(other, own).tolist() == [[1, 3]]


def test_images_of_other_patients_are_not_copies():
    own, other = measure(*map(draw, range(12))), measure(*map(draw, range(12, 24)))
    assert find_copies(other, own).tolist() == []


def test_every_pair_is_listed():
    own = measure(draw(0), draw(1), draw(0))
    other = measure(draw(1), draw(0))
    assert sorted(map(tuple, find_copies(other, own).tolist())) == [(0, 1), (1, 0), (1, 2)]


def test_images_of_one_gray_value_are_not_compared():
    plain = np.full((SIDE, SIDE), 7, dtype=np.uint8)
    assert find_copies(measure(plain, draw(0)), measure(plain, draw(1))).tolist() == []


def test_many_images_are_compared_block_by_block(monkeypatch: pytest.MonkeyPatch):
    images = [draw(i) for i in range(9)]
    own = measure(*images)
    whole = find_copies(own, own).tolist()
    monkeypatch.setattr("medimg_baseline_cls.audit.duplicates._BLOCK", 2)
    monkeypatch.setattr("medimg_baseline_cls.audit.duplicates._PAIRS_AT_ONCE", 1)
    assert find_copies(own, own).tolist() == whole
    assert whole == [[i, i] for i in range(9)]
