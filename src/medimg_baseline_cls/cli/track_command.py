"""The flags that have runs tracked, and the track command."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from medimg_baseline_cls.cli.flags import option
from medimg_baseline_cls.cli.run_commands import OutputDir
from medimg_baseline_cls.errors import ConfigError

if TYPE_CHECKING:
    from medimg_baseline_cls.cli.request import Request

Trackers = Annotated[
    str | None, option("Track with mlflow, tensorboard, mlflow,tensorboard or plugin:NAME.", "NAME")
]
TrackingUri = Annotated[
    str | None, option("MLflow server or store (none: OUTPUT_DIR/mlflow).", "URI")
]
TrackNames = Annotated[bool, option("Also send names of files and patients, paths, and images.")]


@contextmanager
def tracking(request: "Request") -> Generator[dict[str, Any], None, None]:
    """Yield the argument `callbacks` that has a run tracked; nothing where it is not.

    A run that is resumed is tracked as before.
    """
    own = request.own
    if own.track is None and not request.is_resumed:
        for name in ("tracking_uri", "track_names"):
            if getattr(own, name):
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} has no effect alone: add --track mlflow.")
        yield {}
        return
    from medimg_baseline_cls import Tracking

    with Tracking(own.track or (), uri=own.tracking_uri, names=own.track_names) as callback:
        yield {"callbacks": [callback]}


def track(
    runs: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="RUN...",
            help="Run folders, latest, or folders of seed sweeps and cross-validations.",
            help_behavior_hint="(required)",
        ),
    ],
    /,
    *,
    track: Trackers = None,
    tracking_uri: TrackingUri = None,
    track_names: TrackNames = False,
    checkpoints: Annotated[bool, option("Also send best.pt.")] = False,
    output_dir: OutputDir = Path("outputs"),
) -> Any:
    """Send finished runs to a tracker, as --track does while they train.

    Without --track: to where a run was tracked before, else to MLflow.
    """
    from medimg_baseline_cls import track as track_runs

    return track_runs(
        runs,
        track or (),
        uri=tracking_uri,
        names=track_names,
        checkpoints=checkpoints,
        output_dir=output_dir,
    )
