"""The sum of the layers: lungs of air where the outlines say, and every layer in its place."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from medimg_baseline_cls.phantom import anatomy as curves
from medimg_baseline_cls.phantom.anatomy import Anatomy, place_anatomy, to_image
from medimg_baseline_cls.phantom.chest import Chest, build_chest

SIZE = 96


def draw_patients(count: int) -> list[Anatomy]:
    draws = np.random.default_rng(4).random((count, curves.NUM_DRAWS))
    return [place_anatomy(one) for one in draws]


PATIENTS = draw_patients(16)
CHESTS = [build_chest(patient, SIZE) for patient in PATIENTS]


def upright(patient: Anatomy, **change: float) -> Anatomy:
    """A patient seen straight from the front, so that rows and columns are those of the film."""
    straight = {"rotation": 0.0, "scale": 1.0, "shift_x": 0.0, "shift_y": 0.0, "midline": 0.0}
    return replace(patient, **{**straight, **change})


@pytest.mark.parametrize("size", [32, 33, 97, 128])
def test_every_field_is_a_square_of_single_precision(size: int) -> None:
    chest = build_chest(PATIENTS[0], size)
    for field in fields(Chest):
        values = getattr(chest, field.name)
        assert values.shape == (size, size) and values.dtype == np.float32, field.name
        assert np.isfinite(values).all()


@pytest.mark.parametrize("index", range(4))
def test_pixels_know_their_anatomical_place(index: int) -> None:
    patient, chest = PATIENTS[index], CHESTS[index]
    rows, columns = np.mgrid[0:SIZE:5, 0:SIZE:7]
    places = list(zip(chest.x[rows, columns].flat, chest.y[rows, columns].flat, strict=True))
    film = np.array(to_image(patient, [(float(x), float(y)) for x, y in places])) * SIZE - 0.5
    assert film[:, 0] == pytest.approx(columns.ravel(), abs=1e-3)
    assert film[:, 1] == pytest.approx(rows.ravel(), abs=1e-3)


@pytest.mark.parametrize("index", range(len(PATIENTS)))
def test_there_are_two_lungs_and_the_heart_takes_from_the_left_one(index: int) -> None:
    lung = CHESTS[index].lung
    parts, _ = ndimage.label(lung > 0.3)
    sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]
    assert sizes[:2].min() > 0.06 * SIZE**2 and sizes[2:].sum() <= 4
    straight = build_chest(upright(PATIENTS[index]), SIZE).lung
    right, left = straight[:, : SIZE // 2].sum(), straight[:, SIZE // 2 :].sum()
    assert right > left  # the patient's right is the left of the picture
    assert lung.min() >= 0 and lung.max() < 1.006


@pytest.mark.parametrize("index", range(len(PATIENTS)))
def test_lungs_end_at_the_ribs_the_heart_and_the_diaphragm(index: int) -> None:
    patient, chest = PATIENTS[index], CHESTS[index]
    x, y = chest.x.astype(float), chest.y.astype(float)
    beside = np.abs(x) > curves.cage_half_width(patient, y) + 0.004
    below = y > curves.diaphragm(patient, x) + 0.012
    left, right = curves.left_border(patient, y), curves.right_border(patient, y)
    inside = np.minimum(left - x, x + right) > 0.02  # of the mediastinum
    for where in (beside, below, inside):
        assert where.any() and not chest.lung[where].any()
    inner = (np.abs(x) < curves.cage_half_width(patient, y) - 0.06) & (
        np.maximum(x - left, -x - right) > 0.06
    )
    middle = inner & (y > 0.35) & (y < curves.diaphragm(patient, x) - 0.03)
    assert chest.lung[middle].min() > 0.5


def test_air_is_dark_and_the_heart_is_bright() -> None:
    for patient, chest in zip(PATIENTS, CHESTS, strict=True):
        x, y, film = chest.x, chest.y, chest.attenuation
        level = np.abs(y - 0.58) < 0.06
        heart = level & (np.abs(x - 0.05) < 0.03)
        liver = (np.abs(y - 0.92) < 0.03) & (np.abs(x) < 0.2)
        lung = film[level & (chest.lung > 0.6)].mean()
        assert film[heart].mean() > lung + 0.15 and film[liver].mean() > lung + 0.15
        assert patient.air > 0


def test_vessels_lie_in_unit_range_and_thin_out_from_the_hilum() -> None:
    near, far = [], []
    for chest in CHESTS:
        assert chest.vessels.min() >= 0 and chest.vessels.max() <= 1
        distance = np.hypot(np.abs(chest.x) - 0.085, chest.y - 0.41)
        near.append(chest.vessels[distance < 0.08].mean())
        far.append(chest.vessels[(distance > 0.2) & (chest.lung > 0.3)].mean())
    assert np.mean(near) > 2 * np.mean(far) > 0
    assert (np.array(near) > np.array(far)).all()


@pytest.mark.parametrize(
    ("layer", "region"),
    [("vessel_contrast", "lung"), ("air", "lung"), ("rib_contrast", "cage"), ("gas", "stomach")],
)
def test_a_layer_is_added_in_proportion_and_nowhere_else(layer: str, region: str) -> None:
    patient = upright(PATIENTS[1], gas=0.05)
    values = [0.05, 0.10, 0.20]
    films = [build_chest(replace(patient, **{layer: value}), SIZE) for value in values]
    one = films[1].attenuation - films[0].attenuation
    two = films[2].attenuation - films[1].attenuation
    assert two == pytest.approx(2 * one, abs=2e-6)
    x, y = films[0].x.astype(float), films[0].y.astype(float)
    where = {
        "lung": films[0].lung > 0,
        "cage": np.abs(x) < curves.cage_half_width(patient, y) + 0.025,
        "stomach": (x > 0) & (y > curves.diaphragm(patient, x) - 0.02),
    }[region]
    changed = np.abs(one) > 1e-6
    assert changed.any() and not changed[~where].any()
    sign = -1 if layer in ("air", "gas") else 1
    assert (sign * one[changed] > 0).all()


def test_a_stomach_without_gas_is_as_if_there_were_none() -> None:
    patient = PATIENTS[2]
    films = [build_chest(replace(patient, gas=gas), 64).attenuation for gas in (-0.2, -0.01)]
    assert np.array_equal(*films)


def test_ribs_cross_the_lung_at_their_spacing() -> None:
    # Down the middle of a lung the ribs are a wave of the drawn spacing: seen in the spectrum.
    size = 256
    for patient in PATIENTS[:6]:
        bare, ribs = (
            build_chest(upright(patient, rib_contrast=contrast), size).attenuation
            for contrast in (0.0, 0.12)
        )
        column = (ribs - bare)[80:170, round(0.35 * size)].astype(float)
        spectrum = np.abs(np.fft.rfft(column - column.mean(), 4096))
        frequency = np.fft.rfftfreq(4096, 1 / size)
        wave = frequency[spectrum[frequency > 5].argmax() + int((frequency <= 5).sum())]
        nearest = min(1, 2, key=lambda part: abs(wave * patient.rib_spacing - part))
        assert wave * patient.rib_spacing == pytest.approx(nearest, abs=0.15)


def test_moving_the_patient_moves_every_layer() -> None:
    here = build_chest(upright(PATIENTS[3]), SIZE)
    moved = build_chest(upright(PATIENTS[3], shift_x=4 / SIZE, shift_y=-6 / SIZE), SIZE)
    for name in ("lung", "vessels", "attenuation"):
        before, after = getattr(here, name)[10:-10, 10:-10], getattr(moved, name)[4:-16, 14:-6]
        limit = 0.2 if name == "vessels" else 0.06  # tables and half-size layers round places
        assert np.abs(before - after).max() < limit, name
        assert np.abs(before - after).mean() < 0.01, name


def test_a_small_film_is_the_mean_of_the_large_one() -> None:
    for patient in PATIENTS[:4]:
        small, large = build_chest(patient, 48).attenuation, build_chest(patient, 192).attenuation
        blocks = large.reshape(48, 4, 48, 4).mean(axis=(1, 3))
        assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.985
        assert np.abs(small - blocks).mean() < 0.02
