"""The square array keeps the film: plain stays plain, fitting stays untouched, no aliasing."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.data.pixels.preprocess import PixelSettings, preprocess


def make_film(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    film = 120 + 60 * np.sin(x / 23 + seed) + 50 * np.cos(y / 17)
    return np.clip(np.rint(film), 0, 255).astype(np.uint8)


@given(
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from(["grey", "rgb"]),
    st.sampled_from([np.uint8, np.uint16]),
)
@settings(deadline=None, max_examples=40)
def test_fitting_image_passes_bit_for_bit(
    side: int, keep_aspect: bool, color: str, dtype: type[np.uint8]
) -> None:
    shape = (side, side) if color == "grey" else (side, side, 3)
    values = np.random.default_rng(side).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    chosen = PixelSettings(
        image_size=side, keep_aspect=keep_aspect, color="grey" if color == "grey" else "rgb"
    )
    array = preprocess(values, chosen, deep=dtype is np.uint16)
    assert array.dtype == dtype
    expected = values[None] if color == "grey" else values.transpose(2, 0, 1)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(("side", "absent"), [(8, ("monai", "torch")), (5, ("monai",))])
def test_plain_settings_need_no_monai(side: int, absent: tuple[str, ...]) -> None:
    code = (
        "import sys, numpy as np\n"
        "from medimg_baseline_cls.data.pixels.preprocess import PixelSettings, preprocess\n"
        f"chosen = PixelSettings(image_size={side}, keep_aspect=True)\n"
        "preprocess(np.zeros((8, 8), np.uint8), chosen, deep=False)\n"
        f"assert not set({absent}) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("shape", [(31, 64), (64, 31), (90, 33), (7, 5), (64, 64)])
@pytest.mark.parametrize("side", [32, 33])
def test_pixels_are_those_of_monais_padding(shape: tuple[int, int], side: int) -> None:
    import torch
    from monai.transforms import SpatialPad

    film = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    scale = side / max(shape)
    size = [max(1, round(edge * scale)) for edge in shape]
    unit = torch.from_numpy(film[None, None].astype(np.float32) / np.float32(65535))
    small = torch.nn.functional.interpolate(unit, size=size, mode="bilinear", antialias=True)
    padded = np.asarray(SpatialPad((side, side), value=0)(small[0]))
    expected = np.rint(padded.astype(np.float64) * 65535).astype(np.uint16)
    array = preprocess(film, PixelSettings(image_size=side, keep_aspect=True), deep=True)
    np.testing.assert_array_equal(array, expected)


@given(st.integers(0, 255), st.integers(1, 90), st.integers(1, 90), st.booleans())
@settings(deadline=None, max_examples=40)
def test_plain_image_stays_plain_at_any_size(
    value: int, height: int, width: int, stretches: bool
) -> None:
    chosen = PixelSettings(image_size=32, intensity="min_max" if stretches else "full_range")
    plain = np.full((height, width), value, np.uint8)
    array = preprocess(plain, chosen, deep=False)
    assert array.shape == (1, 32, 32)
    assert (array == (0 if stretches else value)).all()


@given(st.integers(1, 120), st.integers(1, 120), st.sampled_from([16, 33]))
@settings(deadline=None, max_examples=40)
def test_kept_aspect_shows_the_whole_film_in_the_middle(height: int, width: int, side: int) -> None:
    plain = np.full((height, width), 255, np.uint8)
    array = preprocess(plain, PixelSettings(image_size=side, keep_aspect=True), deep=False)[0]
    rows, columns = np.flatnonzero(array.any(axis=1)), np.flatnonzero(array.any(axis=0))
    assert max(len(rows), len(columns)) == side
    scale = side / max(height, width)
    assert abs(len(rows) - height * scale) <= 1 and abs(len(columns) - width * scale) <= 1
    for held in (rows, columns):
        assert (np.diff(held) == 1).all()
        assert abs(held[0] - (side - 1 - held[-1])) <= 1
    assert set(np.unique(array)) <= {0, 255}


@pytest.mark.parametrize("shape", [(300, 400), (225, 225), (700, 500), (100, 60), (1000, 224)])
def test_resizing_equals_pillows_antialiased_filter(shape: tuple[int, int]) -> None:
    film = make_film(*shape)
    array = preprocess(film, PixelSettings(image_size=224), deep=False)[0]
    image = Image.fromarray(film.astype(np.float32))
    oracle = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))
    assert np.abs(array - oracle).max() <= 0.51


def test_fine_stripes_do_not_alias() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (900, 450))
    array = preprocess(stripes, PixelSettings(image_size=224), deep=False)[0]
    assert np.abs(array[:, 2:-2].astype(float) - 127.5).max() <= 12
    nearest = stripes[:224, np.round(np.linspace(0, 899, 224)).astype(int)]
    assert np.abs(nearest - 127.5).min() > 100  # what no antialiasing would give


def test_borders_are_not_darkened() -> None:
    film = np.full((600, 800), 200, np.uint8)
    assert preprocess(film, PixelSettings(image_size=64), deep=False).min() == 200


@pytest.mark.parametrize("side", [50, 64])
def test_8_and_16_bit_of_one_film_are_one_film(side: int) -> None:
    film = make_film(64, 64)
    chosen = PixelSettings(image_size=side)
    shallow = preprocess(film, chosen, deep=False)
    twin = preprocess(film.astype(np.uint16) * 257, chosen, deep=False)
    np.testing.assert_array_equal(shallow, twin)
    deep = preprocess(film, chosen, deep=True)
    deep_twin = preprocess(film.astype(np.uint16) * 257, chosen, deep=True)
    assert np.abs(deep.astype(int) - deep_twin.astype(int)).max() <= 1
    assert np.abs(deep / 65535 - shallow / 255).max() <= 0.5 / 255 + 1e-4


def test_deep_array_keeps_more_than_256_levels() -> None:
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    array = preprocess(ramp, PixelSettings(image_size=64), deep=True)
    np.testing.assert_array_equal(array[0], ramp)
    assert len(np.unique(preprocess(ramp, PixelSettings(image_size=48), deep=True))) > 1000


@pytest.mark.parametrize("size", [64, 40])
def test_min_max_fills_the_range_and_keeps_the_order(size: int) -> None:
    film = (make_film(64, 64) // 3) + 40
    array = preprocess(film, PixelSettings(image_size=size, intensity="min_max"), deep=False)
    assert (array.min(), array.max()) == (0, 255)
    if size == 64:
        expected = (film.astype(float) - film.min()) / np.ptp(film) * 255
        assert np.abs(array[0] - expected).max() <= 0.51


def test_percentiles_clip_the_extremes() -> None:
    film = make_film(100, 100) // 2 + 30
    film[0, :3] = (0, 255, 255)
    chosen = PixelSettings(image_size=100, intensity="percentile")
    array = preprocess(film, chosen, deep=False)[0]
    low, high = np.percentile(film, (0.5, 99.5))
    expected = np.clip((film - low) / (high - low), 0, 1) * 255
    assert np.abs(array - expected).max() <= 0.51


@pytest.mark.parametrize("intensity", ["min_max", "percentile"])
def test_faint_film_ends_as_the_same_film(intensity: str) -> None:
    film = make_film(64, 64).astype(np.uint16)  # a 16-bit file that uses 256 of 65536 levels
    chosen = PixelSettings(
        image_size=64, intensity="min_max" if intensity == "min_max" else "percentile"
    )
    faint = preprocess(film, chosen, deep=True)
    bright = preprocess(film * 257, chosen, deep=True)
    assert np.abs(faint.astype(int) - bright.astype(int)).max() <= 1


def test_small_object_on_plain_ground_survives_percentiles() -> None:
    film = np.zeros((100, 100), np.uint8)
    film[5, 5] = 100
    array = preprocess(film, PixelSettings(image_size=100, intensity="percentile"), deep=False)
    assert array[0, 5, 5] == 255 and array.sum() == 255


def test_padding_does_not_take_part_in_the_intensity_range() -> None:
    film = np.tile(np.linspace(100, 200, 80).astype(np.uint8), (40, 1))
    chosen = PixelSettings(image_size=80, keep_aspect=True, intensity="min_max")
    array = preprocess(film, chosen, deep=False)[0]
    assert array[20:60].min() == 0 and array[20:60].max() == 255
    assert not array[:20].any() and not array[60:].any()


def test_colors_keep_their_proportion_when_stretched() -> None:
    photo = np.zeros((10, 10, 3), np.uint8)
    photo[..., 0], photo[0, 0] = 100, (50, 0, 0)
    chosen = PixelSettings(image_size=10, intensity="min_max", color="rgb")
    array = preprocess(photo, chosen, deep=False)
    assert array[:, 5, 5].tolist() == [255, 0, 0]
    assert array[:, 0, 0].tolist() == [128, 0, 0]


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    import torch

    film = make_film(400, 300)
    before = torch.get_num_threads()
    arrays = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            arrays.append(preprocess(film, PixelSettings(image_size=96), deep=True))
    finally:
        torch.set_num_threads(before)
    assert all((array == arrays[0]).all() for array in arrays)


def test_input_is_not_written_to() -> None:
    film = make_film(30, 20)
    film.setflags(write=False)
    for intensity in ("full_range", "min_max"):
        chosen = PixelSettings(
            image_size=16, intensity="min_max" if intensity == "min_max" else "full_range"
        )
        preprocess(film, chosen, deep=False)
    np.testing.assert_array_equal(film, make_film(30, 20))


def test_wrong_number_of_channels_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="1 channels"):
        preprocess(np.zeros((4, 4), np.uint8), PixelSettings(image_size=4, color="rgb"), deep=False)


def test_key_differs_in_every_setting() -> None:
    chosen = [
        PixelSettings(image_size=8),
        PixelSettings(image_size=9),
        PixelSettings(image_size=8, keep_aspect=True),
        PixelSettings(image_size=8, intensity="min_max"),
        PixelSettings(image_size=8, intensity="percentile"),
        PixelSettings(image_size=8, color="rgb"),
    ]
    assert len({one.key() for one in chosen}) == len(chosen)
    assert PixelSettings(image_size=8).key() == chosen[0].key()
