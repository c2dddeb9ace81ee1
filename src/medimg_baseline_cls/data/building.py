"""Folders in which arrays of the pixel cache are made before they are moved to their places.

Each is hidden and locked by its builder. One whose builder was killed is removed as soon as anybody
uses the cache; where that cannot be known (another host, no locks), a day later.
"""

import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from medimg_baseline_cls.utils.locks import find_holder, hold_folder, is_abandoned
from medimg_baseline_cls.utils.own import mark_own

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
    """Lock a folder while the block fills it, so that nobody else removes it."""
    with hold_folder(folder, command="decoding"):
        yield


def name_building_folder(cache_dir: Path) -> Path:
    """Return a name that no other builder has."""
    return cache_dir / f"{PREFIX}{secrets.token_hex(8)}"


def remove_abandoned(cache_dir: Path) -> None:
    """Remove what builders that were killed left behind, where it can be removed."""
    for leftover in cache_dir.glob(f"{PREFIX}*"):
        with suppress(OSError):  # its builder has finished meanwhile, or the cache is read-only
            is_old = time.time() - leftover.stat().st_mtime > _STALE_SECONDS
            if is_abandoned(leftover) or (is_old and find_holder(leftover) is None):
                remove_path(leftover)


def remove_path(path: Path) -> None:
    """Remove a folder, or a file that lay where a folder should be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
