"""The cache command: what is in the image cache, and removal of what is no longer needed.

An array that is removed is decoded again when it is needed. Arrays in use stay, and so does
everything that the cache has not made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from medimg_baseline_cls.data.pixels.cache_builds import remove_abandoned
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.pipeline.steps.stored_arrays import (
    StoredArrayFacts,
    choose_arrays,
    list_arrays,
    remove_array,
)
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.log import RunLog, open_log
from medimg_baseline_cls.utils.quantities import format_bytes, say_count

_GIGABYTE = 10**9


@dataclass(frozen=True)
class CacheResult:
    """What is in the cache, and what was removed.

    Attributes:
        arrays: the arrays, the last used first, as they were before.
        removed: the folders that are gone, or would be in a dry run.
    """

    arrays: tuple[StoredArrayFacts, ...]
    removed: tuple[Path, ...] = ()


@ending_plainly(is_resumable=False)
def list_cache(
    output_dir: str | Path = "outputs", *, cache_dir: str | Path | None = None
) -> CacheResult:
    """List the arrays of the image cache: of which data, how large, when last used.

    Args:
        output_dir: its runs tell which data an array is of.
        cache_dir: the folder of the cache (None: OUTPUT_DIR/cache).

    Raises:
        ConfigError: there is no such folder.
    """
    place = _find_cache(output_dir, cache_dir)
    arrays = list_arrays(place, output_dir=Path(output_dir))
    log = open_log(None)
    if arrays:
        _print_arrays(log, arrays)
    total = format_bytes(sum(array.num_bytes for array in arrays))
    log.info(f"{place}: {say_count(len(arrays), 'arrays')}, {total}")
    return CacheResult(tuple(arrays))


@ending_plainly(is_resumable=False)
def prune_cache(
    output_dir: str | Path = "outputs",
    *,
    cache_dir: str | Path | None = None,
    unused_days: float | None = None,
    max_gb: float | None = None,
    remove_all: bool = False,
    dry_run: bool = False,
) -> CacheResult:
    """Remove arrays from the image cache; those in use stay.

    Args:
        output_dir: its runs tell which arrays may be in use.
        cache_dir: the folder of the cache (None: OUTPUT_DIR/cache).
        unused_days: remove what was not used for so many days.
        max_gb: remove the longest unused until the rest has at most so many GB.
        remove_all: remove all.
        dry_run: say what would be removed, and remove nothing.

    Raises:
        ConfigError: nothing says what to remove, or there is no such folder.
    """
    limits = [limit for limit in (unused_days, max_gb) if limit is not None]
    if not (limits or remove_all):
        raise ConfigError(
            "nothing says what to remove: pass --unused-days N, --max-gb N or --all (and "
            "--dry-run to see it first)."
        )
    if any(not limit >= 0 for limit in limits):
        raise ConfigError("--unused-days and --max-gb must be 0 or more.")
    place = _find_cache(output_dir, cache_dir)
    arrays = list_arrays(place, output_dir=Path(output_dir))
    chosen = choose_arrays(
        arrays,
        unused_days=unused_days,
        max_bytes=None if max_gb is None else max_gb * _GIGABYTE,
        takes_all=remove_all,
    )
    log = open_log(None)
    if chosen:
        _print_arrays(log, chosen)
    size = format_bytes(sum(array.num_bytes for array in chosen))
    count = say_count(len(chosen), "arrays")
    if dry_run:
        log.info(f"{place}: {count}, {size}, would be removed; nothing was (--dry-run)")
        return CacheResult(tuple(arrays), tuple(array.folder for array in chosen))
    log.info(f"{place}: {count}, {size}, to be removed")
    removed = tuple(array.folder for array in chosen if remove_array(array))
    remove_abandoned(place)
    log.info(f"{place}: {len(removed)} of {len(arrays)} removed")
    return CacheResult(tuple(arrays), removed)


def _find_cache(output_dir: str | Path, cache_dir: str | Path | None) -> Path:
    """Return the folder of the cache; one in an output folder may not be there yet.

    Raises:
        ConfigError: there is no such folder.
    """
    named = Path(output_dir if cache_dir is None else cache_dir)
    if not named.is_dir():
        flag = "--output-dir" if cache_dir is None else "--cache-dir"
        raise ConfigError(f"there is no folder {named}: correct {flag}.")
    return named / "cache" if cache_dir is None else named


def _print_arrays(log: RunLog, arrays: Sequence[StoredArrayFacts]) -> None:
    header = ("array", "px", "images", "size", "last used", "data")
    rows = [
        (
            array.folder.name.partition("-")[2][:12],
            array.size_px,
            array.num_images,
            format_bytes(array.num_bytes),
            f"{datetime.fromtimestamp(array.used):%Y-%m-%d}",
            (", ".join(array.data) or "unknown") + (" (in use)" if array.is_in_use else ""),
        )
        for array in arrays
    ]
    log.table("", header=header, rows=rows)
