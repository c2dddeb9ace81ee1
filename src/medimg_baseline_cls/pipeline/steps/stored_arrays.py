"""The arrays of an image cache: which there are, what they are of, when they were last used.

An array is a folder that the cache has made and that contains nothing else; any other folder, and
every link, is left out. One that a process has mapped, or that a run in training may need, is in
use.
"""

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg_baseline_cls.data.pixels.array_file import list_contents
from medimg_baseline_cls.data.pixels.cache_builds import name_building_folder, remove_path
from medimg_baseline_cls.errors import MedimgError
from medimg_baseline_cls.utils.files import read_csv, read_json
from medimg_baseline_cls.utils.locks import LOCK_NAME, find_holder
from medimg_baseline_cls.utils.own_output import MARKER, is_own
from medimg_baseline_cls.utils.runs import list_runs

_NAME = re.compile(r"(\d+)px-[0-9a-f]{32}")
_FILES = frozenset({"pixels.npy", "contents.csv", LOCK_NAME, MARKER})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArrayFacts:
    """An array of the image cache.

    Attributes:
        folder: its place.
        size_px: side of the images.
        num_images: distinct contents of files.
        num_bytes: on the disk.
        used: when it was last built or opened, in seconds since 1970.
        data: the data sets of the runs that have used it, as their settings name them.
        is_in_use: whether a process has it open, or a run in training may.
    """

    folder: Path
    size_px: int
    num_images: int
    num_bytes: int
    used: float
    data: tuple[str, ...] = ()
    is_in_use: bool = False


def list_arrays(cache_dir: Path, *, output_dir: Path) -> list[StoredArrayFacts]:
    """Return the arrays of a cache, the last used first.

    Args:
        cache_dir: the folder of the cache.
        output_dir: its runs tell what the arrays are of, and which may be in use.
    """
    folders = [f for f in sorted(cache_dir.glob("*px-*")) if _is_array(f)]
    found = list_runs(output_dir)
    found += [place for run in found for place in sorted(run.glob("external/*/"))]
    runs = [facts for run in found if (facts := _read_run(run)) is not None]
    mapped = _list_mapped()
    arrays = [_look_at(folder, runs=runs, mapped=mapped) for folder in folders]
    return sorted(arrays, key=lambda array: (-array.used, array.folder.name))


def choose_arrays(
    arrays: Iterable[StoredArrayFacts],
    *,
    unused_days: float | None = None,
    max_bytes: float | None = None,
    takes_all: bool = False,
    now: float | None = None,
) -> list[StoredArrayFacts]:
    """Return the arrays to remove: never one in use, the longest unused first.

    Args:
        arrays: those of a cache.
        unused_days: remove what was not used for so long.
        max_bytes: remove until the whole cache has at most so many.
        takes_all: remove all.
        now: the time (None: that of the clock).
    """
    oldest_first = sorted(arrays, key=lambda array: array.used)
    free = [array for array in oldest_first if not array.is_in_use]
    if takes_all:
        return free
    end = (time.time() if now is None else now) - 86400 * (unused_days or 0)
    chosen = [a for a in free if unused_days is not None and a.used <= end]
    rest = sum(a.num_bytes for a in oldest_first) - sum(a.num_bytes for a in chosen)
    for array in free:
        if max_bytes is not None and rest > max_bytes and array not in chosen:
            chosen.append(array)
            rest -= array.num_bytes
    return chosen


def remove_array(array: StoredArrayFacts) -> bool:
    """Remove an array, unless it has changed since it was listed; return whether it is gone."""
    if not _is_array(array.folder) or find_holder(array.folder) is not None:
        return False
    leftover = name_building_folder(array.folder.parent)  # what a killed process leaves is removed
    array.folder.rename(leftover)
    remove_path(leftover)
    return not leftover.exists()


@dataclass(frozen=True, slots=True)
class _RunFacts:
    data: str
    size_px: int
    sha256: str
    is_held: bool


def _is_array(folder: Path) -> bool:
    """Return whether a folder is an array of ours and contains nothing else."""
    if folder.is_symlink() or not folder.is_dir() or not _NAME.fullmatch(folder.name):
        return False
    names = {path.name for path in folder.iterdir()}
    return is_own(folder) and {"pixels.npy", "contents.csv"} <= names <= _FILES


def _look_at(
    folder: Path, *, runs: Iterable[_RunFacts], mapped: frozenset[str]
) -> StoredArrayFacts:
    size_px = int(folder.name.partition("px-")[0])
    contents = set(list_contents(folder))
    of_array = [run for run in runs if run.size_px == size_px and run.sha256 in contents]
    # A run that is held but has no split yet may be about to use any array.
    held = [run for run in runs if run.is_held and run.size_px == size_px and not run.sha256]
    files = [path.stat() for path in folder.iterdir()]
    is_open = str((folder / "pixels.npy").resolve()) in mapped or find_holder(folder) is not None
    return StoredArrayFacts(
        folder=folder,
        size_px=size_px,
        num_images=len(contents),
        num_bytes=sum(status.st_size for status in files),
        used=max(status.st_mtime for status in (*files, folder.stat())),
        data=tuple(sorted({run.data for run in of_array if run.data})),
        is_in_use=is_open or bool(held) or any(run.is_held for run in of_array),
    )


def _read_run(run: Path) -> _RunFacts | None:
    """Return what a run tells of its array; None where its settings cannot be read."""
    try:
        settings: Mapping[str, Any] = read_json(run / "config.json")
        source = str(settings.get("manifest") or settings.get("data_dir") or "")
        size_px = int(settings.get("image_size", 0))
    except (MedimgError, TypeError, ValueError):
        return None
    sha256 = ""
    with suppress(MedimgError, LookupError):
        sha256 = read_csv(run / "split.csv")[0]["sha256"]
    return _RunFacts(source, size_px, sha256, find_holder(run) is not None)


def _list_mapped() -> frozenset[str]:
    """Return the files that processes of this machine have mapped, as far as the system tells."""
    found: set[str] = set()
    for table in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # of another user, or it has ended
            lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
            found.update(line.split(maxsplit=5)[5] for line in lines if line.endswith(".npy"))
    return frozenset(found)
