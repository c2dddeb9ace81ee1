"""Images of slices are a volume in the order given, each as it is."""

import io

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.data.read import decode_volume, pack_files, read_volume_header
from medimg_baseline_cls.errors import BadImageError


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def draw(dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (3, 6, 5)).astype(dtype)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_slices_stay_as_they_are(dtype: type, top: int) -> None:
    data = pack_files([png(image) for image in draw(dtype)])
    volume, header = decode_volume(data), read_volume_header(data)
    np.testing.assert_array_equal(volume.voxels, draw(dtype))
    assert volume.full_range == (0, top)
    assert (header.width, header.height, header.is_deep) == (5, 6, top > 255)
    assert header.geometry is not None
    assert (header.geometry.num_slices, header.geometry.spacing_mm) == (3, None)
    assert header.remarks == (
        ("order", "by name, the first as the most inferior, each image as it is"),
    )


def test_slices_of_8_and_16_bits_have_one_white() -> None:
    mixed = [png(np.full((4, 4), 255, np.uint8)), png(np.full((4, 4), 65535, np.uint16))]
    assert np.unique(decode_volume(pack_files(mixed)).voxels).tolist() == [65535]


def test_colored_slices_become_gray() -> None:
    rgb = np.repeat(draw()[:, :, :, None], 3, axis=3)
    data = pack_files([png(image) for image in rgb])
    np.testing.assert_array_equal(decode_volume(data).voxels, draw())
    assert not read_volume_header(data).is_color


def test_what_is_not_one_volume_is_refused() -> None:
    files = [png(image) for image in draw()]
    for wrong, reason in (
        ([*files, png(np.zeros((6, 6), np.uint8))], "1 of 4 are 6 x 6, others 5 x 6"),
        (files[:1], "has 1 image, expected the slices"),
        ([*files, b"text"], "this is not an image"),
    ):
        for read in (decode_volume, read_volume_header):
            with pytest.raises(BadImageError, match=reason):
                read(pack_files(wrong))
