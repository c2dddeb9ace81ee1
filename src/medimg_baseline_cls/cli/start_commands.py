"""The commands that come before and between runs: flags in, one call of the function."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from medimg_baseline_cls.cli.flags import option
from medimg_baseline_cls.errors import ConfigError

OutputDir = Annotated[Path, arg(metavar="DIR", help="Folder with runs/ and the image cache.")]
CacheDir = Annotated[
    Path | None, option("Folder of the image cache (none: OUTPUT_DIR/cache).", "DIR")
]


def doctor(
    data: Annotated[
        Positional[str | None],
        arg(metavar="[DATA]", help="Data set to look at as well.", help_behavior_hint=""),
    ] = None,
    /,
    *,
    weights: Annotated[Path | None, option("File of weights to look at as well.", "FILE")] = None,
    output_dir: OutputDir = Path("outputs"),
    cache_dir: CacheDir = None,
    arch: Annotated[str | None, option("Network to try (none: the default one).", "NAME")] = None,
    image_size: Annotated[int | None, option("Its image size (none: 224).", "N")] = None,
    seconds: Annotated[
        float, arg(metavar="SECONDS", help="Time for libraries to load, before they are given up.")
    ] = 60.0,
) -> Any:
    """Say what would stop or slow a training on this machine, and what to do.

    Nothing that it writes stays. Exit code: 0 fine, 1 warnings, 3 errors.
    """
    from medimg_baseline_cls import doctor as examine

    return examine(
        data,
        weights=weights,
        output_dir=output_dir,
        cache_dir=cache_dir,
        arch=arch,
        image_size=image_size,
        seconds=seconds,
    )


def init(
    data: Annotated[
        Positional[str],
        arg(
            metavar="DATA",
            help="Folder of class folders, table of images, or .npz file.",
            help_behavior_hint="(required)",
        ),
    ],
    /,
    *,
    output: Annotated[
        Path | None, option("Settings file to write (none: NAME.yaml, NAME from DATA).", "FILE")
    ] = None,
) -> Any:
    """Write a settings file for a data set: what its names tell, and what is open.

    Nothing is overwritten. No image is read.
    """
    from medimg_baseline_cls import init as write_settings

    return write_settings(data, output=output)


def runs(
    *,
    csv: Annotated[
        str | None, option("Also write the table to this file (-: instead, to the screen).", "FILE")
    ] = None,
    output_dir: OutputDir = Path("outputs"),
) -> Any:
    """List runs, sweeps and cross-validations, the newest first.

    AUROC and AP are of TEST, with 95 % intervals.

    A look is a scoring of TEST.
    """
    from medimg_baseline_cls import list_runs

    return list_runs(output_dir, csv=csv)


@dataclass(frozen=True)
class Pruning:
    """What `cache prune` removes."""

    unused_days: Annotated[
        float | None, option("prune: remove what was not used for N days.", "N")
    ] = None
    max_gb: Annotated[
        float | None, option("prune: remove the longest unused, down to N GB.", "N")
    ] = None
    all: Annotated[bool, option("prune: remove all that is not in use.")] = False
    dry_run: Annotated[bool, option("prune: say what would be removed, remove nothing.")] = False


_NOTHING = Pruning()


def cache(
    action: Annotated[
        Positional[str],
        arg(metavar="list|prune", help="What to do.", help_behavior_hint="(required)"),
    ],
    /,
    *,
    pruning: Pruning = _NOTHING,
    output_dir: OutputDir = Path("outputs"),
    cache_dir: CacheDir = None,
) -> Any:
    """List what is in the image cache, or remove what is no longer needed.

    What is in use stays. What is removed is decoded again when it is needed.
    """
    if action == "prune":
        from medimg_baseline_cls import prune_cache

        return prune_cache(
            output_dir,
            cache_dir=cache_dir,
            unused_days=pruning.unused_days,
            max_gb=pruning.max_gb,
            remove_all=pruning.all,
            dry_run=pruning.dry_run,
        )
    if action != "list":
        raise ConfigError(f"cache {action} is unknown: use cache list or cache prune.")
    if pruning != _NOTHING:
        raise ConfigError("cache list removes nothing: leave out the flags of cache prune.")
    from medimg_baseline_cls import list_cache

    return list_cache(output_dir, cache_dir=cache_dir)
