"""PNG: what Pillow reads back is what was written."""

import io

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.data.pixels.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (33, 20), (224, 224)])
def test_pillow_reads_back_every_pixel(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = Image.open(io.BytesIO(encode_png(pixels)))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), pixels)


def test_a_view_of_a_larger_array_is_encoded_as_seen() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(6, 10)[::2, ::-3]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(pixels)))), pixels)
