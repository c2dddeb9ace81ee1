"""The images of the benchmarks: real films where a folder is given, else phantoms; phantom CTs.

    python benchmarks/films.py DIR --images 200 --size 224

Every set is a folder of train/, val/ and test/ with one folder per class, which all contestants
read. Phantoms of full size are drawn at 384 px and scaled up,
as only the cost of decoding them matters.
"""

import argparse
import io
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from PIL import Image

from medimg_baseline_cls.phantom import volume_folder
from medimg_baseline_cls.phantom.image_folder import (
    MASK_FOLDER,
    NEGATIVE,
    POSITIVE,
    make_phantom,
)

CLASSES = (NEGATIVE, POSITIVE)
ORIGINAL = (1338, 979)  # the median of the originals of the Kaggle films
DRAWN = 384


@dataclass(frozen=True)
class Counts:
    """Images of each split, half of them of each class."""

    train: int
    val: int
    test: int

    def items(self) -> list[tuple[str, int]]:
        return [("train", self.train), ("val", self.val), ("test", self.test)]


def make_films(
    folder: Path, counts: Counts, *, size: int | None, real: Path | None, first: int = 0
) -> Path:
    """Fill a folder; `size` None means as large as originals, `first` numbers the phantoms.

    Real films (train/ and test/ with the two class folders) are used where they suffice; where
    there are fewer originals than asked for, the same one stands under several names.
    """
    if real is not None and real.is_dir():
        _copy_films(folder, counts, real=real)
        return folder
    tasks = list(_plan_phantoms(folder, counts, size=size, first=first))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_draw, tasks, chunksize=16))
    return folder


def make_volumes(folder: Path, counts: Counts, *, slices: int, image_size: int) -> Path:
    """Fill a folder with phantom CTs as NIfTI files."""
    volume_folder.write_volumes(
        folder,
        num_train=counts.train + counts.val,
        num_test=counts.test,
        num_slices=slices,
        image_size=image_size,
    )
    shutil.rmtree(folder / MASK_FOLDER)
    for label in (volume_folder.NEGATIVE, volume_folder.POSITIVE):
        (folder / "val" / label).mkdir(parents=True)
        for path in sorted((folder / "train" / label).iterdir())[: counts.val // 2]:
            path.rename(folder / "val" / label / path.name)
    return folder


def _copy_films(folder: Path, counts: Counts, *, real: Path) -> None:
    for label in CLASSES:
        train = sorted((real / "train" / label).iterdir())
        test = sorted((real / "test" / label).iterdir())
        num_val = max(1, len(train) // 4)
        pools = {"train": train[num_val:], "val": train[:num_val], "test": test}
        for split, number in counts.items():
            target = folder / split / label
            target.mkdir(parents=True)
            for i, film in enumerate(islice(cycle(pools[split]), number // 2)):
                # Copies must differ, or byte-identical files would be decoded once.
                name = target / f"{split}{label}{i:05d}{film.suffix}"
                mark = i.to_bytes(4, "big") if i >= len(pools[split]) else b""
                name.write_bytes(film.read_bytes() + mark)


def _plan_phantoms(
    folder: Path, counts: Counts, *, size: int | None, first: int
) -> Iterator[tuple[Path, int, int | None]]:
    index = first
    for split, number in counts.items():
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for _ in range(number // 2):
                yield folder / split / label / f"p{index:06d}.jpeg", index, size
                index += 1


def _draw(task: tuple[Path, int, int | None]) -> None:
    path, index, size = task
    is_positive = path.parent.name == POSITIVE
    phantom = make_phantom(7, index, is_positive=is_positive, image_size=size or DRAWN)
    image = Image.fromarray(phantom.pixels)
    if size is None:
        image = image.resize(ORIGINAL, Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    path.write_bytes(content.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, help="none: as originals")
    options = parser.parse_args()
    counts = Counts(options.images, 60, 60)
    make_films(options.folder, counts, size=options.size, real=None)


if __name__ == "__main__":
    main()
