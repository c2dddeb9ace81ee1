"""Outlines of a chest: every drawn patient has the organs where a reader looks for them."""

import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.phantom import anatomy as curves
from medimg_baseline_cls.phantom.anatomy import Anatomy, place_anatomy, to_image

LINE = np.linspace(0, 1, 501)


def draw_patients(count: int) -> list[Anatomy]:
    draws = np.random.default_rng(8).random((count, curves.NUM_DRAWS))
    return [place_anatomy(one) for one in draws]


PATIENTS = draw_patients(60)


def test_the_ends_of_every_range_come_from_the_ends_of_the_draw() -> None:
    zeros, ones = np.zeros(curves.NUM_DRAWS), np.ones(curves.NUM_DRAWS)
    lowest, highest = asdict(place_anatomy(zeros)), asdict(place_anatomy(ones))
    assert lowest == {name: low for name, (low, _) in curves.RANGES.items()}
    assert highest == pytest.approx({name: high for name, (_, high) in curves.RANGES.items()})
    assert all(lowest[name] < highest[name] for name in lowest)


@pytest.mark.parametrize("place", range(curves.NUM_DRAWS))
def test_each_draw_moves_one_part_of_the_body_alone(place: int) -> None:
    uniform = np.full(curves.NUM_DRAWS, 0.5)
    middle = asdict(place_anatomy(uniform))
    uniform[place] = 0.75
    moved = asdict(place_anatomy(uniform))
    changed = [name for name in middle if middle[name] != moved[name]]
    assert changed == [fields(Anatomy)[place].name] == [list(curves.RANGES)[place]]


@pytest.mark.parametrize("count", [curves.NUM_DRAWS - 1, curves.NUM_DRAWS + 1])
def test_a_wrong_number_of_draws_is_no_patient(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        place_anatomy(np.zeros(count))


@given(
    st.floats(-1, 1),
    st.floats(-0.5, 1.5),
    st.floats(-0.075, 0.075),
    st.floats(0.92, 1.12),
    st.floats(-0.04, 0.04),
)
@settings(deadline=None, max_examples=60)
def test_film_places_are_turned_scaled_and_shifted_about_the_center(
    x: float, y: float, turn: float, scale: float, shift: float
) -> None:
    anatomy = replace(PATIENTS[0], rotation=turn, scale=scale, shift_x=shift, shift_y=-shift)
    ((film_x, film_y),) = to_image(anatomy, [(x, y)])
    # A turn and a zoom of the plane are one product of complex numbers.
    expected = complex(x, y - 0.5) * scale * complex(math.cos(turn), math.sin(turn))
    expected += complex(0.5 + shift, 0.5 - shift)
    assert complex(film_x, film_y) == pytest.approx(expected, abs=1e-12)


def test_the_cage_widens_from_the_apex_to_its_base() -> None:
    for patient in PATIENTS:
        width = curves.cage_half_width(patient, LINE)
        assert (np.diff(width) >= 0).all()
        assert width.min() == pytest.approx(1e-3)
        assert (width[patient.cage_top >= LINE] == width.min()).all()
        assert width[patient.cage_base <= LINE] == pytest.approx(patient.cage_width)


def test_the_heart_lies_on_the_patients_left() -> None:
    for patient in PATIENTS:
        upright = replace(patient, midline=0.0)
        level = np.array([patient.heart_y])
        left = curves.left_border(upright, level).item()
        right = curves.right_border(upright, level).item()
        assert left > right > 0
        assert 0.3 < (left + right) / (2 * patient.cage_width) < 0.6  # cardiothoracic ratio


def test_a_turned_patient_shows_a_shifted_but_not_a_wider_mediastinum() -> None:
    for patient in PATIENTS[:20]:
        upright = replace(patient, midline=0.0)
        turned = replace(patient, midline=0.012)
        left = curves.left_border(turned, LINE) - curves.left_border(upright, LINE)
        right = curves.right_border(turned, LINE) - curves.right_border(upright, LINE)
        assert left == pytest.approx(0.012) and right == pytest.approx(-0.012)


def test_the_right_dome_stands_higher_and_both_sink_to_the_sides() -> None:
    lateral = np.linspace(0.11, 0.34, 60)
    for patient in PATIENTS:
        left, right = curves.diaphragm(patient, lateral), curves.diaphragm(patient, -lateral)
        # y runs down: higher is smaller. The step between them is the drawn tilt, twice.
        assert left - right == pytest.approx(2 * patient.dome_tilt)
        outside = lateral > 0.5 * patient.cage_width
        assert (np.diff(left[outside]) > 0).all()


def test_the_skin_lies_outside_the_ribs() -> None:
    torso = LINE[LINE > 0.35]
    for patient in PATIENTS:
        skin, cage = curves.body_half_width(patient, torso), curves.cage_half_width(patient, torso)
        assert (skin > cage + 0.02).all()
        bottom = patient.cage_width + patient.torso_margin + 0.03 * 0.4
        assert curves.body_half_width(patient, np.array([1.0])).item() == pytest.approx(bottom)


def test_ribs_are_counted_downwards_and_never_below_zero() -> None:
    heights = np.linspace(-0.25, 1.25, 400)
    for patient in PATIENTS:
        numbers = curves.rib_number(patient, heights)
        assert numbers.min() > 0 and (np.diff(numbers[heights > 0.1]) > 0).all()
        apart = 1 / np.gradient(numbers, heights)
        assert apart[heights > 0.7] == pytest.approx(patient.rib_spacing, rel=0.005)
        chest = (heights > 0.11) & (heights < 0.6)
        assert (np.diff(apart[chest]) < 0).all() and apart[chest][0] > 1.4 * patient.rib_spacing


def test_densities_along_the_film_are_shares() -> None:
    for patient in PATIENTS:
        for curve in (curves.heart_fade, curves.rib_fade, curves.spine_along, curves.trachea_along):
            values = curve(patient, LINE)
            assert values.min() >= 0 and values.max() <= 1 + 1e-9, curve.__name__
        assert curves.heart_fade(patient, np.array([1.0])).item() == 0
        assert curves.rib_fade(patient, np.array([patient.cage_top])).item() == 0


def test_the_windpipe_is_thin_central_and_ends_at_the_carina() -> None:
    across = np.linspace(-0.5, 0.5, 1001)
    for patient in PATIENTS[:20]:
        air = curves.trachea_across(patient, across)
        assert across[air > 0].mean() == pytest.approx(patient.midline - 0.004, abs=1e-3)
        assert np.ptp(across[air > 0]) == pytest.approx(0.048, abs=3e-3)
        below = curves.trachea_along(patient, LINE)[LINE > 0.38]
        assert not below.any()


def test_the_spine_is_symmetric_and_stays_central_when_the_mediastinum_shifts() -> None:
    across = np.linspace(-0.2, 0.2, 401)
    for patient in PATIENTS[:20]:
        upright = curves.spine_across(replace(patient, midline=0.0), across)
        assert upright == pytest.approx(upright[::-1])
        assert not upright[np.abs(across) > 0.06].max() > 1e-6
        turned = curves.spine_across(replace(patient, midline=0.01), across)
        center = (turned * across).sum() / turned.sum()
        assert center == pytest.approx(0.004, abs=2e-4)  # less than the heart: it lies behind
