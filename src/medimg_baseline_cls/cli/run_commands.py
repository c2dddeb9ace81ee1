"""The commands that take a run folder, and demo: the flags of each are its arguments. No logic."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from medimg_baseline_cls.cli.columns import Columns
from medimg_baseline_cls.cli.endings import say_next
from medimg_baseline_cls.cli.flags import option
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.visible import quote_words

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


def demo(
    *,
    output_dir: Annotated[
        Path, arg(metavar="DIR", help="Folder for phantoms, image cache and run.")
    ] = Path("outputs"),
    seed: Seed = 0,
    shortcut: Annotated[bool, option("Add a corner marker that reveals the class.")] = False,
    volumes: Annotated[bool, option("Draw CTs with a lesion in 2 of 12 slices instead.")] = False,
) -> object:
    """Draw phantom radiographs; train from random weights, evaluate, explain, report."""
    from medimg_baseline_cls import demo as run_demo
    from medimg_baseline_cls import demo_volumes

    if volumes and shortcut:
        raise ConfigError("--volumes and --shortcut: a marker is drawn in radiographs alone.")
    if volumes:
        return demo_volumes(output_dir=output_dir, seed=seed)
    return run_demo(output_dir=output_dir, seed=seed, shortcut=shortcut)


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
) -> object:
    """Choose thresholds on VAL, then score VAL and TEST with the best checkpoint.

    Data, classes and settings come from the run. Every scoring of TEST is logged.
    """
    from medimg_baseline_cls import evaluate as evaluate_run

    result = evaluate_run(run, output_dir=output_dir, reason=reason, accept=accept)
    return say_next(result, "explain", "report")


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
) -> object:
    """Draw a panel with a heat map for each of the worst mistakes of a run."""
    if images:
        command = quote_words("medimg", "predict", run, *images, "--explain")
        raise ConfigError(
            f"explain draws the mistakes of a run and accepts no images, but got {len(images)}; "
            f"for panels of your own images: {command}"
        )
    from medimg_baseline_cls import explain as explain_run

    result = explain_run(run, output_dir=output_dir, anonymous_ids=anonymous_ids, method=method)
    return say_next(result, "report")


def report(
    run: RunArgument,
    /,
    *,
    anonymous_ids: AnonymousIds = False,
    output_dir: OutputDir = Path("outputs"),
) -> object:
    """Write report.html, tables, model card and checklists from the run folder."""
    from medimg_baseline_cls import report as report_run

    return report_run(run, output_dir=output_dir, anonymous_ids=anonymous_ids)


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
) -> object:
    """Compare runs with the first one on the same TEST images."""
    from medimg_baseline_cls import compare as compare_runs

    return compare_runs(runs, output_dir=output_dir, output=output)


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
) -> object:
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
        return score(run, data[0], name=name, output_dir=output_dir, **how)
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
    return external_sites(run, data, output_dir=output_dir, **how)


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
) -> object:
    """Classify new images with a run's network and thresholds, one CSV row each."""
    from medimg_baseline_cls import predict as predict_images

    return predict_images(
        run,
        paths,
        output=output,
        output_dir=output_dir,
        explain=explain,
        **asdict(deciding),
    )
