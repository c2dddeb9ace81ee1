"""The comparison command: runs on the same TEST images, the first as reference.

Reads what `evaluate` wrote and nothing else: predictions, thresholds, split.csv. The folder
of a seed sweep stands for the ensemble of its runs. Nothing in a run folder is changed.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medimg_baseline_cls.config import Config, build_config
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.aligned_models import AlignedModel
from medimg_baseline_cls.evaluation.comparison import compare_models
from medimg_baseline_cls.evaluation.comparison_table import list_rows, tabulate_comparison
from medimg_baseline_cls.evaluation.operating_points import read_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.pipeline.commands.report import report_joint
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.plots.comparison import draw_comparison
from medimg_baseline_cls.records.summaries import read_summary
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_csv, read_json, write_csv, write_json
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.own_output import mark_own
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.runs import (
    REPEAT_EXTERNAL,
    create_run_folder,
    find_run,
    is_external,
    is_judged,
)

FOLDER = "compare"
SWEEP_FILE, ENSEMBLE = "seeds.json", "ensemble"
_STAMP = re.compile(r"_\d{8}-\d{6}(-\d+)?$")
_MAX_NAMED, _MAX_LETTERS = 3, 32


@ending_plainly(is_resumable=False)
def compare(
    runs: Sequence[Path | str],
    *,
    output_dir: Path = Path("outputs"),
    output: Path | None = None,
) -> RunResult:
    """Compare evaluated runs with the first of them, on the same TEST images.

    Args:
        runs: two or more run folders, names of runs, or folders of seed sweeps.
        output_dir: where runs are looked up and the comparison is written.
        output: the folder to write into instead; it must be empty or new.

    Returns:
        The folder of the comparison, and the content of comparison.json.

    Raises:
        RunError: a run is not evaluated, or the test images or reference standards differ.
    """
    if len(runs) < 2:
        raise RunError(f"compare needs two runs or more, but got {len(runs)}.")
    folders = [find_evaluated(run, output_dir) for run in runs]
    models = _name_apart([read_model(folder, _name_run(folder)) for folder in folders])
    config = read_settings(folders[0])
    resampling = Resampling(config.num_resamples, config.seed)
    comparison = compare_models(models, resampling=resampling)
    content = {
        **comparison.to_json(),
        "runs": {model.name: str(run) for model, run in zip(models, folders, strict=True)},
    }
    if output is not None:
        _make_new(output)
    folder = output or create_run_folder(output_dir, name_comparison(folders), subfolder=FOLDER)
    write_json(folder / "comparison.json", content)
    header, rows = list_rows(comparison)
    write_csv(folder / "comparison.csv", header, rows=rows)
    draw_comparison(comparison, folder / "comparison.png", rule=config.operating_point)
    log = open_log(folder / "log.txt")
    header, rows = tabulate_comparison(comparison, rule=config.operating_point)
    log.table(
        f"{len(models)} models on {comparison.num_images} TEST images",
        header=header,
        rows=rows,
    )
    log.info(f"Holm's correction takes all {comparison.tests['num_tests']} tests as one family.")
    for warning in comparison.warnings:
        log.warn(warning)
    log.info(f"results: {folder}")
    report_joint(folder, FOLDER)
    return RunResult(folder, content)


def find_evaluated(run: Path | str, output_dir: Path) -> Path:
    """Return the folder with the predictions of a run, or of the ensemble of a sweep.

    Raises:
        RunError: there is none, or it is not evaluated.
    """
    own = Path(run).parent if Path(run).name == ENSEMBLE else Path(run)
    for folder in (own, output_dir / "seeds" / run):
        if (folder / SWEEP_FILE).is_file():
            if not (folder / ENSEMBLE / "test_summary.json").is_file():
                raise RunError(f"{folder} is not finished: medimg run --resume {folder}")
            return folder / ENSEMBLE
    found = find_run(run, output_dir)
    if not (found / "test_summary.json").is_file():
        todo = f"`medimg run --resume {found}` does that"
        raise RunError(
            f"{found} is not evaluated: {REPEAT_EXTERNAL if is_external(found) else todo}."
        )
    if is_judged(found) and not (found / "thresholds.json").is_file():
        raise RunError(
            f"{found} was judged without VAL, so it has no thresholds to compare at: judge it "
            "again with --val."
        )
    return found


def read_model(folder: Path, name: str) -> AlignedModel:
    """Return the TEST predictions and thresholds that an evaluation wrote.

    Raises:
        RunError: a file is missing or was changed.
    """
    with parsing(
        lambda _: RunError(
            f"{folder} is not as it was evaluated: restore its files, or run `medimg evaluate` "
            "again."
        )
    ):
        return _read_model(folder, name)


def _read_model(folder: Path, name: str) -> AlignedModel:
    summary = read_summary(folder / "test_summary.json")
    return AlignedModel(
        name=name,
        test=read_predictions(folder / "predictions_test.csv", split="test", task=summary.task),
        thresholds=read_thresholds(
            folder / "thresholds.json", predictions_val=folder / "predictions_val.csv"
        ),
        positive_class=summary.positive_class,
        digests={
            row["image_id"]: row["sha256"]
            for row in read_csv(_home_of(folder) / "split.csv")
            if row["split"] == "test" and row["sha256"]  # of judged predictions it is not known
        },
    )


def name_comparison(folders: Sequence[Path]) -> str:
    """Return the name of a comparison: the runs without their times, and the other data.

    >>> name_comparison([Path("plain_20260101-120000"), Path("still_20260101-130000-2")])
    'plain_vs_still'
    """
    named = [_read_names(folder.resolve()) for folder in folders]
    labels = [f"{_STAMP.sub('', run)}{f' on {data}' if data else ''}" for run, data in named]
    stems = [label[:_MAX_LETTERS] for label in labels]
    # A folder that was renamed may bear letters that our own folders do not.
    names = [re.sub(r"[^\w.-]+", "-", stem).strip(".-") or "run" for stem in stems]
    more = len(names) - _MAX_NAMED
    return "_vs_".join([*names[:_MAX_NAMED], *([f"{more}_more"] if more > 0 else [])])


def read_settings(folder: Path) -> Config:
    """Return the settings of a run, or of the first run of a sweep."""
    return build_config(_home_of(folder) / "config.json")


def _home_of(folder: Path) -> Path:
    """Return the run folder with split.csv: for an ensemble, that of its first run."""
    if folder.name != ENSEMBLE:
        return folder
    path = folder.parent / SWEEP_FILE
    with parsing(lambda _: RunError(f"{path} is not as it was written: restore it.")):
        return Path(read_json(path)["runs"][0]["run"])


def _name_run(folder: Path) -> str:
    run, data = _read_names(folder)
    what = f"{run} (ensemble)" if folder.name == ENSEMBLE else run
    return f"{what} on {data}" if data else what


def _read_names(folder: Path) -> tuple[str, str]:
    """Return the name of a run or sweep, and of the other data that it was scored on, or ""."""
    is_ensemble = folder.name == ENSEMBLE
    home = folder.parent if is_ensemble else folder
    path, run = home / (SWEEP_FILE if is_ensemble else "external.json"), None
    if path.is_file():
        with parsing(lambda _: RunError(f"{path} is not as it was written: restore it.")):
            facts = read_json(path)
            run = facts.get("external", {}).get("sweep") if is_ensemble else facts["run"]
    if run is None:
        return home.name, ""
    # Results of a run that is read-only are not in its folder, and are named after it.
    is_inside = len(home.parts) > 2 and home.parts[-3] == run
    return str(run), home.name if is_inside else home.name.removeprefix(f"{run}-")


def _name_apart(models: Sequence[AlignedModel]) -> list[AlignedModel]:
    """Return the models with names that differ: copies of a run share theirs."""
    total = Counter(model.name for model in models)
    seen: Counter[str] = Counter()
    named: list[AlignedModel] = []
    for model in models:
        seen[model.name] += 1
        is_shared = total[model.name] > 1
        named.append(
            replace(model, name=f"{model.name} [{seen[model.name]}]" if is_shared else model.name)
        )
    return named


def _make_new(folder: Path) -> None:
    """Make a folder.

    Raises:
        RunError: It is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty: pass a new folder with --output.")
    folder.mkdir(parents=True, exist_ok=True)
    mark_own(folder)
