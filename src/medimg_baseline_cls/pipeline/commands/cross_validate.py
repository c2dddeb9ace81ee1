"""Cross-validation: the folds, or the sites, as ordinary runs; then their joined results.

cv.json names the runs, in OUTPUT_DIR/cv/<project>_<date-time>/. Each fold is trained and
evaluated as `medimg train` and `medimg evaluate` would, into its own run folder, with the fold in
its settings. Finished folds are kept: an interrupted cross-validation resumes fold by fold and ends
with the same metrics.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.splitting.choose_test import Draw, SplitSettings, choose_test
from medimg_baseline_cls.errors import ConfigError, LeakageError, RunError
from medimg_baseline_cls.evaluation.fold_summary import summarize_spread, tabulate_spread
from medimg_baseline_cls.pipeline.commands.report import report, report_joint
from medimg_baseline_cls.pipeline.steps.listing import list_data, require_outside_data
from medimg_baseline_cls.pipeline.steps.prepare import prepare_data
from medimg_baseline_cls.pipeline.steps.run_model import try_network
from medimg_baseline_cls.pipeline.steps.session import RunResult, open_session
from medimg_baseline_cls.pipeline.sweep import (
    SweepEntry,
    SweepKind,
    SweepPlan,
    do_sweep,
    find_sweep,
    is_in_one_process,
    read_plan,
)
from medimg_baseline_cls.records.summaries import read_summary
from medimg_baseline_cls.reporting.outdated import is_current
from medimg_baseline_cls.schema import Split
from medimg_baseline_cls.training.callbacks import Callback, require_callbacks
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_csv, write_csv, write_json
from medimg_baseline_cls.utils.log import SILENT, RunLog
from medimg_baseline_cls.utils.runs import create_run_folder, name_fold

DEFAULT_FOLDS = 5
_SHOWN_OF_RUNS = ("num_images", "num_groups", "classes")
KIND = SweepKind(name="cross-validation", subfolder="cv", resume="medimg cv --resume")


@dataclass(frozen=True, slots=True)
class Fold(SweepEntry):
    """One run of a cross-validation."""

    repeat: int
    fold: int
    site: str | None = None
    run: str | None = None

    @property
    def title(self) -> str:
        """Return what is TEST in this run, in words."""
        return f"repeat {self.repeat}, " + (
            f"fold {self.fold}" if self.site is None else f"site {self.site}"
        )


_Plan = SweepPlan[Fold]


@ending_plainly(is_resumable=True)
def cross_validate(
    config: Config,
    *,
    repeats: int = 1,
    by_site: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train and test each fold of all images, and summarize them: mean, SD and range.

    Args:
        config: every setting; `num_folds` is 5 where it is not set.
        repeats: drawings of the folds.
        by_site: leave out one site of `site_column` at a time, instead of folds.
        callbacks: told which fold comes next and how its training goes, see `Callback`; they
            change no weight, and their errors are warnings. Python only.

    Returns:
        The folder of the cross-validation and the content of cv_summary.json.

    Raises:
        MedimgError: one sentence on what to fix; RunInterrupted on Ctrl-C.
    """
    require_callbacks(callbacks)
    _check_request(config, repeats=repeats, by_site=by_site)
    require_outside_data(config)
    if by_site:
        folds = [Fold(0, number, site) for number, site in enumerate(_find_sites(config))]
    else:
        config = replace(config, num_folds=config.num_folds or DEFAULT_FOLDS)
        numbers = range(config.num_folds or DEFAULT_FOLDS)
        folds = [Fold(repeat, number) for repeat in range(repeats) for number in numbers]
    folder = create_run_folder(config.output_dir, config.project, subfolder=KIND.subfolder)
    facts = {"repeats": repeats, "by_site": by_site}
    plan = SweepPlan(kind=KIND, folder=folder, config=config, entries=tuple(folds), facts=facts)
    plan.write()
    return do_sweep(plan, configure=_fold_config, summarize=_summarize, callbacks=callbacks)


@ending_plainly(is_resumable=True)
def resume_cross_validation(
    cv: Path | str | None = None,
    *,
    output_dir: Path = Path("outputs"),
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Resume a cross-validation: finished folds are kept.

    Args:
        cv: its folder; None takes the newest unfinished one under `output_dir`.
        output_dir: where cross-validations are looked for.
        callbacks: as in `cross_validate`.

    Raises:
        RunError: there is none, or its files were changed.
    """
    require_callbacks(callbacks)
    plan = read_folds(find_sweep(cv, output_dir, kind=KIND))
    return do_sweep(plan, configure=_fold_config, summarize=_summarize, callbacks=callbacks)


def read_folds(folder: Path) -> SweepPlan[Fold]:
    """Return the runs of a cross-validation."""
    return read_plan(folder, Fold, kind=KIND, facts=("repeats", "by_site"))


def _check_request(config: Config, *, repeats: int, by_site: bool) -> None:
    own = {"fold": config.fold, "fold_repeat": config.fold_repeat, "test_site": config.test_site}
    mistakes = [f"cv sets {name} itself: leave it out." for name, value in own.items() if value]
    if repeats < 1:
        mistakes.append(f"repeats = {repeats}: expected 1 or more.")
    if by_site and config.site_column is None:
        mistakes.append("by_site needs site_column, the column of the table that names the site.")
    if by_site and (repeats > 1 or config.num_folds is not None):
        mistakes.append("by_site leaves out each site once: leave out repeats and num_folds.")
    if not by_site and config.site_column is not None:
        mistakes.append("site_column has no effect here: leave it out, or add by_site.")
    if not is_in_one_process():
        mistakes.append("cv trains its folds in one process: start it without torchrun.")
    if mistakes:
        raise ConfigError(*mistakes)


def _find_sites(config: Config) -> list[str]:
    """Return the sites of the images, sorted; the images are indexed once for that.

    Raises:
        LeakageError: a patient has images at two sites.
        ConfigError: there are fewer than two sites.
        DataError: a class has images at one site alone.
    """
    assert config.site_column is not None
    cache_dir = config.cache_dir or config.output_dir / "cache"
    listing = list_data(config, cache_dir=cache_dir)  # refuses blank cells in the column
    number = listing.subgroup_names.index(config.site_column)
    listed = {file.subgroups[number] for file in listing.files}
    if len(listed) < 2:
        raise ConfigError(f"site_column has one site, {listed.pop()}: two or more are needed.")
    columns = tuple(dict.fromkeys((*config.subgroup_columns, config.site_column)))
    # Folds can be drawn of any images, so this does not depend on how they are split.
    probe = replace(
        config,
        site_column=None,
        subgroup_columns=columns,
        num_folds=2,
        val_strategy="stratified",
    )
    try_network(config)
    # A run folder for the index alone: it is removed again.
    session = open_session(probe)
    try:
        split = prepare_data(replace(session, log=SILENT)).split
    finally:
        shutil.rmtree(session.run_dir)
    column = split.subgroup_names.index(config.site_column)
    sites: dict[str, str] = {}
    for record in split.records:
        site = record.subgroups[column]
        if sites.setdefault(record.group, site) != site:
            raise LeakageError(
                f"group (patient) {record.group[:48]} has images at {sites[record.group]} and at "
                f"{site}: a site cannot be left out while its patients stay; leave out these "
                "patients, or correct the column."
            )
    found = sorted(set(sites.values()))
    # All sites are tried now: a refusal must not come after hours of training on the others.
    for site in found:
        _try_site(split, config.site_column, site=site)
    return found


def _try_site(split: Split, site_column: str, *, site: str) -> None:
    """Refuse a site that cannot be left out, before the first one is."""
    settings = SplitSettings(site_column=site_column, test_site=site)
    choose_test(Draw(split.records, settings, split.class_names, split.task, split.subgroup_names))


def _fold_config(plan: _Plan, fold: Fold) -> Config:
    """Return the settings of a fold's run; its project names the sweep and the fold."""
    stamp = plan.folder.name.removeprefix(f"{plan.config.project}_")
    project = name_fold(plan.config.project, stamp=stamp, repeat=fold.repeat, fold=fold.fold)
    if plan.facts["by_site"]:
        return replace(plan.config, project=project, test_site=fold.site)
    return replace(plan.config, project=project, fold=fold.fold, fold_repeat=fold.repeat)


def _summarize(plan: _Plan, runs: Sequence[Path], *, log: RunLog) -> RunResult:
    """Report each fold, write predictions_oof.csv and cv_summary.json, and print the table."""
    for run in runs:  # first: a cross-validation with a summary is not resumed
        if not is_current(run):
            report(run)
    summaries = [read_summary(run / "test_summary.json") for run in runs]
    spread = summarize_spread(summaries)
    _write_predictions(plan, runs)
    content = {
        "num_folds": plan.config.num_folds,
        **plan.facts,
        **spread.to_json(),
        "runs": [
            asdict(fold) | {name: summary.to_json()[name] for name in _SHOWN_OF_RUNS}
            for fold, summary in zip(plan.entries, summaries, strict=True)
        ],
    }
    tables = {"": spread}
    of_patients = [run / "patients" / "test_summary.json" for run in runs]
    if all(path.is_file() for path in of_patients):
        found = [read_summary(path) for path in of_patients]
        tables[" per patient"] = summarize_spread(found)
        content["patients"] = tables[" per patient"].to_json()
    write_json(plan.folder / KIND.summary_file, content)
    for words, found in tables.items():
        header, rows = tabulate_spread(found)
        title = f"TEST{words} over {len(runs)} runs (thresholds from each VAL)"
        log.table(title, header=header, rows=rows)
    log.info(f"results: {plan.folder}")
    report_joint(plan.folder, KIND.subfolder)
    return RunResult(plan.folder, content)


def _write_predictions(plan: _Plan, runs: Sequence[Path]) -> None:
    """Join the TEST predictions of all runs; in each repeat, each image appears once.

    Raises:
        RunError: An image was in TEST twice or was not, so the runs are not of one set.
    """
    header: list[str] = []
    rows: list[list[str]] = []
    for fold, run in zip(plan.entries, runs, strict=True):
        table = read_csv(run / "predictions_test.csv")
        header = list(table[0])
        site = [] if fold.site is None else [fold.site]
        own = [run.name, str(fold.repeat), str(fold.fold), *site]
        rows += [[*row.values(), *own] for row in table]
    more = ["run", "repeat", "fold", *(["site"] if plan.facts["by_site"] else [])]
    _check_each_once([dict(zip([*header, *more], row, strict=True)) for row in rows])
    write_csv(plan.folder / "predictions_oof.csv", [*header, *more], rows=rows)


def _check_each_once(rows: Sequence[Mapping[str, str]]) -> None:
    seen = {(row["repeat"], row["image_id"]) for row in rows}
    repeats = {row["repeat"] for row in rows}
    if not len(seen) == len(rows) == len(repeats) * len({row["image_id"] for row in rows}):
        raise RunError(
            "the runs of this cross-validation do not test each image once: their data have "
            "changed on the way; start it again."
        )
