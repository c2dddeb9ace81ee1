"""The pairs of the shift benchmark: whole patients, far apart; stress keeps shape and type."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


shift_pairs, stress = load("shift_pairs"), load("stress")


def make_images() -> "shift_pairs.Images":  # type: ignore[name-defined]
    """Return images of 240 patients, two each, of which a fifth is bright, in both classes."""
    random = np.random.default_rng(0)
    patients = np.array(
        [f"person{i}_virus" for i in range(120)] + [f"IM-{i:04}" for i in range(120)]
    ).repeat(2)
    is_bright = np.tile(np.arange(120) % 5 == 0, 2).repeat(2)
    views = {
        name: random.normal(size=(480, 4)) + 6 * is_bright[:, None]
        for name in ("brightness", "border", "texture")
    }
    return shift_pairs.Images(
        paths=tuple(f"x/{patient}_{i}.jpeg" for i, patient in enumerate(patients)),
        positive=np.char.startswith(patients, "person"),
        patients=patients,
        views=views,
    )


def test_patients_are_whole_and_pairs_are_farther_apart_than_their_controls() -> None:
    images = make_images()
    pairs = shift_pairs.make_pairs(images)
    for pair in pairs:
        parts = [set(images.patients[part]) for part in (pair.train, pair.near, pair.shifted)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts))
    by_name = {pair.name: pair for pair in pairs}
    for name in ("brightness", "border", "texture"):
        assert min(by_name[name].domain_auroc.values()) > 0.9
        assert max(by_name[name].control_auroc.values()) < 0.7
    assert by_name["normal"].domain_auroc["NORMAL"] > 0.9
    assert by_name["normal"].domain_auroc["PNEUMONIA"] < 0.7


def test_patients_are_named_as_the_data_set_names_them() -> None:
    names = ["N/NORMAL2-IM-0381-0001.jpeg", "P/person23_bacteria_77.jpeg", "N/IM-0115-0001.jpeg"]
    expected = ["NORMAL2-IM-0381", "person23_bacteria", "IM-0115"]
    assert shift_pairs.name_patients(names).tolist() == expected


@pytest.mark.parametrize("name", stress.STRESSES)
def test_a_change_keeps_shape_and_type_and_changes_something(name: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 1, 32, 32)).astype(np.uint8)
    before = pixels.copy()
    changed = stress.STRESSES[name](pixels)
    assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
    assert (changed != before).mean() > 0.2
    assert (pixels == before).all()
    assert (stress.STRESSES[name](pixels) == changed).all()
