"""The commands that come before and between runs: flags in, one call of the function."""

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from medimg_baseline_cls.cli.flags import option


def doctor(
    data: Annotated[
        Positional[str | None],
        arg(metavar="[DATA]", help="Data set to look at as well.", help_behavior_hint=""),
    ] = None,
    /,
    *,
    weights: Annotated[Path | None, option("File of weights to look at as well.", "FILE")] = None,
    output_dir: Annotated[
        Path, arg(metavar="DIR", help="Folder where runs would be written.")
    ] = Path("outputs"),
    cache_dir: Annotated[
        Path | None, option("Folder of the image cache (none: OUTPUT_DIR/cache).", "DIR")
    ] = None,
    seconds: Annotated[
        float, arg(metavar="SECONDS", help="Time for libraries to load, before they are given up.")
    ] = 60.0,
) -> Any:
    """Say what would stop or slow a training on this machine, and what to do.

    Nothing that it writes stays. Exit code: 0 fine, 1 warnings, 3 errors.
    """
    from medimg_baseline_cls import doctor as examine

    return examine(
        data, weights=weights, output_dir=output_dir, cache_dir=cache_dir, seconds=seconds
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
