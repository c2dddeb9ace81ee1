"""One function per command: parse the flags, call the Python function of that name. No logic.

Here are the commands that take settings; those that take a run folder are in `run_commands`.
A command returns what the Python function returns; its `status` is the exit code.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medimg_baseline_cls.cli.completion import completion
from medimg_baseline_cls.cli.endings import say_next
from medimg_baseline_cls.cli.flags import parse_call
from medimg_baseline_cls.cli.request import ShownSettings, print_settings, read_request
from medimg_baseline_cls.cli.run_commands import (
    compare,
    demo,
    evaluate,
    explain,
    external,
    predict,
    report,
)
from medimg_baseline_cls.cli.start_commands import cache, doctor, init, runs
from medimg_baseline_cls.cli.sweep_command import sweep
from medimg_baseline_cls.cli.track_command import track, tracking
from medimg_baseline_cls.errors import ConfigError

if TYPE_CHECKING:
    from medimg_baseline_cls.pipeline.commands.check import CheckResult
    from medimg_baseline_cls.pipeline.steps.session import RunResult


def train(argv: Sequence[str]) -> "RunResult | ShownSettings":
    """Train in two stages: the head on a frozen backbone, then the whole network."""
    request = read_request(argv, command="train", summary=train.__doc__ or "")
    if request.own.print_config:
        return print_settings(request)
    from medimg_baseline_cls import resume
    from medimg_baseline_cls import train as train_network

    own, config = request.own, request.config
    with tracking(request) as more:
        if request.is_resumed:
            result = resume(request.run, output_dir=config.output_dir, **more)
        else:
            result = train_network(config, time_limit=own.time_limit, **more)
    return say_next(result, "evaluate", "explain", "report")


def run(argv: Sequence[str]) -> "RunResult | ShownSettings":
    """Train, evaluate, explain and report: all steps in a row."""
    request = read_request(argv, command="run", summary=run.__doc__ or "")
    if request.own.print_config:
        return print_settings(request)
    if request.is_resumed:
        from medimg_baseline_cls import resume_run

        with tracking(request) as more:
            return resume_run(request.run, output_dir=request.config.output_dir, **more)
    if request.own.seeds:
        from medimg_baseline_cls import run_seeds

        if request.own.time_limit is not None:
            raise ConfigError(
                "--time-limit is for a single run, since all seeds train alike: pass --epochs."
            )
        with tracking(request) as more:
            return run_seeds(request.config, request.own.seeds, **more)
    from medimg_baseline_cls import run as run_all

    with tracking(request) as more:
        result = run_all(request.config, time_limit=request.own.time_limit, **more)
    return say_next(result, "predict", more=" PATH...")


def cv(argv: Sequence[str]) -> "RunResult | ShownSettings":
    """Train and test every fold as a run of its own; print mean, SD and range."""
    request = read_request(argv, command="cv", summary=cv.__doc__ or "")
    if request.own.print_config:
        return print_settings(request)
    if request.is_resumed:
        from medimg_baseline_cls import resume_cross_validation

        with tracking(request) as more:
            output_dir = request.config.output_dir
            return resume_cross_validation(request.run, output_dir=output_dir, **more)
    from medimg_baseline_cls import cross_validate

    own = request.own
    with tracking(request) as more:
        return cross_validate(request.config, repeats=own.repeats, by_site=own.by_site, **more)


def check(argv: Sequence[str]) -> "CheckResult | ShownSettings":
    """Check a folder of images before training; nothing is written into it.

    Exit code: 0 clean, 1 warnings, 3 errors that would invalidate a result.
    2: nothing could be checked.
    """
    request = read_request(argv, command="check", summary=check.__doc__ or "")
    if request.own.print_config:
        return print_settings(request)
    from medimg_baseline_cls import check as check_folder

    return check_folder(request.config, label_noise=request.own.label_noise)


def judge(argv: Sequence[str]) -> "RunResult | ShownSettings":
    """Judge the predictions of any model: thresholds from VAL, then TEST with them.

    A table has a row for each image: image or patient, label, probabilities.
    Exit code: 3 if an AUROC is surely below 0.5, as with swapped classes.
    """
    request = read_request(argv, command="judge", summary=judge.__doc__ or "")
    own = request.own
    if own.print_config:
        return print_settings(request)
    if own.test is None:
        raise ConfigError("judge needs the predictions of TEST: pass --test FILE (and --val FILE).")
    from medimg_baseline_cls import judge as judge_predictions

    return judge_predictions(
        own.test,
        own.val,
        config=request.config,
        probability_columns=own.probability_columns,
        logits=own.logits,
        maps=own.map,
    )


Command = Callable[[Sequence[str]], Any]


def _caller(function: Callable[..., Any]) -> Command:
    def call(argv: Sequence[str]) -> Any:
        return parse_call(function, argv)

    return call


_CALLED = (
    *(doctor, init, demo, evaluate, explain, report, compare),
    *(external, predict, track, runs, cache, completion),
)
CALLED: dict[str, Callable[..., Any]] = {function.__name__: function for function in _CALLED}
"""The commands whose flags are the arguments of a function."""
TABLE: dict[str, Command] = {
    "check": check,
    "judge": judge,
    "train": train,
    "run": run,
    "cv": cv,
    "sweep": sweep,
    **{name: _caller(function) for name, function in CALLED.items()},
}
