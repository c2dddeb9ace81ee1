"""Turn a seed into a folder of phantom chest radiographs in the Kaggle layout.

A phantom is a procedural chest (lungs, heart, ribs, vessels, exposure, noise); those of
the positive class have opacities, whose ground-truth masks are written too. Image i depends
only on (seed, i), whatever else is drawn. Phantoms are for the demo and the tests; they are
not patients, and results on them say nothing about real radiographs.
"""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.pixels.png import encode_png
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.phantom import anatomy as phantom_anatomy
from medimg_baseline_cls.phantom import exposure as phantom_exposure
from medimg_baseline_cls.phantom import lesions as phantom_lesions
from medimg_baseline_cls.phantom.chest import build_chest
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.own_output import DATA, mark_own
from medimg_baseline_cls.utils.seed import derive_key, permutation, uniform_table

NEGATIVE, POSITIVE = "NORMAL", "PNEUMONIA"
MASK_FOLDER = "masks"

_SMALLEST = 32
# How often the planted marker agrees with the class: in `shortcut` sets only.
_SHORTCUT_AGREEMENT = 0.95


@dataclass(frozen=True, slots=True)
class Phantom:
    """One phantom radiograph.

    Attributes:
        pixels: gray values, shape (S, S), uint8.
        mask: where the opacities are, shape (S, S); all False in the negative class.
        shape: "round", "lobar", "bronchogram" or "interstitial"; None in the negative class.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    shape: str | None


def make_phantom(
    seed: int, index: int, *, is_positive: bool, image_size: int, shortcut: bool = False
) -> Phantom:
    """Draw phantom `index` of a seed.

    The same (seed, index) is the same patient on the same image, healthy or ill, at any size.

    Args:
        seed: any integer.
        index: which patient, from 0.
        is_positive: whether the patient has opacities.
        image_size: side in pixels, at least 32.
        shortcut: whether a bright plate in the lower right corner reveals the class.

    Raises:
        DataError: when the image would be smaller than 32 pixels.

    >>> phantom = make_phantom(0, 3, is_positive=True, image_size=64)
    >>> phantom.pixels.shape, bool(phantom.mask.any())
    ((64, 64), True)
    """
    if image_size < _SMALLEST:
        raise DataError(
            f"A phantom of {image_size} px shows no chest; use at least {_SMALLEST} px."
        )
    anatomy = phantom_anatomy.place_anatomy(
        _draw(seed, "anatomy", index=index, count=phantom_anatomy.NUM_DRAWS)
    )
    technique = phantom_exposure.place_technique(
        _draw(seed, "film", index=index, count=phantom_exposure.NUM_DRAWS)
    )
    chest = build_chest(anatomy, image_size)
    attenuation, shape = chest.attenuation, None
    mask = np.zeros(attenuation.shape, dtype=np.bool_)
    if is_positive:
        draws = _draw(seed, "opacity", index=index, count=phantom_lesions.NUM_DRAWS)
        opacity = phantom_lesions.draw_opacity(chest, draws)
        attenuation, mask, shape = attenuation + opacity.attenuation, opacity.mask, opacity.shape
    has_tag = shortcut and ((technique.tag < _SHORTCUT_AGREEMENT) == is_positive)
    pixels = phantom_exposure.expose_image(
        attenuation, anatomy=anatomy, technique=technique, has_tag=has_tag
    )
    return Phantom(pixels, mask, shape)


@ending_plainly(is_resumable=False)
def write_phantoms(
    folder: Path,
    *,
    num_train: int,
    num_test: int,
    image_size: int,
    seed: int,
    shortcut: bool = False,
    positive_fraction: float = 0.6,
) -> Path:
    """Write a data set of phantoms: train/ and test/ with a folder per class, and masks/.

    The folder is written completely or not at all. Names are like those of the Kaggle set;
    some patients have two images, and no patient is in more than one split.

    Args:
        folder: where to write; it must not exist, or be empty.
        num_train, num_test: images of each split, at least 2.
        image_size: side in pixels.
        seed: any integer; image i of a seed is always the same.
        shortcut: whether a corner marker reveals the class (in train and test alike).
        positive_fraction: share of the positive class in both splits, in (0, 1).

    Returns:
        The folder.

    Raises:
        DataError: when the folder is not empty or a count is too small.
    """
    require_both_classes(num_train, num_test, positive_fraction=positive_fraction)
    with writing_whole(folder) as work:
        for split, start, count in (("train", 0, num_train), ("test", num_train, num_test)):
            labels = draw_labels(seed, split, count=count, fraction=positive_fraction)
            names = _name_images(labels, start)
            for place in range(count):
                is_positive = bool(labels[place])
                phantom = make_phantom(
                    seed,
                    start + place,
                    is_positive=is_positive,
                    image_size=image_size,
                    shortcut=shortcut,
                )
                _write_phantom(work, f"{split}/{names[place]}", phantom=phantom)
    return folder


def require_both_classes(num_train: int, num_test: int, *, positive_fraction: float) -> None:
    """Refuse counts with which a split would lack a class.

    Raises:
        DataError: a count is below 2, or the share is not between 0 and 1.
    """
    if min(num_train, num_test) < 2 or not 0 < positive_fraction < 1:
        raise DataError(
            f"Each split needs both classes: at least 2 images (not {num_train} and {num_test}) "
            f"and a positive_fraction between 0 and 1 (not {positive_fraction})."
        )


@contextmanager
def writing_whole(folder: Path) -> Generator[Path, None, None]:
    """Yield a folder to write to, which becomes `folder` when the block ends without an error.

    Raises:
        DataError: `folder` exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; choose a new folder for the phantoms.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".phantoms-") as temporary:
        work = Path(temporary) / "set"
        yield work
        mark_own(work, kind=DATA)
        if folder.exists():
            folder.rmdir()
        work.rename(folder)


def _draw(seed: int, purpose: str, *, index: int, count: int) -> NDArray[np.float64]:
    rows = np.array([index], dtype=np.int64)
    return uniform_table(derive_key(seed, "phantom", purpose), rows, count=count)[0]


def draw_labels(seed: int, split: str, *, count: int, fraction: float) -> NDArray[np.bool_]:
    """Return which images of a split are positive, at least one of each class."""
    num_positive = min(max(round(count * fraction), 1), count - 1)
    return permutation(seed, "phantom", "labels", split, size=count) < num_positive


def _name_images(labels: NDArray[np.bool_], start: int) -> list[str]:
    """Name each image as the Kaggle set does; every fourth image shares its patient's number."""
    names: list[str] = []
    patient = {False: 100 + start, True: 1 + start}
    for place, is_positive in enumerate(labels.tolist()):
        image = start + place + 1
        if place % 4 != 3:
            patient[is_positive] += 1
        number = patient[is_positive]
        if is_positive:
            etiology = "bacteria" if number % 3 else "virus"
            names.append(f"{POSITIVE}/person{number}_{etiology}_{image}.png")
        else:
            names.append(f"{NEGATIVE}/IM-{number:04d}-{image:04d}.png")
    return names


def _write_phantom(folder: Path, name: str, *, phantom: Phantom) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(phantom.pixels))
    if phantom.shape is not None:
        mask_path = folder / MASK_FOLDER / name
        mask_path.parent.mkdir(parents=True, exist_ok=True)
        mask_path.write_bytes(encode_png(phantom.mask.astype(np.uint8) * 255))
