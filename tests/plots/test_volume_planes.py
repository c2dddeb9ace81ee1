"""The lower part of the panel of a volume: planes of one scale, the peak in their cross-hairs."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.plots import volume_planes
from medimg_baseline_cls.plots.volume_planes import Plane, draw_planes

WIDTH = 1186
CURVE = np.array([0.1, 0.2, 0.6, 0.1], np.float32)


def make_plane(**changes: object) -> Plane:
    picture = np.zeros((20, 40, 3), np.float32)
    picture[..., 0] = 1.0  # red
    plane = Plane(
        title="Axial, slice 3 of 4 from below",
        picture=picture,
        size=(200.0, 100.0),
        cross=(0.25, 0.5),
        letters="",
    )
    return replace(plane, **changes)  # type: ignore[arg-type]


def cut(drawn: NDArray[np.uint8], place: int) -> NDArray[np.int16]:
    """Return the square of a plane, the first of which is place 1."""
    left = volume_planes._LEFT + place * (volume_planes._SIDE + volume_planes._GAP)
    bottom = len(drawn) - volume_planes._BOTTOM
    side = volume_planes._SIDE
    return drawn[bottom - side : bottom, left : left + side].astype(np.int16)


def is_red(part: NDArray[np.int16]) -> NDArray[np.bool_]:
    return (part[..., 0] > 200) & (part[..., 1] < 60) & (part[..., 2] < 60)


def is_line(part: NDArray[np.int16]) -> NDArray[np.bool_]:
    return part[..., 2] > part[..., 0] + 20


def test_planes_have_one_scale_and_their_own_shape() -> None:
    planes = [make_plane(), make_plane(size=(100.0, 50.0)), make_plane(size=(100.0, 200.0))]
    drawn = draw_planes(planes, curve=CURVE, best=2, measure="attention", width=WIDTH)
    assert drawn.shape[1:] == (WIDTH, 3)
    assert drawn.dtype == np.uint8
    side = volume_planes._SIDE
    for place, (width, height) in enumerate(((1.0, 0.5), (0.5, 0.25), (0.5, 1.0)), start=1):
        red = is_red(cut(drawn, place))
        rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
        assert np.ptp(rows) == pytest.approx(height * side, abs=3)
        assert np.ptp(columns) == pytest.approx(width * side, abs=3)


@pytest.mark.parametrize("cross", [(0.25, 0.5), (0.75, 0.2)])
def test_cross_hairs_meet_in_the_peak_and_leave_it_open(cross: tuple[float, float]) -> None:
    plane = make_plane(size=(100.0, 100.0), cross=cross)
    part = cut(draw_planes([plane], curve=CURVE, best=2, measure="attention", width=WIDTH), 1)
    lines = is_line(part)
    row, column = lines.sum(axis=1).argmax(), lines.sum(axis=0).argmax()
    side = volume_planes._SIDE
    assert (column / side, row / side) == pytest.approx(cross, abs=0.01)
    assert not lines[row - 5 : row + 6, column - 5 : column + 6].any()
    assert lines[row].mean() > 0.8
    assert lines[:, column].mean() > 0.8


def test_sides_are_named_only_where_they_are_known() -> None:
    without, named = (
        cut(
            draw_planes(
                [make_plane(letters=text)], curve=CURVE, best=2, measure="share", width=WIDTH
            ),
            1,
        )
        for text in ("", "RLAP")
    )
    changed = np.argwhere((without != named).any(axis=2))
    middle = volume_planes._SIDE / 2
    sides = {
        "left": (changed[:, 1] < 30) & (abs(changed[:, 0] - middle) < 15),
        "right": (changed[:, 1] > 2 * middle - 30) & (abs(changed[:, 0] - middle) < 15),
        "top": (changed[:, 0] < 30) & (abs(changed[:, 1] - middle) < 15),
        "bottom": (changed[:, 0] > 2 * middle - 30) & (abs(changed[:, 1] - middle) < 15),
    }
    assert all(found.any() for found in sides.values())
    assert np.logical_or.reduce(list(sides.values())).all()


@pytest.mark.parametrize(
    "curve",
    [
        np.zeros(3, np.float32),
        np.full(2, 0.5, np.float32),
        np.array([-2.0, -1.0], np.float32),
        np.linspace(-1, 1, 512, dtype=np.float32),
    ],
)
def test_any_curve_can_be_drawn(curve: NDArray[np.float32]) -> None:
    before = dict(mpl.rcParams)
    first, second = (
        draw_planes([make_plane()] * 3, curve=curve, best=1, measure="share", width=WIDTH)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert dict(mpl.rcParams) == before


def test_the_curve_rises_where_a_slice_says_more() -> None:
    drawn = draw_planes([make_plane()], curve=CURVE, best=2, measure="attention", width=WIDTH)
    left = volume_planes._LEFT + volume_planes._CURVE_LEFT
    part = drawn[:, left + 3 : volume_planes._LEFT + volume_planes._SIDE - 3].astype(np.int16)
    filled = is_line(part).sum(axis=0)  # blue pixels of each column
    parts = np.array_split(filled, len(CURVE))
    heights = [np.median(one) for one in parts]
    assert np.argmax(heights) == CURVE.argmax()
    assert heights[1] > heights[0]


@pytest.mark.parametrize("best", range(4))
def test_the_dot_is_at_the_slice_that_is_shown(best: int) -> None:
    curve = np.full(4, 0.25, np.float32)
    drawn = draw_planes([make_plane()], curve=curve, best=best, measure="attention", width=WIDTH)
    left = volume_planes._LEFT + volume_planes._CURVE_LEFT
    part = drawn[:, left : volume_planes._LEFT + volume_planes._SIDE].astype(np.int16)
    columns = np.flatnonzero((part[..., 0] > part[..., 2] + 100).any(axis=0))  # orange
    assert columns.mean() / part.shape[1] == pytest.approx((best + 0.5) / 4, abs=0.01)
