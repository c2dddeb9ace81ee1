"""The images that a prediction is asked for: files, folders and patterns."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from medimg_baseline_cls.data.folders.cases import (
    describe_remarks,
    expand_folder,
    find_cases,
    list_case_files,
)
from medimg_baseline_cls.data.folders.masks import find_companions
from medimg_baseline_cls.data.folders.split_folders import is_system_name
from medimg_baseline_cls.data.pixels.cache import FileFacts
from medimg_baseline_cls.data.read import SUFFIXES, FileSorter
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.own_output import OwnFolders, require_foreign

_NO_IMAGES = frozenset({".csv", ".tsv", ".parquet", ".npz"})


def find_files(paths: Iterable[Path | str], *, sorter: FileSorter) -> list[Path]:
    """Return the image files that paths, folders and patterns name, in order, each once.

    Args:
        paths: a file that is named is always taken; of folders and patterns, the images.
        sorter: finds the images, and knows afterwards what was left out; with volumes, their slices
            are one path, see `data.folders.cases`.

    Raises:
        DataError: a path names nothing, or no image.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not str(path).strip():
            raise DataError("a path is empty: name an image file, a folder or a pattern.")
        matches = _expand(Path(path), sorter)
        if not matches:
            is_there = Path(path).exists() or glob.has_magic(str(path))
            found_instead = "names no image" if is_there else "is not there"
            if num_own := sorter.left_out["written by medimg"]:
                found_instead += f" ({num_own} files that medimg has written are left out)"
            raise DataError(
                f"{path} {found_instead}: expected a file, a folder with images, or a pattern in "
                f"quotes; readable are {', '.join(sorted(SUFFIXES))}."
            )
        found.update(dict.fromkeys(matches))
    if not found:
        raise DataError("no path was given: name image files, folders or patterns.")
    return list(found)


def warn_of_slices(files: Sequence[Path], facts: Iterable[FileFacts], *, log: RunLog) -> None:
    """Warn of what is remarkable in the slices of volumes, and of what was left out."""
    folders = {f if f.is_dir() else f.parent: f for f in reversed(files) if not f.is_file()}
    found = [(str(file), find_cases(folder).remarks) for folder, file in folders.items()]
    found += [(fact.path, fact.remarks) for fact in facts if fact.error is None]
    for item in describe_remarks(found):
        log.warn(item.warning or f"{item.topic}: {item.found}")


def _expand(path: Path, sorter: FileSorter) -> list[Path]:
    if path.suffix.lower() in _NO_IMAGES and not sorter.is_image(path):
        raise DataError(
            f"{path} is not an image: predict takes image files, folders or patterns in quotes, "
            "and no table or .npz file; name the folder of its images."
        )
    root = path if path.exists() else _fixed_part(path)
    require_foreign(root)
    if path.is_file() or (sorter.has_volumes and not path.exists() and list_case_files(path)):
        return [path]
    found = [path] if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    if sorter.has_volumes or path.is_dir():
        found = {p: None for f in found for p in (f.rglob("*") if f.is_dir() else [f])}
    own = OwnFolders(root)
    images = sorted(p for p in found if _is_input(p, own, sorter=sorter))
    if companions := _find_companions(images, root=root):
        sorter.left_out["masks or other companions"] += len(companions)
    images = [image for image in images if image not in companions]
    return _join_slices(images) if sorter.has_volumes else images


def _join_slices(images: Sequence[Path]) -> list[Path]:
    """Return the cases of the folders of images; of cases of one file, those among the images."""
    folders, named = dict.fromkeys(image.parent for image in images), set(images)
    found = [Path(p) for folder in folders for p in expand_folder(Path(), str(folder))[0]]
    return [path for path in found if path in named or not path.is_file()]


def _find_companions(images: Sequence[Path], *, root: Path) -> set[Path]:
    """Return the masks of other images that were found; one that is named itself is scored."""
    # As below a class: there the folders masks/ and images/ are next to each other.
    by_name = {f"x/{image.relative_to(root).as_posix()}": image for image in images}
    return {by_name[name] for name in find_companions(list(by_name), depth=1).paths}


def _fixed_part(pattern: Path) -> Path:
    """Return the folder that a pattern names before its first wildcard."""
    return next(folder for folder in pattern.parents if not glob.has_magic(str(folder)))


def _is_input(path: Path, own: OwnFolders, *, sorter: FileSorter) -> bool:
    """Return whether a file that was found is an image, and not one that was written here."""
    if not path.is_file() or is_system_name(path.name):
        return False
    if own.has(path):
        sorter.left_out["written by medimg"] += 1
        return False
    return sorter.is_image(path)
