"""Turn official lists of image names, one text file per split, into the split of each image.

A line names an image by its path, its file name, or either without the suffix; the fullest
reading that is an image counts. A name of several images, and an image in two lists, are
refused; names without an image and images without a name are counted.
"""

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medimg_baseline_cls.data.folders.image_files import ListedFile
from medimg_baseline_cls.data.folders.split_folders import shorten_list
from medimg_baseline_cls.data.tables.table_file import find_encoding
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.quantities import say_count


def apply_lists(
    files: Sequence[ListedFile], lists: Sequence[Path]
) -> tuple[list[ListedFile], list[str]]:
    """Return the images in one of the lists, with the split of that list, and notes.

    Args:
        files: the images.
        lists: text files with a name per line; the name of each file contains its split.

    Raises:
        DataError: A list cannot be read, a name is of several images, or an image is in the lists
            of two splits.
    """
    names = [(name, _split_of(path)) for path in lists for name in _read_list(path)]
    readings = _find_readings(files, {name for name, _ in names})
    splits: dict[int, str] = {}
    unknown: list[str] = []
    for name, split in names:
        rows = next((found[name] for found in readings if name in found), [])
        if not rows:
            unknown.append(name)
            continue
        if len(rows) > 1:
            raise DataError(
                f"{name} in the lists is the name of several images, "
                f"{shorten_list([files[row].path for row in rows])}: write their paths."
            )
        held = splits.setdefault(rows[0], split)
        if held != split:
            raise DataError(
                f"{files[rows[0]].path} is in the lists of {held} and {split}: keep it in one."
            )
    if not splits:
        raise DataError(
            f"none of the {len(names)} names in {shorten_list([str(p) for p in lists])} is an "
            f"image of the table, such as {files[0].path}."
        )
    placed = [replace(files[row], folder=split) for row, split in sorted(splits.items())]
    return placed, list(_note_rest(unknown, len(files) - len(placed)))


def _find_readings(
    files: Sequence[ListedFile], wanted: set[str]
) -> tuple[dict[str, list[int]], ...]:
    """Return for each way to name an image, the fullest first, the rows of each wanted name."""
    readings = tuple(defaultdict[str, list[int]](list) for _ in range(4))
    for row, file in enumerate(files):
        base = posixpath.basename(file.path)
        bare = posixpath.splitext(file.path)[0]
        keys = (file.path, bare, base, posixpath.basename(bare))
        for found, key in zip(readings, keys, strict=True):
            if key in wanted:
                found[key].append(row)
    return readings


def _note_rest(unknown: Sequence[str], num_left: int) -> list[str]:
    notes: list[str] = []
    if num_left:
        notes.append(f"{say_count(num_left, 'images are')} in no list of split_files: left out")
    if unknown:
        names = say_count(len(unknown), "names")
        notes.append(f"{names} of split_files without an image: {shorten_list(unknown)}")
    return notes


def _split_of(path: Path) -> str:
    """Return the split in a list's name; train_val is train, and VAL is taken from it."""
    held = {split for split in ("train", "val", "test") if split in path.stem.lower()}
    if held == {"train", "val"}:
        return "train"
    if len(held) != 1:
        raise DataError(f"{path}: the name of a list must contain one of train, val or test.")
    return held.pop()


def _read_list(path: Path) -> list[str]:
    """Return the lines of a list in UTF-8 or UTF-16; characters such as U+2028 end none."""
    try:
        data = path.read_bytes()
        lines = data.decode(find_encoding(data[:256])).replace("\r", "\n").split("\n")
    except OSError as error:
        raise DataError(f"the list {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeError as error:
        raise DataError(f"the list {path} is not UTF-8 text: save it as UTF-8.") from error
    return [line.strip().replace("\\", "/") for line in lines if line.strip()]
