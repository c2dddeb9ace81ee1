"""One function per command: parse the flags, call the Python function of that name. No logic."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from medimg_baseline_cls.cli.columns import Columns
from medimg_baseline_cls.cli.flags import option, parse_call
from medimg_baseline_cls.cli.request import print_settings, read_request
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.rank import is_main_process
from medimg_baseline_cls.utils.visible import quote_words

if TYPE_CHECKING:
    from medimg_baseline_cls.pipeline.steps.session import RunResult

RunArgument = Annotated[Positional[str], arg(metavar="RUN", help="Run folder, or latest.")]
OutputDir = Annotated[Path, arg(metavar="DIR", help="Folder with runs/, searched for latest.")]
AnonymousIds = Annotated[
    bool,
    option("Show pseudonyms instead of file names and patients."),
]
Method = Annotated[
    str,
    option(
        "Kind of heat map: gradcam (default), hirescam, layercam, gradcam++, eigencam, "
        "occlusion, or plugin:NAME.",
        "gradcam|layercam|...",
    ),
]
Seed = Annotated[int, arg(metavar="N", help="Seed of all random numbers.")]


def train(argv: Sequence[str]) -> None:
    """Train in two stages: the head on a frozen backbone, then the whole network."""
    request = read_request(argv, command="train", summary=train.__doc__ or "")
    if request.own.print_config:
        print_settings(request)
    elif request.is_resumed:
        from medimg_baseline_cls import resume

        result = resume(request.run, output_dir=request.config.output_dir)
        _say_next(result, "evaluate", "explain", "report")
    else:
        from medimg_baseline_cls import train as train_network

        _say_next(train_network(request.config), "evaluate", "explain", "report")


def run(argv: Sequence[str]) -> None:
    """Train, evaluate, explain and report: all steps in a row."""
    request = read_request(argv, command="run", summary=run.__doc__ or "")
    if request.own.print_config:
        print_settings(request)
    elif request.is_resumed:
        from medimg_baseline_cls import resume_run

        resume_run(request.run, output_dir=request.config.output_dir)
    elif request.own.seeds:
        from medimg_baseline_cls import run_seeds

        run_seeds(request.config, request.own.seeds)
    else:
        from medimg_baseline_cls import run as run_all

        _say_next(run_all(request.config), "predict", more=" PATH...")


def cv(argv: Sequence[str]) -> None:
    """Train and test every fold as a run of its own; print mean, SD and range."""
    request = read_request(argv, command="cv", summary=cv.__doc__ or "")
    if request.own.print_config:
        print_settings(request)
    elif request.is_resumed:
        from medimg_baseline_cls import resume_cross_validation

        resume_cross_validation(request.run, output_dir=request.config.output_dir)
    else:
        from medimg_baseline_cls import cross_validate

        cross_validate(request.config, repeats=request.own.repeats, by_site=request.own.by_site)


def check(argv: Sequence[str]) -> int | None:
    """Check a folder of images before training; nothing is written into it.

    Exit code: 0 clean, 1 warnings, 3 errors that would invalidate a result.
    2: nothing could be checked.
    """
    request = read_request(argv, command="check", summary=check.__doc__ or "")
    if request.own.print_config:
        print_settings(request)
        return None
    from medimg_baseline_cls import check as check_folder

    return check_folder(request.config, label_noise=request.own.label_noise).status


def judge(argv: Sequence[str]) -> int | None:
    """Judge the predictions of any model: thresholds from VAL, then TEST with them.

    A table has a row for each image: image or patient, label, probabilities.
    Exit code: 3 if an AUROC is surely below 0.5, as with swapped classes.
    """
    request = read_request(argv, command="judge", summary=judge.__doc__ or "")
    own = request.own
    if own.print_config:
        print_settings(request)
        return None
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
    ).status


def demo(
    *,
    output_dir: Annotated[
        Path, arg(metavar="DIR", help="Folder for phantoms, image cache and run.")
    ] = Path("outputs"),
    seed: Seed = 0,
    shortcut: Annotated[bool, option("Add a corner marker that reveals the class.")] = False,
) -> None:
    """Draw phantom radiographs; train from random weights, evaluate, explain, report."""
    from medimg_baseline_cls import demo as run_demo

    run_demo(output_dir=output_dir, seed=seed, shortcut=shortcut)


def evaluate(
    run: RunArgument,
    /,
    *,
    reason: Annotated[
        str | None,
        option("Why TEST is scored, for test_log.csv.", "WHY"),
    ] = None,
    accept: Annotated[
        str | None,
        option(
            "Reason for scoring TEST again although checkpoint, thresholds, split or class "
            "order changed, or training was stopped early. Logged; the report shows a warning.",
            "WHY",
        ),
    ] = None,
    output_dir: OutputDir = Path("outputs"),
) -> None:
    """Choose thresholds on VAL, then score VAL and TEST with the best checkpoint.

    Data, classes and settings come from the run. Every scoring of TEST is logged.
    """
    from medimg_baseline_cls import evaluate as evaluate_run

    result = evaluate_run(run, output_dir=output_dir, reason=reason, accept=accept)
    _say_next(result, "explain", "report")


def explain(
    run: RunArgument,
    images: Annotated[
        Positional[tuple[str, ...]],
        option("Not accepted: predict --explain draws panels of other images.", "[IMAGE...]"),
    ] = (),
    /,
    *,
    method: Method = "gradcam",
    anonymous_ids: AnonymousIds = False,
    output_dir: OutputDir = Path("outputs"),
) -> None:
    """Draw a panel with a heat map for each of the worst mistakes of a run."""
    if images:
        command = quote_words("medimg", "predict", run, *images, "--explain")
        raise ConfigError(
            f"explain draws the mistakes of a run and accepts no images, but got {len(images)}; "
            f"for panels of your own images: {command}"
        )
    from medimg_baseline_cls import explain as explain_run

    result = explain_run(run, output_dir=output_dir, anonymous_ids=anonymous_ids, method=method)
    _say_next(result, "report")


def report(
    run: RunArgument,
    /,
    *,
    anonymous_ids: AnonymousIds = False,
    output_dir: OutputDir = Path("outputs"),
) -> None:
    """Write report.html, tables, model card and checklists from the run folder."""
    from medimg_baseline_cls import report as report_run

    report_run(run, output_dir=output_dir, anonymous_ids=anonymous_ids)


def compare(
    runs: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="RUN RUN...",
            help="Evaluated run folders, latest, or folders of seed sweeps; the first is the "
            "reference.",
            help_behavior_hint="(required)",
        ),
    ],
    /,
    *,
    output: Annotated[
        Path | None,
        option("New folder for the results (none: under OUTPUT_DIR/compare).", "FOLDER"),
    ] = None,
    output_dir: OutputDir = Path("outputs"),
) -> None:
    """Compare runs with the first one on the same TEST images."""
    from medimg_baseline_cls import compare as compare_runs

    compare_runs(runs, output_dir=output_dir, output=output)


_OF_RUN = Columns()


def external(
    run: RunArgument,
    data: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="DATA [DATA ...]",
            help="Folders of class folders, or tables of images.",
            help_behavior_hint="(required)",
        ),
    ],
    /,
    *,
    map: Annotated[
        UseAppendAction[tuple[str, ...]],
        option(
            "Which class of the run a label means, such as 'No Finding=NORMAL'; LABEL= leaves "
            "its images out. May be repeated.",
            "LABEL=CLASS",
        ),
    ] = (),
    name: Annotated[
        str | None,
        option("Name of the data set and of the folder of results (none: that of DATA).", "NAME"),
    ] = None,
    no_panels: Annotated[bool, option("Draw no Grad-CAM panels of the worst mistakes.")] = False,
    table: Columns = _OF_RUN,
    output_dir: OutputDir = Path("outputs"),
) -> int | None:
    """Score a finished run, locked, on other labeled data sets; several are compared.

    Of a seed sweep or cross-validation, as RUN, all runs are scored.

    Results go into RUN/external; if that is read-only, into OUTPUT_DIR/external.

    Exit code 3: an AUROC is below chance; the classes seem to be inverted.
    """
    from medimg_baseline_cls import external as score_external
    from medimg_baseline_cls import external_sites, external_sweep
    from medimg_baseline_cls.pipeline.commands.external import Reading
    from medimg_baseline_cls.pipeline.commands.external_sweep import SWEEPS
    from medimg_baseline_cls.pipeline.commands.report import find_joint
    from medimg_baseline_cls.pipeline.steps.external_data import TableFlags

    how = Reading(maps=map, panels=not no_panels, table=TableFlags(**asdict(table)))
    is_sweep = find_joint(run, output_dir, kinds=SWEEPS) is not None
    if len(data) == 1:
        score = external_sweep if is_sweep else score_external
        return score(run, data[0], name=name, output_dir=output_dir, **how).status
    if is_sweep:
        raise ConfigError(
            f"{run} has several runs, which are scored on one data set at a time, but "
            f"{len(data)} were given: call medimg external once for each."
        )
    if name is not None:
        raise ConfigError(
            f"--name is that of one data set, but {len(data)} were given: leave it out; each is "
            "named as its folder or file."
        )
    return external_sites(run, data, output_dir=output_dir, **how).status


@dataclass(frozen=True)
class Handling:
    """How predict decides and explains, and what it does with unreadable files."""

    operating_point: Annotated[
        str | None,
        option(
            "Threshold rule for decisions: max_f1, target_sensitivity, default "
            "(none: that of the run).",
            "NAME",
        ),
    ] = None
    recalibrate: Annotated[
        str | None,
        option("Add probabilities recalibrated on VAL: temperature, platt or isotonic.", "METHOD"),
    ] = None
    on_bad_image: Annotated[
        str,
        option(
            "Unreadable files: stop with an error (default), or skip and list them: skip.", "NAME"
        ),
    ] = "error"
    method: Method = "gradcam"


_USUAL = Handling()


def predict(
    run: RunArgument,
    paths: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="PATH...",
            help="Image files, folders, or patterns in quotes.",
            help_behavior_hint="(required)",
        ),
    ],
    /,
    *,
    output: Annotated[
        Path | None,
        option("CSV to write (none: in the run folder).", "FILE"),
    ] = None,
    explain: Annotated[bool, option("Also draw a panel with a heat map for each image.")] = False,
    deciding: Handling = _USUAL,
    output_dir: OutputDir = Path("outputs"),
) -> None:
    """Classify new images with a run's network and thresholds, one CSV row each."""
    from medimg_baseline_cls import predict as predict_images

    predict_images(
        run,
        paths,
        output=output,
        output_dir=output_dir,
        explain=explain,
        **asdict(deciding),
    )


def _say_next(result: "RunResult", *words: str, more: str = "") -> None:
    """Print the commands that usually come next."""
    if is_main_process():
        run = quote_words(str(result.run_dir))
        if result.outdated:
            names = ", ".join(result.outdated)
            open_log(None).info(
                f"now out of date: {names}; to update them: medimg run --resume {run}"
            )
            return
        commands = " && ".join(f"medimg {word} {run}" for word in words)
        open_log(None).info(f"next: {commands}{more}")


def _caller(function: Callable[..., Any]) -> Callable[[Sequence[str]], int | None]:
    def call(argv: Sequence[str]) -> int | None:
        return parse_call(function, argv)

    return call


_CALLED = (demo, evaluate, explain, report, compare, external, predict)
TABLE: dict[str, Callable[[Sequence[str]], int | None]] = {
    "check": check,
    "judge": judge,
    "train": train,
    "run": run,
    "cv": cv,
    **{function.__name__: _caller(function) for function in _CALLED},
}
