"""The command `medimg sweep`: one call of a Python function."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medimg_baseline_cls.cli.request import ShownSettings, print_settings, read_request
from medimg_baseline_cls.cli.track_command import tracking
from medimg_baseline_cls.errors import ConfigError

if TYPE_CHECKING:
    from medimg_baseline_cls.pipeline.steps.session import RunResult


def sweep(argv: Sequence[str]) -> "RunResult | ShownSettings":
    """Train with several settings and choose the best on VAL; TEST is not read.

    Needs Optuna: pip install 'medimg-baseline-cls[sweep]'.
    """
    request = read_request(argv, command="sweep", summary=sweep.__doc__ or "")
    own = request.own
    if own.print_config:
        return print_settings(request)
    if request.is_resumed:
        from medimg_baseline_cls import resume_sweep

        with tracking(request) as more:
            return resume_sweep(
                request.run,
                output_dir=request.config.output_dir,
                time_limit=own.time_limit,
                evaluate=own.evaluate,
                **more,
            )
    if own.space is None:
        raise ConfigError("a sweep needs the settings that vary: pass --space FILE.")
    from medimg_baseline_cls import sweep as sweep_settings

    with tracking(request) as more:
        return sweep_settings(
            request.config,
            own.space,
            trials=own.trials,
            time_limit=own.time_limit,
            evaluate=own.evaluate,
            **more,
        )
