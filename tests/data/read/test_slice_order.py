"""The order of slices by numbers alone: positions, gaps, copies; no file."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.read.slice_order import (
    SliceFacts,
    find_directions,
    find_turn,
    order_slices,
)
from medimg_baseline_cls.errors import BadImageError

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stack(places: Sequence[float], *, directions: tuple[float, ...] = AXIAL) -> list[SliceFacts]:
    """Return slices of other contents each, at these places along the normal of the plane."""
    normal = np.cross(directions[:3], directions[3:])
    return [
        SliceFacts(
            size=(6, 5),
            directions=directions,
            position=tuple((place * normal).tolist()),
            number=number,
            spacing=(0.7, 0.8),
            is_localizer=False,
            content=bytes([number]),
        )
        for number, place in enumerate(places)
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True),
    st.sampled_from([AXIAL, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0), (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)]),
)
def test_slices_are_in_the_order_of_their_places(
    places: list[int], directions: tuple[float, ...]
) -> None:
    order = order_slices(stack(places, directions=directions))
    assert [places[row] for row in order.rows] == sorted(places)


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 12), st.data())
def test_as_many_slices_are_missing_as_were_taken_out(count: int, data: st.DataObject) -> None:
    inner = st.sets(st.integers(2, count), max_size=3)
    gone = data.draw(inner)
    places = [2.5 * i for i in range(count + 2) if i not in gone]
    found = dict(order_slices(stack(places)).remarks).get("missing slices", "")
    said = sum(int(part.split()[0]) for part in found.split(", ") if part)
    # The first two are there, so the usual distance is that of neighbors wherever any are left.
    is_known = np.median(np.diff(places)) == 2.5
    assert said == len(gone) or not is_known


@pytest.mark.parametrize(
    ("places", "usual"), [([0, 3, 6], 3), ([0, 3, 9, 12], 3), ([0, 2, 2.1, 4], 1.9), ([5, 9], 4)]
)
def test_the_spacing_is_the_usual_distance(places: list[float], usual: float) -> None:
    geometry = order_slices(stack(places)).geometry
    assert geometry.spacing_mm == pytest.approx((usual, 0.7, 0.8))
    assert geometry.num_slices == len(places)


@pytest.mark.parametrize(
    ("places", "kinds"),
    [
        ([0, 1, 1.02, 2, 3], ["uneven distances between slices"]),
        ([0, 1, 2, 3], []),
        ([0, 1.05, 2, 3.04], []),  # rounded in the file
        ([0, 1, 3, 4], ["missing slices"]),
        ([0, 1, 2.5, 3.5], ["uneven distances between slices"]),
        ([0, 1, 1.3, 2.3], ["uneven distances between slices"]),
        ([0, 1, 3, 4, 5.4], ["missing slices", "uneven distances between slices"]),
    ],
)
def test_gaps_have_their_kind(places: list[float], kinds: list[str]) -> None:
    assert [kind for kind, _ in order_slices(stack(places)).remarks] == kinds


def test_a_regular_grid_has_each_slice_at_its_place() -> None:
    for places in ([0, 2, 4, 6], [6, 0, 4, 2], [0, 2.1, 4, 6.08]):
        affine = order_slices(stack(places)).geometry.affine
        assert affine is not None
        for index, place in enumerate(sorted(places)):
            found = np.array(affine) @ (3, 4, index, 1)
            # Voxels are 0.8 mm wide and 0.7 mm high, and slices 2 mm apart.
            np.testing.assert_allclose(found, (3 * 0.8, 4 * 0.7, place), atol=0.15)


@pytest.mark.parametrize(
    "places",
    [
        (100, 116, 120, 124, 128, 132, 136),
        (0, 1, 2.5, 3.5),
        (0, 1, 1.02, 2, 3),
        np.cumsum([1.0] * 20 + [1.09] * 20).tolist(),  # distances that drift
    ],
)
def test_without_a_regular_grid_there_is_no_affine(places: list[float]) -> None:
    geometry = order_slices(stack(places)).geometry
    assert geometry.affine is None
    assert geometry.axes == "LPS"


def displaced(by: Sequence[float], *, directions: tuple[float, ...] = AXIAL) -> list[SliceFacts]:
    """Return slices 2 mm apart, each this far from the others along its rows, in millimeters."""
    slices = stack([2.0 * i for i in range(len(by))], directions=directions)
    along_row = np.array(directions[:3])
    places = [np.array(item.position) + mm * along_row for item, mm in zip(slices, by, strict=True)]
    return [
        replace(item, position=tuple(place.tolist()))
        for item, place in zip(slices, places, strict=True)
    ]


@pytest.mark.parametrize("directions", [AXIAL, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)])
@pytest.mark.parametrize(
    ("by", "said"),
    [
        ((0, 0, 0, 0), None),
        ((0, 0.3, 0, -0.3), None),  # pixels are 0.8 mm wide
        ((0, 0.5, 0, 0), "0.5"),
        ((0, 0, 30, 0), "30"),
        ((0, 0, 0, -30), "30"),
        ((0, 1.5, 3, 4.5), "4.5"),  # a tilted gantry
    ],
)
def test_slices_displaced_in_their_plane_are_said(
    by: tuple[float, ...], said: str | None, directions: tuple[float, ...]
) -> None:
    order = order_slices(displaced(by, directions=directions))
    kind = "slices displaced in their plane"
    assert order.remarks == (() if said is None else ((kind, f"by up to {said} mm"),))
    assert (order.geometry.affine is None) == (said is not None)
    assert order.rows == (0, 1, 2, 3)


def test_displaced_by_pixels_or_else_by_millimeters() -> None:
    for spacing, is_said in (((0.1, 0.1), True), (None, False), ((2.0, 2.0), False)):
        slices = [replace(item, spacing=spacing) for item in displaced([0, 0.4, 0, 0])]
        assert bool(order_slices(slices).remarks) == is_said


@pytest.mark.parametrize("absurd", [1e300, -100_001.0])
def test_absurd_positions_are_refused(absurd: float) -> None:
    slices = stack([0, 1, 2, 3])
    slices[2] = replace(slices[2], position=(0.0, 0.0, absurd))
    with pytest.raises(BadImageError, match=r"ImagePositionPatient .* from the origin, expected"):
        order_slices(slices)
    slices[2] = replace(slices[2], is_localizer=True)
    assert order_slices(slices).rows == (0, 1, 3)


def test_a_sagittal_and_a_coronal_stack_are_turned_upright() -> None:
    # Columns to posterior and rows to inferior; columns to the left and rows to inferior.
    for directions, axes, lengths in (
        ((0.0, 1.0, 0.0, 0.0, 0.0, -1.0), "PIR", (6, 5, 9)),
        ((1.0, 0.0, 0.0, 0.0, 0.0, -1.0), "LIP", (6, 9, 5)),
    ):
        order = order_slices(stack(range(9), directions=directions))
        assert order.geometry.axes == axes
        assert tuple((9, 6, 5)[axis] for axis, _ in order.turn) == lengths
        assert order.turn[0] == (1, True)  # rows run down, slices are to run up
        spacing = (1, 0.7, 0.8)
        assert order.geometry.spacing_mm == tuple(spacing[axis] for axis, _ in order.turn)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=9, max_size=9))
def test_every_plane_is_turned_to_three_different_axes(numbers: list[int]) -> None:
    matrix = np.array(numbers, dtype=np.float64).reshape(3, 3)
    if np.linalg.matrix_rank(matrix) < 3:
        return
    cosines, _ = np.linalg.qr(matrix)
    directions = find_directions([*cosines[:, 0], *cosines[:, 1]])
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-9)
    turn, axes = find_turn(directions)
    assert {axis for axis, _ in turn} == {0, 1, 2}
    assert [sum(letter in pair for letter in axes) for pair in ("LR", "AP", "IS")] == [1, 1, 1]
    # After the turn, slices run up, rows to posterior and columns to the left, on the whole.
    turned = np.array([directions[axis] * (-1 if flips else 1) for axis, flips in turn])
    assert np.trace(turned[:, [2, 1, 0]]) > 0


def test_copies_are_known_by_content_at_one_place() -> None:
    slices = stack([0, 1, 2, 3])
    order = order_slices([*slices, slices[2], slices[2]])
    assert len(order.rows) == 4
    assert order.remarks == (("copies of slices", "2 left out"),)
    equal = [replace(item, content=b"") for item in slices]  # plain slices at other places
    assert order_slices(equal).rows == (0, 1, 2, 3)
    other = replace(slices[2], content=b"other")
    with pytest.raises(BadImageError, match=r"the same position \(2 mm\): keep one"):
        order_slices([*slices, other])
    points = [replace(item, content=b"later" + item.content) for item in slices]
    with pytest.raises(BadImageError, match="2 different images at each of 4 positions"):
        order_slices([*slices, *points])


def test_by_number_where_there_are_no_places() -> None:
    slices = [replace(item, directions=None, position=None) for item in stack([0, 1, 2, 3])]
    shuffled = [slices[i] for i in (2, 0, 3, 1)]
    order = order_slices(shuffled)
    assert [shuffled[row].number for row in order.rows] == [0, 1, 2, 3]
    assert order.geometry.spacing_mm is None
    kinds = dict(order_slices([slices[0], slices[1], slices[3]]).remarks)
    assert kinds["missing slices"] == "1 after 1"
    with pytest.raises(BadImageError, match="same position .2.: keep one"):
        order_slices([*slices, replace(slices[0], number=2)])


def test_a_quarter_of_odd_images_is_the_most_that_is_left_out() -> None:
    slices = stack(range(8))
    odd = [replace(item, size=(5, 5)) for item in slices]
    assert len(order_slices([*slices[:6], *odd[6:]]).rows) == 6
    with pytest.raises(BadImageError, match="3 of 8 images of the series have another size"):
        order_slices([*slices[:5], *odd[5:]])
    tilted = (1.0, 0.0, 0.0, 0.0, 0.9998, 0.0175)  # one degree: the same stack
    near = [replace(item, directions=tilted) for item in slices[:1]]
    assert order_slices([*near, *slices[1:]]).remarks == ()
