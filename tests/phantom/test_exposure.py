"""The film: exposed to the drawn brightness, collimated, marked, and nothing else betrayed."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from medimg_baseline_cls.phantom import anatomy as phantom_anatomy
from medimg_baseline_cls.phantom import exposure as phantom_exposure
from medimg_baseline_cls.phantom.anatomy import Anatomy, place_anatomy
from medimg_baseline_cls.phantom.chest import build_chest
from medimg_baseline_cls.phantom.exposure import Technique, expose_image, place_technique

SIZE = 96

PATIENTS = [
    place_anatomy(draws)
    for draws in np.random.default_rng(1).random((8, phantom_anatomy.NUM_DRAWS))
]
FILMS = [build_chest(patient, SIZE).attenuation for patient in PATIENTS]
# Nothing on the film but the patient.
PLAIN = replace(
    place_technique(np.full(phantom_exposure.NUM_DRAWS, 0.5)),
    left=-0.1,
    right=-0.1,
    top=-0.1,
    bottom=-0.1,
    noise=0.0,
    mottle=0.0,
    toe=0.0,
    leads=1.0,
)


def expose(technique: Technique, index: int = 0, *, has_tag: bool = False) -> np.ndarray:
    attenuation, anatomy = FILMS[index].copy(), PATIENTS[index]
    return expose_image(attenuation, anatomy=anatomy, technique=technique, has_tag=has_tag)


def changed(one: np.ndarray, other: np.ndarray) -> tuple[int, int, int, int]:
    """The window (top, bottom, left, right) in which two films differ."""
    rows, columns = np.nonzero(one != other)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_each_draw_sets_one_thing_of_the_exposure() -> None:
    low, high = (place_technique(np.full(phantom_exposure.NUM_DRAWS, end)) for end in (0.0, 1.0))
    assert list(asdict(low)) == list(phantom_exposure.RANGES)
    for name, (first, last) in phantom_exposure.RANGES.items():
        assert asdict(low)[name] == first and asdict(high)[name] == pytest.approx(last)
    with pytest.raises(ValueError, match="zip"):
        place_technique(np.zeros(3))


@pytest.mark.parametrize("brightness", [0.42, 0.50, 0.58])
@pytest.mark.parametrize("index", range(4))
def test_the_patient_gets_the_drawn_brightness_whatever_the_anatomy(
    index: int, brightness: float
) -> None:
    film = expose(replace(PLAIN, brightness=brightness), index) / 255
    patient = film[FILMS[index] > 0.1]
    assert patient.mean() == pytest.approx(brightness, abs=0.06)


def test_a_brighter_draw_brightens_every_pixel() -> None:
    films = [expose(replace(PLAIN, brightness=value)).astype(int) for value in (0.42, 0.5, 0.58)]
    assert (films[1] >= films[0]).all() and (films[2] >= films[1]).all()
    assert films[2].mean() - films[0].mean() > 25


def test_more_attenuation_is_never_darker() -> None:
    # One film of a ramp, without bones of the shoulder: they lie in its upper half.
    size = 64
    ramp = np.tile(np.linspace(0, 1.5, size, dtype=np.float32), (size, 1))
    film = expose_image(ramp, anatomy=PATIENTS[0], technique=PLAIN, has_tag=False)
    below = film[size // 2 :].astype(int)
    assert (np.diff(below, axis=1) >= 0).all() and (below == below[0]).all()
    assert below[0, 0] == 0 and below[0, -1] > 200


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_the_collimator_blackens_its_own_edge_by_its_width(side: str) -> None:
    width = 0.2  # wider than any that is drawn, to be seen
    inner = replace(PLAIN, marker_x=0.45, marker_y=0.5)  # the marker lies on the film, not in it
    open_film, closed = expose(inner), expose(replace(inner, **{side: width}))
    turns = {"left": 0, "top": 1, "right": 2, "bottom": 3}[side]
    before, after = (np.rot90(film, turns) for film in (open_film, closed))
    edge = round(width * SIZE)
    assert before[:, : edge - 1].any() and not after[:, : edge - 1].any()
    assert np.array_equal(after[:, edge + 1 :], before[:, edge + 1 :])


def test_an_open_collimator_leaves_no_border() -> None:
    assert (expose(PLAIN)[SIZE // 2 + 1 :, SIZE // 3 : -SIZE // 3] > 0).all()


def test_fog_lifts_the_whole_film_but_not_what_lies_on_it() -> None:
    marked = replace(PLAIN, marker_size=0.2)  # wide strokes of the marker, to be full bright
    clear, fogged = expose(marked).astype(int), expose(replace(marked, toe=0.05)).astype(int)
    lifted = fogged - clear
    assert set(np.unique(lifted[SIZE // 2 :])) == {7, 8}  # 0.6 * 0.05 * 255 = 7.65
    assert (clear == 238).sum() > 20 and not lifted[clear == 238].any()


@pytest.mark.parametrize("noise", [0.008, 0.022])
def test_grain_is_as_strong_as_drawn_and_stronger_where_the_film_is_bright(noise: float) -> None:
    clear, grainy = expose(PLAIN) / 255, expose(replace(PLAIN, noise=noise)) / 255
    difference = grainy - clear
    for low, high in ((0.2, 0.4), (0.6, 0.8)):
        where = (clear > low) & (clear < high)
        expected = np.hypot(noise * (clear[where].mean() + 0.35), 1 / 255 / 6**0.5)
        assert difference[where].std() == pytest.approx(expected, rel=0.15)
        assert abs(difference[where].mean()) < 0.002


def test_mottle_is_in_proportion_to_the_film_and_grain_is_not() -> None:
    dim, bright = replace(PLAIN, brightness=0.42), replace(PLAIN, brightness=0.58)
    for name, proportional in (("mottle", True), ("noise", False)):
        shares = []
        for technique in (dim, bright):
            clear = expose(technique) / 255
            change = expose(replace(technique, **{name: 0.1})) / 255 - clear
            where = (clear > 0.25) & (clear < 0.6)
            shares.append(change[where] / (clear[where] + (0.0 if proportional else 0.35)))
        # Divided by what it is proportional to, either noise is as strong on both films.
        assert shares[0].std() == pytest.approx(shares[1].std(), rel=0.06)
        dark = (clear > 0.02) & (clear < 0.12)
        noise = (expose(replace(bright, **{name: 0.1})) / 255 - clear)[dark]
        assert (noise.std() < 0.02) == proportional


def test_every_turn_of_the_grain_is_another_pattern() -> None:
    patterns = {
        expose(replace(PLAIN, noise=0.02, grain_turn=turn + 0.5, grain_x=x)).tobytes()
        for turn in range(4)
        for x in (0.0, 0.4, 0.999)
    }
    assert len(patterns) == 12


@pytest.mark.parametrize(("side", "letter"), [(0.79, "R"), (0.81, "L")])
def test_the_side_marker_lies_where_it_was_drawn(side: float, letter: str) -> None:
    options = {"marker_x": 0.06, "marker_y": 0.10, "marker_size": 0.055}
    film = expose(replace(PLAIN, marker_side=side, **options))
    # The same film with the marker of the other side shows both places.
    other = expose(replace(PLAIN, marker_side=1.6 - side, **options))
    mine = film.astype(int) - other
    rows, columns = np.nonzero(mine > 40)
    assert rows.min() >= 0.10 * SIZE - 1 and rows.max() <= (0.10 + 0.055) * SIZE + 3
    left = 0.06 if letter == "R" else 1 - 0.06 - 0.055
    assert columns.min() >= left * SIZE - 1 and columns.max() <= (left + 0.055) * SIZE + 3
    assert film.max() >= 225
    assert (columns.mean() < SIZE / 2) == (letter == "R")


def test_four_of_five_markers_say_right_and_one_film_in_five_has_leads() -> None:
    draws = np.random.default_rng(0).random((3000, phantom_exposure.NUM_DRAWS))
    taken = [place_technique(one) for one in draws]
    assert np.mean([t.marker_side < 0.8 for t in taken]) == pytest.approx(0.8, abs=0.03)
    bare = expose(replace(PLAIN, leads=0.22))
    assert np.array_equal(bare, expose(PLAIN))
    shown = expose(replace(PLAIN, leads=0.21))
    assert (shown >= bare).all() and 0.002 < (shown > bare).mean() < 0.1


def test_leads_lie_on_both_sides_of_the_chest() -> None:
    bare, shown = expose(PLAIN), expose(replace(PLAIN, leads=0.1))
    _, columns = np.nonzero(shown > bare)
    assert (columns < SIZE / 2).any() and (columns > SIZE / 2).any()
    assert not ((columns > 0.4 * SIZE) & (columns < 0.6 * SIZE)).any()


@pytest.mark.parametrize("size", [32, 64, 224])
def test_the_planted_plate_is_a_bright_square_in_the_lower_right(size: int) -> None:
    attenuation = build_chest(PATIENTS[1], size).attenuation
    plain, tagged = (
        expose_image(attenuation.copy(), anatomy=PATIENTS[1], technique=PLAIN, has_tag=has_tag)
        for has_tag in (False, True)
    )
    top, bottom, left, right = changed(plain, tagged)
    assert (top, bottom) == (left, right)
    assert bottom == round(0.97 * size) - 1
    assert bottom - top + 1 == max(2, round(0.075 * size))
    assert set(np.unique(tagged[top : bottom + 1, left : right + 1])) == {235}  # 0.92 * 255 + 0.5


def test_head_and_arms_enter_the_upper_half_alone() -> None:
    def film(anatomy: Anatomy) -> np.ndarray:
        return expose_image(FILMS[2].copy(), anatomy=anatomy, technique=PLAIN, has_tag=False)

    patient = replace(PATIENTS[2], rotation=0.0, chin_y=-0.2)
    lower = replace(patient, chin_y=-0.02)
    # The exposure measures on the patient: the rest may change by a gray value or two.
    difference = film(lower).astype(int) - film(patient)
    assert np.abs(difference[SIZE // 2 :]).max() <= 4
    assert difference[:8, SIZE // 2 - 8 : SIZE // 2 + 8].max() > 15


def test_a_black_exposure_is_still_a_film() -> None:
    # Nothing in the beam: no brightness to measure must not become a warning or garbage.
    thin = np.full((64, 64), 0.05, np.float32)
    film = expose_image(thin, anatomy=PATIENTS[0], technique=PLAIN, has_tag=False)
    assert film.dtype == np.uint8 and film.shape == (64, 64)
    dense = np.full((64, 64), 9.0, np.float32)
    assert expose_image(dense, anatomy=PATIENTS[0], technique=PLAIN, has_tag=False).min() > 60
