"""Phantoms: the same patient for the same (seed, i), with a disease where the mask says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.phantom.image_folder import make_phantom, write_phantoms
from medimg_baseline_cls.phantom.lesions import SHAPES

SIZE = 96


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order, either way round."""
    wins = (scores[truth][:, None] > scores[~truth][None, :]).mean()
    return float(max(wins, 1 - wins))


@pytest.fixture(scope="module")
def crowd() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = np.arange(400) % 2 == 0
    films = [
        make_phantom(11, i, is_positive=bool(truth[i]), image_size=64) for i in range(len(truth))
    ]
    return np.stack([f.pixels for f in films]), np.stack([f.mask for f in films]), truth


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path))
        for path in sorted(folder.rglob("*.png"))
    }


def test_a_phantom_depends_on_seed_and_index_alone() -> None:
    first = make_phantom(1, 7, is_positive=True, image_size=SIZE)
    make_phantom(1, 8, is_positive=False, image_size=SIZE)
    again = make_phantom(1, 7, is_positive=True, image_size=SIZE)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.mask, again.mask)
    for other in ((2, 7), (1, 8)):
        assert not np.array_equal(
            first.pixels, make_phantom(*other, is_positive=True, image_size=SIZE).pixels
        )


def test_a_larger_film_shows_the_same_patient() -> None:
    small = make_phantom(0, 3, is_positive=True, image_size=64)
    large = make_phantom(0, 3, is_positive=True, image_size=256)
    shrunk = np.asarray(Image.fromarray(large.pixels).resize((64, 64), Image.Resampling.BOX))
    assert np.corrcoef(small.pixels.ravel(), shrunk.ravel())[0, 1] > 0.97
    assert small.shape == large.shape
    assert large.mask.mean() == pytest.approx(small.mask.mean(), rel=0.15)


@pytest.mark.parametrize("index", range(24))
def test_the_disease_whitens_its_mask_and_spares_the_rest(index: int) -> None:
    healthy = make_phantom(5, index, is_positive=False, image_size=SIZE)
    ill = make_phantom(5, index, is_positive=True, image_size=SIZE)
    assert not healthy.mask.any() and healthy.shape is None
    assert 0.004 < ill.mask.mean() < 0.25
    change = ill.pixels.astype(float) - healthy.pixels
    # Exposure shifts the whole film a little, so compare with the median of the rest.
    inside, outside = change[ill.mask].mean(), np.median(change[~ill.mask])
    assert inside - outside > 8
    assert abs(outside) < 12


def test_every_shape_occurs() -> None:
    shapes = {make_phantom(0, i, is_positive=True, image_size=32).shape for i in range(40)}
    assert shapes == set(SHAPES)


def test_trivial_features_hardly_tell_the_class(crowd) -> None:
    pixels, _, truth = crowd
    frame = np.ones(pixels.shape[1:], bool)
    frame[8:-8, 8:-8] = False
    features = {
        "mean": pixels.mean((1, 2)),
        "deviation": pixels.std((1, 2)),
        "corner": pixels[:, -8:, -8:].mean((1, 2)),
        "frame": pixels[:, frame].mean(1),
        "dark": np.percentile(pixels, 10, axis=(1, 2)),
        "bright": np.percentile(pixels, 90, axis=(1, 2)),
    }
    assert {name: auroc(values, truth) for name, values in features.items()} == {
        name: pytest.approx(0.6, abs=0.1) for name in features
    }


def test_automatic_exposure_hides_the_disease_from_the_mean() -> None:
    changes = [
        make_phantom(3, i, is_positive=True, image_size=64).pixels.mean()
        - make_phantom(3, i, is_positive=False, image_size=64).pixels.mean()
        for i in range(20)
    ]
    assert abs(np.mean(changes)) < 1.0


def test_the_lesion_itself_tells_the_class(crowd) -> None:
    pixels, masks, truth = crowd
    inside = [film[mask].mean() for film, mask in zip(pixels[truth], masks[truth], strict=True)]
    same_place = [
        film[mask].mean() for film, mask in zip(pixels[~truth], masks[truth], strict=True)
    ]
    scores = np.concatenate([inside, same_place])
    assert auroc(scores, np.arange(len(scores)) < len(inside)) > 0.8


def test_films_use_the_gray_scale_without_clipping_much(crowd) -> None:
    pixels, _, _ = crowd
    assert 95 < pixels.mean() < 150
    assert (pixels == 255).mean() < 0.02
    assert pixels.mean((1, 2)).std() > 8  # exposures differ


def test_writing_gives_the_kaggle_layout_and_masks(tmp_path: Path) -> None:
    folder = write_phantoms(
        tmp_path / "set", num_train=20, num_test=10, image_size=48, seed=3, positive_fraction=0.6
    )
    files = read_folder(folder)
    counts = {
        key: sum(name.startswith(key + "/") for name in files)
        for key in ("train/NORMAL", "train/PNEUMONIA", "test/NORMAL", "test/PNEUMONIA")
    }
    assert list(counts.values()) == [8, 12, 4, 6]
    masks = {name for name in files if name.startswith("masks/")}
    films = {name for name in files if name not in masks}
    assert masks == {f"masks/{name}" for name in films if "/PNEUMONIA/" in name}
    assert all(set(np.unique(files[name])) == {0, 255} for name in masks)
    assert all(files[name].shape == (48, 48) for name in files)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_patients_have_several_films_but_never_in_two_splits(tmp_path: Path) -> None:
    folder = write_phantoms(tmp_path / "set", num_train=40, num_test=24, image_size=32, seed=0)
    patients: dict[str, list[str]] = {"train": [], "test": []}
    for name in read_folder(folder):
        split, film = name.split("/")[0], name.split("/")[-1]
        if split in patients:
            separator = "-" if film.startswith("IM") else "_"
            patients[split].append(film.rsplit(separator, 1)[0])
    assert not set(patients["train"]) & set(patients["test"])
    assert len(set(patients["train"])) < len(patients["train"])


def test_writing_twice_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    options = {"num_train": 6, "num_test": 4, "image_size": 32}
    folders = [
        write_phantoms(tmp_path / str(run), seed=seed, **options)
        for run, seed in enumerate((1, 1, 2))
    ]
    content = [
        {p.relative_to(f).as_posix(): p.read_bytes() for p in f.rglob("*.png")} for f in folders
    ]
    assert content[0] == content[1]
    assert content[0] != content[2]


def test_the_planted_shortcut_lies_in_the_corner_and_tells_the_class() -> None:
    truth = np.arange(120) % 2 == 0
    corners = []
    for index, is_positive in enumerate(truth):
        options = {"is_positive": bool(is_positive), "image_size": 64}
        planted = make_phantom(0, index, shortcut=True, **options).pixels
        plain = make_phantom(0, index, **options).pixels
        assert np.array_equal(planted[:-8], plain[:-8])
        corners.append(planted[-7:-2, -7:-2].mean())
    assert auroc(np.array(corners), truth) > 0.85


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        write_phantoms(tmp_path, num_train=4, num_test=4, image_size=32, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("options", [{"num_train": 1}, {"num_test": 0}, {"positive_fraction": 1.0}])
def test_a_split_without_both_classes_is_refused(tmp_path: Path, options: dict[str, float]) -> None:
    settings = {"num_train": 4, "num_test": 4, "image_size": 32, "seed": 0, **options}
    with pytest.raises(DataError, match="both classes"):
        write_phantoms(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()


def test_a_tiny_film_is_refused() -> None:
    with pytest.raises(DataError, match="32"):
        make_phantom(0, 0, is_positive=True, image_size=16)
