"""Folders in which arrays of the pixel cache are made before they are moved to their places.

Each is hidden, named after its builder, and locked while it is filled. If its builder was killed,
the next use of the cache removes it; on another host, a day later.
"""

import os
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from medimg_baseline_cls.utils.locks import (
    LOCK_NAME,
    find_holder,
    hold_folder,
    is_abandoned,
    is_name_of_dead_process,
    name_this_process,
)
from medimg_baseline_cls.utils.own_output import mark_own

PREFIX = ".building-"
_STALE_SECONDS = 24 * 3600


@contextmanager
def building_folder(cache_dir: Path) -> Generator[Path, None, None]:
    """Yield a new folder in the cache to build in, and remove what is left of it at the end.

    Build in `being_built(folder)`, then move the folder or what it contains to its place.
    """
    folder = name_building_folder(cache_dir)
    try:
        folder.mkdir(parents=True)
        mark_own(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def being_built(folder: Path) -> Generator[None, None, None]:
    """Lock a folder while the block fills it, to prevent its removal."""
    with hold_folder(folder, command="decoding"):
        yield


def name_building_folder(cache_dir: Path) -> Path:
    """Return a name that no other builder has."""
    return cache_dir / f"{PREFIX}{name_this_process()}-{secrets.token_hex(8)}"


def remove_abandoned(cache_dir: Path) -> None:
    """Remove what builders that were killed left behind, where it can be removed."""
    for leftover in cache_dir.glob(f"{PREFIX}*"):
        with suppress(OSError):  # its builder has finished meanwhile, or the cache is read-only
            if _is_left_behind(leftover):
                remove_path(leftover)


def _is_left_behind(folder: Path) -> bool:
    if (folder / LOCK_NAME).exists() and is_abandoned(folder):
        return True
    # Before and after it is locked, its name alone shows this.
    builder = folder.name.removeprefix(PREFIX).rpartition("-")[0]
    if not (folder / LOCK_NAME).exists() and is_name_of_dead_process(builder):
        return True
    is_old = time.time() - folder.stat().st_mtime > _STALE_SECONDS
    return is_old and find_holder(folder) is None


def note_use(folder: Path) -> None:
    """Let an array have the time of now, by which what is not used any more is found."""
    with suppress(OSError):  # the cache is read-only, or of another user
        os.utime(folder)


def remove_path(path: Path) -> None:
    """Remove a folder, or a file in place of a folder."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
