"""The same run from several seeds: ordinary runs on one split, their spread and their ensemble.

seeds.json names the runs, in OUTPUT_DIR/seeds/<project>_<date-time>/. Each is made as
`medimg run` would. All share the split of the first seed and differ in the training alone. A
stopped sweep resumes run by run and ends with the same metrics.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.evaluation.aligned_models import AlignedModel, align_models
from medimg_baseline_cls.evaluation.inverted import INVERTED, find_inverted
from medimg_baseline_cls.evaluation.operating_points import (
    choose_thresholds,
    read_thresholds,
    write_thresholds,
)
from medimg_baseline_cls.evaluation.prediction_files import read_predictions, write_predictions
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.seed_summary import (
    average_predictions,
    summarize_seeds,
    tabulate_seeds,
)
from medimg_baseline_cls.evaluation.split_summary import describe_headline, summarize_predictions
from medimg_baseline_cls.pipeline.commands.compare import ENSEMBLE, read_model
from medimg_baseline_cls.pipeline.commands.report import report_joint
from medimg_baseline_cls.pipeline.commands.run import finish
from medimg_baseline_cls.pipeline.steps.intervals import resample_summaries
from medimg_baseline_cls.pipeline.steps.listing import require_outside_data
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.pipeline.sweep import (
    SweepEntry,
    SweepKind,
    SweepPlan,
    do_sweep,
    find_sweep,
    is_in_one_process,
    read_plan,
)
from medimg_baseline_cls.plots import draw_evaluation
from medimg_baseline_cls.records.summaries import SplitSummary, read_summary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.training.callbacks import Callback, require_callbacks
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import sha256_file, write_json
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.runs import create_run_folder, name_seed
from medimg_baseline_cls.utils.seals import seal_results

_OF_ENSEMBLE = tuple(
    f"{ENSEMBLE}/{name}.json" for name in ("thresholds", "val_summary", "test_summary")
)
KIND = SweepKind(name="sweep of seeds", subfolder="seeds", resume="medimg run --resume")


@dataclass(frozen=True, slots=True)
class SeedRun(SweepEntry):
    """One run of a sweep of seeds."""

    seed: int
    run: str | None = None

    @property
    def title(self) -> str:
        """Return the seed in words."""
        return f"seed {self.seed}"


_Plan = SweepPlan[SeedRun]


@ending_plainly(is_resumable=True)
def run_seeds(
    config: Config, seeds: Sequence[int], *, callbacks: Sequence[Callback] = ()
) -> RunResult:
    """Train, evaluate, explain and report with each seed; summarize, and build the ensemble.

    Args:
        config: every setting; `split_seed` is the first seed where it is not set.
        seeds: two or more, each once.
        callbacks: told which seed comes next and how its training goes, see `Callback`; they
            change no weight, and their errors are warnings. Python only.

    Returns:
        The folder of the sweep and the content of seeds_summary.json.

    Raises:
        MedimgError: one sentence on what to fix; RunInterrupted on Ctrl-C.
    """
    require_callbacks(callbacks)
    _check_request(config, seeds)
    require_outside_data(config)
    # One split for all: other splits would add their own variation (decision 0015).
    if config.split_seed is None:
        config = replace(config, split_seed=seeds[0])
    folder = create_run_folder(config.output_dir, config.project, subfolder=KIND.subfolder)
    entries = tuple(SeedRun(seed) for seed in seeds)
    plan = SweepPlan(kind=KIND, folder=folder, config=config, entries=entries)
    plan.write()
    return do_sweep(plan, configure=_seed_config, summarize=_finish, callbacks=callbacks)


@ending_plainly(is_resumable=True)
def resume_seeds(
    sweep: Path | str | None = None,
    *,
    output_dir: Path = Path("outputs"),
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Resume a seed sweep: finished runs are kept.

    Args:
        sweep: its folder; None takes the newest unfinished one under `output_dir`.
        output_dir: where sweeps are looked for.
        callbacks: as in `run_seeds`.

    Raises:
        RunError: there is none, or its files were changed.
    """
    require_callbacks(callbacks)
    plan = read_seeds(find_sweep(sweep, output_dir, kind=KIND))
    return do_sweep(plan, configure=_seed_config, summarize=_finish, callbacks=callbacks)


def read_seeds(folder: Path) -> SweepPlan[SeedRun]:
    """Return the runs of a sweep of seeds."""
    return read_plan(folder, SeedRun, kind=KIND)


def _check_request(config: Config, seeds: Sequence[int]) -> None:
    mistakes: list[str] = []
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        given = " ".join(map(str, seeds))
        mistakes.append(f"seeds = {given}: expected two or more different ones, such as 0 1 2.")
    if config.seed != 0:
        mistakes.append("seeds sets seed itself: leave it out.")
    if not is_in_one_process():
        mistakes.append("seeds trains its runs in one process: start it without torchrun.")
    if mistakes:
        raise ConfigError(*mistakes)
    for seed in seeds:
        replace(config, seed=seed)  # out of range: refused before anything is trained


def _finish(plan: _Plan, runs: Sequence[Path], *, log: RunLog) -> RunResult:
    """Explain and report each run, then summarize all."""
    for run in runs:
        finish(run)
    return summarize_models(plan, runs, log=log)


def _seed_config(plan: _Plan, entry: SeedRun) -> Config:
    """Return the settings of a seed's run; its project names the sweep and the seed."""
    stamp = plan.folder.name.removeprefix(f"{plan.config.project}_")
    project = name_seed(plan.config.project, stamp=stamp, seed=entry.seed)
    return replace(plan.config, project=project, seed=entry.seed)


def summarize_models(
    plan: SweepPlan[Any], runs: Sequence[Path], *, log: RunLog, locked: Path | None = None
) -> RunResult:
    """Write the ensemble and the summary of models on the same images, and print the table.

    Args:
        plan: names the folders with the results of the models.
        runs: these folders.
        log: of the folder of the plan.
        locked: the finished sweep, if these are results of its models on other data: the thresholds
            of its ensemble are kept, and a cross-validation has none.
    """
    models = [read_model(run, e.title) for run, e in zip(runs, plan.entries, strict=True)]
    resampling = Resampling(plan.config.num_resamples, plan.config.seed)
    summaries = [read_summary(run / "test_summary.json") for run in runs]
    spread = summarize_seeds(summaries, models, resampling=resampling)
    content, ensemble, status = spread.to_json() | dict(plan.facts), None, 0
    title = f"{plan.folder.name}: models of {len(runs)} folds (thresholds from each VAL)"
    if plan.kind == KIND:
        test, ensemble = _write_ensemble(plan, runs, models=models, locked=locked)
        content |= {
            "split_seed": plan.config.split_seed,
            "ensemble": {"folder": ENSEMBLE, "headline": describe_headline(ensemble)},
        }
        if locked is not None and (found := find_inverted(ensemble, test)):
            status = INVERTED
            content["external"] |= {"alarms": [f"Ensemble: {text}" for text in found]}
        place = "TEST" if locked is None else plan.folder.name
        title = f"{place} over {len(runs)} seeds, and their ensemble (thresholds from VAL)"
    content["runs"] = [
        asdict(entry) | {"headline": describe_headline(summary)}
        for entry, summary in zip(plan.entries, summaries, strict=True)
    ]
    write_json(plan.folder / plan.kind.summary_file, content)
    if locked is not None:
        seal_results(plan.folder, (plan.kind.plan_file, plan.kind.summary_file, *_OF_ENSEMBLE))
    header, rows = tabulate_seeds(spread, ensemble)
    log.table(title, header=header, rows=rows)
    for alarm in content.get("external", {}).get("alarms", ()):
        log.warn(alarm)
    log.info(f"results: {plan.folder}")
    report_joint(plan.folder, plan.kind.subfolder)
    return RunResult(plan.folder, content, status=status)


def digest_checkpoints(runs: Sequence[Path]) -> str:
    """Return the checkpoint of an ensemble: the sha256 of those of its runs, one line each."""
    lines = "".join(f"{sha256_file(run / 'best.pt')}\n" for run in runs)
    return hashlib.sha256(lines.encode()).hexdigest()


def _write_ensemble(
    plan: SweepPlan[Any],
    runs: Sequence[Path],
    *,
    models: Sequence[AlignedModel],
    locked: Path | None,
) -> tuple[Predictions, SplitSummary]:
    """Write the mean of the networks as one more evaluated model; return TEST and its summary.

    The files are those of a run folder.
    """
    folder, positive_class = plan.folder / ENSEMBLE, models[0].positive_class
    folder.mkdir(exist_ok=True)
    if locked is None:
        val = _write_mean(folder, runs, models=models, split="val")
        # Chosen again: a mean of networks is on another scale than each of them (decision 0015).
        thresholds = choose_thresholds(
            val,
            classes=models[0].classes,
            target_sensitivity=plan.config.target_sensitivity,
            operating_point=plan.config.operating_point,
        )
        write_thresholds(
            folder / "thresholds.json",
            thresholds,
            positive_class=positive_class,
            predictions_sha256=sha256_file(folder / "predictions_val.csv"),
            checkpoint_sha256=digest_checkpoints(runs),
        )
    else:
        for name in ("predictions_val.csv", "thresholds.json"):
            shutil.copyfile(locked / ENSEMBLE / name, folder / name)
        task = models[0].test.task
        val = read_predictions(folder / "predictions_val.csv", split="val", task=task)
        thresholds = read_thresholds(folder / "thresholds.json")
    test = _write_mean(folder, runs, models=models, split="test")
    summaries = {
        part.split: summarize_predictions(part, thresholds, positive_class=positive_class)
        for part in (val, test)
    }
    summaries = resample_summaries(plan.config, summaries, parts=(val, test))
    for name, summary in summaries.items():
        write_json(folder / f"{name}_summary.json", summary.to_json())
    draw_evaluation((val, test), folder / "figures", summaries=summaries)
    return test, summaries["test"]


def _write_mean(
    folder: Path, runs: Sequence[Path], *, models: Sequence[AlignedModel], split: str
) -> Predictions:
    """Write the mean predictions of one split, and return what the file reads back to.

    Raises:
        RunError: the runs do not have the same images.
    """
    name, task = f"predictions_{split}.csv", models[0].test.task
    parts = [
        replace(model, test=read_predictions(run / name, split=split, task=task), digests={})
        for run, model in zip(runs, models, strict=True)
    ]
    write_predictions(folder / name, average_predictions([m.test for m in align_models(parts)]))
    return read_predictions(folder / name, split=split, task=task)
