"""The results of a sweep: its trials in a table, and the best one, chosen on VAL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.config import show_value
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.evaluation.selection import Optimism, estimate_optimism
from medimg_baseline_cls.pipeline.commands.report import report_joint
from medimg_baseline_cls.pipeline.steps.anonymous import load_pseudonyms
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.pipeline.steps.study import Trial
from medimg_baseline_cls.pipeline.sweep import SweepEntry, SweepKind, SweepPlan, read_plan
from medimg_baseline_cls.pipeline.trials import trial_folder
from medimg_baseline_cls.plots.trials import draw_trials
from medimg_baseline_cls.reporting.outdated import PAGE
from medimg_baseline_cls.reporting.page.report_page import write_report
from medimg_baseline_cls.reporting.page.trials_page import FIGURE, name_objective
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import write_csv, write_json
from medimg_baseline_cls.utils.locks import hold_folder
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.quantities import format_score
from medimg_baseline_cls.utils.runs import SELECTION, hold_run
from medimg_baseline_cls.utils.seals import seal_results

KIND = SweepKind(name="sweep", subfolder="sweep", resume="medimg sweep --resume")
_FACTS = ("space", "num_trials", "provenance")


@dataclass(frozen=True, slots=True)
class TrialRun(SweepEntry):
    """One trial of a sweep, as sweep.json lists it when it is finished."""

    number: int
    run: str | None = None

    @property
    def title(self) -> str:
        """Return the trial in words."""
        return f"trial {self.number}"


TrialsPlan = SweepPlan[TrialRun]


def read_sweep_plan(folder: Path) -> TrialsPlan:
    """Return the space, the settings and the trials of a sweep."""
    return read_plan(folder, TrialRun, kind=KIND, facts=_FACTS)


def describe_values(values: Mapping[str, Any]) -> str:
    """Return the settings of a trial in one line; of a number four digits.

    >>> describe_values({"finetune_lr": 0.000123456, "augment": "light"})
    'finetune_lr = 0.0001235, augment = light'
    """
    return ", ".join(f"{name} = {show_setting(value)}" for name, value in values.items())


def show_setting(value: Any) -> str:
    """Return a value as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else show_value(value)


def summarize_trials(plan: TrialsPlan, trials: Sequence[Trial], *, log: RunLog) -> RunResult:
    """Name the best trial, write trials.csv and sweep_summary.json, and print the table.

    Raises:
        RunError: no trial is complete.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        reasons = {str(trial.facts["reason"]) for trial in trials if "reason" in trial.facts}
        raise RunError(
            f"no trial of {plan.folder} is complete, so none can be chosen: "
            f"{' '.join(sorted(reasons)) or 'see log.txt.'}"
        )
    with hold_folder(plan.folder, command=KIND.command, resume=KIND.resume, log=log):
        best = max(complete, key=lambda trial: (trial.value, -trial.number))
        entries = tuple(TrialRun(t.number, t.facts.get("run")) for t in trials)
        replace(plan, entries=entries).write()
        _write_table(plan, trials)
        states = [trial.state for trial in trials]
        chosen = {
            "objective": plan.config.select,
            "num_trials": len(trials),
            "num_complete": states.count("complete"),
            "num_pruned": states.count("pruned"),
            "num_failed": states.count("failed"),
            "value": best.value,
            "optimism": asdict(_estimate_optimism(plan, complete)),
        }
        content: dict[str, Any] = {
            **chosen,
            "best": _describe_trial(best),
            "trials": [_describe_trial(trial) for trial in trials],
        }
        write_json(plan.folder / KIND.summary_file, content)
        _note_choice(plan, trials, best=best, chosen=chosen)
        draw_trials(
            content["trials"],
            plan.folder / "figures" / FIGURE,
            space=plan.facts["space"],
            objective=name_objective(plan.config.select),
        )
        _print(plan, trials, best=best, log=log)
        _print_optimism(content, log)
        _report_trials(plan, complete)
        seal_results(plan.folder, (KIND.summary_file, "trials.csv"))
        report_joint(plan.folder, KIND.subfolder)
    return RunResult(plan.folder, content)


def _estimate_optimism(plan: TrialsPlan, complete: Sequence[Trial]) -> Optimism:
    """Return what the choice among the complete trials adds to the best value."""
    provenance = plan.facts["provenance"]

    def read_views(trial: Trial) -> list[Predictions]:
        folder = trial_folder(plan.folder, trial.number)
        files = sorted(folder.glob("predictions_val*.csv"))
        return [read_predictions(file, split="val", task=provenance["task"]) for file in files]

    return estimate_optimism(
        [read_views(trial) for trial in complete],
        positive_class=provenance["positive_class"],
        num_resamples=plan.config.num_resamples,
        seed=plan.config.seed,
    )


def _note_choice(
    plan: TrialsPlan, trials: Sequence[Trial], *, best: Trial, chosen: Mapping[str, Any]
) -> None:
    """Let the folder of the best trial say what it was chosen from; no other says so."""
    for trial in trials:
        run = Path(trial.facts.get("run", ""))
        file = run / SELECTION
        if trial is best:
            with hold_run(run, command="sweep"):
                settings = {"space": plan.facts["space"], "settings": dict(trial.values)}
                content = {"sweep": plan.folder.name, "trial": trial.number, **chosen, **settings}
                write_json(file, content)
        elif "run" in trial.facts and file.is_file():
            file.unlink()  # it was the best of fewer trials


def _report_trials(plan: TrialsPlan, complete: Sequence[Trial]) -> None:
    """Write the page of each trial that has none: its training, since TEST was not scored."""
    pseudonyms = load_pseudonyms() if plan.config.anonymous_ids else None
    for trial in complete:
        run = Path(trial.facts["run"])
        if not (run / PAGE).is_file():
            with hold_run(run, command="sweep"):
                write_report(run, pseudonyms=pseudonyms)


def _print_optimism(content: Mapping[str, Any], log: RunLog) -> None:
    found = content["optimism"]
    if found["optimism"] is not None:
        log.info(
            f"the best of {found['num_models']} values on VAL is too high by about "
            f"{format_score(found['optimism'])} on average: "
            f"{format_score(content['value'] - found['optimism'])} is to be expected"
        )


def _describe_trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "settings": dict(trial.values),
        "epochs": [trial.epochs.get(n) for n in range(1, max(trial.epochs, default=0) + 1)],
        "run": trial.facts.get("run"),
        "reason": trial.facts.get("reason"),
    }


def _write_table(plan: TrialsPlan, trials: Sequence[Trial]) -> None:
    names = list(plan.facts["space"])
    header = ["number", "state", "value", *names, "epochs", "run", "reason"]
    rows = [
        (
            trial.number,
            trial.state,
            trial.value,
            *(trial.values.get(name) for name in names),
            max(trial.epochs, default=0),
            Path(trial.facts["run"]).name if "run" in trial.facts else "",
            trial.facts.get("reason", ""),
        )
        for trial in trials
    ]
    write_csv(plan.folder / "trials.csv", header, rows=rows)


def _print(plan: TrialsPlan, trials: Sequence[Trial], *, best: Trial, log: RunLog) -> None:
    objective = name_objective(plan.config.select)
    rows = [
        (
            trial.number,
            *(show_setting(trial.values.get(name)) for name in plan.facts["space"]),
            format_score(trial.value),
            max(trial.epochs, default=0),
            "best" if trial is best else trial.state,
        )
        for trial in trials
    ]
    header = ["trial", *plan.facts["space"], objective, "epochs", ""]
    log.table(f"{len(trials)} trials", header=header, rows=rows)
    log.info(
        f"best: trial {best.number}, {objective} {format_score(best.value)}: {best.facts['run']}"
    )
    log.info(f"results: {plan.folder}")
