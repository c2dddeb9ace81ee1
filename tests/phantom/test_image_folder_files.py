"""A folder of phantoms: whole or absent, the same films whatever the counts, patients apart."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medimg_baseline_cls.data.file_headers import infer_color
from medimg_baseline_cls.data.image_bytes import FolderSource
from medimg_baseline_cls.data.index import index_images, list_images
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.positive import infer_positive_class
from medimg_baseline_cls.data.splitting.choose_test import SplitSettings
from medimg_baseline_cls.data.splitting.split import check_leakage, split_images
from medimg_baseline_cls.phantom import image_folder as phantom_module
from medimg_baseline_cls.phantom.image_folder import Phantom, make_phantom, write_phantoms

BLANK = Phantom(np.zeros((32, 32), np.uint8), np.ones((32, 32), np.bool_), "round")


def film_number(path: Path) -> int:
    """The number of a film in its seed, from 0: the last number of its name."""
    return int(re.findall(r"\d+", path.stem)[-1]) - 1


def films(folder: Path) -> dict[int, Path]:
    found = [p for p in sorted(folder.rglob("*.png")) if "masks" not in p.parts]
    return {film_number(path): path for path in found}


def test_file_i_is_phantom_i_whatever_the_number_of_films(tmp_path: Path) -> None:
    few = write_phantoms(tmp_path / "few", num_train=4, num_test=3, image_size=32, seed=9)
    many = write_phantoms(tmp_path / "many", num_train=9, num_test=2, image_size=32, seed=9)
    for folder, count in ((few, 7), (many, 11)):
        written = films(folder)
        assert sorted(written) == list(range(count))
        for index, path in written.items():
            is_positive = path.parent.name == "PNEUMONIA"
            expected = make_phantom(9, index, is_positive=is_positive, image_size=32)
            assert np.array_equal(np.asarray(Image.open(path)), expected.pixels)
            mask = folder / "masks" / path.relative_to(folder)
            assert mask.exists() == is_positive
            if is_positive:
                assert np.array_equal(np.asarray(Image.open(mask)) == 255, expected.mask)
    assert {p.parts[-3] for i, p in films(few).items() if i < 4} == {"train"}


def test_a_writer_that_dies_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def fail_at_the_fifth(*args: object, **options: object) -> Phantom:
        drawn.append(args)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return BLANK

    monkeypatch.setattr(phantom_module, "make_phantom", fail_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "set", num_train=6, num_test=4, image_size=32, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_used_and_missing_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a/b/c"):
        result = write_phantoms(folder, num_train=2, num_test=2, image_size=32, seed=0)
        assert result == folder and len(films(folder)) == 4
        # As any new folder, not as private as a temporary one.
        (folder / "new").mkdir()
        assert folder.stat().st_mode == (folder / "new").stat().st_mode
        assert [p for p in folder.parent.iterdir() if p.name.startswith(".")] == []


@given(
    num_train=st.integers(2, 60),
    num_test=st.integers(2, 30),
    fraction=st.floats(0.001, 0.999),
    seed=st.integers(-5, 2**40),
)
@settings(deadline=None, max_examples=60)
def test_every_split_has_both_classes_patients_stay_apart_and_names_differ(
    num_train: int, num_test: int, fraction: float, seed: int
) -> None:
    sides: dict[str, set[str]] = {}
    for split, start, count in (("train", 0, num_train), ("test", num_train, num_test)):
        labels = phantom_module.draw_labels(seed, split, count=count, fraction=fraction)
        assert 1 <= labels.sum() <= count - 1
        assert abs(labels.sum() - fraction * count) <= 1
        names = phantom_module._name_images(labels, start)
        assert len(set(names)) == count
        assert [name.startswith("PNEUMONIA/") for name in names] == labels.tolist()
        sides[split] = {re.split(r"[-_]\d+\.png", name)[0] for name in names}
    assert not sides["train"] & sides["test"]


def test_the_order_of_films_does_not_tell_the_class() -> None:
    runs = []
    for seed in range(40):
        labels = phantom_module.draw_labels(seed, "train", count=50, fraction=0.5)
        runs.append(np.corrcoef(labels, np.arange(50))[0, 1])
    assert abs(np.mean(runs)) < 0.1 and max(np.abs(runs)) < 0.6
    assert np.std(runs) == pytest.approx(1 / 7, abs=0.05)  # 1 / sqrt(n - 1): no order at all


def test_patients_have_one_disease_and_every_fourth_film_is_of_a_known_one() -> None:
    labels = phantom_module.draw_labels(3, "train", count=200, fraction=0.6)
    names = phantom_module._name_images(labels, 0)
    ill = [re.fullmatch(r"PNEUMONIA/(person\d+)_(\w+)_\d+\.png", n) for n in names if "PN" in n]
    etiologies: dict[str, set[str]] = {}
    for match in ill:
        assert match is not None
        etiologies.setdefault(match[1], set()).add(match[2])
    assert {len(kinds) for kinds in etiologies.values()} == {1}
    assert set().union(*etiologies.values()) == {"bacteria", "virus"}
    sizes = Counter(re.split(r"[-_]\d+\.png", name)[0] for name in names)
    assert 0.75 * 200 <= len(sizes) <= 0.75 * 200 + 2


def test_the_shortcut_betrays_train_and_test_alike(tmp_path: Path) -> None:
    options = {"num_train": 60, "num_test": 60, "image_size": 32, "seed": 1}
    folder = write_phantoms(tmp_path / "set", shortcut=True, **options)
    agree: dict[str, list[bool]] = {"train": [], "test": []}
    for path in films(folder).values():
        corner = np.asarray(Image.open(path))[29:31, 29:31]
        agree[path.parts[-3]].append((corner == 235).all() == (path.parent.name == "PNEUMONIA"))
    for shares in agree.values():
        assert 0.85 < np.mean(shares) < 1  # 0.95, and not without exceptions


def test_a_written_set_goes_through_the_whole_data_room(tmp_path: Path) -> None:
    data = write_phantoms(tmp_path / "set", num_train=40, num_test=12, image_size=32, seed=4)
    listing = list_images(data)
    assert listing.class_names == ("NORMAL", "PNEUMONIA")
    assert infer_positive_class(listing.class_names)[0] == "PNEUMONIA"
    assert listing.notes == ("folders next to train/ and test/ left out: masks/",)
    paths = [file.path for file in listing.files]
    assert infer_color(FolderSource(data), paths)[0] == "grey"
    cache = build_cache(
        data, paths, settings=PixelSettings(image_size=32), cache_dir=tmp_path / "cache"
    )
    index = index_images(listing, cache.facts)
    assert len({record.sha256 for record in index.records}) == 52  # no film twice
    groups = Counter(record.group for record in index.records)
    assert set(groups) & {record.path for record in index.records} == set()
    assert max(groups.values()) > 1
    split = split_images(
        index.records,
        settings=SplitSettings(val_fraction=0.2),
        class_names=listing.class_names,
    ).split
    check_leakage(split)
    counts = split.class_counts("val")
    assert counts["NORMAL"] == counts["PNEUMONIA"] > 0
